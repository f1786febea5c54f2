"""The architectures of NAS-Bench-Macro (Su et al., 2021): eight layers of three choices, written as eight digits."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Sequence

import numpy as np

from jaxnas.errors import UserError

OPERATIONS = ("identity", "MB3_K3", "MB6_K5")
"""By their digits. MB3 and MB6: inverted bottlenecks of expansion 3 and 6, with kernels of 3 and 5."""

LAYERS = 8
SIZE = len(OPERATIONS) ** LAYERS


@functools.cache
def all_choices() -> np.ndarray:
    """``[6561, 8]`` int32: every architecture, in the order of their digits.

    >>> all_choices()[1]
    array([0, 0, 0, 0, 0, 0, 0, 1], dtype=int32)
    """
    choices = np.array(list(itertools.product(range(len(OPERATIONS)), repeat=LAYERS)), np.int32)
    choices.flags.writeable = False
    return choices


def indices_of_strings(texts: Sequence[str]) -> np.ndarray:
    """``[N]`` int32: the rows of :func:`all_choices` of architectures such as ``22212220``.

    Raises:
      UserError: the first that is not eight digits from 0 to 2.

    >>> indices_of_strings(["00000001", "00000010"])
    array([1, 3], dtype=int32)
    """
    for text in texts:
        if len(text) != LAYERS or set(text) - set("012"):
            raise UserError(f"An architecture of NAS-Bench-Macro is {LAYERS} digits from 0 to 2, got {str(text)[:80]!r}.")
    return np.array([int(text, len(OPERATIONS)) for text in texts], np.int32)


def strings(choices: np.ndarray) -> list[str]:
    """Architectures of ``[N, 8]`` choices as digits.

    >>> strings(all_choices()[[0, 5]])
    ['00000000', '00000012']
    """
    return ["".join(map(str, row)) for row in np.asarray(choices).tolist()]

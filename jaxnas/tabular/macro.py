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


@functools.cache
def classes() -> np.ndarray:
    """``[6561]`` int32: of each architecture the least number of those that are the same network; there are 3,969 classes.

    An identity that is not first in its stage, of two, three and three layers, changes nothing but the order of the others. The
    benchmark trained one of each class (xiusu/NAS-Bench-Macro, ``train/train_benchmark.py``).

    >>> strings(all_choices()[classes()[indices_of_strings(["22120102"])]])
    ['22102102']
    """
    stages = [np.s_[0:2], np.s_[2:5], np.s_[5:8]]
    last = all_choices().copy()
    for stage in stages:
        later = last[:, stage][:, 1:]
        moved = np.argsort(later == 0, axis=1, kind="stable")
        last[:, stage.start + 1 : stage.stop] = np.take_along_axis(later, moved, 1)
    _, first, inverse = np.unique(last, axis=0, return_index=True, return_inverse=True)
    found = first[inverse.ravel()].astype(np.int32)
    found.flags.writeable = False
    return found


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

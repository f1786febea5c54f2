"""The architectures of NATS-Bench's size space (Dong et al., 2021): five numbers of channels, written ``8:16:64:8:8``."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Sequence

import numpy as np

from jaxnas.errors import UserError

CHANNELS = (8, 16, 24, 32, 40, 48, 56, 64)
LAYERS = 5
"""A cell of each of three stages, and the two reductions between them, in their order."""

SIZE = len(CHANNELS) ** LAYERS


@functools.cache
def all_choices() -> np.ndarray:
    """``[32768, 5]`` int32: every architecture in the official order, as places in :data:`CHANNELS`.

    >>> strings(all_choices()[[1, 284]])
    ['8:8:8:8:16', '8:8:40:32:40']
    """
    choices = np.array(list(itertools.product(range(len(CHANNELS)), repeat=LAYERS)), np.int32)
    choices.flags.writeable = False
    return choices


def indices_of_strings(texts: Sequence[str]) -> np.ndarray:
    """``[N]`` int32: the official numbers of architectures.

    Raises:
      UserError: the first that is not five of the numbers of channels.

    >>> indices_of_strings(["8:8:8:8:16", "64:64:64:64:64"])
    array([    1, 32767], dtype=int32)
    """
    known = {str(channels): place for place, channels in enumerate(CHANNELS)}
    found = []
    for text in texts:
        places = [known.get(part) for part in text.split(":")]
        if len(places) != LAYERS or None in places:
            raise UserError(
                f"An architecture of NATS-Bench's size space is five numbers of channels, each of {', '.join(known)}, "
                f"joined by colons, got {str(text)[:80]!r}."
            )
        found.append(functools.reduce(lambda code, place: code * len(CHANNELS) + int(place or 0), places, 0))
    return np.array(found, np.int32)


def strings(choices: np.ndarray) -> list[str]:
    """Architectures of ``[N, 5]`` choices in the benchmark's notation.

    >>> strings(np.array([[0, 1, 7, 0, 0]]))
    ['8:16:64:8:8']
    """
    return [":".join(str(CHANNELS[place]) for place in row) for row in np.asarray(choices).tolist()]

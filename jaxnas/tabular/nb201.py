"""The architectures of NAS-Bench-201 (Dong and Yang, 2020) as arrays: numbers, strings, one-hot, classes; no file is needed.

``choices`` are ``[..., 6]`` integers: of each edge, in the order of the string, the place of its operation in
:data:`OPERATIONS`. The official number of an architecture is its index in the benchmark's files, in NATS-Bench's topology
space too.
"""

from __future__ import annotations

import functools
import itertools
import random
from collections.abc import Sequence

import numpy as np

from jaxnas.errors import UserError
from jaxnas.spaces import check_fits, from_text, nb201, to_text

OPERATIONS = nb201().cell("cell").operations[0]
"""In the benchmark's order."""

EDGES = nb201().cell("cell").edges
"""``(source, target)``, in the order of the string."""

SIZE = 15_625
_RADIX = len(OPERATIONS) ** np.arange(len(EDGES))[::-1]


@functools.cache
def all_choices() -> np.ndarray:
    """``[15625, 6]`` int32: every architecture in the official order.

    The benchmark numbered all combinations, the last edge's operation changing fastest, after Python's ``random`` had shuffled
    them with seed 88 (AutoDL-Projects, exps/NAS-Bench-201/main.py); Python keeps that sequence from release to release.

    >>> print(strings(all_choices()[1]))
    |nor_conv_3x3~0|+|nor_conv_3x3~0|avg_pool_3x3~1|+|skip_connect~0|nor_conv_3x3~1|skip_connect~2|
    """
    combinations = list(itertools.product(range(len(OPERATIONS)), repeat=len(EDGES)))
    random.Random(88).shuffle(combinations)
    return _frozen(np.array(combinations, np.int32))


@functools.cache
def _index_of_code() -> np.ndarray:
    found = np.empty(SIZE, np.int32)
    found[all_choices() @ _RADIX] = np.arange(SIZE)
    return _frozen(found)


def _frozen(array: np.ndarray) -> np.ndarray:
    array.flags.writeable = False
    return array


def indices(choices: np.ndarray) -> np.ndarray:
    """``[...]`` int32: the official numbers of architectures.

    Args:
      choices: ``[..., 6]`` integers.

    Raises:
      UserError: another number of edges, an operation's number out of range.

    >>> indices(all_choices()[[5, 7]])
    array([5, 7], dtype=int32)
    """
    choices = np.asarray(choices)
    if choices.shape[-1:] != (len(EDGES),) or not np.issubdtype(choices.dtype, np.integer):
        raise UserError(f"An architecture of NAS-Bench-201 is 6 integers, got shape {choices.shape} of {choices.dtype}.")
    wrong = (choices < 0) | (choices >= len(OPERATIONS))
    if wrong.any():
        raise UserError(f"Operations of NAS-Bench-201 are numbered 0 to 4, got {choices[wrong][0]}.")
    return _index_of_code()[choices @ _RADIX]


def strings(choices: np.ndarray) -> np.ndarray:
    """``[...]`` text: architectures in the benchmark's notation; of one architecture a string. As :func:`indices`."""
    return _all_strings()[indices(choices)]


@functools.cache
def _all_strings() -> np.ndarray:
    """``[15625]`` text, in the official order."""
    choices, text, edge = all_choices(), np.full(SIZE, "", "U1"), 0
    names = np.array(OPERATIONS)
    for target, edges in itertools.groupby(EDGES, key=lambda pair: pair[1]):
        text = np.char.add(text, "|" if target == 1 else "+|")
        for source, _ in edges:
            text = np.char.add(np.char.add(text, names[choices[:, edge]]), f"~{source}|")
            edge += 1
    return _frozen(text)


@functools.cache
def _sorted_strings() -> tuple[np.ndarray, np.ndarray]:
    order = np.argsort(_all_strings()).astype(np.int32)
    return _all_strings()[order], order


def indices_of_strings(texts: Sequence[str] | np.ndarray) -> np.ndarray:
    """``[N]`` int32: the official numbers of architectures in the benchmark's notation.

    Raises:
      UserError: the first that is no architecture of NAS-Bench-201, with its place and what is wrong.

    >>> indices_of_strings(["|nor_conv_3x3~0|+|nor_conv_3x3~0|avg_pool_3x3~1|+|skip_connect~0|nor_conv_3x3~1|skip_connect~2|"])
    array([1], dtype=int32)
    """
    known, order = _sorted_strings()
    given = np.asarray(texts, dtype=np.str_)
    place = np.minimum(np.searchsorted(known, given), SIZE - 1)
    found = order[place]
    for at in np.flatnonzero(known[place] != given):
        # Not as the benchmark writes it: other white space, or a mistake that the parser names.
        try:
            genotype = from_text(str(given[at]))
            check_fits(genotype, nb201())
        except UserError as error:
            raise UserError(f"Architecture {at} of {len(given)} is not of NAS-Bench-201: {error}") from None
        found[at] = order[np.searchsorted(known, to_text(genotype))]
    return found


def one_hot(choices: np.ndarray) -> np.ndarray:
    """``[..., 6, 5]`` float32, as :func:`jaxnas.derive` and supernets take mixtures. As :func:`indices`.

    >>> one_hot(np.array([4, 0, 0, 0, 0, 1]))[0]
    array([0., 0., 0., 0., 1.], dtype=float32)
    """
    indices(choices)
    return np.eye(len(OPERATIONS), dtype=np.float32)[np.asarray(choices)]


def from_one_hot(encoded: np.ndarray) -> np.ndarray:
    """``[..., 6]`` int32: choices of :func:`one_hot`.

    Raises:
      UserError: another shape, or an edge that does not have exactly one operation.

    >>> from_one_hot(one_hot(np.array([4, 0, 0, 0, 0, 1])))
    array([4, 0, 0, 0, 0, 1], dtype=int32)
    """
    encoded = np.asarray(encoded)
    if encoded.shape[-2:] != (len(EDGES), len(OPERATIONS)):
        raise UserError(f"One-hot architectures of NAS-Bench-201 have the shape [..., 6, 5], got {encoded.shape}.")
    if not (np.isin(encoded, (0, 1)).all() and (encoded.sum(-1) == 1).all()):
        raise UserError("One-hot architectures have a single 1 for each edge and else 0.")
    return encoded.argmax(-1).astype(np.int32)


@functools.cache
def classes() -> np.ndarray:
    """``[15625]`` int32: of each architecture the least number of those isomorphic to it; there are 6,466 classes.

    By the benchmark's rule (AutoDL-Projects, ``Structure.to_unique_str(consider_zero=True)``): a state is the text of its
    terms, sorted and joined by +; a skip connection is its source, what comes from nothing is nothing. Terms that are
    nothing stay, and a sum that is passed on by a skip is one term of the next: so some architectures that compute the same
    are in two classes. Were they one, 4,930 would be left.
    """
    first: dict[str, int] = {}
    return _frozen(np.array([first.setdefault(_expression(row), i) for i, row in enumerate(all_choices().tolist())], np.int32))


def _expression(choices: list[int]) -> str:
    """What the output computes, by the rule of :func:`classes`."""
    states, terms = ["0"], []
    for (source, target), choice in zip(EDGES, choices, strict=True):
        operation, value = OPERATIONS[choice], states[source]
        if operation == "none" or value == "#":
            terms.append("#")
        else:
            terms.append(value if operation == "skip_connect" else f"({value})@{operation}")
        if source == target - 1:
            states.append("+".join(sorted(terms)))
            terms = []
    return states[-1]

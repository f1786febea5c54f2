"""A tabular benchmark as searchers see it: what is chosen, what is seen of it after how much training, at what cost."""

from __future__ import annotations

import dataclasses
import functools
import math
from typing import Any

import numpy as np

from jaxnas.errors import UserError


@dataclasses.dataclass(frozen=True, eq=False)
class Table:
    """Every architecture of a space on one dataset; the arrays are read-only.

    An architecture is a row: what stands in row ``i`` of every array is of architecture ``i`` of the benchmark. Accuracies are
    means over the runs that the benchmark has (``averaged`` says which), so a search on the table sees no noise of its
    own: two queries of one architecture are equal.

    Attributes:
      name: of the benchmark and dataset, for reports.
      positions: names of what is chosen; in NAS-Bench-201 the edges of the cell in the order of its string.
      operations: for each position the names of its choices, in the order of their numbers.
      choices: ``[A, positions]`` int32, the number of each position's choice. Every combination is there exactly once.
      budgets: ``[B]`` int32, epochs of training, rising. Each is a training of its own with its own schedule of the learning
        rate, so none goes on from the one before.
      validation: ``[A, B]`` float32, accuracy in percent on the validation split, which is what a search may look at.
      test: ``[A]`` float32, accuracy in percent on the test split after the largest budget, which it may not.
      seconds: ``[A, B]`` float32, the benchmark's seconds of one training of that many epochs, from its beginning.
      averaged: in words, the splits and over which runs each mean was formed.

    Raises:
      UserError: arrays whose shapes do not go together; a combination that is missing, there twice or out of range; an
        accuracy that is not between 0 and 100, seconds that are not positive, budgets that do not rise.

    >>> table = Table(
    ...     "toy", ("first", "second"), (("none", "skip"), ("none", "conv")), np.array([[1, 0], [0, 0], [0, 1], [1, 1]]),
    ...     np.array([12]), 10 * np.ones((4, 1)), np.array([1.0, 2.0, 3.0, 4.0]), np.ones((4, 1)), "one run",
    ... )
    >>> table.cardinality, table.lookup(np.array([[0, 1], [1, 0]]))
    (array([2, 2], dtype=int32), array([2, 0], dtype=int32))
    """

    name: str
    positions: tuple[str, ...]
    operations: tuple[tuple[str, ...], ...]
    choices: np.ndarray
    budgets: np.ndarray
    validation: np.ndarray
    test: np.ndarray
    seconds: np.ndarray
    averaged: str

    def __post_init__(self) -> None:
        for field, dtype in (
            ("choices", np.int32),
            ("budgets", np.int32),
            ("validation", np.float32),
            ("test", np.float32),
            ("seconds", np.float32),
        ):
            array = np.array(getattr(self, field), dtype)
            array.flags.writeable = False
            object.__setattr__(self, field, array)
        size, budgets = math.prod(map(len, self.operations)), len(self.budgets)
        for field, shape in (
            ("choices", (size, len(self.positions))),
            ("validation", (size, budgets)),
            ("test", (size,)),
            ("seconds", (size, budgets)),
        ):
            found = getattr(self, field).shape
            if found != shape:
                raise UserError(f"{self.name}: {field} has the shape {found}, {shape} is needed for {size:,} architectures.")
        self._check_values()

    def _check_values(self) -> None:
        if ((self.choices < 0) | (self.choices >= self.cardinality)).any() or (self.index_of < 0).any():
            raise UserError(f"{self.name}: choices does not have every combination of operations exactly once.")
        if not budgets_rise(self.budgets):
            raise UserError(f"{self.name}: budgets are {self.budgets.tolist()}, they must rise from at least 1.")
        for field in ("validation", "test"):
            check_values(getattr(self, field), 0, 100, f"{self.name}: {field}", "an accuracy in percent")
        check_values(self.seconds, np.nextafter(0, 1), np.inf, f"{self.name}: seconds", "a time above 0")

    @property
    def cardinality(self) -> np.ndarray:
        """``[positions]`` int32: how many choices each position has."""
        return np.array([len(names) for names in self.operations], np.int32)

    @functools.cached_property
    def radix(self) -> np.ndarray:
        """``[positions]`` int32: an architecture's code is ``choices @ radix``; the last position's digit counts 1."""
        return np.append(np.cumprod(self.cardinality[:0:-1])[::-1], 1).astype(np.int32)

    @functools.cached_property
    def index_of(self) -> np.ndarray:
        """``[A]`` int32: the row of the architecture of each code (see :attr:`radix`); -1 where there is none."""
        found = np.full(len(self.choices), -1, np.int32)
        found[self.choices @ self.radix] = np.arange(len(self.choices), dtype=np.int32)
        return found

    def lookup(self, choices: Any) -> Any:
        """Rows of architectures, of NumPy arrays or, also inside jit, of JAX's.

        Args:
          choices: ``[..., positions]`` integers. What is out of range is not noticed.

        Returns:
          ``[...]`` int32, of the kind of array that was given.
        """
        namespace = choices.__array_namespace__()
        return namespace.asarray(self.index_of)[choices @ namespace.asarray(self.radix)]


def budgets_rise(budgets: np.ndarray) -> bool:
    """Whether these are whole epochs, each more than the one before.

    >>> budgets_rise(np.array([12, 200])), budgets_rise(np.array([0, 12]))
    (True, False)
    """
    return len(budgets) > 0 and bool((np.diff(budgets, prepend=0) > 0).all())


def check_values(values: np.ndarray, low: float, high: float, where: str, what: str) -> None:
    """Passes where all values lie within the limits.

    Raises:
      UserError: one is outside or no number; the first is named with its row.

    >>> check_values(np.array([50.0, 101.0]), 0, 100, "test", "an accuracy in percent")
    Traceback (most recent call last):
    jaxnas.errors.UserError: test, architecture 1: 101.0 is not an accuracy in percent.
    """
    wrong = np.argwhere(~((values >= low) & (values <= high)))
    if len(wrong):
        first = tuple(wrong[0])
        raise UserError(f"{where}, architecture {first[0]}: {values[first]} is not {what}.")

"""What every black-box searcher is: a state, what it asks next, and what it makes of the answer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from jaxnas.errors import UserError

State = Any
"""A pytree of arrays whose shapes never change."""


class Question(NamedTuple):
    """An architecture that is to be trained, inside jit.

    Attributes:
      choices: ``[positions]`` int32, the number of the choice at each position.
      budget: ``[]`` int32, how long to train it, as a number of the list of budgets; -1 where nothing can be asked before
        more is told.
    """

    choices: Array
    budget: Array


@dataclass(frozen=True)
class Searcher:
    """A searcher as three pure functions.

    It is run on a table inside jit by :func:`jaxnas.blackbox.search_table`, and by whoever trains the architectures through
    :class:`jaxnas.blackbox.AskTell`: the same functions, fed with the same keys. A value is to be made large. Several questions
    may be asked before one is answered, and answers may come in any order.

    Attributes:
      cardinality: how many choices each position has.
      init: ``init(key) -> state``.
      ask: ``ask(state, key) -> state, question``.
      tell: ``tell(state, question, value) -> state``.
    """

    cardinality: tuple[int, ...]
    init: Callable[[Array], State]
    ask: Callable[[State, Array], tuple[State, Question]]
    tell: Callable[[State, Question, Array], State]


def checked(cardinality: Sequence[int]) -> tuple[int, ...]:
    """The numbers of choices as a tuple.

    Raises:
      UserError: no position, a position without a choice, or only positions with a single one.

    >>> checked([5, 5])
    (5, 5)
    """
    numbers = tuple(int(number) for number in cardinality)
    if min(numbers, default=0) < 1 or max(numbers) < 2:
        raise UserError(f"The numbers of choices are {list(numbers)}: each must be at least 1, and one at least 2.")
    return numbers


def at_least(number: int, least: int, what: str) -> int:
    """The number.

    Raises:
      UserError: it is smaller.

    >>> at_least(0, 1, "the population")
    Traceback (most recent call last):
    jaxnas.errors.UserError: the population is 0; it must be at least 1.
    """
    if number < least:
        raise UserError(f"{what} is {number}; it must be at least {least}.")
    return number


def uniform(key: Array, cardinality: tuple[int, ...]) -> Array:
    """``[positions]`` int32: a random architecture.

    >>> uniform(jax.random.key(0), (1, 1)).tolist()
    [0, 0]
    """
    return jax.random.randint(key, (len(cardinality),), 0, jnp.asarray(cardinality, jnp.int32), jnp.int32)


def present(cardinality: tuple[int, ...]) -> Array:
    """``[positions, most choices]`` bool: which choices there are.

    >>> present((2, 1)).tolist()
    [[True, True], [True, False]]
    """
    return jnp.arange(max(cardinality)) < jnp.asarray(cardinality)[:, None]

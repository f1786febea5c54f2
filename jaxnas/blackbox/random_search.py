"""Random search: what every other searcher has to beat."""

from __future__ import annotations

from collections.abc import Sequence

import jax.numpy as jnp
from jax import Array

from jaxnas.blackbox.searcher import Question, Searcher, State, checked, uniform


def random_search(cardinality: Sequence[int], budget: int = 0) -> Searcher:
    """Architectures drawn uniformly, with replacement as NAS-Bench-201's baseline draws them.

    Args:
      budget: the number of the budget at which all are trained.

    Raises:
      UserError: nothing to choose.

    >>> searcher = random_search([1, 2])
    >>> import jax
    >>> state, question = searcher.ask(searcher.init(jax.random.key(0)), jax.random.key(1))
    >>> question.choices.shape, int(question.budget)
    ((2,), 0)
    """
    numbers = checked(cardinality)

    def init(key: Array) -> State:
        return ()

    def ask(state: State, key: Array) -> tuple[State, Question]:
        return state, Question(uniform(key, numbers), jnp.int32(budget))

    def tell(state: State, question: Question, value: Array) -> State:
        return state

    return Searcher(numbers, init, ask, tell)

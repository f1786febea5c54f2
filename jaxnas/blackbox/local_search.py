"""Local search (White et al., 2021: strong on tabular benchmarks): to the first better neighbour, else from a new start."""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax import Array

from jaxnas.blackbox.searcher import Question, Searcher, State, checked, present, uniform


def local_search(cardinality: Sequence[int], budget: int = 0) -> Searcher:
    """Hill climbing with restarts: neighbours differ in one position and are asked in a random order, each once.

    The first neighbour that is better than where the search stands is where it stands next; what differs from both in the same
    position is not asked again; anything else may be, later on a climb. Where none is better, the search begins anew at a
    random architecture. With several questions open, whatever is told that is better is where the search goes.

    Args:
      budget: the number of the budget at which all are trained.

    Raises:
      UserError: nothing to choose.

    >>> searcher = local_search([5] * 6)
    >>> searcher.init(jax.random.key(0))["asked"].shape
    (6, 5)
    """
    numbers = checked(cardinality)
    there_is, positions = present(numbers), jnp.arange(len(numbers))

    def init(key: Array) -> State:
        return {
            "choices": jnp.zeros(len(numbers), jnp.int32),
            "value": -jnp.inf * jnp.ones(()),  # Nowhere: a start is asked, or is to be.
            "asked": jnp.zeros(there_is.shape, bool),  # Of each position with each choice in the place of the present one.
        }

    def ask(state: State, key: Array) -> tuple[State, Question]:
        of_start, of_neighbour = jax.random.split(key)
        free = there_is & ~state["asked"]
        anew = jnp.isneginf(state["value"]) | ~free.any()
        order = jnp.where(free, jax.random.uniform(of_neighbour, free.shape), -1.0)
        position, choice = jnp.unravel_index(jnp.argmax(order), free.shape)
        neighbour = state["choices"].at[position].set(choice.astype(jnp.int32))
        after = {
            "choices": state["choices"],
            "value": jnp.where(anew, -jnp.inf, state["value"]),
            "asked": state["asked"].at[position, choice].set(True),
        }
        return after, Question(jnp.where(anew, uniform(of_start, numbers), neighbour), jnp.int32(budget))

    def tell(state: State, question: Question, value: Array) -> State:
        changed = question.choices != state["choices"]
        # A start has no neighbours that were asked; a neighbour shares those along the position that it differs in.
        shared = changed & (changed.sum() == 1) & ~jnp.isneginf(state["value"])
        asked = state["asked"] & shared[:, None]
        moved = {"choices": question.choices, "value": value, "asked": asked.at[positions, question.choices].set(True)}
        return jax.tree.map(lambda new, old: jnp.where(value > state["value"], new, old), moved, state)

    return Searcher(numbers, init, ask, tell)

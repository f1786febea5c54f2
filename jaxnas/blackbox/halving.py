"""Successive halving (Jamieson and Talwalkar, 2016): many architectures trained briefly, the best of them for longer."""

from __future__ import annotations

from collections.abc import Sequence

import jax.numpy as jnp
from jax import Array

from jaxnas.blackbox.searcher import Question, Searcher, State, at_least, checked, uniform
from jaxnas.errors import UserError


def rung_sizes(arms: int, budgets: Sequence[int]) -> tuple[int, ...]:
    """How many architectures each budget trains: about as many as cost the same, hence a half where the next budget is double.

    Raises:
      UserError: no architecture, budgets that do not rise.

    >>> rung_sizes(27, [4, 12, 36, 108]), rung_sizes(50, [12, 200])
    ((27, 9, 3, 1), (50, 3))
    """
    at_least(arms, 1, "the number of architectures")
    if not budgets or list(budgets) != sorted(set(budgets)) or budgets[0] < 1:
        raise UserError(f"The budgets are {list(budgets)}; they must rise from at least 1.")
    return tuple(max(1, arms * budgets[0] // budget) for budget in budgets)


def successive_halving(cardinality: Sequence[int], budgets: Sequence[int], arms: int = 50) -> Searcher:
    """Brackets of random architectures: all are trained by the first budget, of each rung the best go on to the next.

    Of equal values the one that was asked first goes on. After the last rung a new bracket begins. A question waits (its budget
    is -1) until all of a rung is told, so as many trainings as the rung has run side by side.

    Args:
      budgets: epochs, rising; a question's budget is a number of this list.
      arms: architectures of the first rung; the others' sizes are :func:`rung_sizes`.

    Raises:
      UserError: nothing to choose, no architecture, budgets that do not rise.

    >>> import jax
    >>> searcher = successive_halving([5] * 6, [12, 200])
    >>> searcher.init(jax.random.key(0))["choices"].shape
    (50, 6)
    """
    numbers, sizes = checked(cardinality), jnp.asarray(rung_sizes(arms, budgets), jnp.int32)

    def init(key: Array) -> State:
        return {
            "choices": jnp.zeros((arms, len(numbers)), jnp.int32),  # Of the present rung, in the order of its questions.
            "values": jnp.full(arms, -jnp.inf),
            "told": jnp.zeros(arms, bool),
            "rung": jnp.int32(0),
            "asked": jnp.int32(0),
        }

    def ask(state: State, key: Array) -> tuple[State, Question]:
        at, size = state["asked"], sizes[state["rung"]]
        choices = jnp.where(state["rung"] == 0, uniform(key, numbers), state["choices"][at])
        budget = jnp.where(at < size, state["rung"], -1)
        # Where the rung is asked already, at is beyond it, and nothing is to change.
        return {
            **state,
            "choices": jnp.where(at < size, state["choices"].at[at].set(choices), state["choices"]),
            "asked": jnp.minimum(at + 1, size),
        }, Question(choices, budget)

    def tell(state: State, question: Question, value: Array) -> State:
        waiting = (jnp.arange(arms) < state["asked"]) & ~state["told"]
        at = jnp.argmax(waiting & (state["choices"] == question.choices).all(1))  # Of equal architectures the first.
        values, told = state["values"].at[at].set(value), state["told"].at[at].set(True)
        complete = told.sum() == sizes[state["rung"]]
        order = jnp.argsort(-values, stable=True)
        return {
            "choices": jnp.where(complete, state["choices"][order], state["choices"]),
            "values": jnp.where(complete, -jnp.inf, values),
            "told": told & ~complete,
            "rung": jnp.where(complete, (state["rung"] + 1) % len(sizes), state["rung"]),
            "asked": jnp.where(complete, 0, state["asked"]),
        }

    return Searcher(numbers, init, ask, tell)

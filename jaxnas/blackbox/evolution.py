"""Regularised evolution (Real et al., 2019, AmoebaNet): the oldest dies, not the worst."""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax import Array

from jaxnas.blackbox.searcher import Question, Searcher, State, at_least, checked, uniform
from jaxnas.errors import UserError


def regularised_evolution(cardinality: Sequence[int], population: int = 10, sample: int = 3, budget: int = 0) -> Searcher:
    """A population ordered by age; each query is a mutation of the best of a few that are drawn from it.

    The first ``population`` queries are random. Then ``sample`` members are drawn with replacement, the best of them (the first
    drawn of equal ones) is the parent, its child has one position changed to another choice (``mutated``), and takes the
    place of the oldest. Age is the order of the answers. The paper's population is 100 and its sample 25; the defaults are
    those of NAS-Bench-201's baseline REA.

    Args:
      population: how many live at a time.
      sample: how many are drawn to find a parent; 1 is a random walk of the whole population.
      budget: the number of the budget at which all are trained.

    Raises:
      UserError: nothing to choose; a population or a sample below 1; a sample larger than the population.

    >>> searcher = regularised_evolution([5] * 6)
    >>> searcher.init(jax.random.key(0))["choices"].shape
    (10, 6)
    """
    numbers = checked(cardinality)
    at_least(sample, 1, "the sample")
    if at_least(population, 1, "the population") < sample:
        raise UserError(f"The sample is {sample}; it cannot be larger than the population, {population}.")

    def init(key: Array) -> State:
        return {
            "choices": jnp.zeros((population, len(numbers)), jnp.int32),
            "values": jnp.zeros(population),
            "told": jnp.int32(0),
        }

    def ask(state: State, key: Array) -> tuple[State, Question]:
        young, tournament, mutation = jax.random.split(key, 3)
        # The ring's next place to write is that of the oldest.
        drawn = (state["told"] + jax.random.randint(tournament, (sample,), 0, population)) % population
        parent = drawn[jnp.argmax(state["values"][drawn])]
        child = mutated(mutation, state["choices"][parent], numbers)
        choices = jnp.where(state["told"] < population, uniform(young, numbers), child)
        return state, Question(choices, jnp.int32(budget))

    def tell(state: State, question: Question, value: Array) -> State:
        place = state["told"] % population
        return {
            "choices": state["choices"].at[place].set(question.choices),
            "values": state["values"].at[place].set(value),
            "told": state["told"] + 1,
        }

    return Searcher(numbers, init, ask, tell)


def mutated(key: Array, choices: Array, cardinality: tuple[int, ...]) -> Array:
    """``[positions]`` int32: one position, of those that have a choice, has another one; all changes are equally probable
    given the position.

    >>> mutated(jax.random.key(0), jnp.array([0, 1]), (1, 2)).tolist()
    [0, 0]
    """
    of_position, of_choice = jax.random.split(key)
    position = jax.random.choice(of_position, jnp.asarray([i for i, number in enumerate(cardinality) if number > 1]))
    number = jnp.asarray(cardinality, jnp.int32)[position]
    step = jax.random.randint(of_choice, (), 1, number, jnp.int32)
    return choices.at[position].set((choices[position] + step) % number)

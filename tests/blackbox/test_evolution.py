"""Regularised evolution against a slow one in plain Python, which shares nothing with it but the random numbers."""

from __future__ import annotations

import collections
import random

import jax
import numpy as np
import pytest

from jaxnas.blackbox import AskTell, regularised_evolution
from jaxnas.blackbox.ask_tell import question_key
from jaxnas.blackbox.evolution import mutated
from jaxnas.errors import UserError

CARDINALITY = (5, 2, 1, 3)


def draws(key: jax.Array, population: int, sample: int) -> tuple[list[int], list[int], int, jax.Array]:
    """The random numbers of one query: a young architecture, the tournament by age, what is changed, the key of to what."""
    young, tournament, mutation = jax.random.split(key, 3)
    of_position, of_choice = jax.random.split(mutation)
    limits = np.array(CARDINALITY)
    return (
        jax.random.randint(young, (4,), 0, limits).tolist(),
        jax.random.randint(tournament, (sample,), 0, population).tolist(),
        int(jax.random.choice(of_position, np.array([0, 1, 3]))),
        of_choice,
    )


def slow_trace(
    seed: int, population: int, sample: int, queries: int, worth: dict[tuple[int, ...], float]
) -> list[tuple[int, ...]]:
    """The algorithm as the paper writes it: a queue, a tournament, a child, and the oldest leaves."""
    key, queue, asked = jax.random.key(seed), collections.deque(), []
    for number in range(queries):
        young, tournament, position, of_choice = draws(question_key(key, jax.numpy.int32(number)), population, sample)
        if len(queue) < population:
            child = tuple(young)
        else:
            parent, best = None, float("-inf")
            for member in tournament:
                choices, value = queue[member]
                if value > best:
                    parent, best = choices, value
            assert parent is not None
            step = int(jax.random.randint(of_choice, (), 1, CARDINALITY[position]))
            changed = list(parent)
            changed[position] = (changed[position] + step) % CARDINALITY[position]
            child = tuple(changed)
        asked.append(child)
        queue.append((child, worth[child]))
        if len(queue) > population:
            queue.popleft()
    return asked


@pytest.mark.parametrize(("population", "sample", "seed"), [(10, 3, 0), (4, 4, 1), (1, 1, 2)])
def test_it_asks_what_the_slow_one_asks(population: int, sample: int, seed: int) -> None:
    numbers = random.Random(seed)
    # Few values, so that many are equal.
    worth = {tuple(at): float(numbers.randrange(6)) for at in np.ndindex(CARDINALITY)}
    search, asked = AskTell(regularised_evolution(CARDINALITY, population, sample), seed), []
    for _ in range(60):
        trial = search.ask()
        assert trial is not None
        asked.append(trial.choices)
        search.tell(trial, worth[trial.choices])
    assert asked == slow_trace(seed, population, sample, 60, worth)


def test_a_mutation_changes_one_position_and_all_changes_are_equally_frequent() -> None:
    start = jax.numpy.array([4, 0, 0, 1])
    children = np.asarray(jax.vmap(lambda key: mutated(key, start, CARDINALITY))(jax.random.split(jax.random.key(3), 6000)))
    assert ((children != start).sum(1) == 1).all()
    counts = collections.Counter(map(tuple, children.tolist()))
    assert len(counts) == 4 + 1 + 2
    chi_squared = 0.0
    for child, count in counts.items():
        position = int(np.argmax(np.array(child) != np.asarray(start)))
        expected = 6000 / 3 / (CARDINALITY[position] - 1)
        chi_squared += (count - expected) ** 2 / expected
    assert chi_squared < 22.5  # The 0.1 % point of 6 degrees of freedom.


def test_what_is_no_evolution_is_refused() -> None:
    with pytest.raises(UserError, match="the sample is 0"):
        regularised_evolution([5], 10, 0)
    with pytest.raises(UserError, match="sample is 11.*population, 10"):
        regularised_evolution([5], 10, 11)
    with pytest.raises(UserError, match=r"\[1, 1\].*one at least 2"):
        regularised_evolution([1, 1])

"""Local search against a slow one, which keeps neighbours as a set of architectures instead of a mask."""

from __future__ import annotations

import random

import jax
import numpy as np
import pytest

from jaxnas.blackbox import AskTell, local_search
from jaxnas.blackbox.ask_tell import question_key

CARDINALITY = (4, 1, 3, 2)
Choices = tuple[int, ...]


def differences(one: Choices, other: Choices) -> list[int]:
    return [position for position, (a, b) in enumerate(zip(one, other, strict=True)) if a != b]


def slow_trace(seed: int, queries: int, worth: dict[Choices, float]) -> list[Choices]:
    """``known``: what was asked of the neighbours of where the search stands, and where it stands itself."""
    asked: list[Choices] = []
    here: Choices = ()
    known: set[Choices] = set()
    for number in range(queries):
        of_start, of_neighbour = jax.random.split(question_key(jax.random.key(seed), jax.numpy.int32(number)))
        order = np.asarray(jax.random.uniform(of_neighbour, (4, 4)))
        neighbours: list[tuple[float, Choices]] = []
        for other in worth if here else ():
            if len(differences(here, other)) == 1 and other not in known:
                position = differences(here, other)[0]
                neighbours.append((float(order[position, other[position]]), other))
        if neighbours:
            question = max(neighbours)[1]
            known.add(question)
            if worth[question] > worth[here]:
                moved = differences(here, question)
                known = {other for other in known if differences(question, other) in ([], moved)}
                here = question
        else:
            question = tuple(jax.random.randint(of_start, (4,), 0, np.array(CARDINALITY)).tolist())
            here, known = question, {question}
        asked.append(question)
    return asked


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_it_asks_what_the_slow_one_asks(seed: int) -> None:
    numbers = random.Random(seed)
    worth = {tuple(at): float(numbers.randrange(8)) for at in np.ndindex(CARDINALITY)}
    search, asked = AskTell(local_search(CARDINALITY), seed), []
    for _ in range(80):
        trial = search.ask()
        assert trial is not None
        asked.append(trial.choices)
        search.tell(trial, worth[trial.choices])
    assert asked == slow_trace(seed, 80, worth)


def test_several_open_questions_are_different_neighbours() -> None:
    search = AskTell(local_search([5] * 6), seed=0)
    start = search.ask()
    assert start is not None
    search.tell(start, 1.0)
    several = [search.ask() for _ in range(24)]
    assert len({trial.choices for trial in several if trial}) == 24
    assert all(trial and sum(a != b for a, b in zip(trial.choices, start.choices, strict=True)) == 1 for trial in several)

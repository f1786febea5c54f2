"""The adapters with the real Optuna: a study asks what our searcher asks alone, a sampler asks what it asks in a study."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import optuna
import pytest

from jaxnas.blackbox import AskTell, ask_table, regularised_evolution, successive_halving
from jaxnas.blackbox.with_optuna import OptunaSearch, SearcherSampler
from jaxnas.errors import UserError
from jaxnas.tabular import Table

SIZES = (3, 2, 4)
POSITIONS: dict[str, list[Any]] = {"0->1": ["none", "skip", "conv"], "0->2": [3, 5], "1->2": list("abcd")}
WORTH = {at: float(number) for at, number in zip(np.ndindex(SIZES), np.random.default_rng(0).permutation(24), strict=True)}
EVOLUTION = regularised_evolution(SIZES, 5, 2)  # One, so that it is compiled once.
optuna.logging.set_verbosity(optuna.logging.WARNING)


def numbers(trial: Any) -> tuple[int, ...]:
    """What a study's trial suggests, as numbers of choices."""
    return tuple(choices.index(trial.suggest_categorical(name, choices)) for name, choices in POSITIONS.items())


def alone(steps: int, worth: Mapping[tuple[int, ...], float]) -> list[tuple[int, ...]]:
    search, asked = AskTell(EVOLUTION, seed=3), []
    for _ in range(steps):
        trial = search.ask()
        assert trial is not None
        asked.append(trial.choices)
        search.tell(trial, worth[trial.choices])
    return asked


@pytest.mark.parametrize("direction", ["maximize", "minimize"])
def test_a_study_asks_what_the_searcher_asks_alone(direction: Literal["maximize", "minimize"]) -> None:
    sampler = SearcherSampler(AskTell(EVOLUTION, seed=3), POSITIONS, worst=0.0)
    study = optuna.create_study(direction=direction, sampler=sampler)
    sign, seen = (1 if direction == "maximize" else -1), []

    def objective(trial: Any) -> float:
        seen.append(numbers(trial))
        assert sampler.asked[trial.number].choices == seen[-1]
        return sign * WORTH[seen[-1]]

    study.optimize(objective, n_trials=40)
    assert seen == alone(40, WORTH)
    assert study.best_value == sign * max(WORTH[choices] for choices in seen)


def test_what_fails_or_is_pruned_is_told_as_the_worst() -> None:
    sampler = SearcherSampler(AskTell(EVOLUTION, seed=3), POSITIONS, worst=-7.0)
    study, seen = optuna.create_study(direction="maximize", sampler=sampler), []

    def objective(trial: Any) -> float:
        seen.append(numbers(trial))
        if WORTH[seen[-1]] > 20:
            raise FloatingPointError
        if WORTH[seen[-1]] > 16:
            raise optuna.TrialPruned
        return WORTH[seen[-1]]

    study.optimize(objective, n_trials=30, catch=(FloatingPointError,))
    told = {choices: value if value <= 16 else -7.0 for choices, value in WORTH.items()}
    assert seen == alone(30, told) != alone(30, WORTH)


def test_successive_halving_in_a_study_has_its_budgets_and_waits_by_an_error() -> None:
    sampler = SearcherSampler(AskTell(successive_halving(SIZES, [1, 3], arms=6), seed=0), POSITIONS, worst=0.0)
    study, budgets = optuna.create_study(direction="maximize", sampler=sampler), []

    def objective(trial: Any) -> float:
        value = WORTH[numbers(trial)]
        budgets.append(sampler.asked[trial.number].budget)
        return value

    study.optimize(objective, n_trials=16)
    assert budgets == [0] * 6 + [1] * 2 + [0] * 6 + [1] * 2
    for _ in range(6):
        numbers(study.ask())
    with pytest.raises(UserError, match="waits for answers.*n_jobs"):
        numbers(study.ask())


def test_what_does_not_go_together_is_refused() -> None:
    with pytest.raises(UserError, match=r"\(3, 2\) choices.*positions have \(3, 2, 4\)"):
        SearcherSampler(AskTell(regularised_evolution((3, 2), 5, 2), seed=0), POSITIONS, worst=0.0)
    sampler = SearcherSampler(AskTell(EVOLUTION, seed=0), POSITIONS, worst=0.0)
    with pytest.raises(UserError, match="'rate' is no position of the searcher.*0->1, 0->2, 1->2"):
        optuna.create_study(sampler=sampler).optimize(lambda trial: trial.suggest_float("rate", 0, 1), n_trials=1)
    sampler = SearcherSampler(AskTell(EVOLUTION, seed=0), POSITIONS, worst=0.0)
    with pytest.raises(UserError, match="2 objectives"):
        optuna.create_study(directions=["minimize", "minimize"], sampler=sampler).optimize(numbers, n_trials=1)


def test_a_sampler_asks_on_a_table_what_it_asks_in_a_study() -> None:
    choices = np.array(list(np.ndindex(SIZES)))
    worth = np.array([WORTH[at] for at in np.ndindex(SIZES)])
    names = tuple(tuple(map(str, values)) for values in POSITIONS.values())
    table = Table("toy", tuple(POSITIONS), names, choices, np.array([3]), worth[:, None], worth, np.ones((24, 1)), "one run")
    trace = ask_table(OptunaSearch(SIZES, optuna.samplers.TPESampler(seed=5)), table, 40)
    study, seen = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=5)), []

    def objective(trial: Any) -> float:
        seen.append(tuple(trial.suggest_categorical(str(at), range(number)) for at, number in enumerate(SIZES)))
        return WORTH[seen[-1]]

    study.optimize(objective, n_trials=40)
    assert [tuple(choices[row]) for row in np.asarray(trace.index)] == seen


def test_equal_trials_are_answered_each_and_what_was_not_asked_is_refused() -> None:
    search = OptunaSearch([1, 2], optuna.samplers.RandomSampler(seed=0))
    trials = [search.ask() for _ in range(6)]
    assert len(set(trials)) == 2
    for value, trial in enumerate(trials):
        search.tell(trial, float(value))
    assert search.best == (trials[5], 5.0)
    with pytest.raises(UserError, match="told before"):
        search.tell(trials[0], 1.0)

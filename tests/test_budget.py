"""Budgets of time: what is decided from what was measured, and when it is over. Clocks are set by hand."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from jax import Array

from jaxnas import budget
from jaxnas.budget import Budget, for_budget, pace
from jaxnas.errors import UserError
from jaxnas.feeding import STEPS_PER_DISPATCH, Stage
from jaxnas.recipes import find


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Seconds that only the test moves."""

    class Clock:
        now = 1000.0

        def perf_counter(self) -> float:
            return self.now

    clock = Clock()
    monkeypatch.setattr(budget, "time", clock)
    return clock


def stage(steps: int, epochs: int = 10) -> Stage:
    """Adds up, in step t of epochs of s steps, the epoch ``t // s``."""

    def step(state: Any, data: Any, rows: Array) -> tuple[Any, dict[str, Array]]:
        epoch = state["step"] // data["steps_per_epoch"]
        return {"step": state["step"] + 1, "sum": state["sum"] + epoch}, {"epoch": epoch.astype(float)}

    def start() -> Any:
        return {"step": jnp.zeros((), jnp.int32), "sum": jnp.zeros((), jnp.int32)}

    data = {"steps_per_epoch": np.int32(steps)}
    return Stage(step, start, data, lambda epoch: (jnp.zeros((steps, 1), jnp.int32),), epochs, steps, paced=True)


def test_the_search_has_its_share_of_what_compilation_leaves(clock: Any) -> None:
    asked = Budget(minutes=2)
    clock.now += 20
    # 100 s are left, 10 of them for the next compilation; a third of 90 s, at 90 %, is 27 s: of 10 epochs, 2.7 s each.
    assert asked.search_steps(stage(20), 20, compile_seconds=10.0, step_seconds=0.1) == 27
    clock.now += 30.0
    assert not asked.over()
    clock.now += 0.1
    assert asked.over()
    # 69.9 s are left, 4 of them for the evaluation.
    assert asked.train_steps(stage(40), 40, compile_seconds=8.0, step_seconds=0.01) == int(0.9 * 65.9 / 0.01 / 10)
    assert not asked.over()
    clock.now += 66.0
    assert asked.over() and asked.over()
    report = asked.report()
    assert report["cut"] == ["search", "train"]
    assert report["steps_per_epoch"] == {"search": 27, "train": 593} and report["step_seconds"] == {
        "search": 0.1,
        "train": 0.01,
    }
    assert report["seconds"] == pytest.approx(116.1) and report["minutes"] == 2


def test_a_budget_without_time_for_a_pass_says_what_the_shortest_is(clock: Any) -> None:
    asked = Budget(minutes=0.5)
    clock.now += 12
    # 12 s are gone, 10 more are for the found network's compilation, and 2 s for a pass in either stage: 26.4 s with margin.
    assert asked.search_steps(stage(20), 20, compile_seconds=10.0, step_seconds=0.1) >= 2
    with pytest.raises(UserError, match=r"0\.1 minutes is too short.* took 10 s.* after 12 s .*at least 0\.5 minutes"):
        asked = Budget(minutes=0.1)
        clock.now += 12
        asked.search_steps(stage(20), 20, compile_seconds=10.0, step_seconds=0.1)


def test_what_was_found_is_trained_once_through_even_when_the_time_is_over(clock: Any) -> None:
    """Compilation was longer than expected: as much as was promised is planned, and the first dispatch is the last."""
    asked = Budget(minutes=0.1)
    clock.now += 7
    assert asked.train_steps(stage(40), 40, compile_seconds=8.0, step_seconds=0.01) == 4
    assert asked.over()


@pytest.mark.parametrize("minutes", [0, -1, float("nan"), float("inf"), True, "two"])
def test_minutes_must_be_a_positive_number(minutes: Any) -> None:
    with pytest.raises(UserError, match="positive number of minutes"):
        Budget(minutes)


def test_one_program_serves_any_number_of_steps() -> None:
    decided: list[tuple[int, float, float]] = []

    def decide(stage: Stage, one_pass: int, compile_seconds: float, step_seconds: float) -> int:
        decided.append((one_pass, compile_seconds, step_seconds))
        return 3

    steps, compiled = pace(stage(5), decide)
    [(one_pass, compile_seconds, step_seconds)] = decided
    assert steps == 3 and one_pass == 5 and compile_seconds > 0 and step_seconds > 0
    rows = np.zeros((STEPS_PER_DISPATCH, 1), np.int32)
    for length in (3, 5):
        state, _ = compiled.call(stage(5).start(), {"steps_per_epoch": np.int32(length)}, (rows,), np.int32(10))
        assert int(state["sum"]) == sum(t // length for t in range(10))


def test_a_recipe_for_a_budget() -> None:
    recipe = for_budget(find("nb201-darts-v1"))
    assert (recipe.search.cosine_every, recipe.train.cosine_every, recipe.random_cells) == ("epoch", "epoch", 0)
    digits = find("darts-digits")
    assert for_budget(digits) == dataclasses.replace(digits, random_cells=0)
    with pytest.raises(UserError, match="searches of one stage"):
        for_budget(find("p-darts"))
    with pytest.raises(UserError, match="early_stop=regularise does"):
        for_budget(find("robust-darts-ada"))

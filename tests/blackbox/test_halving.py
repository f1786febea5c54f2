"""Successive halving against an example worked by hand."""

from __future__ import annotations

import pytest

from jaxnas.blackbox import AskTell, Trial, successive_halving
from jaxnas.blackbox.halving import rung_sizes
from jaxnas.errors import UserError


def test_the_worked_example() -> None:
    """Eight architectures at 1, 2 and 4 epochs: 8, then the best 4, then the best 2, then eight others."""
    search = AskTell(successive_halving([1000, 1000], [1, 2, 4], arms=8), seed=0)
    first = [search.ask() for _ in range(8)]
    arms = [trial.choices for trial in first if trial]
    assert len(set(arms)) == 8 and all(trial and trial.budget == 0 for trial in first)
    assert search.ask() is None and search.ask() is None  # None is told.
    # Answers in another order. In order of their values: arms 5 (9), 2 (8), 1 and 6 (both 7), 0 and 7 (6), ...
    values = {0: 6.0, 1: 7.0, 2: 8.0, 3: 1.0, 4: 2.0, 5: 9.0, 6: 7.0, 7: 6.0}
    for arm in (3, 0, 7, 6, 5, 4, 2):
        search.tell(Trial(arms[arm], 0), values[arm])
    assert search.ask() is None  # One is missing.
    search.tell(Trial(arms[1], 0), values[1])
    second = [search.ask() for _ in range(4)]
    assert second == [Trial(arms[arm], 1) for arm in (5, 2, 1, 6)]  # Of equal ones the one that was asked first.
    assert search.ask() is None
    for arm, value in ((5, 3.0), (2, 5.0), (1, 4.0), (6, 2.0)):  # Longer trained, others are better.
        search.tell(Trial(arms[arm], 1), value)
    assert [search.ask(), search.ask(), search.ask()] == [Trial(arms[2], 2), Trial(arms[1], 2), None]
    search.tell(Trial(arms[1], 2), 0.5)
    search.tell(Trial(arms[2], 2), 0.4)
    assert search.best == (Trial(arms[1], 2), 0.5)  # At the largest budget, although others had more at a smaller one.
    again = [search.ask() for _ in range(8)]
    assert all(trial and trial.budget == 0 for trial in again)
    assert not {trial.choices for trial in again if trial} & set(arms)


def test_equal_architectures_go_on_apart() -> None:
    """A space of two with four arms: some are drawn twice, and every answer counts once."""
    search = AskTell(successive_halving([2], [1, 2], arms=4), seed=1)
    arms = [search.ask() for _ in range(4)]
    for trial in arms:
        assert trial
        search.tell(trial, float(trial.choices[0]))
    second = [search.ask(), search.ask()]
    assert all(trial and trial.budget == 1 for trial in second)
    assert sorted(trial.choices[0] for trial in second if trial) == sorted(trial.choices[0] for trial in arms if trial)[-2:]


def test_rungs_cost_the_same_and_what_is_no_bracket_is_refused() -> None:
    assert rung_sizes(3, [12, 200]) == (3, 1)
    with pytest.raises(UserError, match=r"budgets are \[200, 12\]"):
        successive_halving([5], [200, 12])
    with pytest.raises(UserError, match="number of architectures is 0"):
        successive_halving([5], [12], arms=0)

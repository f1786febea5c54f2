"""Rows of a comparison: deviations from two runs on, and random search at the cost of a search."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from jaxnas.report import groups, read_run, spread
from jaxnas.report.groups import at_equal_cost, expected_best


def test_the_expected_best_is_the_mean_over_all_choices() -> None:
    values = np.random.Generator(np.random.PCG64(0)).random(7).tolist()
    for number in range(1, 8):
        every = [max(chosen) for chosen in itertools.combinations(values, number)]
        assert expected_best(values, number) == pytest.approx(np.mean(every))


def test_as_many_random_networks_as_the_search_costs() -> None:
    random = [0.5, 0.6, 0.7, 0.8]
    device = {"search": 19.0, "choice": 1.0, "train found": 10.0, "train random": 40.0, "evaluate": 500.0}
    equal = at_equal_cost(random, device, 4)  # A network costs 10, the search and its training 30.
    assert equal.best_of == 3 and equal.expected == pytest.approx((0.7 + 3 * 0.8) / 4)
    cheap = at_equal_cost(random, {**device, "search": 0.0}, 4)
    assert (cheap.best_of, cheap.expected) == (1, pytest.approx(0.65))
    assert at_equal_cost(random, {**device, "search": 31.0}, 4).expected == 0.8  # The best of all there are.
    assert "9 networks cost as much, but there are 4" in at_equal_cost(random, {**device, "search": 80.0}, 4).why
    assert at_equal_cost([], device, 0).why == "no random networks were trained: --random-cells"


def test_rows_are_of_runs_that_differ_in_their_seeds(write_run: Callable[..., Path], tmp_path: Path) -> None:
    runs = [write_run(tmp_path / f"a{seed}", "nb201-digits", seed=seed) for seed in (0, 1)]
    runs.append(write_run(tmp_path / "b", "nb201-digits", seed=2, epochs=30))
    first, second = groups([read_run(run) for run in runs])
    assert (first.label, second.label) == ("nb201-digits (1)", "nb201-digits (2)")
    assert (first.differs, second.differs) == ((), ("recipe",))
    assert len(first.found) == 2 and len(first.random) == 6 and spread(second.found).endswith("(n=1, no deviation)")
    assert second.as_json()["found"]["deviation"] is None and first.as_json()["found"]["deviation"] > 0
    # 2 s an epoch, 6 s a training.
    assert (first.device_seconds["search"], second.device_seconds["search"], first.compile_seconds) == (8.0, 60.0, 49.0)
    assert first.equal.best_of == 2 and first.equal.expected is not None and second.equal.best_of == 11
    (runs[0] / "card.json").unlink()
    (runs[1] / "result.json").unlink()  # Not finished: it counts neither for accuracy nor for cost.
    alone, unfinished, _ = groups([read_run(run) for run in runs])
    assert alone.compile_seconds is None and alone.equal.expected is None and unfinished.found == ()
    assert spread(unfinished.found) == "not known" and json.dumps(unfinished.as_json())

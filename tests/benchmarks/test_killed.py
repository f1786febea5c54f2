"""SIGKILL at three moments of a search; thirty are in ``benchmarks/results/killed.json``."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.killed import run_and_kill


@pytest.mark.slow
def test_a_search_that_is_killed_goes_on_to_the_same_bytes(tmp_path: Path) -> None:
    record = run_and_kill(3, tmp_path, seed=1)
    assert record["uninterrupted_twice_the_same"]
    assert [kill["differ"] for kill in record["each"]] == [[], [], []]
    assert record["within_a_save"]


def test_the_record_has_thirty_kills_without_a_difference() -> None:
    record = json.loads((Path(__file__).parents[2] / "benchmarks" / "results" / "killed.json").read_text())
    assert record["kills"] == len(record["each"]) == 30
    assert record["uninterrupted_twice_the_same"]
    assert record["with_differences"] == 0 == sum(bool(kill["differ"]) for kill in record["each"])
    assert record["within_a_save"] == sum(kill["within_a_save"] for kill in record["each"]) >= 5

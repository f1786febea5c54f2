"""Published results that need no training hold; and what does not hold is told."""

from __future__ import annotations

import dataclasses

import pytest

from jaxnas import registry
from jaxnas.errors import UserError
from jaxnas.registry import Expected, find
from jaxnas.reproducing import all_hold, as_record, counted, judged

COUNTS = [name for name in registry.names() if find(name).count]


@pytest.mark.parametrize("name", COUNTS)
def test_what_needs_no_training_holds(name: str) -> None:
    result = find(name)
    verdicts = judged(result, counted(result))
    assert len(verdicts) == len(result.expected)
    assert [verdict.expected.quantity for verdict in verdicts if not verdict.holds] == []


def test_a_count_that_differs_by_one_does_not_hold() -> None:
    result = find("counts-nb101")
    wrong = dataclasses.replace(result, expected=(dataclasses.replace(result.expected[0], value=423_625),))
    assert all_hold(judged(wrong, counted(result))) is False


def test_means_are_judged_and_one_number_has_no_deviation() -> None:
    expected = (Expected("error", 2.76, 0.09, 0.09), Expected("seconds", None, said="not printed"))
    result = dataclasses.replace(find("counts-nb101"), expected=expected)
    three, one = judged(result, {"error": [2.7, 2.8, 3.0], "seconds": [1.0]})
    assert (three.mean, three.number, three.holds) == (pytest.approx(2.8333, abs=1e-4), 3, True)
    assert three.deviation == pytest.approx(0.15275, abs=1e-5)  # Sample deviation: sqrt(0.046667 / 2).
    assert (one.deviation, one.holds) == (None, None)
    assert all_hold([three, one]) is True
    record = as_record([three, one], {"wall": 1.0})
    assert record["values"]["error"] == {"mean": three.mean, "deviation": three.deviation, "number": 3}
    with pytest.raises(UserError, match="nothing measures 'seconds'"):
        judged(result, {"error": [2.7]})


def test_unknown_counters_and_networks_are_refused() -> None:
    result = find("counts-nb101")
    with pytest.raises(UserError, match="unknown counter 'x'"):
        counted(dataclasses.replace(result, count="x"))
    with pytest.raises(UserError, match="No published network is called 'DARTS_V9'"):
        counted(dataclasses.replace(result, count="networks", expected=(Expected("DARTS_V9: parameters", 1, 0, 0),)))

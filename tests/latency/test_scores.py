"""Scores against their definitions."""

from __future__ import annotations

import numpy as np
import pytest

from jaxnas.errors import UserError
from jaxnas.latency import Scores, scores


def test_scores_are_their_definitions() -> None:
    rng = np.random.default_rng(0)
    measured = rng.uniform(1, 5, 50)
    predicted = measured + rng.normal(scale=0.5, size=50)
    found = scores(measured, predicted)
    errors = [p - m for p, m in zip(predicted, measured, strict=True)]
    mean = sum(measured) / 50
    assert found.r2 == pytest.approx(1 - sum(e**2 for e in errors) / sum((m - mean) ** 2 for m in measured), rel=1e-12)
    assert found.mape == pytest.approx(sum(abs(e) / m for e, m in zip(errors, measured, strict=True)) * 2, rel=1e-12)
    # Without ties Spearman's is 1 - 6 sum d^2 / (n^3 - n) of the ranks' differences.
    ranks = [sorted(values).index for values in (measured.tolist(), predicted.tolist())]
    squares = sum((ranks[0](m) - ranks[1](p)) ** 2 for m, p in zip(measured, predicted, strict=True))
    assert found.spearman == pytest.approx(1 - 6 * squares / (50**3 - 50), rel=1e-12)
    assert found.networks == 50


def test_a_constant_has_no_rank_and_does_not_pass() -> None:
    found = scores([1.0, 2.0, 3.0], [2.0, 2.0, 2.0])
    assert np.isnan(found.spearman) and found.r2 == 0 and not found.passed
    assert np.isnan(scores([2.0, 2.0], [2.0, 2.0]).r2)


def test_each_limit_alone_fails() -> None:
    limits = {"r2": 0.95, "mape": 10.0, "spearman": 0.95}
    assert Scores(**limits, networks=2).passed
    for name, worse in (("r2", 0.949), ("mape", 10.01), ("spearman", 0.949)):
        (failure,) = Scores(**{**limits, name: worse}, networks=2).failures
        assert failure.lower().startswith(name)


@pytest.mark.parametrize(
    ("measured", "predicted", "said"),
    [
        ([1.0], [1.0], "at least 2 networks"),
        ([1.0, 2.0], [1.0], "one prediction with one latency"),
        ([1.0, 0.0], [1.0, 1.0], "measured latency of network 1 is 0.0"),
        ([1.0, -2.0], [1.0, 1.0], "measured latency of network 1 is -2.0"),
        ([1.0, 2.0], [float("nan"), 1.0], "predicted latency of network 0 is nan"),
    ],
)
def test_what_cannot_be_scored(measured: list[float], predicted: list[float], said: str) -> None:
    with pytest.raises(UserError, match=said):
        scores(measured, predicted)

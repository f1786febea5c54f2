"""Predictors of latency on functions that are known."""

from __future__ import annotations

import numpy as np
import pytest

from jaxnas.errors import UserError
from jaxnas.latency import Encoded, encode, scores
from jaxnas.latency.predictors import PREDICTORS, predictor
from jaxnas.spaces import fbnet, nb201, random_genotype


def networks(count: int) -> Encoded:
    rng = np.random.default_rng(0)
    return encode(nb201(), [random_genotype(nb201(), rng) for _ in range(count)])


def mape(name: str, found: Encoded, latencies: np.ndarray, trained: int) -> float:
    held = np.arange(trained, len(latencies))
    predict = predictor(name, found.at(np.arange(trained)), latencies[:trained])
    return scores(latencies[held], predict(found.at(held))).mape


def test_what_is_additive_needs_no_more_than_an_additive_fit() -> None:
    found = networks(160)
    latencies = 3 + found.chosen @ np.random.default_rng(1).uniform(0, 1, 30)
    assert mape("additive", found, latencies, 60) < 1e-9
    assert mape("gaussian-process", found, latencies, 60) < 1
    assert mape("gradient-boosting", found, latencies, 60) < 10


def test_what_a_compiler_drops_is_found_out() -> None:
    found = networks(120)
    latencies = 3 + found.kept @ np.tile([0.0, 0.1, 1.0, 4.0, 0.5], 6)
    plain = mape("additive", found, latencies, 70)
    assert plain > 5
    assert mape("additive-kept", found, latencies, 70) < 1e-9
    assert mape("gaussian-process", found, latencies, 70) < 1
    assert mape("gradient-boosting", found, latencies, 70) < plain


def test_a_product_is_beyond_an_additive_fit() -> None:
    found = networks(130)
    latencies = np.exp(found.chosen @ np.tile([0.0, 0.1, 0.3, 0.6, 0.2], 6))
    plain = mape("additive", found, latencies, 80)
    assert mape("gaussian-process", found, latencies, 80) < 0.8 * plain


def test_predictors_work_for_blocks() -> None:
    rng = np.random.default_rng(0)
    found = encode(fbnet(), [random_genotype(fbnet(), rng) for _ in range(60)])
    latencies = 5 + found.chosen @ rng.uniform(0, 1, 198)
    for name in ("gaussian-process", "gradient-boosting"):
        assert mape(name, found, latencies, 50) < 15


def test_predictions_are_the_same_again() -> None:
    found = networks(40)
    latencies = 3 + found.chosen @ np.arange(30.0)
    for name in PREDICTORS:
        first, second = (predictor(name, found, latencies)(found) for _ in range(2))
        assert np.array_equal(first, second)


def test_mistakes() -> None:
    found = networks(40)
    with pytest.raises(UserError, match="Did you mean gaussian-process?"):
        predictor("gaussian", found, np.ones(40))
    with pytest.raises(UserError, match="one latency each"):
        predictor("additive", found, np.ones(3))
    with pytest.raises(UserError, match="latency of network 3 is 0.0"):
        predictor("gradient-boosting", found, [1.0, 1.0, 1.0, 0.0, *[1.0] * 36])

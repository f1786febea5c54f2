"""Curvature against finite differences and closed forms; the early stop on sequences worked by hand."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnas import relaxations
from jaxnas.errors import UserError
from jaxnas.instruments import agreement, early_stop, entropy, hessian, skip_share, spectrum
from jaxnas.losses import cross_entropy
from jaxnas.nets import Shape, supernet
from jaxnas.relaxations import initial_alphas
from jaxnas.spaces import darts_family, nb201_family

SPACE = nb201_family("three operations", ("none", "skip_connect", "nor_conv_1x1"), nodes=2)


def test_the_hessian_of_a_supernets_loss_is_that_of_finite_differences(float64: None) -> None:
    network = supernet(SPACE, Shape(channels=2, cells=1, classes=3, image_size=8))
    weights, _ = network.init(jax.random.key(0))
    weights, alphas = jax.tree.map(
        lambda a: a.astype(jnp.float64), (weights, initial_alphas(SPACE, jax.random.key(1), scale=0.5))
    )
    rng = np.random.default_rng(0)
    batch = {"images": jnp.asarray(rng.normal(size=(4, 8, 8, 3))), "labels": jnp.asarray(rng.integers(3, size=4))}
    relax, task = relaxations.softmax(SPACE), cross_entropy(network)

    def loss(alphas: Any) -> Any:
        return task(weights, relax(alphas, jax.random.key(2), {}, "alphas")[0], batch, jax.random.key(3), {})[0]

    exact = np.asarray(jax.jit(lambda alphas: hessian(loss, alphas))(alphas))
    gradient, step = jax.jit(jax.grad(loss)), 1e-5
    columns = []
    for i in range(alphas["cell"].size):
        along = step * np.eye(alphas["cell"].size)[i].reshape(alphas["cell"].shape)
        ahead, behind = (gradient({"cell": alphas["cell"] + sign * along})["cell"] for sign in (1, -1))
        columns.append(np.ravel(ahead - behind) / (2 * step))
    np.testing.assert_allclose(exact, np.stack(columns), atol=1e-8)
    assert np.abs(exact).max() > 1e-3
    np.testing.assert_allclose(exact, exact.T, atol=1e-12)
    # The softmax of a row does not change where all of its alphas do: there is no curvature along that direction.
    assert np.abs(exact @ np.kron(np.eye(len(alphas["cell"])), np.ones((3, 1)))).max() < 1e-12


def test_the_spectrum_is_that_of_a_known_matrix(float64: None) -> None:
    turn, _ = np.linalg.qr(np.random.default_rng(1).normal(size=(5, 5)))
    values = np.array([-2.0, -0.5, 0.0, 1.0, 7.0])
    np.testing.assert_allclose(spectrum(jnp.asarray(turn @ np.diag(values) @ turn.T)), values, atol=1e-12)


def test_agreement_is_of_all_alphas_together() -> None:
    exact = {"normal": jnp.array([1.0, 0.0]), "reduce": jnp.array([0.0, 1.0])}
    same = agreement(exact, exact)
    assert float(same["cosine"]) == pytest.approx(1) and float(same["norm_ratio"]) == pytest.approx(1)
    half = agreement(jax.tree.map(lambda g: -2 * g, exact), exact)
    assert float(half["cosine"]) == pytest.approx(-1) and float(half["norm_ratio"]) == pytest.approx(2)
    nothing = agreement(exact, jax.tree.map(jnp.zeros_like, exact))
    assert math.isnan(nothing["cosine"]) and math.isnan(nothing["norm_ratio"])


def test_shares_are_of_the_candidates_that_an_edge_has() -> None:
    space = darts_family("two", ("none", "skip_connect", "sep_conv_3x3"), nodes=1)
    alphas = {"normal": np.log([[1.0, 2.0, 1.0], [1.0, 1.0, 2.0]]), "reduce": np.zeros((2, 3))}
    assert skip_share(space, alphas) == pytest.approx((0.5 + 0.25 + 1 / 3 + 1 / 3) / 4)
    decided = -(0.5 * math.log(0.5) + 2 * 0.25 * math.log(0.25)) / math.log(3)
    assert entropy(space, alphas) == pytest.approx((2 * decided + 2) / 4)
    with pytest.raises(UserError, match="No edge of space 'none' has a skip_connect"):
        skip_share(nb201_family("none", ("none", "nor_conv_1x1"), nodes=1), {"cell": [[0.0, 0.0]]})


@pytest.mark.parametrize(
    ("eigenvalues", "every", "expected"),
    [
        # Averages 1 1 1 1 1 1 1 1 1, then (4 + 1.6) / 5 = 1.12, (3 + 3.2) / 5 = 1.24, (2 + 4.8) / 5 = 1.36: over the limit.
        pytest.param([1.0] * 11 + [1.6] * 3, 2, (26, 14, 1.36), id="a step up is seen by the third measurement"),
        pytest.param([1.0] * 11 + [1.6] * 2, 2, None, id="not by the second"),
        # The average is over the limit at epoch 14 already, whose centre of comparison, 2, is before the tenth epoch. By epoch
        # 22 the comparison is of the high level with itself.
        pytest.param([1.0] * 4 + [9.0] * 8, 2, None, id="a rise before the tenth epoch is not looked at"),
        pytest.param([1.02**i for i in range(40)], 1, None, id="slow growth: 1.02 ** 4 = 1.08"),
        # Averages of five values of a geometric series are a geometric series: 1.07 ** 4 = 1.311. The first epoch that is
        # asked: the one with e - 2 - 4 >= 10.
        pytest.param([1.07**i for i in range(40)], 1, (16, 10, 1.07**4), id="fast growth, at the first epoch that may"),
        # The ratio as the reference has it: falling from -1 to -2 is a ratio of 2.
        pytest.param([-1.0] * 11 + [-2.0] * 5, 2, (24, 12, 1.4), id="below zero"),
        pytest.param([5.0, 1.0, 1.0], 2, None, id="too few"),
    ],
)
def test_the_early_stop_of_robustdarts(eigenvalues: list[float], every: int, expected: Any) -> None:
    found = early_stop(range(0, every * len(eigenvalues), every), eigenvalues, every)
    if expected is None:
        assert found is None
    else:
        assert found is not None
        assert (found.seen_at, found.epoch, found.ratio) == (*expected[:2], pytest.approx(expected[2]))


def test_the_early_stop_is_that_of_a_slow_reading_of_the_rule() -> None:
    """All averages first, by the epoch that each is of; the rule asked for every epoch from the list."""
    rng = np.random.default_rng(3)
    called = 0
    for _ in range(200):
        every = int(rng.integers(1, 4))
        values = np.exp(np.cumsum(rng.normal(0.02, 0.1, size=30)))
        average = {}
        for last in range(2, 30):
            window = [values[j] for j in range(last - 4, last + 1) if j >= 0]
            average[last * every - 2 * every] = sum(window) / len(window)
        stop = next(
            (
                (centre + 2 * every, centre - 4 * every)
                for centre in sorted(average)
                if centre - 4 * every >= 10 and average[centre] / average[centre - 4 * every] > 1.3
            ),
            None,
        )
        found = early_stop(range(0, 30 * every, every), values.tolist(), every)
        assert (found and (found.seen_at, found.epoch)) == stop
        called += stop is not None
    assert 20 < called < 190


def test_measurements_that_the_rule_cannot_read_are_refused() -> None:
    with pytest.raises(UserError, match="2 epochs apart, got epochs 2 and 6"):
        early_stop([0, 2, 6], [1.0, 1.0, 1.0], 2)
    with pytest.raises(UserError, match="epoch 2 is nan: the search diverged"):
        early_stop([0, 2], [1.0, math.nan], 2)
    with pytest.raises(UserError, match="3 epochs and 2 eigenvalues"):
        early_stop([0, 2, 4], [1.0, 1.0], 2)

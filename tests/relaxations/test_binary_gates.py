"""ProxylessNAS's gates, rescaling and latency gradient against direct computations in float64."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import Array

from jaxnas.latency import terms
from jaxnas.relaxations import binary_gates, learns, rescaled, sampled_path
from jaxnas.spaces import nb201_family

pytestmark = pytest.mark.usefixtures("float64")
SPACE = nb201_family(
    "uneven", (("none", "skip_connect", "nor_conv_1x1"), ("skip_connect", "avg_pool_3x3"), ("nor_conv_3x3",)), nodes=2
)
PRESENT = np.array([[True, True, True], [True, True, False], [True, False, False]])
ALPHAS = np.where(PRESENT, np.random.default_rng(0).normal(size=(3, 3)), 0.0)
KEYS = jax.random.split(jax.random.key(0), 20_000)


def samples(mode: Any, phase: Any) -> Any:
    return jax.jit(jax.vmap(lambda key: binary_gates(SPACE, mode)({"cell": jnp.asarray(ALPHAS)}, key, {}, phase)))(KEYS)


def softmax(values: np.ndarray) -> np.ndarray:
    powers = np.exp(values - values.max())
    return powers / powers.sum()


def frequencies_are(found: Any, expected: np.ndarray) -> None:
    errors = np.sqrt(expected * (1 - expected) / len(found))
    assert (np.abs(np.asarray(found).mean(0) - expected) <= 4 * errors).all()


def test_paths_are_drawn_by_the_softmax_and_nothing_else_runs() -> None:
    p = np.zeros((3, 3))
    for row, present in enumerate(PRESENT):
        p[row, present] = softmax(ALPHAS[row, present])
    mixture, probabilities = samples("full_v2", "weights")
    active = np.asarray(mixture["cell"]["active"])
    assert (active.sum(-1) == 1).all() and not active[:, ~PRESENT].any()
    np.testing.assert_array_equal(mixture["cell"]["weights"], active.astype(float))
    frequencies_are(active, p)
    np.testing.assert_allclose(probabilities["cell"][0], p, rtol=1e-13)


def test_two_are_drawn_without_replacement_and_one_of_them_is_active_by_the_pairs_softmax() -> None:
    mixture, probabilities = samples("two", "alphas")
    active, probed = (np.asarray(mixture["cell"][name]) for name in ("active", "probed"))
    assert not (active & probed).any() and not (active | probed)[:, ~PRESENT].any()
    assert (active.sum(-1) == 1).all()
    np.testing.assert_array_equal(probed.sum(-1), np.broadcast_to([1, 1, 0], probed.shape[:2]))
    p = softmax(ALPHAS[0])
    both = (active | probed)[:, 0]
    for i, j in ((0, 1), (0, 2), (1, 2)):
        drawn = both[:, i] & both[:, j]
        frequencies_are(drawn[:, None], np.array([p[i] * p[j] * (1 / (1 - p[i]) + 1 / (1 - p[j]))]))
        frequencies_are(active[drawn][:, 0, i : i + 1], softmax(ALPHAS[0, [i, j]])[:1])
    np.testing.assert_array_equal(np.asarray(probabilities["cell"]) > 0, active | probed)
    np.testing.assert_allclose(probabilities["cell"].sum(-1), 1.0, rtol=1e-13)


@pytest.mark.parametrize("mode", ["full_v2", "two"])
def test_gate_to_alpha_formula(mode: Any) -> None:
    """Whatever the gradients in the gates: the double sum of the reference over the candidates involved."""
    slopes = np.random.default_rng(1).normal(size=(3, 3))
    relax = binary_gates(SPACE, mode)
    for seed in range(4):
        key = jax.random.key(seed)
        mixture = relax({"cell": jnp.asarray(ALPHAS)}, key, {}, "alphas")[0]["cell"]
        among = np.asarray(mixture["active"] | mixture["probed"])
        expected = np.zeros((3, 3))
        for e in range(3):
            rows = np.flatnonzero(among[e])
            p = softmax(ALPHAS[e, rows])
            for a, i in enumerate(rows):
                expected[e, i] = sum(slopes[e, j] * p[b] * ((a == b) - p[a]) for b, j in enumerate(rows))

        def linear(alphas: Array, key: Array = key) -> Array:
            return (slopes * relax({"cell": alphas}, key, {}, "alphas")[0]["cell"]["weights"]).sum()

        np.testing.assert_allclose(jax.grad(linear)(jnp.asarray(ALPHAS)), expected, rtol=1e-12, atol=1e-15)


def test_rescaling_keeps_the_probabilities_of_all_others() -> None:
    rng = np.random.default_rng(2)
    before = rng.normal(size=(3, 5))
    active, probed = np.eye(5, dtype=bool)[[0, 3, 2]], np.eye(5, dtype=bool)[[4, 1, 3]]
    pair = active | probed
    moved = before + np.where(pair, rng.normal(size=before.shape), 0.0)
    mixture = {"cell": {"active": jnp.asarray(active), "probed": jnp.asarray(probed)}}
    found = np.asarray(rescaled({"cell": jnp.asarray(before)}, {"cell": jnp.asarray(moved)}, mixture)["cell"])
    for row in range(3):
        involved = np.flatnonzero(pair[row])
        offset = np.log(np.exp(moved[row, involved]).sum() / np.exp(before[row, involved]).sum())
        np.testing.assert_allclose(found[row, involved], moved[row, involved] - offset, rtol=1e-13)
        others = ~pair[row]
        np.testing.assert_allclose(softmax(found[row])[others], softmax(before[row])[others], rtol=1e-13)


def test_an_edge_whose_active_candidate_is_none_does_not_learn() -> None:
    active = jnp.array([[True, False, False], [True, False, False], [True, False, False]])
    for mixture in ({"weights": active.astype(float), "active": active}, active.astype(float)):
        np.testing.assert_array_equal(learns(SPACE, {"cell": mixture})["cell"][:, 0], [False, True, True])
    path = sampled_path(SPACE, {"cell": 90.0 * jnp.eye(3)[::-1]}, KEYS[0])
    np.testing.assert_array_equal(learns(SPACE, path)["cell"], True)


@pytest.mark.parametrize("mode", ["full_v2", "two"])
def test_gradient_of_the_latency_is_its_closed_form(mode: Any) -> None:
    """``d E / d alpha_i = p_i (LUT_i - sum_j p_j LUT_j)`` over the candidates involved; through ``mul#log``."""
    latency, task, reference, a, b = np.array([[0.0, 3.0, 7.0], [2.0, 5.0, 0.0], [4.0, 0.0, 0.0]]), 1.7, 8.0, 0.2, 0.3
    relax, cost = binary_gates(SPACE, mode), terms.Cost("latency", "ms", {"cell": latency}, fixed=1.5)
    method = terms.fields(SPACE, [terms.multiplicative(cost, reference, a, b)])
    key = jax.random.key(3)

    def value(alphas: Array) -> Array:
        costs = method["costs"](relax({"cell": alphas}, key, {}, "alphas")[1])
        return method["objective"](jnp.asarray(task), costs, {})

    parts = relax({"cell": jnp.asarray(ALPHAS)}, key, {}, "alphas")[0]["cell"]
    among, slope, expected = np.asarray(parts["active"] | parts["probed"]), np.zeros((3, 3)), 1.5
    for e in range(3):
        rows = np.flatnonzero(among[e])
        p = softmax(ALPHAS[e, rows])
        mean = p @ latency[e, rows]
        slope[e, rows], expected = p * (latency[e, rows] - mean), expected + mean
    ratio = np.log(expected) / np.log(reference)
    found, gradient = jax.value_and_grad(value)(jnp.asarray(ALPHAS))
    np.testing.assert_allclose(found, task * a * ratio**b, rtol=1e-13)
    outer = task * a * b * ratio ** (b - 1) / (expected * np.log(reference))
    np.testing.assert_allclose(gradient, outer * slope, rtol=1e-11, atol=1e-16)

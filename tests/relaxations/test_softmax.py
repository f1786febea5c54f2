"""The softmax relaxation, and where architecture parameters start."""

from __future__ import annotations

from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnas.relaxations import initial_alphas, softmax
from jaxnas.spaces import darts, darts_family, nb201

EDGES = (
    ("none", "skip_connect"),
    ("skip_connect", "sep_conv_3x3", "none"),
    ("noise",),
    ("none", "max_pool_3x3", "avg_pool_3x3", "dil_conv_3x3"),
    ("sep_conv_3x3", "dil_conv_5x5"),
)
UNEVEN = darts_family("uneven", EDGES, EDGES[::-1], nodes=2)
PRESENT = {"normal": (2, 3, 1, 4, 2), "reduce": (2, 4, 1, 3, 2)}


@pytest.mark.quick
@pytest.mark.parametrize("phase", ["weights", "alphas"])
def test_softmax_over_the_candidates_alone(phase: Literal["weights", "alphas"]) -> None:
    rng = np.random.default_rng(0)
    # Whatever stands in the padding, large values too, must not be seen.
    alphas = {kind: 3 * rng.normal(size=(5, 4)) for kind in PRESENT}
    with jax.enable_x64(True):
        mixture, probabilities = softmax(UNEVEN)(jax.tree.map(jnp.asarray, alphas), jax.random.key(0), {}, phase)
        for kind, counts in PRESENT.items():
            for row, count in enumerate(counts):
                powers = np.exp(alphas[kind][row, :count])
                np.testing.assert_allclose(mixture[kind][row, :count], powers / powers.sum(), rtol=1e-13)
                np.testing.assert_array_equal(mixture[kind][row, count:], 0.0)
            np.testing.assert_array_equal(probabilities[kind], mixture[kind])


@pytest.mark.quick
def test_gradient_of_softmax_is_the_closed_form_and_zero_in_the_padding() -> None:
    rng = np.random.default_rng(1)
    alphas, slopes = ({kind: rng.normal(size=(5, 4)) for kind in PRESENT} for _ in range(2))
    with jax.enable_x64(True):
        relax = softmax(UNEVEN)

        def linear(alphas: dict[str, jax.Array]) -> jax.Array:
            mixture, _ = relax(alphas, jax.random.key(0), {}, "alphas")
            return sum(((slopes[kind] * mixture[kind]).sum() for kind in PRESENT), jnp.zeros(()))

        gradient = jax.grad(linear)(jax.tree.map(jnp.asarray, alphas))
        for kind, counts in PRESENT.items():
            for row, count in enumerate(counts):
                p = np.exp(alphas[kind][row, :count]) / np.exp(alphas[kind][row, :count]).sum()
                c = slopes[kind][row, :count]
                np.testing.assert_allclose(gradient[kind][row, :count], p * (c - p @ c), rtol=1e-12, atol=1e-15)
                np.testing.assert_array_equal(gradient[kind][row, count:], 0.0)


def test_initial_alphas_are_draws_of_the_key_of_deviation_1e_3() -> None:
    alphas, again, other = (initial_alphas(darts(), jax.random.key(seed)) for seed in (3, 3, 4))
    for kind in ("normal", "reduce"):
        assert alphas[kind].shape == (14, 8) and alphas[kind].dtype == jnp.float32
        np.testing.assert_array_equal(alphas[kind], again[kind])
        assert not np.intersect1d(alphas[kind], other[kind]).size
    assert not np.intersect1d(alphas["normal"], alphas["reduce"]).size
    drawn = np.concatenate([array.ravel() for array in alphas.values()])
    # Four standard deviations of the estimates from 224 normal draws.
    assert abs(drawn.mean()) < 4e-3 / np.sqrt(224) and abs(drawn.std() / 1e-3 - 1) < 4 / np.sqrt(2 * 224)
    unscaled, scaled = (initial_alphas(nb201(), jax.random.key(0), scale)["cell"] for scale in (1.0, 1e-3))
    np.testing.assert_allclose(1e-3 * np.asarray(unscaled), scaled, rtol=1e-6)


@pytest.mark.quick
def test_initial_alphas_are_zero_where_there_is_no_candidate() -> None:
    alphas = initial_alphas(UNEVEN, jax.random.key(0))
    for kind, counts in PRESENT.items():
        expected = [[j < count for j in range(4)] for count in counts]
        np.testing.assert_array_equal(np.asarray(alphas[kind]) != 0.0, expected)

"""Networks computed in bfloat16: what is rounded, what is not, and how far the gradients are from those in float32."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import Array

from jaxnas.losses import cross_entropy
from jaxnas.nets import Shape, supernet
from jaxnas.nets.primitives import avg_pool, convolution, depthwise, max_pool
from jaxnas.relaxations import initial_alphas, softmax
from jaxnas.spaces import nb201

N = 4
HALF_ULP = 2.0**-8
"""Largest relative error of rounding to bfloat16's 8 significant bits."""


def random(seed: int, *shape: int) -> Array:
    """Values that bfloat16 holds exactly, in float32."""
    return jax.random.normal(jax.random.key(seed), shape).astype(jnp.bfloat16).astype(jnp.float32)


@pytest.mark.parametrize(
    ("function", "kernel"),
    [
        (lambda x, k: depthwise(x, k, N), (3, 5, 5)),
        (lambda x, k: convolution(x, k, N), (4, 3, 3, 3)),
        (lambda x, k: convolution(x, k, N), (4, 3, 1, 1)),
    ],
)
def test_sums_are_formed_in_float32(function: Callable[..., Array], kernel: tuple[int, ...]) -> None:
    x, k = random(0, 6, 3, 6 * N), random(1, *kernel)
    y, pull = jax.vjp(function, x, k)
    g = random(2, *y.shape)
    rounded, pull_rounded = jax.vjp(function, x.astype(jnp.bfloat16), k.astype(jnp.bfloat16))
    for exact, found in zip((y, *pull(g)), (rounded, *pull_rounded(g.astype(jnp.bfloat16))), strict=True):
        assert found.dtype == jnp.bfloat16
        # One rounding of the result, not one for every term; a sum of cancelling terms has float32's own error.
        np.testing.assert_allclose(found.astype(np.float32), exact, rtol=1.01 * HALF_ULP, atol=1e-4)


def test_average_pools_round_the_sum_and_the_mean() -> None:
    x = random(0, 6, 3, 6 * N)
    found = avg_pool(x.astype(jnp.bfloat16), N).astype(jnp.float32)
    np.testing.assert_allclose(found, avg_pool(x, N), rtol=3.1 * HALF_ULP, atol=1e-6)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float32])
def test_values_that_rounding_makes_equal_tie_for_the_first(dtype: Any) -> None:
    x = jnp.array([1.0, 1.0 + 2.0**-10, 0.5]).reshape(1, 1, 3)
    (gradient,) = jax.vjp(lambda x: max_pool(x.astype(dtype), 1), x)[1](jnp.ones((1, 1, 3), dtype))
    np.testing.assert_array_equal(gradient[0, 0], [2, 1, 0] if dtype == jnp.bfloat16 else [0, 3, 0])


@pytest.fixture(scope="module")
def gradients() -> dict[str, Any]:
    """Value, moments and gradients in weights and alphas by type of computation."""
    space, shape = nb201(), Shape(channels=8, cells=1, classes=10, image_size=16)
    batch = {
        "images": jax.random.normal(jax.random.key(2), (64, 16, 16, 3)),
        "labels": jax.random.randint(jax.random.key(3), (64,), 0, 10),
    }

    def of(dtype: Any) -> Any:
        network = supernet(space, shape, dtype=dtype)
        weights, _ = network.init(jax.random.key(0))
        loss = cross_entropy(network)

        def objective(weights: Any, alphas: Any) -> Any:
            mixture, _ = softmax(space)(alphas, jax.random.key(0), {}, "weights")
            return loss(weights, mixture, batch, jax.random.key(0), {})

        alphas = initial_alphas(space, jax.random.key(1))
        (value, aux), found = jax.jit(jax.value_and_grad(objective, argnums=(0, 1), has_aux=True))(weights, alphas)
        return value, aux["moments"], *found

    return {dtype: of(dtype) for dtype in ("float32", "bfloat16")}


def test_all_that_leaves_the_network_is_float32(gradients: dict[str, Any]) -> None:
    assert {leaf.dtype for leaf in jax.tree.leaves(gradients["bfloat16"])} == {np.dtype(np.float32)}


def test_gradients_agree_as_eight_bits_allow(gradients: dict[str, Any]) -> None:
    def flat(tree: Any) -> np.ndarray:
        return np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(tree)])

    value, moments, *exact = gradients["float32"]
    found_value, found_moments, *found = gradients["bfloat16"]
    np.testing.assert_allclose(found_value, value, rtol=HALF_ULP)
    assert np.linalg.norm(flat(found_moments) - flat(moments)) < 2 * HALF_ULP * np.linalg.norm(flat(moments))
    for a, b in zip(exact, found, strict=True):
        a, b = flat(a), flat(b)
        # ReLUs whose input is within the rounding of zero turn: gradients differ by more than a rounding. But they differ.
        assert 0.95 < a @ b / np.linalg.norm(a) / np.linalg.norm(b) < 1 - 1e-7

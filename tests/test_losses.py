"""Label smoothing against the references' definition, one image and one class at a time."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnas.losses import distillation, mean_cross_entropy


@pytest.mark.quick
@pytest.mark.parametrize("smoothing", (0.0, 0.1, 0.9))
def test_smoothed_cross_entropy_and_its_gradient(smoothing: float) -> None:
    rng = np.random.default_rng(0)
    n, k = 5, 7
    logits, labels = 3 * rng.normal(size=(n, k)), rng.integers(0, k, n)
    value, gradient = 0.0, np.zeros((n, k))
    for i in range(n):
        total = sum(math.exp(x) for x in logits[i])
        for c in range(k):
            target = (1 - smoothing) * (c == labels[i]) + smoothing / k
            value -= target * (logits[i, c] - math.log(total)) / n
            gradient[i, c] = (math.exp(logits[i, c]) / total - target) / n
    with jax.enable_x64(True):
        loss = jax.value_and_grad(lambda x: mean_cross_entropy(x, jnp.asarray(labels), smoothing))
        found, slope = loss(jnp.asarray(logits))
        np.testing.assert_allclose(found, value, rtol=1e-13)
        np.testing.assert_allclose(slope, gradient, rtol=1e-11, atol=1e-15)


@pytest.mark.parametrize("temperature", (1.0, 4.0))
def test_distillation_and_its_gradient(temperature: float) -> None:
    """The divergence of the softened distributions times T^2, and T times their difference (Hinton et al., 2015)."""
    rng = np.random.default_rng(1)
    logits, taught = 3 * rng.normal(size=(2, 5, 7))
    soft, target = (np.exp(values / temperature) for values in (logits, taught))
    soft, target = (powers / powers.sum(1, keepdims=True) for powers in (soft, target))
    with jax.enable_x64(True):
        value, slope = jax.value_and_grad(distillation)(jnp.asarray(logits), jnp.asarray(taught), temperature)
        np.testing.assert_allclose(value, temperature**2 * (target * np.log(target / soft)).sum() / 5, rtol=1e-12)
        np.testing.assert_allclose(slope, temperature * (soft - target) / 5, rtol=1e-11, atol=1e-15)

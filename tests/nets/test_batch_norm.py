"""Values, moments and gradients against NumPy and the gradient's closed form (Ioffe and Szegedy 2015, section 3)."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import Array

from jaxnas.nets.batch_norm import EPSILON, normalise_batch, normalise_by

RNG = np.random.default_rng(0)
pytestmark = pytest.mark.usefixtures("float64")


@pytest.mark.parametrize("affine", [True, False])
def test_value_moments_and_gradients(affine: bool) -> None:
    # One channel hardly varies, so that epsilon counts.
    x = RNG.normal(size=(4, 3, 10)) * np.array([1.0, 0.003, 5.0])[:, None] + 0.7
    g = RNG.normal(size=x.shape)
    parameters = [RNG.normal(size=3), RNG.normal(size=3)] if affine else []
    scale, shift = (values[:, None] for values in (parameters or (np.ones(3), np.zeros(3))))

    def normalise(*arguments: Array) -> tuple[Array, tuple[Array, Array]]:
        x, *parameters = arguments
        scale, shift = parameters or (None, None)
        y, mean, variance = normalise_batch(x, scale, shift)
        return y, (mean, variance)

    y, pull, (mean, variance) = jax.vjp(normalise, *map(jnp.asarray, (x, *parameters)), has_aux=True)
    np.testing.assert_allclose(mean, x.mean((0, 2)), rtol=1e-12)
    np.testing.assert_allclose(variance, x.var((0, 2)), rtol=1e-12)
    inverse = 1 / np.sqrt(x.var((0, 2)) + EPSILON)[:, None]
    unit = (x - x.mean((0, 2))[:, None]) * inverse
    np.testing.assert_allclose(y, unit * scale + shift, rtol=1e-11, atol=1e-11)
    by_batch, along = g.mean((0, 2))[:, None], (g * unit).mean((0, 2))[:, None]
    expected = [scale * inverse * (g - by_batch - unit * along), (g * unit).sum((0, 2)), g.sum((0, 2))]
    for ours, reference in zip(pull(jnp.asarray(g)), expected, strict=False):
        np.testing.assert_allclose(ours, reference, rtol=1e-10, atol=1e-10 * np.abs(reference).max())
    assert len(pull(jnp.asarray(g))) == 1 + len(parameters)

    same = normalise_by(jnp.asarray(x), mean, variance, *map(jnp.asarray, parameters))
    np.testing.assert_allclose(same, y, rtol=1e-12, atol=1e-12)

"""Batch normalisation by the batch's own moments, with the derivative in closed form.

Autodiff of the definition takes seven sums over the batch to go back; the closed form takes two, which are also the
gradients of scale and shift. It holds to any order and in either mode: the rule is differentiable itself.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import Array, lax

EPSILON = 1e-5  # PyTorch's default, which all the references keep.


def _mean(x: Array) -> Array:
    return x.mean((0, 2), keepdims=True)


@jax.custom_jvp
def _normalise(x: Array, scale: Array, shift: Array) -> tuple[Array, Array, Array]:
    mean = _mean(x)
    centred = x - mean
    variance = _mean(centred**2)
    return centred * lax.rsqrt(variance + EPSILON) * scale + shift, mean, variance


@_normalise.defjvp
def _normalise_jvp(
    primals: tuple[Array, Array, Array], tangents: tuple[Array, Array, Array]
) -> tuple[tuple[Array, Array, Array], tuple[Array, Array, Array]]:
    (x, scale, shift), (dx, dscale, dshift) = primals, tangents
    # Through the function itself, so that a derivative of this rule is in closed form too.
    unit, mean, variance = _normalise(x, jnp.ones_like(scale), jnp.zeros_like(shift))
    inverse = lax.rsqrt(variance + EPSILON)
    # d unit = (dx - mean(dx) - unit mean(unit dx)) / deviation (Ioffe and Szegedy 2015, section 3), with what multiplies
    # unit, and what multiplies one, put together: each has one sum over the batch as its transpose.
    slope, dmean, along = scale * inverse, _mean(dx), _mean(unit * dx)
    dy = slope * dx + unit * (dscale - slope * along) + (dshift - slope * dmean)
    return (unit * scale + shift, mean, variance), (dy, dmean, 2 * along / inverse)


def normalise_batch(x: Array, scale: Array | None = None, shift: Array | None = None) -> tuple[Array, Array, Array]:
    """Rows ``[H, C, W * N]`` brought to mean 0 and variance 1 in every channel, then scaled and shifted.

    Args:
      x: rows.
      scale, shift: ``[C]``; none are 1 and 0.

    Returns:
      The rows, the batch's means and its biased variances, both ``[C]``.

    >>> y, mean, variance = normalise_batch(jnp.array([[[1.0, 3.0], [5.0, 5.0]]]), shift=jnp.array([0.0, 7.0]))
    >>> y.round().tolist(), mean.tolist(), variance.tolist()
    ([[[-1.0, 1.0], [7.0, 7.0]]], [2.0, 5.0], [1.0, 0.0])
    """
    scale, shift = _scale_and_shift(x, scale, shift)
    y, mean, variance = _normalise(x, scale, shift)
    return y, mean[0, :, 0], variance[0, :, 0]


@jax.jit  # A named equation of a trace, by which the counters of multiply-adds know a batch norm.
def normalise_by(x: Array, mean: Array, variance: Array, scale: Array | None = None, shift: Array | None = None) -> Array:
    """Rows normalised by moments that are given, all ``[C]``: batch normalisation in evaluation."""
    scale, shift = _scale_and_shift(x, scale, shift)
    slope = scale * lax.rsqrt(variance + EPSILON)[None, :, None]
    return (x - mean[None, :, None]) * slope + shift


def _scale_and_shift(x: Array, scale: Array | None, shift: Array | None) -> tuple[Array, Array]:
    channels = x.shape[1]
    scale = jnp.ones(channels, x.dtype) if scale is None else scale
    shift = jnp.zeros(channels, x.dtype) if shift is None else shift
    return scale[None, :, None], shift[None, :, None]

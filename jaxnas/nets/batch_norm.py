"""Batch normalisation of rows ``[H, C, W * N]``, in training by the batch's moments and in evaluation by running averages."""

from __future__ import annotations

import functools

import jax
from jax import Array, lax

from jaxnas.named_axis import mean_over
from jaxnas.nets.rows import at_least_float32

EPSILON = 1e-5  # PyTorch's default, which all references but ProxylessNAS keep.


def normalise_batch(
    x: Array, scale: Array | None = None, shift: Array | None = None, epsilon: float = EPSILON, axis: str | None = None
) -> tuple[Array, Array, Array]:
    """Rows brought to mean 0 and variance 1 in every channel, then scaled and shifted.

    Args:
      x: rows; of bfloat16 the moments are formed, and returned, in float32.
      scale, shift: ``[C]``; none are 1 and 0.
      epsilon: added to the variance.
      axis: name of the mapped axis that the batch is split over: the moments are those of the whole batch, not of a device's
        share.

    Returns:
      The rows, the batch's means and its biased variances, both ``[C]``.

    >>> import jax.numpy as jnp
    >>> y, mean, variance = normalise_batch(jnp.array([[[1.0, 3.0], [5.0, 5.0]]]), jnp.ones(2), jnp.array([0.0, 7.0]))
    >>> y.round(2).tolist(), mean.tolist(), variance.tolist()
    ([[[-1.0, 1.0], [7.0, 7.0]]], [2.0, 5.0], [1.0, 0.0])
    """
    dtype, x = x.dtype, x.astype(at_least_float32(x.dtype))
    with jax.named_scope("moments_of_the_batch"):  # The name is what profiles and benchmarks/communication.py show.
        mean = mean_over(axis, x.mean((0, 2), keepdims=True))
        variance = mean_over(axis, ((x - mean) ** 2).mean((0, 2), keepdims=True))
    y = (x - mean) * lax.rsqrt(variance + epsilon)
    return _affine(y, scale, shift).astype(dtype), mean[0, :, 0], variance[0, :, 0]


@functools.partial(jax.jit, static_argnames="epsilon")
def normalise_by(
    x: Array,
    mean: Array,
    variance: Array,
    scale: Array | None = None,
    shift: Array | None = None,
    epsilon: float = EPSILON,
) -> Array:
    """Rows normalised by moments that are given, all ``[C]``; a function by name in a trace, where the counters find it."""
    y = (x - mean[None, :, None]) * lax.rsqrt(variance + epsilon)[None, :, None]
    return _affine(y, scale, shift).astype(x.dtype)


def _affine(y: Array, scale: Array | None, shift: Array | None) -> Array:
    return y if scale is None or shift is None else y * scale[None, :, None] + shift[None, :, None]

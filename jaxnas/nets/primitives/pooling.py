"""Pooling of rows over windows of 3x3 pixels, padded by one."""

from __future__ import annotations

import functools
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.extend.core import Primitive
from jax.interpreters import ad

from jaxnas.nets.primitives.bilinear import register
from jaxnas.nets.primitives.depthwise_convolution import depthwise
from jaxnas.nets.rows import dilate, windows


def _winner(x: Array, batch: int, stride: int) -> Array:
    """Index of the window position that holds the maximum; ties go to the first, as in PyTorch."""
    views = windows(x, (3, 3), batch, (stride, stride), 1, (1, 1), fill=-jnp.inf)
    best, index = views[0], jnp.zeros(views[0].shape, jnp.int32)
    for i, view in enumerate(views[1:], 1):
        better = view > best
        best, index = jnp.where(better, view, best), jnp.where(better, i, index)
    return index


def _select(x: Array, winner: Array, *, batch: int, stride: int, image_shape: Any) -> Array:
    views = windows(x, (3, 3), batch, (stride, stride), 1, (1, 1))
    return functools.reduce(jnp.add, (jnp.where(winner == i, view, 0) for i, view in enumerate(views)))


def _scatter(g: Array, winner: Array, *, batch: int, stride: int, image_shape: Any) -> Array:
    """Transpose of :func:`_select` in x: what each pixel gets from the windows that chose it."""
    height, width = image_shape[0], image_shape[2] // batch
    g = dilate(g, batch, (stride, stride), height, width)
    # Where a stride left a gap there is no window: 0 - 1 = -1 is no position.
    winner = dilate(winner + 1, batch, (stride, stride), height, width) - 1
    g_views = windows(g, (3, 3), batch, padding=(1, 1))
    winner_views = windows(winner, (3, 3), batch, padding=(1, 1), fill=-1)
    return functools.reduce(
        jnp.add, (jnp.where(w == 8 - i, g_view, 0) for i, (g_view, w) in enumerate(zip(g_views, winner_views, strict=True)))
    )


_select_p, _scatter_p = Primitive("select_in_window"), Primitive("scatter_to_window")
for _primitive, _function in ((_select_p, _select), (_scatter_p, _scatter)):
    register(_primitive, _function)


def _linear_in_first(primitive: Primitive, transpose: Primitive) -> None:
    ad.defjvp(primitive, lambda t, x, winner, **p: primitive.bind(t, winner, **p), None)
    ad.primitive_transposes[primitive] = lambda ct, x, winner, **p: (transpose.bind(ct, winner, **p), None)


_linear_in_first(_select_p, _scatter_p)
_linear_in_first(_scatter_p, _select_p)


def max_pool(x: Array, batch: int, stride: int = 1) -> Array:
    """3x3 maximum over rows ``[H, C, W * N]``, padded by one pixel of minus infinity; the gradient of a tie goes to the first.

    >>> max_pool(jnp.arange(4.0).reshape(1, 1, 4), batch=1)
    Array([[[1., 2., 3., 3.]]], dtype=float32)
    """
    winner = _winner(lax.stop_gradient(x), batch, stride)
    return _select_p.bind(x, winner, batch=batch, stride=stride, image_shape=x.shape)


def avg_pool(x: Array, batch: int, stride: int = 1) -> Array:
    """3x3 mean over rows ``[H, C, W * N]``, padded by one pixel that is not counted (``count_include_pad=False``).

    >>> avg_pool(jnp.arange(4.0).reshape(1, 1, 4), batch=1)
    Array([[[0.5, 1. , 2. , 2.5]]], dtype=float32)
    """
    h, c, wn = x.shape
    total = depthwise(x, jnp.ones((c, 3, 3), x.dtype), batch, stride)
    return total * _inverse_counts(h, wn // batch, batch, stride).astype(x.dtype)


@functools.cache
def _inverse_counts(height: int, width: int, batch: int, stride: int) -> np.ndarray:
    """One over the number of pixels under a 3x3 window at each position, ``[H', 1, W' * N]``."""

    def count(size: int) -> np.ndarray:
        centres = np.arange(0, size, stride)
        return np.minimum(centres + 1, size - 1) - np.maximum(centres - 1, 0) + 1.0

    inverse = 1.0 / (count(height)[:, None] * count(width)[None, :])
    return np.repeat(inverse, batch, axis=1)[:, None, :]

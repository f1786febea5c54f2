"""Rows, the form in which networks hold image batches, and the moves within it that all operations are made of.

An image batch is an array of *rows*, ``[H, C, W * N]``: the height leads, channels follow, and the columns and the batch
share the last axis, the batch fastest. In this form a shift by one pixel is a slice (of ``N`` elements along a row, of one
row along the height), a 1x1 convolution is a batched matrix product without any transpose, and the innermost loop is long
and contiguous whatever the number of channels. ``to_rows`` and ``from_rows`` convert from and to the usual ``[N, H, W, C]``.
"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
from jax import Array, lax


def at_least_float32(dtype: Any) -> Any:
    """The type in which sums over values of ``dtype`` are formed.

    >>> at_least_float32(jnp.bfloat16), at_least_float32(jnp.float64)
    (dtype('float32'), dtype('float64'))
    """
    return jnp.promote_types(dtype, jnp.float32)


def to_rows(images_NxHxWxC: Array) -> Array:
    """``[N, H, W, C]`` to rows ``[H, C, W * N]``.

    >>> to_rows(jnp.zeros((5, 4, 6, 3))).shape
    (4, 3, 30)
    """
    n, h, w, c = images_NxHxWxC.shape
    return images_NxHxWxC.transpose(1, 3, 2, 0).reshape(h, c, w * n)


def from_rows(rows: Array, batch: int) -> Array:
    """Rows ``[H, C, W * N]`` of ``batch`` images to ``[N, H, W, C]``; the inverse of :func:`to_rows`."""
    h, c, wn = rows.shape
    return rows.reshape(h, c, wn // batch, batch).transpose(3, 0, 2, 1)


def windows(
    x: Array,
    kernel: tuple[int, int],
    batch: int,
    stride: tuple[int, int] = (1, 1),
    dilation: int = 1,
    padding: tuple[int, int] = (0, 0),
    fill: float = 0.0,
) -> list[Array]:
    """The shifted views whose sum over kernel positions is a convolution.

    Args:
      x: rows ``[H, C, W * N]``.
      kernel: height and width of the window.
      batch: N.
      stride: of the window, downwards and to the right.
      dilation: of the window, in both directions.
      padding: rows added above and below, columns added left and right.
      fill: value of the padding.

    Returns:
      One array ``[H', C, W' * N]`` for each window position, row by row.
    """
    h, c, wn = x.shape
    (kh, kw), (sh, sw), (ph, pw) = kernel, stride, padding
    height = (h + 2 * ph - dilation * (kh - 1) - 1) // sh + 1
    width = (wn // batch + 2 * pw - dilation * (kw - 1) - 1) // sw + 1
    if stride == (1, 1):
        if ph or pw:
            x = jnp.pad(x, [(ph, ph), (0, 0), (pw * batch, pw * batch)], constant_values=fill)
        return [
            lax.slice(x, (top, 0, left * batch), (top + height, c, (left + width) * batch))
            for top in range(0, dilation * kh, dilation)
            for left in range(0, dilation * kw, dilation)
        ]
    # With a stride, the padded image is first split into its sh x sw phases, in each of which the window's steps are
    # neighbours: all later slices are then contiguous.
    extra_h, extra_w = (-(h + 2 * ph)) % sh, (-(wn // batch + 2 * pw)) % sw
    x = jnp.pad(x, [(ph, ph + extra_h), (0, 0), (pw * batch, (pw + extra_w) * batch)], constant_values=fill)
    phases = x.reshape(x.shape[0] // sh, sh, c, -1, sw, batch).transpose(1, 4, 0, 2, 3, 5)
    phases = phases.reshape(sh, sw, x.shape[0] // sh, c, -1)
    views = []
    for i in range(kh):
        for j in range(kw):
            (top, a), (left, b) = divmod(i * dilation, sh), divmod(j * dilation, sw)
            views.append(phases[a, b, top : top + height, :, left * batch : (left + width) * batch])
    return views


def column_taps(kernel_width: int, stride: int, padding: int, dilation: int = 1) -> list[tuple[int, list[tuple[int, int]]]]:
    """Which columns of an image a window's columns read: ``(phase, [(j, offset), ...])``, in order of phase.

    At step w the window's column j is on column ``stride * (w + offset) + phase`` of the image.

    >>> column_taps(kernel_width=3, stride=1, padding=1)
    [(0, [(0, -1), (1, 0), (2, 1)])]
    >>> column_taps(kernel_width=3, stride=2, padding=1)
    [(0, [(1, 0)]), (1, [(0, -1), (2, 0)])]
    """
    phases: dict[int, list[tuple[int, int]]] = {}
    for j in range(kernel_width):
        offset, phase = divmod(j * dilation - padding, stride)
        phases.setdefault(phase, []).append((j, offset))
    return sorted(phases.items())


def column_phase(x: Array, batch: int, stride: int, phase: int) -> Array:
    """Every ``stride``-th column of rows, from column ``phase`` on."""
    if stride == 1:
        return x
    h, c, wn = x.shape
    return x.reshape(h, c, wn // batch, batch)[:, :, phase::stride].reshape(h, c, -1)


def shift_columns(x: Array, batch: int, offset: int, width: int) -> Array:
    """The rows of ``width`` columns whose column w is column ``w + offset`` of x, zero where x has none.

    >>> shift_columns(jnp.arange(1.0, 4.0).reshape(1, 1, 3), batch=1, offset=1, width=4)
    Array([[[2., 3., 0., 0.]]], dtype=float32)
    """
    right = (width + offset) * batch - x.shape[2]
    return lax.pad(x, jnp.zeros((), x.dtype), [(0, 0, 0), (0, 0, 0), (-offset * batch, right, 0)])


def dilate(g: Array, batch: int, stride: tuple[int, int], height: int, width: int) -> Array:
    """Puts ``stride - 1`` zeros between the rows and between the columns of g, and fills up to ``height`` by ``width``."""
    if stride == (1, 1) and g.shape[0] == height and g.shape[2] == width * batch:
        return g
    (h, c, wn), (sh, sw) = g.shape, stride
    w = wn // batch
    spread = lax.pad(
        g.reshape(h, c, w, batch),
        jnp.zeros((), g.dtype),
        [(0, height - (h - 1) * sh - 1, sh - 1), (0, 0, 0), (0, width - (w - 1) * sw - 1, sw - 1), (0, 0, 0)],
    )
    return spread.reshape(height, c, width * batch)


def subsample(x: Array, batch: int, stride: int, offset: int = 0) -> Array:
    """Every ``stride``-th pixel of rows, from row and column ``offset`` on."""
    h, c, wn = x.shape
    pixels = x.reshape(h, c, wn // batch, batch)[offset::stride, :, offset::stride]
    return pixels.reshape(pixels.shape[0], c, -1)

"""Depthwise convolution: every channel has a kernel of its own."""

from __future__ import annotations

import functools
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from jaxnas.nets.primitives.bilinear import bilinear_triple
from jaxnas.nets.rows import at_least_float32, column_phase, column_taps, dilate, shift_columns, windows


def _half(kernel_shape: tuple[int, ...], dilation: int) -> tuple[int, int]:
    return dilation * (kernel_shape[-2] - 1) // 2, dilation * (kernel_shape[-1] - 1) // 2


def _depthwise(x: Array, k: Array, *, batch: int, stride: int, dilation: int, image_shape: Any, kernel_shape: Any) -> Array:
    """Sum over the window's positions of the image, shifted, times the kernel there."""
    total = at_least_float32(x.dtype)
    taps = k.astype(total).reshape(1, k.shape[0], -1)
    views = windows(x, kernel_shape[-2:], batch, (stride, stride), dilation, _half(kernel_shape, dilation))
    # lax, not jnp, which takes longer to trace: this is done for every tap of every kernel.
    products = (
        lax.mul(lax.convert_element_type(view, total), lax.slice_in_dim(taps, i, i + 1, axis=2)) for i, view in enumerate(views)
    )
    return lax.convert_element_type(functools.reduce(lax.add, products), x.dtype)


def _grad_images(g: Array, k: Array, *, batch: int, stride: int, dilation: int, image_shape: Any, kernel_shape: Any) -> Array:
    g = dilate(g, batch, (stride, stride), image_shape[0], image_shape[2] // batch)
    return _depthwise(
        g, k[:, ::-1, ::-1], batch=batch, stride=1, dilation=dilation, image_shape=image_shape, kernel_shape=kernel_shape
    )


def _grad_kernel(x: Array, g: Array, *, batch: int, stride: int, dilation: int, image_shape: Any, kernel_shape: Any) -> Array:
    # As matrix products: products[c, j, h, r] holds row h of g, shifted by the kernel's column j, times row r of x; position
    # (i, j) of the kernel is the sum where r = h * stride + i * dilation. A reduction for each position is slower to run and
    # to compile. Blocks of rows bound the waste.
    (kh, kw), (ph, pw) = kernel_shape[-2:], _half(kernel_shape, dilation)
    height, c, _ = g.shape
    x_crl = jnp.pad(x, [(ph, ph), (0, 0), (0, 0)]).transpose(1, 0, 2)
    g_chl = g.transpose(1, 0, 2)
    columns_of_kernel: dict[int, Array] = {}
    for phase, taps in column_taps(kw, stride, pw, dilation):
        images = column_phase(x_crl, batch, stride, phase)
        width = images.shape[2] // batch
        g_cjhl = jnp.stack([shift_columns(g_chl, batch, -offset, width) for _, offset in taps], axis=1)
        total = jnp.zeros((c, len(taps), kh), at_least_float32(g.dtype))
        for top in range(0, height, _BLOCK_ROWS):
            count = min(_BLOCK_ROWS, height - top)
            reach = (count - 1) * stride + dilation * (kh - 1) + 1
            block = lax.slice_in_dim(g_cjhl, top, top + count, axis=2).reshape(c, len(taps) * count, -1)
            read = lax.slice_in_dim(images, top * stride, top * stride + reach, axis=1)
            products = jnp.einsum("chl,crl->chr", block, read, preferred_element_type=total.dtype)
            total += products.reshape(c, len(taps), -1) @ _rows_of_kernel(kh, count, reach, stride, dilation)
        for n, (j, _) in enumerate(taps):
            columns_of_kernel[j] = total[:, n].astype(g.dtype)
    return jnp.stack([columns_of_kernel[j] for j in range(kw)], axis=2)


@functools.cache
def _rows_of_kernel(kernel_height: int, count: int, reach: int, stride: int, dilation: int) -> np.ndarray:
    """``[h * r, i]``: 1 where row h of g meets row r of the image under row i of the kernel."""
    belongs = np.zeros((count, reach, kernel_height), np.float32)
    h, i = np.ogrid[:count, :kernel_height]
    belongs[h, h * stride + i * dilation, i] = 1
    return belongs.reshape(count * reach, kernel_height)


_BLOCK_ROWS = 8


_depthwise_p, _, _ = bilinear_triple("depthwise", _depthwise, _grad_images, _grad_kernel)


def depthwise(x: Array, kernel: Array, batch: int, stride: int = 1, dilation: int = 1) -> Array:
    """Depthwise convolution of rows.

    Args:
      x: rows ``[H, C, W * N]``.
      kernel: ``[C, K, L]``, odd K and L.
      batch: N.
      stride, dilation: in both directions; the image is padded by half the kernel's reach.

    Returns:
      Rows ``[ceil(H / stride), C, ceil(W / stride) * N]``.

    >>> depthwise(jnp.ones((4, 2, 4 * 3)), jnp.ones((2, 3, 3)), batch=3)[0, 0, ::3]
    Array([4., 6., 6., 4.], dtype=float32)
    """
    return _depthwise_p.bind(
        x, kernel, batch=batch, stride=stride, dilation=dilation, image_shape=x.shape, kernel_shape=kernel.shape
    )

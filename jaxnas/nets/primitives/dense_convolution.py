"""Convolution with a dense kernel: one matrix product of kernel columns with stacked rows.

The window's rows are stacked on the side of the images (``kh * C`` channels, made of whole rows), its columns on the side of
the results (``kw * O`` channels, which are shifted and added). Stacking all positions on one side would copy each image
``kh * kw`` times, which takes as long as the product.
"""

from __future__ import annotations

import functools
import math
from typing import Any

import jax.numpy as jnp
from jax import Array, lax

from jaxnas.nets.primitives.bilinear import bilinear_triple, outline_on_cpu
from jaxnas.nets.rows import at_least_float32, column_phase, column_taps, dilate, shift_columns, windows


def _rows_under_taps(x: Array, kernel_height: int, stride: int, padding: int) -> list[Array]:
    """For each row of the kernel the rows ``[H', C, W * N]`` that it reads, zeros beyond the image."""
    height = (x.shape[0] + 2 * padding - kernel_height) // stride + 1
    if padding:
        edge = jnp.zeros((padding, *x.shape[1:]), x.dtype)
        x = jnp.concatenate([edge, x, edge])
    return [lax.slice_in_dim(x, i, i + (height - 1) * stride + 1, stride) for i in range(kernel_height)]


def _convolution(x: Array, k: Array, *, batch: int, stride: Any, padding: Any, image_shape: Any, kernel_shape: Any) -> Array:
    o, c, kh, kw = kernel_shape
    (sh, sw), (ph, pw) = stride, padding
    if kh * kw == 1:
        (pixels,) = windows(x, (1, 1), batch, (sh, sw), 1, (ph, pw))
        return jnp.matmul(jnp.broadcast_to(k[:, :, 0, 0], (len(pixels), o, c)), pixels)
    # [kh * C, H', W * N]: one large product. One for each row of the image runs at half the speed.
    stacked = jnp.concatenate([row.transpose(1, 0, 2) for row in _rows_under_taps(x, kh, sh, ph)])
    width = (x.shape[2] // batch + 2 * pw - kw) // sw + 1
    terms, total = [], at_least_float32(x.dtype)
    for phase, taps in column_taps(kw, sw, pw):
        matrix = jnp.concatenate([k[:, :, :, j].transpose(0, 2, 1).reshape(o, kh * c) for j, _ in taps])
        columns = column_phase(stacked, batch, sw, phase)
        products = lax.dot_general(matrix, columns, (((1,), (0,)), ((), ())), preferred_element_type=total)
        for n, (_, offset) in enumerate(taps):
            terms.append(shift_columns(lax.slice_in_dim(products, n * o, (n + 1) * o), batch, offset, width))
    # Any order is as exact. In this one float32 falls on the references' side of the ReLUs that golden files have at 1e-8.
    return functools.reduce(lax.add, reversed(terms)).astype(x.dtype).transpose(1, 0, 2)


def _grad_images(g: Array, k: Array, *, batch: int, stride: Any, padding: Any, image_shape: Any, kernel_shape: Any) -> Array:
    (kh, kw), (ph, pw) = kernel_shape[-2:], padding
    height, width = image_shape[0] + 2 * ph - kh + 1, image_shape[2] // batch + 2 * pw - kw + 1
    g = dilate(g, batch, stride, height, width)
    flipped = k[:, :, ::-1, ::-1].transpose(1, 0, 2, 3)
    return _convolution(
        g,
        flipped,
        batch=batch,
        stride=(1, 1),
        padding=(kh - 1 - ph, kw - 1 - pw),
        image_shape=g.shape,
        kernel_shape=flipped.shape,
    )


def _grad_kernel(x: Array, g: Array, *, batch: int, stride: Any, padding: Any, image_shape: Any, kernel_shape: Any) -> Array:
    o, c, kh, kw = kernel_shape
    (sh, sw), (ph, pw) = stride, padding
    rows = _rows_under_taps(x, kh, sh, ph)
    columns_of_kernel: dict[int, Array] = {}
    for phase, taps in column_taps(kw, sw, pw):
        images = [column_phase(row, batch, sw, phase) for row in rows]
        width = images[0].shape[2] // batch
        shifted = [shift_columns(g, batch, -offset, width) for _, offset in taps]
        stacked = shifted[0] if len(taps) == 1 else jnp.concatenate(shifted, axis=1)
        products = jnp.stack([_summed_products(stacked, image) for image in images], axis=2)
        for n, (j, _) in enumerate(taps):
            columns_of_kernel[j] = products[n * o : (n + 1) * o]
    return jnp.stack([columns_of_kernel[j] for j in range(kw)], axis=3)


def _summed_products(g: Array, x: Array) -> Array:
    """``[H, O, L]`` times ``[H, C, L]`` to ``[O, C]``."""
    # Per row, then summed: one product over all rows and columns needs both sides transposed.
    products = jnp.einsum("hol,hcl->hoc", g, x, preferred_element_type=at_least_float32(g.dtype))
    return products.sum(0).astype(g.dtype)


_functions = _convolution, _grad_images, _grad_kernel
_triple = bilinear_triple("convolution", *_functions)
_convolution_p, _, _ = _triple
for _primitive, _function in zip(_triple, _functions, strict=True):
    outline_on_cpu(_primitive, _function, lambda *, kernel_shape, **_: math.prod(kernel_shape[2:]) > 1)


def convolution(
    x: Array, kernel: Array, batch: int, stride: tuple[int, int] = (1, 1), padding: tuple[int, int] | None = None
) -> Array:
    """Convolution of rows with a dense kernel.

    Args:
      x: rows ``[H, C_in, W * N]``.
      kernel: ``[C_out, C_in, K, L]``.
      batch: N.
      stride: downwards and to the right.
      padding: rows above and below, columns left and right; half the kernel by default.

    Returns:
      Rows ``[H', C_out, W' * N]``.

    >>> convolution(jnp.ones((4, 2, 4 * 3)), jnp.ones((5, 2, 3, 3)), batch=3).shape
    (4, 5, 12)
    """
    kh, kw = kernel.shape[2:]
    return _convolution_p.bind(
        x,
        kernel,
        batch=batch,
        stride=stride,
        padding=((kh - 1) // 2, (kw - 1) // 2) if padding is None else padding,
        image_shape=x.shape,
        kernel_shape=kernel.shape,
    )

"""The operations on rows that every network here is made of, as JAX primitives closed under differentiation.

**Why own primitives.** XLA runs grouped convolutions and ``reduce_window`` slowly on a CPU, and its derivatives of
convolutions 35 to 50 times slower inside ``scan`` and ``cond`` (jax issue 12868). Here every operation is a sum or a
maximum of shifted slices, or a matrix product of them. Autodiff would turn each slice into a padded addition, so the
bilinear operations come in triples - value, gradient in the images, gradient in the kernel - each of which is
bilinear again and has the other two as its transposes. They can thus be differentiated in either mode, any number
of times. Every lowering is in this file.

Convolutions pad symmetrically by ``dilation * (kernel - 1) // 2``, as the PyTorch references do; kernels are in PyTorch's
order, depthwise ``[C, K, L]``, dense ``[C_out, C_in, K, L]``.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.core import ShapedArray
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

from jaxnas.nets.rows import dilate, windows


def _bilinear_triple(
    name: str, value: Callable[..., Array], grad_images: Callable[..., Array], grad_kernel: Callable[..., Array]
) -> tuple[Primitive, Primitive, Primitive]:
    """Three primitives y = B(x, k), x' = B_x(g, k), k' = B_k(x, g), each the transpose of the others.

    All carry the same static parameters, among them ``image_shape`` and ``kernel_shape``, the shapes of x and k.
    """
    triple = Primitive(name), Primitive(f"{name}_grad_images"), Primitive(f"{name}_grad_kernel")
    for primitive, function in zip(triple, (value, grad_images, grad_kernel), strict=True):
        _register(primitive, function)
    b, b_x, b_k = triple
    ad.defbilinear(b, lambda ct, x, k, **p: b_x.bind(ct, k, **p), lambda ct, x, k, **p: b_k.bind(x, ct, **p))
    ad.defbilinear(b_x, lambda ct, g, k, **p: b.bind(ct, k, **p), lambda ct, g, k, **p: b_k.bind(ct, g, **p))
    ad.defbilinear(b_k, lambda ct, x, g, **p: b_x.bind(g, ct, **p), lambda ct, x, g, **p: b.bind(x, ct, **p))
    return triple


def _register(primitive: Primitive, function: Callable[..., Array]) -> None:
    """Gives a primitive the meaning of a traceable function: evaluation, shapes, vmap and one lowering for all platforms."""

    @functools.cache
    def result(shapes: tuple[Any, ...], params: tuple[tuple[str, Any], ...]) -> Any:
        return jax.eval_shape(functools.partial(function, **dict(params)), *shapes)

    def abstract(*args: Any, **params: Any) -> Any:
        shape = result(tuple(jax.ShapeDtypeStruct(a.shape, a.dtype) for a in args), tuple(sorted(params.items())))
        return ShapedArray(shape.shape, shape.dtype)

    def batched(args: Any, axes: Any, **params: Any) -> tuple[Array, int]:
        return jax.vmap(functools.partial(function, **params), in_axes=axes)(*args), 0

    primitive.def_impl(functools.partial(_evaluate, function))
    primitive.def_abstract_eval(abstract)
    batching.primitive_batchers[primitive] = batched
    mlir.register_lowering(primitive, mlir.lower_fun(function, multiple_results=False))


def _evaluate(function: Callable[..., Array], *args: Array, **params: Any) -> Array:
    return _compiled(function, tuple(sorted(params.items())))(*args)


@functools.cache
def _compiled(function: Callable[..., Array], params: tuple[tuple[str, Any], ...]) -> Callable[..., Array]:
    return jax.jit(functools.partial(function, **dict(params)))


# Depthwise convolution: y[c] = sum over window positions of x[c] shifted, times k[c, position].


def _half(kernel_shape: tuple[int, ...], dilation: int) -> tuple[int, int]:
    return dilation * (kernel_shape[-2] - 1) // 2, dilation * (kernel_shape[-1] - 1) // 2


def _depthwise(x: Array, k: Array, *, batch: int, stride: int, dilation: int, image_shape: Any, kernel_shape: Any) -> Array:
    taps = k.reshape(1, k.shape[0], -1)
    views = windows(x, kernel_shape[-2:], batch, (stride, stride), dilation, _half(kernel_shape, dilation))
    # lax, not jnp, which takes longer to trace: this is done for every tap of every kernel.
    products = (lax.mul(view, lax.slice_in_dim(taps, i, i + 1, axis=2)) for i, view in enumerate(views))
    return functools.reduce(lax.add, products)


def _depthwise_grad_images(
    g: Array, k: Array, *, batch: int, stride: int, dilation: int, image_shape: Any, kernel_shape: Any
) -> Array:
    g = dilate(g, batch, (stride, stride), image_shape[0], image_shape[2] // batch)
    return _depthwise(
        g, k[:, ::-1, ::-1], batch=batch, stride=1, dilation=dilation, image_shape=image_shape, kernel_shape=kernel_shape
    )


def _depthwise_grad_kernel(
    x: Array, g: Array, *, batch: int, stride: int, dilation: int, image_shape: Any, kernel_shape: Any
) -> Array:
    # As matrix products: products[c, j, r, h] holds row r of x, shifted by j columns, times row h of g; position (i, j) of the
    # kernel is the sum where r = h * stride + i * dilation. A reduction for each position is slower to run and to compile.
    # Blocks of rows bound the waste.
    (kh, kw), (ph, pw) = kernel_shape[-2:], _half(kernel_shape, dilation)
    height, c, wn = g.shape
    width = wn // batch
    # Without a stride the padded image is the one that the value is computed of: XLA makes it once.
    beyond = stride if stride > 1 else 0
    x = jnp.pad(x, [(ph, ph + beyond), (0, 0), (pw * batch, (pw + beyond) * batch)])
    if stride > 1:
        columns = x.reshape(x.shape[0], c, -1, batch)
        lefts = (j * dilation for j in range(kw))
        shifted = [columns[:, :, left : left + (width - 1) * stride + 1 : stride].reshape(-1, c, wn) for left in lefts]
    else:
        shifted = [x[:, :, j * dilation * batch : (j * dilation + width) * batch] for j in range(kw)]
    x_cjrl, g_chl = jnp.stack(shifted).transpose(2, 0, 1, 3), g.transpose(1, 0, 2)
    total = jnp.zeros((c, kw, kh), g.dtype)
    for top in range(0, height, _BLOCK_ROWS):
        count = min(_BLOCK_ROWS, height - top)
        reach = (count - 1) * stride + dilation * (kh - 1) + 1
        band = x_cjrl[:, :, top * stride : top * stride + reach].reshape(c, kw * reach, wn)
        products = jnp.einsum("cxl,chl->cxh", band, g_chl[:, top : top + count])
        i, h = np.ogrid[:kh, :count]
        belongs = np.zeros((kh, reach, count))
        belongs[i, h * stride + i * dilation, h] = 1
        total += products.reshape(c, kw, -1) @ jnp.asarray(belongs.reshape(kh, -1).T, g.dtype)
    return total.transpose(0, 2, 1)


_BLOCK_ROWS = 16


_depthwise_p, _, _ = _bilinear_triple("depthwise", _depthwise, _depthwise_grad_images, _depthwise_grad_kernel)


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


# Dense convolution: a matrix product of the kernel with the stacked windows.


def _stacked_windows(x: Array, kernel_shape: Any, batch: int, stride: tuple[int, int], padding: tuple[int, int]) -> Array:
    views = windows(x, kernel_shape[-2:], batch, stride, 1, padding)
    return views[0] if len(views) == 1 else jnp.concatenate(views, axis=1)


def _matrix(k: Array) -> Array:
    """``[O, C, K, L]`` to ``[O, K * L * C]``, in the order of the stacked windows."""
    return k.transpose(0, 2, 3, 1).reshape(k.shape[0], -1)


def _convolution(x: Array, k: Array, *, batch: int, stride: Any, padding: Any, image_shape: Any, kernel_shape: Any) -> Array:
    columns = _stacked_windows(x, kernel_shape, batch, stride, padding)
    return jnp.matmul(jnp.broadcast_to(_matrix(k), (columns.shape[0], k.shape[0], columns.shape[1])), columns)


def _convolution_grad_images(
    g: Array, k: Array, *, batch: int, stride: Any, padding: Any, image_shape: Any, kernel_shape: Any
) -> Array:
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


def _convolution_grad_kernel(
    x: Array, g: Array, *, batch: int, stride: Any, padding: Any, image_shape: Any, kernel_shape: Any
) -> Array:
    o, c, kh, kw = kernel_shape
    columns = _stacked_windows(x, kernel_shape, batch, stride, padding)
    matrix = jnp.einsum("hol,hcl->hoc", g, columns).sum(0)
    return matrix.reshape(o, kh, kw, c).transpose(0, 3, 1, 2)


_convolution_p, _, _ = _bilinear_triple("convolution", _convolution, _convolution_grad_images, _convolution_grad_kernel)


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
    return _convolution_p.bind(
        x,
        kernel,
        batch=batch,
        stride=stride,
        padding=_half(kernel.shape, 1) if padding is None else padding,
        image_shape=x.shape,
        kernel_shape=kernel.shape,
    )


# Pooling.


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
    _register(_primitive, _function)


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

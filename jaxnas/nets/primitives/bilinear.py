"""Primitives made of traceable functions: evaluation, shapes, ``vmap``, a lowering, and derivatives that are primitives too."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.core import ShapedArray
from jax.experimental.xla_metadata import set_xla_metadata
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir


def bilinear_triple(
    name: str, value: Callable[..., Array], grad_images: Callable[..., Array], grad_kernel: Callable[..., Array]
) -> tuple[Primitive, Primitive, Primitive]:
    """Three primitives y = B(x, k), x' = B_x(g, k), k' = B_k(x, g), each the transpose of the others.

    All carry the same static parameters, among them ``image_shape`` and ``kernel_shape``, the shapes of x and k.
    """
    triple = Primitive(name), Primitive(f"{name}_grad_images"), Primitive(f"{name}_grad_kernel")
    for primitive, function in zip(triple, (value, grad_images, grad_kernel), strict=True):
        register(primitive, function)
    b, b_x, b_k = triple
    ad.defbilinear(b, lambda ct, x, k, **p: b_x.bind(ct, k, **p), lambda ct, x, k, **p: _where_wanted(b_k, x, ct, **p))
    ad.defbilinear(b_x, lambda ct, g, k, **p: b.bind(ct, k, **p), lambda ct, g, k, **p: b_k.bind(ct, g, **p))
    ad.defbilinear(b_k, lambda ct, x, g, **p: b_x.bind(g, ct, **p), lambda ct, x, g, **p: b.bind(x, ct, **p))
    return triple


_WANTED: ContextVar[Array | None] = ContextVar("wanted", default=None)


@contextlib.contextmanager
def kernel_gradients_if(wanted: Array | None) -> Iterator[None]:
    """Backward passes traced within compute gradients in kernels only where ``wanted``, a traced bool; else these are 0.

    A program that takes gradients of several kinds in turns decides so, while it runs, which of them cost time. None: always.

    >>> from jaxnas.nets.primitives import convolution
    >>> rows, kernel = jnp.ones((2, 1, 2)), jnp.ones((1, 1, 1, 1))
    >>> @jax.jit
    ... def gradient(wanted):
    ...     y, pull = jax.vjp(lambda k: convolution(rows, k, batch=1), kernel)
    ...     with kernel_gradients_if(wanted):
    ...         return pull(y)[0].sum()
    >>> float(gradient(True)), float(gradient(False))
    (4.0, 0.0)
    """
    token = _WANTED.set(wanted)
    try:
        yield
    finally:
        _WANTED.reset(token)


def _where_wanted(grad_kernel: Primitive, x: Array, ct: Array, **params: Any) -> Array:
    wanted = _WANTED.get()
    find = functools.partial(grad_kernel.bind, x, ct, **params)
    if wanted is None:
        return find()
    shape = jax.eval_shape(find)
    return lax.cond(wanted, find, lambda: jnp.zeros(shape.shape, shape.dtype))


def register(primitive: Primitive, function: Callable[..., Array]) -> None:
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


def outline_on_cpu(primitive: Primitive, function: Callable[..., Array], is_large: Callable[..., bool]) -> None:
    """On a CPU lowers a primitive as a call that XLA keeps, where ``is_large(**params)``.

    XLA:CPU fuses what computes an operand into every slice that is taken of it, and so computes it once for each. It has no
    fusion across a call: the operand is there, once, before the slices are taken.
    """

    def call(*args: Array, **params: Any) -> Array:
        if not is_large(**params):
            return function(*args, **params)
        with set_xla_metadata(inlineable="false"):
            return _evaluate(function, *args, **params)

    def batched(args: Any, axes: Any, **params: Any) -> tuple[Array, int]:
        mapped = _mapped(function, tuple(axes), tuple(sorted(params.items())))

        def outlined(*args: Array) -> Array:
            with set_xla_metadata(inlineable="false"):
                return mapped(*args)

        return (lax.platform_dependent(*args, cpu=outlined, default=mapped) if is_large(**params) else mapped(*args)), 0

    mlir.register_lowering(primitive, mlir.lower_fun(call, multiple_results=False), platform="cpu")
    batching.primitive_batchers[primitive] = batched  # Under vmap, too.


def _evaluate(function: Callable[..., Array], *args: Array, **params: Any) -> Array:
    return _compiled(function, tuple(sorted(params.items())))(*args)


@functools.cache
def _compiled(function: Callable[..., Array], params: tuple[tuple[str, Any], ...]) -> Callable[..., Array]:
    return jax.jit(functools.partial(function, **dict(params)))


@functools.cache
def _mapped(function: Callable[..., Array], axes: tuple[Any, ...], params: tuple[tuple[str, Any], ...]) -> Callable[..., Array]:
    return jax.jit(jax.vmap(functools.partial(function, **dict(params)), in_axes=axes))

"""Every primitive and all its derivatives against a plain definition in float64.

Every operation here is linear in each of its arguments, and with a cotangent g of its output it is one multilinear form: for a
convolution F(x, k, g) = sum of table * x * k * g, where the table, filled by loops, says which pixel each output pixel reads
under each position of the kernel. Value, gradients and second derivatives are all derivatives of F, which NumPy's ``einsum``
gives.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import Array, lax

from jaxnas.nets.primitives import avg_pool, convolution, depthwise, max_pool
from jaxnas.nets.rows import from_rows, to_rows

RNG = np.random.default_rng(0)
N, C = 2, 3


pytestmark = pytest.mark.usefixtures("float64")


def reads(
    image: tuple[int, int], kernel: tuple[int, int], stride: tuple[int, int], padding: tuple[int, int], dilation: int = 1
) -> np.ndarray:
    """``[H', W', H, W, kernel positions]``: 1 where an output pixel reads an input pixel."""
    height, width = (
        (size + 2 * p - dilation * (k - 1) - 1) // s + 1 for size, k, s, p in zip(image, kernel, stride, padding, strict=True)
    )
    table = np.zeros((height, width, *image, *kernel))
    for i, j, a, b in np.ndindex(height, width, *kernel):
        y, x = i * stride[0] + a * dilation - padding[0], j * stride[1] + b * dilation - padding[1]
        if 0 <= y < image[0] and 0 <= x < image[1]:
            table[i, j, y, x, a, b] = 1
    return table.reshape(height, width, *image, -1)


def averages(image: tuple[int, int], stride: int) -> np.ndarray:
    """``[H', W', H, W]``: what each pixel counts in each mean."""
    table = reads(image, (3, 3), (stride, stride), (1, 1)).sum(-1)
    return table / table.sum((2, 3), keepdims=True)


def first_maxima(images: np.ndarray, stride: int) -> np.ndarray:
    """``[N, C, H', W', H, W]``: 1 at the first of the greatest pixels of each window, row by row."""
    table = reads(images.shape[1:3], (3, 3), (stride, stride), (1, 1))
    winners = np.zeros((images.shape[0], images.shape[3], *table.shape[:-1]))
    for n, c, i, j in np.ndindex(winners.shape[:4]):
        best, first = -np.inf, (0, 0)
        for position in range(9):
            for y, x in np.argwhere(table[i, j, :, :, position]):
                if images[n, y, x, c] > best:
                    best, first = images[n, y, x, c], (y, x)
        winners[n, c, i, j, *first] = 1
    return winners


DEPTHWISE, CONVOLUTION, AVERAGE, MAXIMUM = "yxhwt nhwc ct nyxc", "yxhwt nhwc oct nyxo", "yxhw nhwc nyxc", "ncyxhw nhwc nyxc"
"""The forms: indices of the table, of each argument, and of the cotangent."""


def partial(form: str, table: np.ndarray, args: list[np.ndarray], i: int) -> np.ndarray:
    """Derivative of a form in its i-th argument."""
    of_table, *of_args = form.split()
    others = [j for j in range(len(args)) if j != i]
    inputs = ",".join([of_table, *(of_args[j] for j in others)])
    return np.einsum(f"{inputs}->{of_args[i]}", table, *(args[j] for j in others), optimize=True)


def second(form: str, table: np.ndarray, args: list[np.ndarray], along: list[np.ndarray], i: int) -> np.ndarray:
    """Derivative of :func:`partial` along a direction, by linearity in every other argument."""
    moved = ([*args[:j], along[j], *args[j + 1 :]] for j in range(len(args)) if j != i)
    return sum((partial(form, table, one, i) for one in moved), np.zeros(()))


def assert_close(found: Any, expected: Any) -> None:
    np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-10 * np.abs(expected).max())


def flat(kernel: np.ndarray) -> np.ndarray:
    """A kernel with one axis for its positions."""
    return kernel.reshape(*kernel.shape[:-2], -1)


def assert_derivatives(
    function: Callable[..., Array], form: str, table: np.ndarray, x: np.ndarray, *kernel: np.ndarray
) -> None:
    """Value and gradient, and both ways to differentiate these once more.

    Not under jit: each primitive is then compiled once, however often the derivatives use it. Jit is tested further below.
    """
    value = partial(form, table, [x, *map(flat, kernel), np.zeros(0)], len(kernel) + 1)
    args, along = ([*(RNG.normal(size=a.shape) for a in (x, *kernel, value))] for _ in range(2))
    args[0] = x

    def derivatives(*args: Any) -> Any:
        """Of the form in each argument: the gradients, and the value."""
        *given, g = args
        value, pull = jax.vjp(lambda *given: function(*given, N), *given)
        return *pull(g), value

    first, forward = jax.jvp(derivatives, in_rows(args), in_rows(along))
    backward = jax.vjp(derivatives, *in_rows(args))[1](in_rows(along))

    plain, plain_along = ([a[0], *map(flat, a[1:-1]), a[-1]] for a in (args, along))
    for i, found in enumerate(zip(*map(plainly, (first, forward, backward)), strict=True)):
        # Second derivatives are symmetric: forward and backward are both the Hessian times the direction.
        curvature = second(form, table, plain, plain_along, i)
        for one, expected in zip(found, (partial(form, table, plain, i), curvature, curvature), strict=True):
            assert_close(one, expected)


def in_rows(args: list[np.ndarray]) -> tuple[Any, ...]:
    """Images, kernels and cotangent as the primitives take them."""
    x, *kernel, g = args
    return to_rows(jnp.asarray(x)), *kernel, to_rows(jnp.asarray(g))


def plainly(derivative: Any) -> list[Any]:
    """What :func:`in_rows` has made, as the forms take it."""
    x, *kernel, g = derivative
    return [from_rows(x, N), *(flat(np.asarray(k)) for k in kernel), from_rows(g, N)]


@pytest.mark.parametrize(
    ("image", "size", "stride", "dilation"),
    [
        ((5, 5), 3, 1, 1),
        pytest.param((5, 5), 3, 2, 1, marks=pytest.mark.quick),
        ((6, 6), 3, 1, 2),
        ((6, 6), 3, 2, 2),
        ((8, 6), 5, 1, 1),
        ((8, 6), 5, 2, 1),
        pytest.param((5, 5), 5, 1, 2, marks=pytest.mark.quick),
        ((8, 6), 5, 2, 2),
        # The kernel's gradient goes by blocks of 16 rows: one row more, and a larger rest.
        pytest.param((17, 3), 3, 1, 1, marks=pytest.mark.quick),
        ((20, 4), 5, 1, 2),
    ],
)
def test_depthwise(image: tuple[int, int], size: int, stride: int, dilation: int) -> None:
    x, k = RNG.normal(size=(N, *image, C)), RNG.normal(size=(C, size, size))
    half = dilation * (size - 1) // 2
    table = reads(image, (size, size), (stride, stride), (half, half), dilation)
    assert_derivatives(lambda x, k, n: depthwise(x, k, n, stride, dilation), DEPTHWISE, table, x, k)


@pytest.mark.parametrize(
    ("image", "kernel", "stride", "padding"),
    [
        ((5, 5), (1, 1), (1, 1), None),
        ((5, 5), (1, 1), (2, 2), None),
        ((8, 6), (3, 3), (1, 1), None),
        pytest.param((6, 6), (3, 3), (2, 2), None, marks=pytest.mark.quick),
        ((5, 5), (3, 3), (2, 2), None),
        ((5, 8), (1, 7), (1, 1), None),
        pytest.param((5, 8), (1, 7), (1, 2), None, marks=pytest.mark.quick),
        ((8, 4), (7, 1), (2, 1), None),
        ((7, 5), (3, 3), (1, 2), None),
        ((7, 5), (3, 2), (3, 2), (1, 0)),
        ((5, 5), (2, 2), (1, 1), (0, 0)),
        ((5, 5), (2, 2), (2, 2), (0, 0)),
    ],
)
def test_convolution(
    image: tuple[int, int], kernel: tuple[int, int], stride: tuple[int, int], padding: tuple[int, int] | None
) -> None:
    x, k = RNG.normal(size=(N, *image, C)), RNG.normal(size=(4, C, *kernel))
    table = reads(image, kernel, stride, ((kernel[0] - 1) // 2, (kernel[1] - 1) // 2) if padding is None else padding)
    assert_derivatives(lambda x, k, n: convolution(x, k, n, stride, padding), CONVOLUTION, table, x, k)


@pytest.mark.parametrize(
    ("image", "stride"), [((5, 5), 1), pytest.param((5, 5), 2, marks=pytest.mark.quick), ((8, 6), 1), ((6, 6), 2)]
)
def test_avg_pool(image: tuple[int, int], stride: int) -> None:
    x = RNG.normal(size=(N, *image, C))
    assert_derivatives(lambda x, n: avg_pool(x, n, stride), AVERAGE, averages(image, stride), x)


@pytest.mark.parametrize(
    ("image", "stride"), [((5, 5), 1), pytest.param((5, 5), 2, marks=pytest.mark.quick), ((8, 6), 1), ((6, 6), 2)]
)
def test_max_pool(image: tuple[int, int], stride: int) -> None:
    # All below zero: padding must not win.
    x = RNG.normal(size=(N, *image, C)) - 10
    assert_derivatives(lambda x, n: max_pool(x, n, stride), MAXIMUM, first_maxima(x, stride), x)


@pytest.mark.quick
@pytest.mark.parametrize("stride", [1, 2])
def test_ties_of_max_pool_go_to_the_first(stride: int) -> None:
    pull = jax.jit(lambda x, g: from_rows(jax.vjp(lambda x: max_pool(x, N, stride), to_rows(x))[1](to_rows(g))[0], N))
    equal, few_values = np.full((N, 6, 6, C), -2.0), RNG.integers(0, 3, size=(N, 6, 6, C)).astype(float)
    for images in (equal, few_values):
        g = RNG.normal(size=(N, 6 // stride, 6 // stride, C))
        assert_close(pull(images, g), np.einsum("ncyxhw,nyxc->nhwc", first_maxima(images, stride), g))


IMAGES = RNG.normal(size=(N, 5, 5, C))
OPERATIONS: dict[str, tuple[Callable[..., Array], Callable[..., Array], tuple[int, ...]]] = {
    "depthwise": (
        lambda x, k: depthwise(x, k, N, 2),
        lambda x, k: jnp.einsum("yxhwt,nhwc,ct->nyxc", reads((5, 5), (3, 3), (2, 2), (1, 1)), x, k.reshape(C, 9)),
        (C, 3, 3),
    ),
    "convolution": (
        lambda x, k: convolution(x, k, N),
        lambda x, k: jnp.einsum("yxhwt,nhwc,oct->nyxo", reads((5, 5), (3, 3), (1, 1), (1, 1)), x, k.reshape(C, C, 9)),
        (C, C, 3, 3),
    ),
    "max_pool": (
        lambda x, k: max_pool(x * k, N, 2),
        lambda x, k: jnp.einsum("ncyxhw,nhwc->nyxc", first_maxima(IMAGES, 2), x * k),
        (1,),
    ),
    "avg_pool": (
        lambda x, k: avg_pool(x * k, N),
        lambda x, k: jnp.einsum("yxhw,nhwc->nyxc", averages((5, 5), 1), x * k),
        (1,),
    ),
}
"""Each as ours on rows, plainly on images, and the shape of its kernel; a factor stands for the kernel that pools lack."""


def gradient_and_curvature(function: Callable[..., Array]) -> Callable[[Any, Any], Any]:
    """The gradient, and its derivative along the images: what a search step takes of a network."""
    gradient = jax.grad(lambda x, k: jnp.sin(function(x, k)).sum(), (0, 1))
    return lambda x, k: (gradient(x, k), jax.jvp(lambda x: gradient(x, k), (x,), (jnp.cos(x),))[1])


@pytest.mark.parametrize("name", ["depthwise", "convolution", pytest.param("max_pool", marks=pytest.mark.quick), "avg_pool"])
def test_inside_scan_and_cond_and_under_vmap(name: str) -> None:
    on_rows, on_images, shape = OPERATIONS[name]
    kernels = RNG.uniform(0.5, 1.5, size=(3, *shape))
    ours = gradient_and_curvature(lambda x, k: on_rows(to_rows(x), k))
    plain = gradient_and_curvature(on_images)

    def scanned(x: Any, kernels: Any) -> Any:
        def one(count: Any, k: Any) -> Any:
            return count + 1, lax.cond(count < 2, ours, lambda x, k: jax.tree.map(jnp.zeros_like, ours(x, k)), x, k)

        return lax.scan(one, 0, kernels)[1]

    @jax.jit
    def every(x: Any, kernels: Any) -> Any:
        return scanned(x, kernels), jax.vmap(ours, (None, 0))(x, kernels), jax.vmap(plain, (None, 0))(x, kernels)

    in_scan, in_vmap, expected = map(jax.tree.leaves, every(IMAGES, kernels))
    for a, b, c in zip(in_scan, in_vmap, expected, strict=True):
        assert_close(b, c)
        assert_close(a[:2], c[:2])
        np.testing.assert_array_equal(a[2], 0.0)


def test_a_convolution_under_vmap_is_a_call_that_xla_keeps_on_a_cpu() -> None:
    """As without vmap: XLA:CPU would compute the operand of every slice anew."""
    on_rows, _, shape = OPERATIONS["convolution"]
    mapped = jax.jit(jax.vmap(lambda x, k: on_rows(to_rows(x), k), (None, 0)))
    traced = mapped.trace(IMAGES, RNG.uniform(size=(2, *shape)))
    texts = [traced.lower(lowering_platforms=(platform,)).as_text() for platform in ("cpu", "cuda")]
    assert ["inlineable" in text for text in texts] == [True, False]

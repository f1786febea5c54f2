"""The closed form and its derivatives against the plain definition in float64, which JAX differentiates by itself."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.extend
import jax.numpy as jnp
import numpy as np
import pytest
from jax import Array, lax

from jaxnas.nets.batch_norm import EPSILON, normalise_batch, normalise_by

RNG = np.random.default_rng(0)
Normalise = Callable[[Array, Array | None, Array | None], tuple[Array, Array, Array]]


pytestmark = pytest.mark.usefixtures("float64")


def plain(x: Array, scale: Array | None, shift: Array | None) -> tuple[Array, Array, Array]:
    mean = x.mean((0, 2))
    variance = ((x - mean[:, None]) ** 2).mean((0, 2))
    y = (x - mean[:, None]) / jnp.sqrt(variance + EPSILON)[:, None]
    return (
        y * (1 if scale is None else scale[:, None]) + (0 if shift is None else shift[:, None]),
        mean,
        variance,
    )


def drawn(affine: bool) -> tuple[tuple[Array, ...], tuple[Array, ...]]:
    """Arguments, one channel of which hardly varies so that epsilon counts, and a direction to differentiate along."""
    spread = np.array([1.0, 0.003, 5.0])[:, None]
    shapes = [(4, 3, 10)] + ([(3,), (3,)] if affine else [])
    arguments = [RNG.normal(size=shape) for shape in shapes]
    arguments[0] = arguments[0] * spread + 0.7
    return tuple(map(jnp.asarray, arguments)), tuple(jnp.asarray(RNG.normal(size=shape)) for shape in shapes)


@pytest.mark.parametrize("affine", [True, False])
def test_value_and_derivatives(affine: bool) -> None:
    arguments, direction = drawn(affine)
    others = () if affine else (None, None)
    weights = [jnp.asarray(RNG.normal(size=shape)) for shape in ((4, 3, 10), (3,), (3,))]

    def results(normalise: Normalise) -> list[Array]:
        def function(*arguments: Array) -> tuple[Array, Array, Array]:
            return normalise(*arguments, *others)

        def scalar(*arguments: Array) -> Array:
            # All three outputs, and not linear in any, so that second derivatives meet all of them.
            return sum(((jnp.sin(out) * w).sum() for out, w in zip(function(*arguments), weights, strict=True)), jnp.zeros(()))

        def slope(*arguments: Array) -> Array:
            return jax.jvp(scalar, arguments, direction)[1]

        indices = tuple(range(len(arguments)))
        gradient = jax.grad(scalar, indices)

        def slope_by_gradient(*arguments: Array) -> Array:
            return sum(((g * d).sum() for g, d in zip(gradient(*arguments), direction, strict=True)), jnp.zeros(()))

        return jax.tree.leaves(
            (
                function(*arguments),
                jax.jvp(function, arguments, direction),
                gradient(*arguments),
                jax.jvp(gradient, arguments, direction),
                jax.grad(slope, indices)(*arguments),
                jax.grad(slope_by_gradient, indices)(*arguments),
            )
        )

    for ours, expected in zip(results(normalise_batch), results(plain), strict=True):
        np.testing.assert_allclose(ours, expected, rtol=1e-10, atol=1e-10 * float(jnp.abs(expected).max()))


@pytest.mark.parametrize("affine", [True, False])
def test_by_its_own_moments_it_is_the_same(affine: bool) -> None:
    arguments, _ = drawn(affine)
    y, mean, variance = normalise_batch(*arguments)
    np.testing.assert_allclose(normalise_by(arguments[0], mean, variance, *arguments[1:]), y, rtol=1e-12, atol=1e-12)


def test_backward_pass_has_two_sums() -> None:
    """What the closed form is for: sums over the batch in the gradient beyond those of the value."""

    (x, scale, shift), _ = drawn(True)

    def count(jaxpr: jax.extend.core.Jaxpr) -> int:
        total = 0
        for equation in jaxpr.eqns:
            total += equation.primitive is lax.reduce_sum_p and getattr(equation.invars[0].aval, "shape", ()) == x.shape
            total += sum(count(inner) for inner in jax.extend.core.jaxprs_in_params(equation.params))
        return total

    backward = jax.vjp(lambda *a: normalise_batch(*a)[0], x, scale, shift)[1]
    assert count(jax.make_jaxpr(backward)(x).jaxpr) == 2

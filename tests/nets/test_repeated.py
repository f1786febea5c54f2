"""Equal cells through one body against calling them one after the other."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax import Array

from jaxnas.nets.repeated import run_cells

pytestmark = pytest.mark.usefixtures("float64")


class Toy(nnx.Module):
    """A cell of two states with a moment of its own."""

    def __init__(self, scale: Array) -> None:
        self.weight = nnx.Param(jnp.array([scale, 2 * scale]))
        self.mean = nnx.BatchStat(jnp.zeros(()))

    def __call__(self, old: Array, new: Array, index: Array) -> Array:
        y = jnp.sin(self.weight[...] * new) + old * index
        self.mean.set_value(jax.lax.stop_gradient(y.mean()))
        return y


def body(cell: Toy, states: tuple[Array, Array], index: Array) -> tuple[Array, Array]:
    return states[1], cell(*states, index)


@pytest.mark.parametrize("rematerialise", [False, True])
@pytest.mark.parametrize("count", [1, 3])
def test_equals_one_after_the_other(count: int, rematerialise: bool) -> None:
    start = (jnp.array([0.3, -0.2]), jnp.array([0.5, 0.7]))
    scales = jnp.linspace(0.4, 0.9, count)

    def together(scales: Array) -> tuple[Array, Any]:
        cells = [Toy(scales[i]) for i in range(count)]
        _, y = run_cells(cells, 4, body, start, rematerialise)
        return (y**2).sum(), [cell.mean[...] for cell in cells]

    def in_turn(scales: Array) -> tuple[Array, Any]:
        states, means = start, []
        for i in range(count):
            cell = Toy(scales[i])
            states = body(cell, states, jnp.asarray(4 + i))
            means.append(cell.mean[...])
        return (states[1] ** 2).sum(), means

    (value, means), gradient = jax.jit(jax.value_and_grad(together, has_aux=True))(scales)
    (expected, expected_means), expected_gradient = jax.value_and_grad(in_turn, has_aux=True)(scales)
    np.testing.assert_allclose(value, expected, rtol=1e-13)
    np.testing.assert_allclose(means, expected_means, rtol=1e-13)
    np.testing.assert_allclose(gradient, expected_gradient, rtol=1e-12)

"""SmoothDARTS's perturbations against a computation in NumPy, row by row as the reference does."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import Array

from jaxnas.relaxations import attack, random_perturbation, softmax
from jaxnas.spaces import nb201_family

pytestmark = pytest.mark.usefixtures("float64")
SPACE = nb201_family(
    "uneven", (("none", "skip_connect", "nor_conv_1x1"), ("skip_connect", "avg_pool_3x3"), ("nor_conv_3x3",)), nodes=2
)
PRESENT = np.array([[True, True, True], [True, True, False], [True, False, False]])
ALPHAS = {"cell": np.array([[2.0, -1.0, 0.5], [0.1, 0.4, 9.0], [3.0, 9.0, 9.0]])}
KEY = jax.random.key(0)


def clip(rows: np.ndarray) -> np.ndarray:
    """attacker's ``model.clip()``: the index of the largest is found before the clipping."""
    out = np.zeros_like(rows)
    for row, line in enumerate(rows):
        at = np.flatnonzero(PRESENT[row])
        kept = np.clip(line[at], 0, 1)
        if kept.sum() == 0:
            kept[line[at].argmax()] = 1.0
        out[row, at] = kept / kept.sum()
    return out


def clean() -> np.ndarray:
    return np.asarray(softmax(SPACE)(ALPHAS, KEY, {}, "weights")[0]["cell"])


def test_random_noise_is_uniform_clipped_and_normalised_and_for_the_weights_alone() -> None:
    relax, radius = random_perturbation(SPACE), 0.3
    scalars = {"radius": jnp.asarray(radius)}
    keys = jax.random.split(KEY, 2000)
    found = np.asarray(jax.vmap(lambda key: relax(ALPHAS, key, scalars, "weights")[0]["cell"])(keys))
    np.testing.assert_allclose(found.sum(-1), 1.0, rtol=1e-12)
    assert (found >= 0).all() and not found[:, ~PRESENT].any()
    np.testing.assert_allclose(found[:, 2, 0], 1.0, rtol=1e-12)  # one candidate: whatever the noise
    # In the first row nothing but the smallest entry is clipped: undo the division, and the noise is what is left.
    second = clean()[1]
    ratio = found[:, 1, 0] / found[:, 1, 1]  # (p0 + u0) / (p1 + u1)
    low, high = ((second[0] - radius) / (second[1] + radius), (second[0] + radius) / (second[1] - radius))
    assert low < ratio.min() < 1.1 * low and 0.9 * high < ratio.max() < high
    for phase in ("alphas",):
        np.testing.assert_array_equal(relax(ALPHAS, KEY, scalars, phase)[0]["cell"], clean())
    gradient = jax.grad(lambda a: relax({"cell": a}, KEY, scalars, "weights")[0]["cell"][0, 0])(ALPHAS["cell"])
    np.testing.assert_array_equal(gradient, 0.0)


def test_a_row_of_which_nothing_is_left_becomes_one_hot() -> None:
    key = jax.random.key(1)
    scalars = {"radius": jnp.asarray(50.0)}
    keys = jax.random.split(key, 200)
    found = np.asarray(jax.vmap(lambda k: random_perturbation(SPACE)(ALPHAS, k, scalars, "weights")[0]["cell"])(keys))
    one_hot = (found[:, 0] == 1.0).any(-1)
    assert one_hot.mean() > 0.2  # all three below 0 has a probability of about an eighth, and of clipping to one more
    np.testing.assert_allclose(found.sum(-1), 1.0, rtol=1e-12)


SLOPES = np.random.default_rng(0).normal(size=(3, 3))


def loss(mixture: Any) -> Array:
    return (jnp.sin(3 * mixture["cell"]) * SLOPES).sum()


def test_attack_is_the_references_ascent() -> None:
    radius, steps = 0.05, 7
    mixture = {"cell": jnp.asarray(clean())}
    found = np.asarray(attack(SPACE, loss, mixture, KEY, jnp.asarray(radius))["cell"])
    # The same from the same random start, in NumPy.
    noise = np.asarray(jax.random.uniform(jax.random.fold_in(KEY, 0), (3, 3), jnp.float64, -1.0, 1.0))
    now = clip(clean() + radius * noise)
    for _ in range(steps):
        gradient = 3 * np.cos(3 * now) * SLOPES
        moved = now + 2 * radius / steps * np.sign(gradient)
        now = clip(clean() + np.clip(moved - clean(), -radius, radius))
    np.testing.assert_allclose(found, now, rtol=1e-12)
    assert float(loss({"cell": found})) > float(loss(mixture))


def test_an_attack_that_finds_nothing_worse_is_taken_back() -> None:
    """At a maximum of the loss, and everywhere else it is smaller."""
    mixture = {"cell": jnp.asarray(clean())}

    def at_its_best(other: Any) -> Array:
        return -((other["cell"] - mixture["cell"]) ** 2).sum()

    np.testing.assert_array_equal(attack(SPACE, at_its_best, mixture, KEY, jnp.asarray(0.1))["cell"], clean())

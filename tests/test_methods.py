"""DARTS from a recipe's values: its updates by hand, and the values themselves as the references have them."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax import Array

from jaxnas import methods
from jaxnas.bilevel import initial_state, search_step
from jaxnas.data import Augmentation
from jaxnas.recipes import RECIPES, SearchRecipe, TrainRecipe
from jaxnas.spaces import darts_family

SPACE = darts_family("two edges", ("skip_connect", "sep_conv_3x3"), nodes=1)
STEPS_PER_EPOCH = 2
RECIPE = SearchRecipe(epochs=4, learning_rate=0.2, learning_rate_end=0.04, weight_decay=0.1, clip=0.5)
ALPHAS = {"normal": np.array([[0.3, -0.2], [0.1, 0.4]]), "reduce": np.array([[0.2, 0.0], [-0.5, 0.1]])}
WEIGHTS = {"normal": np.array([[1.0, -2.0], [0.5, 3.0]]), "reduce": np.array([[-1.0, 0.2], [2.0, 1.0]])}


pytestmark = pytest.mark.usefixtures("float64")


def rate_by_hand(step: int) -> float:
    return 0.04 + (0.2 - 0.04) * (1 + math.cos(math.pi * (step // STEPS_PER_EPOCH) / 4)) / 2


@pytest.mark.quick
@pytest.mark.parametrize("nesterov", [False, True])
def test_real_update_is_clipped_and_the_virtual_one_is_not(nesterov: bool) -> None:
    method = methods.build(dataclasses.replace(RECIPE, nesterov=nesterov), SPACE, STEPS_PER_EPOCH)
    rng = np.random.default_rng(0)
    w, buffer = rng.normal(size=5), np.zeros(5)
    weight_state = method.weight_optimizer.init(jnp.asarray(w))

    @jax.jit
    def updates(gradient: Array, weight_state: Any, w: Array) -> tuple[Any, Any, Any]:
        virtual, virtual_state = method.virtual_update(weight_state)
        imagined, _ = virtual.update(gradient, virtual_state, w)
        return imagined, *method.weight_optimizer.update(gradient, weight_state, w)

    for step in range(5):
        gradient = rng.normal(size=5) * (0.01 if step == 2 else 10)
        imagined, real, weight_state = updates(gradient, weight_state, w)
        np.testing.assert_allclose(imagined, -rate_by_hand(step) * (0.9 * buffer + gradient + 0.1 * w), rtol=1e-12)
        descent = gradient * min(1.0, 0.5 / (np.sqrt((gradient**2).sum()) + 1e-6)) + 0.1 * w
        buffer = 0.9 * buffer + descent
        expected = -rate_by_hand(step) * (descent + 0.9 * buffer if nesterov else buffer)
        np.testing.assert_allclose(real, expected, rtol=1e-12)
        w = w + expected


def train_loss(weights: Any, mixture: Any) -> Any:
    return sum((jnp.sin(mixture[kind] * weights[kind]) ** 2).sum() for kind in ("normal", "reduce"))


def valid_loss(weights: Any, mixture: Any) -> Any:
    return sum((jnp.cos(weights[kind]) * mixture[kind]).sum() ** 2 for kind in ("normal", "reduce"))


@pytest.mark.parametrize("name", ["first_order", "unrolled", "finite_difference"])
def test_hypergradient_of_the_recipe(name: Any) -> None:
    """At the second epoch's rate, against differentiation straight through the virtual step of architect.py."""
    method = methods.build(dataclasses.replace(RECIPE, hypergradient=name), SPACE, STEPS_PER_EPOCH)
    buffer = jax.tree.map(lambda w: 0.3 * np.cos(w), WEIGHTS)
    weight_state: Any = method.weight_optimizer.init(WEIGHTS)
    clip, (decay, trace, schedule) = weight_state
    weight_state = clip, (decay, trace._replace(trace=buffer), schedule._replace(count=jnp.asarray(3)))

    def with_softmax(loss: Any) -> Any:
        return lambda weights, alphas: loss(weights, jax.tree.map(jax.nn.softmax, alphas))

    @jax.jit
    @jax.value_and_grad
    def imagined(alphas: Any) -> Any:
        gradient = jax.grad(with_softmax(train_loss))(WEIGHTS, alphas)
        rate = 0.0 if name == "first_order" else rate_by_hand(3)
        moved = jax.tree.map(lambda w, b, g: w - rate * (0.9 * b + g + 0.1 * w), WEIGHTS, buffer, gradient)
        return with_softmax(valid_loss)(moved, alphas)

    @jax.jit
    def found(weights: Any, alphas: Any) -> Any:
        train, valid = (lambda *both, loss=loss: (with_softmax(loss)(*both), {}) for loss in (train_loss, valid_loss))
        return method.hypergradient(train, valid, weights, alphas, *method.virtual_update(weight_state))

    (value, _), gradient = found(WEIGHTS, ALPHAS)
    expected_value, expected = imagined(ALPHAS)
    np.testing.assert_allclose(value, expected_value, rtol=1e-12)
    for kind in expected:
        tolerance = 1e-4 if name == "finite_difference" else 1e-12
        np.testing.assert_allclose(gradient[kind], expected[kind], rtol=tolerance, atol=tolerance)


def test_alphas_move_from_an_epoch_on() -> None:
    recipe = dataclasses.replace(RECIPE, alphas_from_epoch=2, weight_steps_per_alpha_step=1)
    method = methods.build(recipe, SPACE, STEPS_PER_EPOCH)

    def loss(weights: Any, mixture: Any, batch: Any, key: Array, scalars: Any) -> Any:
        return train_loss(weights, mixture), {}

    state = initial_state(method, jax.random.key(0), *jax.tree.map(jnp.array, (WEIGHTS, ALPHAS)))
    step, moved = jax.jit(search_step(method, loss, loss)), []
    for _ in range(6):
        before, (state, _) = state, step(state, None, None)
        moved.append(optax.tree.norm(optax.tree.sub(state.alphas, before.alphas)) > 0)
        assert optax.tree.norm(optax.tree.sub(state.weights, before.weights)) > 0
    assert moved == [False] * 2 * STEPS_PER_EPOCH + [True] * 2


CROP_AND_FLIP = Augmentation(crop_padding=4, flip=True, cutout=0)
DARTS_SEARCH = SearchRecipe(
    space="darts",
    channels=16,
    cells=8,
    affine=False,
    epochs=50,
    batch=64,
    valid_order="fresh",
    hypergradient="first_order",
    unrolled_steps=1,
    order="alphas_first",
    weight_steps_per_alpha_step=1,
    alphas_from_epoch=0,
    learning_rate=0.025,
    learning_rate_end=0.001,
    momentum=0.9,
    nesterov=False,
    weight_decay=0.0003,
    clip=5.0,
    alpha_learning_rate=0.0003,
    alpha_b1=0.5,
    alpha_b2=0.999,
    alpha_weight_decay=0.001,
    augmentation=CROP_AND_FLIP,
)
# AutoDL-Projects anneals in every step.
NB201_SEARCH = dataclasses.replace(
    DARTS_SEARCH, space="nb201", cells=5, nesterov=True, weight_decay=0.0005, cosine_every="step"
)
SECOND_ORDER = {"hypergradient": "finite_difference", "order": "alphas_first"}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("darts-first-order", DARTS_SEARCH),
        ("darts-second-order", dataclasses.replace(DARTS_SEARCH, **SECOND_ORDER)),
        ("nb201-darts-v1", dataclasses.replace(NB201_SEARCH, order="weights_first")),
        ("nb201-darts-v2", dataclasses.replace(NB201_SEARCH, **SECOND_ORDER)),
    ],
)
def test_search_recipes_have_the_references_values(name: str, expected: SearchRecipe) -> None:
    assert RECIPES[name].search == expected
    assert RECIPES[name].dataset == "cifar10"


@pytest.mark.parametrize("name", ["darts-first-order", "darts-second-order", "nb201-darts-v1", "nb201-darts-v2"])
def test_training_recipes_have_the_references_values(name: str) -> None:
    darts_training = TrainRecipe(
        channels=36,
        cells=20,
        epochs=600,
        batch=96,
        learning_rate=0.025,
        learning_rate_end=0.0,
        momentum=0.9,
        nesterov=False,
        weight_decay=0.0003,
        clip=5.0,
        auxiliary_weight=0.4,
        drop_path=0.2,
        augmentation=Augmentation(crop_padding=4, flip=True, cutout=16),
    )
    nb201_training = TrainRecipe(
        channels=16,
        cells=5,
        epochs=200,
        batch=256,
        learning_rate=0.1,
        learning_rate_end=0.0,
        cosine_every="step",
        momentum=0.9,
        nesterov=True,
        weight_decay=0.0005,
        clip=0.0,
        auxiliary_weight=0.0,
        drop_path=0.0,
        augmentation=CROP_AND_FLIP,
    )
    assert RECIPES[name].train == (darts_training if name.startswith("darts") else nb201_training)


def test_the_rate_of_dropout_behind_skip_connections_is_p_darts() -> None:
    """Loops of train_search.py: 25 epochs, ``eps_no_arch`` 10, ``scale_factor`` 0.2; other scalars stay."""
    recipe = SearchRecipe(
        skip_dropout=0.7, epochs=25, alphas_from_epoch=10, estimator="snas", temperature=3.0, temperature_end=1.0
    )
    scalars = methods.build(recipe, SPACE, 4).scalars
    for epoch in range(25):
        rate = 0.7 * (25 - epoch - 1) / 25 if epoch < 10 else 0.7 * math.exp(-(epoch - 10) * 0.2)
        for step in (4 * epoch, 4 * epoch + 3):
            found = scalars(jnp.asarray(step))
            assert float(found["skip_dropout"]) == pytest.approx(rate, rel=1e-6)
            assert float(found["temperature"]) == pytest.approx(3 - 2 * epoch / 24, rel=1e-6)
    assert "skip_dropout" not in methods.build(SearchRecipe(), SPACE, 4).scalars(jnp.asarray(0))


def test_the_rate_of_pc_darts_on_imagenet_rises_in_five_epochs() -> None:
    """The update of a weight at 0 by a gradient of 1 is the rate."""
    method = methods.build(RECIPES["pc-darts-imagenet"].search, RECIPES["pc-darts-imagenet"].search.build_space(), 7)
    start: Any = method.weight_optimizer.init(jnp.zeros(()))
    clip, (decay, trace, schedule) = start
    for epoch, rate in (
        (0, 0.1),
        (4, 0.5),
        (5, 0.25 * (1 + math.cos(0.1 * math.pi))),
        (49, 0.25 * (1 - math.cos(math.pi / 50))),
    ):
        state = clip, (decay, trace, schedule._replace(count=jnp.asarray(7 * epoch + 6)))
        found: Any = method.weight_optimizer.update(jnp.ones(()), state, jnp.zeros(()))[0]
        assert float(found) == pytest.approx(-rate, rel=1e-12)

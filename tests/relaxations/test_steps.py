"""What estimators ask of the search step, beyond a mixture: one level, an attack, a regulariser, a loss of their own."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxnas import bilevel
from jaxnas.bilevel import Method, draw, initial_state, search_step
from jaxnas.hypergradients import first_order
from jaxnas.optimizers import adam_by_entry

pytestmark = pytest.mark.usefixtures("float64")
W, A, KEY = np.array([0.7, -1.2]), np.array([0.3, 0.5]), jax.random.key(3)
METHOD = Method(
    relax=lambda alphas, key, scalars, phase: (alphas, alphas),
    hypergradient=first_order(has_aux=True),
    weight_optimizer=optax.sgd(0.1),
    alpha_optimizer=optax.sgd(0.5),
    virtual_update=lambda state: (optax.sgd(0.1), state),
)


def loss(weights: Any, mixture: Any, batch: Any, key: Any, scalars: Any) -> Any:
    statistics = batch.get("statistics")
    shift = 0.0 if statistics is None else statistics["mean"]
    value = ((mixture * weights - batch["target"] + shift) ** 2).sum()
    return value, {"moments": {"mean": batch["target"]}, "metrics": {"accuracy": -value}}


def one_step(method: Method, statistics: Any = None) -> Any:
    state = initial_state(method, KEY, jnp.asarray(W), jnp.asarray(A), statistics)
    train, valid = {"target": jnp.asarray(0.2)}, {"target": jnp.asarray(-0.4)}
    return jax.jit(search_step(method, loss, loss))(state, train, valid)


def slopes(w: np.ndarray, a: np.ndarray, target: float) -> tuple[np.ndarray, np.ndarray]:
    """In weights and alphas."""
    residual = 2 * (a * w - target)
    return residual * a, residual * w


def test_together_moves_both_by_one_gradient_of_the_training_loss() -> None:
    state, metrics = one_step(dataclasses.replace(METHOD, order="together"))
    in_w, in_a = slopes(W, A, 0.2)
    np.testing.assert_allclose(state.weights, W - 0.1 * in_w, rtol=1e-12)
    np.testing.assert_allclose(state.alphas, A - 0.5 * in_a, rtol=1e-12)
    assert int(state.step) == 1
    np.testing.assert_allclose(metrics["train_loss"], ((A * W - 0.2) ** 2).sum(), rtol=1e-12)
    np.testing.assert_allclose(metrics["weight_gradient_norm"], np.linalg.norm(in_w), rtol=1e-12)
    np.testing.assert_allclose(metrics["alpha_gradient_norm"], np.linalg.norm(in_a), rtol=1e-12)
    assert "valid_loss" not in metrics


def test_together_samples_once() -> None:
    """Both gradients are of the same draw."""

    def relax(alphas: Any, key: Any, scalars: Any, phase: Any) -> Any:
        return alphas + jax.random.normal(key, alphas.shape), alphas

    state, _ = one_step(dataclasses.replace(METHOD, order="together", relax=relax))
    drawn = A + np.asarray(jax.random.normal(draw(KEY, jnp.asarray(0), bilevel.RELAX_FOR_ALPHAS), (2,), jnp.float64))
    in_w, in_a = slopes(W, drawn, 0.2)
    np.testing.assert_allclose(state.weights, W - 0.1 * in_w, rtol=1e-12)
    np.testing.assert_allclose(state.alphas, A - 0.5 * in_a, rtol=1e-12)


def test_alphas_that_rest_do_not_age_in_adam() -> None:
    """ProxylessNAS: a row whose active candidate is none keeps alphas, moments and count, as where PyTorch finds no grad."""
    rate, b1, b2 = 0.1, 0.5, 0.9
    turns = np.array([[True], [False]]), np.array([[False], [True]]), np.array([[True], [True]])
    gradients = np.random.default_rng(0).normal(size=(3, 2, 2))
    optimizer = adam_by_entry(rate, b1, b2, 0.0)
    alphas: Any = jnp.zeros((2, 2))
    state = optimizer.init(alphas)
    expected, mu, nu, counts = np.zeros((2, 2)), np.zeros((2, 2)), np.zeros((2, 2)), np.zeros((2, 1))
    for learns, gradient in zip(turns, gradients, strict=True):
        mask = jnp.asarray(learns)
        alphas, state = bilevel._moved(optimizer, jnp.asarray(gradient), state, alphas, lambda *_, mask=mask: mask, None)
        counts = counts + learns
        mu = np.where(learns, b1 * mu + (1 - b1) * gradient, mu)
        nu = np.where(learns, b2 * nu + (1 - b2) * gradient**2, nu)
        with np.errstate(divide="ignore", invalid="ignore"):
            step = rate * mu / (1 - b1**counts) / (np.sqrt(nu / (1 - b2**counts)) + 1e-8)
        expected = np.where(learns, expected - step, expected)
        np.testing.assert_allclose(alphas, expected, rtol=1e-12)


def test_a_regulariser_is_added_to_what_the_alphas_minimise() -> None:
    method = dataclasses.replace(METHOD, regulariser=lambda alphas: 3.0 * (alphas**2).sum())
    state, metrics = one_step(method)
    _, in_a = slopes(W, A, -0.4)
    np.testing.assert_allclose(state.alphas, A - 0.5 * (in_a + 6.0 * A), rtol=1e-12)
    np.testing.assert_allclose(metrics["valid_loss"], ((A * W + 0.4) ** 2).sum() + 3.0 * (A**2).sum(), rtol=1e-12)


def test_a_method_may_make_another_loss_of_the_alphas_loss() -> None:
    def doubled(loss: Any) -> Any:
        return lambda *args: (2 * loss(*args)[0], loss(*args)[1])

    state, _ = one_step(dataclasses.replace(METHOD, alpha_loss=doubled, order="weights_first"))
    in_w, _ = slopes(W, A, 0.2)
    moved = W - 0.1 * in_w
    np.testing.assert_allclose(state.weights, moved, rtol=1e-12)
    np.testing.assert_allclose(state.alphas, A - 0.5 * 2 * slopes(moved, A, -0.4)[1], rtol=1e-12)


def test_an_attack_sees_running_averages_and_changes_the_weights_mixture_alone() -> None:
    statistics = {"mean": jnp.asarray(0.05)}

    def attack(loss: Any, mixture: Any, key: Any, scalars: Any) -> Any:
        return mixture + 0.1 * jnp.sign(jax.grad(loss)(mixture))

    method = dataclasses.replace(METHOD, attack=attack, running_momentum=0.9)
    state, _ = one_step(method, statistics)
    _, in_a = slopes(W, A, -0.4)
    moved = A - 0.5 * in_a
    np.testing.assert_allclose(state.alphas, moved, rtol=1e-12)
    ascent = 2 * (moved * W - 0.2 + 0.05) * W  # in evaluation mode: with the running average
    attacked = moved + 0.1 * np.sign(ascent)
    np.testing.assert_allclose(state.weights, W - 0.1 * slopes(W, attacked, 0.2)[0], rtol=1e-12)
    np.testing.assert_allclose(state.statistics["mean"], 0.9 * 0.05 + 0.1 * 0.2, rtol=1e-12)

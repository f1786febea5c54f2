"""Hypergradients against matrices written by hand, reverse over reverse differentiation and DARTS's architect.py."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxnas import hypergradients
from jaxnas.hypergradients import finite_difference, first_order, unrolled
from jaxnas.optimizers import adam, clipped, sgd

pytestmark = pytest.mark.usefixtures("float64")


RNG = np.random.default_rng(0)
A, B = RNG.normal(size=(4, 4)), RNG.normal(size=(4, 3))
A = A @ A.T / 4 + np.eye(4)
P, Q, R = np.diag(RNG.uniform(1, 2, size=4)), RNG.normal(size=(4, 3)), RNG.normal(size=3)
W, ALPHA, WARM = RNG.normal(size=4), RNG.normal(size=3), RNG.normal(size=4)
RATE, MOMENTUM, DECAY, B1, B2 = 0.05, 0.9, 0.03, 0.5, 0.999


def train_loss(w: Any, a: Any) -> Any:
    return w @ A @ w / 2 + w @ B @ a


def valid_loss(w: Any, a: Any) -> Any:
    return w @ P @ w / 2 + w @ Q @ a + R @ a


Rule = Callable[[np.ndarray, np.ndarray, Any], tuple[np.ndarray, np.ndarray, Any]]
"""``(w, dw / da, state) -> (w, dw / da, state)``: one step with what it does to the derivative."""


def by_hand(rule: Rule, state: Any, steps: int) -> tuple[float, np.ndarray]:
    """Value and hypergradient of the quadratic problem by the chain rule, forward along the path."""
    w, jacobian = W, np.zeros((4, 3))
    for _ in range(steps):
        w, jacobian, state = rule(w, jacobian, state)
    return valid_loss(w, ALPHA), Q.T @ w + R + jacobian.T @ (P @ w + Q @ ALPHA)


def sgd_rule(limit: float | None) -> tuple[Rule, Any]:
    def clip(g: np.ndarray, dg: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        norm = np.sqrt(g @ g)
        if limit is None or norm + 1e-6 < limit:
            return g, dg
        return g * limit / (norm + 1e-6), limit / (norm + 1e-6) * (dg - np.outer(g, g @ dg) / (norm * (norm + 1e-6)))

    def rule(w: np.ndarray, dw: np.ndarray, state: Any) -> Any:
        buffer, d_buffer = state
        g, dg = clip(A @ w + B @ ALPHA, A @ dw + B)
        buffer, d_buffer = MOMENTUM * buffer + g + DECAY * w, MOMENTUM * d_buffer + dg + DECAY * dw
        return w - RATE * buffer, dw - RATE * d_buffer, (buffer, d_buffer)

    warm = clip(WARM, np.zeros((4, 3)))[0]
    return rule, (warm + DECAY * W, np.zeros((4, 3)))


def adam_rule() -> tuple[Rule, Any]:
    def rule(w: np.ndarray, dw: np.ndarray, state: Any) -> Any:
        m, dm, v, dv, t = state
        g, dg = A @ w + B @ ALPHA + DECAY * w, A @ dw + B + DECAY * dw
        m, dm = B1 * m + (1 - B1) * g, B1 * dm + (1 - B1) * dg
        v, dv, t = B2 * v + (1 - B2) * g * g, B2 * dv + (1 - B2) * 2 * g[:, None] * dg, t + 1
        first, d_first = m / (1 - B1**t), dm / (1 - B1**t)
        root = np.sqrt(v / (1 - B2**t))
        d_root = dv / (1 - B2**t) / (2 * root[:, None])
        step = first / (root + 1e-8)
        d_step = d_first / (root + 1e-8)[:, None] - (first / (root + 1e-8) ** 2)[:, None] * d_root
        return w - RATE * step, dw - RATE * d_step, (m, dm, v, dv, t)

    g, none = WARM + DECAY * W, np.zeros((4, 3))
    return rule, ((1 - B1) * g, none, (1 - B2) * g * g, none, 1)


DESCENT = sgd(RATE, MOMENTUM, DECAY)
NORM = float(np.linalg.norm(A @ W + B @ ALPHA))  # of the training gradient
OPTIMIZERS = {
    "sgd": (DESCENT, *sgd_rule(None)),
    "clipped, active": (clipped(NORM / 3, DESCENT), *sgd_rule(NORM / 3)),
    "clipped, inactive": (clipped(NORM * 100, DESCENT), *sgd_rule(NORM * 100)),
    "adam": (adam(RATE, B1, B2, DECAY), *adam_rule()),
}


def warm_state(optimizer: optax.GradientTransformation) -> Any:
    """The state after one step with the gradient ``WARM``, so that momentum and moments are not zero."""
    return optimizer.update(jnp.asarray(WARM), optimizer.init(jnp.asarray(W)), jnp.asarray(W))[1]


def run(methods: list[hypergradients.Hypergradient], optimizer: optax.GradientTransformation) -> list[tuple[Any, Any]]:
    def call(w: Any, a: Any, state: Any) -> list[tuple[Any, Any]]:
        return [method(train_loss, valid_loss, w, a, optimizer, state) for method in methods]

    return jax.jit(call)(W, ALPHA, warm_state(optimizer))


@pytest.mark.quick
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_quadratic_problem_equals_the_matrices(name: str) -> None:
    optimizer, rule, state = OPTIMIZERS[name]
    # On a quadratic loss a central difference is exact.
    candidates = [(1, unrolled(1)), (2, unrolled(2)), (3, unrolled(3)), (1, finite_difference())]
    for (steps, _), (value, gradient) in zip(candidates, run([method for _, method in candidates], optimizer), strict=True):
        expected_value, expected = by_hand(rule, state, steps)
        np.testing.assert_allclose(value, expected_value, rtol=1e-12)
        np.testing.assert_allclose(gradient, expected, rtol=1e-10, atol=1e-12)


@pytest.mark.quick
def test_first_order_takes_the_weights_as_they_are() -> None:
    [(value, gradient)] = run([first_order()], DESCENT)
    np.testing.assert_allclose(value, valid_loss(W, ALPHA), rtol=1e-14)
    np.testing.assert_allclose(gradient, Q.T @ W + R, rtol=1e-13)


# A two-layer network whose units alphas mix; its weights and alphas are trees, and no loss is quadratic.

IMAGES, TARGETS = RNG.normal(size=(2, 5, 3)), RNG.normal(size=(2, 5, 2))
WEIGHTS = {"first": [RNG.normal(size=(3, 4)), RNG.normal(size=(4,))], "second": (RNG.normal(size=(4, 2)),)}
ALPHAS = {"units": RNG.normal(size=(4, 2)), "output": RNG.normal(size=(2,))}
GRADIENT = jax.tree.map(np.cos, WEIGHTS)


def network_loss(stream: int) -> Callable[[Any, Any], Any]:
    def loss(weights: Any, alphas: Any) -> Any:
        kernel, bias = weights["first"]
        before = IMAGES[stream] @ kernel + bias
        p = jax.nn.softmax(alphas["units"])
        hidden = p[:, 0] * jnp.tanh(before) + p[:, 1] * jnp.sin(before)
        output = hidden @ weights["second"][0] * jax.nn.sigmoid(alphas["output"])
        return ((output - TARGETS[stream]) ** 2).mean()

    return loss


TRAIN, VALID = network_loss(0), network_loss(1)


def on_network(hypergradient: hypergradients.Hypergradient, optimizer: optax.GradientTransformation) -> Any:
    _, state = optimizer.update(GRADIENT, optimizer.init(WEIGHTS), WEIGHTS)
    return jax.jit(lambda w, a, s: hypergradient(TRAIN, VALID, w, a, optimizer, s))(WEIGHTS, ALPHAS, state)


def assert_trees_close(ours: Any, theirs: Any, rtol: float) -> None:
    assert jax.tree.structure(ours) == jax.tree.structure(theirs)
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        np.testing.assert_allclose(a, b, rtol=rtol, atol=rtol * float(np.abs(b).max()))


NESTEROV, ADAM = clipped(0.5, sgd(0.1, 0.9, 0.03, nesterov=True)), adam(0.02, 0.5, 0.999, 0.03)


@pytest.mark.parametrize(("optimizer", "steps"), [(NESTEROV, 3), (ADAM, 2)])
def test_unrolled_equals_reverse_over_reverse_on_a_network(optimizer: optax.GradientTransformation, steps: int) -> None:
    def through_the_path(alphas: Any, weights: Any, state: Any) -> Any:
        for _ in range(steps):
            updates, state = optimizer.update(jax.grad(TRAIN)(weights, alphas), state, weights)
            weights = optax.apply_updates(weights, updates)
        return VALID(weights, alphas)

    _, state = optimizer.update(GRADIENT, optimizer.init(WEIGHTS), WEIGHTS)
    expected_value, expected = jax.jit(jax.value_and_grad(through_the_path))(ALPHAS, WEIGHTS, state)
    value, gradient = on_network(unrolled(steps), optimizer)
    np.testing.assert_allclose(value, expected_value, rtol=1e-12)
    assert_trees_close(gradient, expected, 1e-10)


def test_finite_difference_is_the_architect_of_darts() -> None:
    xi, momentum, decay, radius = 0.1, 0.9, 3e-4, 0.01

    def architect(weights: Any, alphas: Any, buffer: Any) -> tuple[Any, Any]:
        """cnn/architect.py, _backward_step_unrolled, step by step."""
        gradient = jax.grad(TRAIN)(weights, alphas)
        moved = jax.tree.map(lambda w, g, b: w - xi * (momentum * b + g + decay * w), weights, gradient, buffer)
        value, (vector, direct) = jax.value_and_grad(VALID, argnums=(0, 1))(moved, alphas)
        size = radius / jnp.sqrt(sum((v**2).sum() for v in jax.tree.leaves(vector)))
        plus = jax.grad(TRAIN, argnums=1)(jax.tree.map(lambda w, v: w + size * v, weights, vector), alphas)
        minus = jax.grad(TRAIN, argnums=1)(jax.tree.map(lambda w, v: w - size * v, weights, vector), alphas)
        return value, jax.tree.map(lambda d, p, m: d - xi * (p - m) / (2 * size), direct, plus, minus)

    buffer = jax.tree.map(lambda w, g: g + decay * w, WEIGHTS, GRADIENT)
    expected_value, expected = jax.jit(architect)(WEIGHTS, ALPHAS, buffer)
    value, gradient = on_network(finite_difference(), sgd(xi, momentum, decay))
    np.testing.assert_allclose(value, expected_value, rtol=1e-12)
    assert_trees_close(gradient, expected, 1e-10)


@pytest.mark.parametrize("optimizer", [sgd(0.1, 0.9, 0.03), ADAM])
def test_finite_difference_converges_with_the_square_of_the_radius(optimizer: optax.GradientTransformation) -> None:
    _, state = optimizer.update(GRADIENT, optimizer.init(WEIGHTS), WEIGHTS)

    @jax.jit
    def distance_and_norm(radius: Any) -> tuple[Any, Any]:
        methods = (unrolled(), finite_difference(radius))
        exact, near = (method(TRAIN, VALID, WEIGHTS, ALPHAS, optimizer, state)[1] for method in methods)
        return optax.tree.norm(optax.tree.sub(near, exact)), optax.tree.norm(exact)

    (coarse, _), (fine, norm) = distance_and_norm(0.1), distance_and_norm(0.01)
    assert 1e-12 < fine < 1e-4 * norm
    assert coarse / fine == pytest.approx(100, rel=0.05)


@pytest.mark.parametrize("build", [first_order, unrolled, finite_difference])
def test_aux_of_the_validation_loss_comes_with_the_value(build: Callable[..., hypergradients.Hypergradient]) -> None:
    optimizer = sgd(0.1, 0.9, 0.03)
    _, state = optimizer.update(GRADIENT, optimizer.init(WEIGHTS), WEIGHTS)

    def train_with_aux(weights: Any, alphas: Any) -> Any:
        return TRAIN(weights, alphas), {"not to be seen": weights["second"]}

    def valid_with_aux(weights: Any, alphas: Any) -> Any:
        return VALID(weights, alphas), {"bias": weights["first"][1]}

    @jax.jit
    def both_and_moved(weights: Any, alphas: Any) -> tuple[Any, Any, Any]:
        updates, _ = optimizer.update(jax.grad(TRAIN)(weights, alphas), state, weights)
        return (
            build()(TRAIN, VALID, weights, alphas, optimizer, state),
            build(has_aux=True)(train_with_aux, valid_with_aux, weights, alphas, optimizer, state),
            weights if build is first_order else optax.apply_updates(weights, updates),
        )

    (value, gradient), ((value_too, aux), gradient_too), moved = both_and_moved(WEIGHTS, ALPHAS)
    np.testing.assert_allclose(value_too, value, rtol=1e-12)
    assert_trees_close(gradient_too, gradient, 1e-11)
    # The aux is of the weights at which the validation loss was taken.
    np.testing.assert_allclose(aux["bias"], moved["first"][1], rtol=1e-12)


@pytest.mark.quick
def test_usable_with_losses_and_optimizers_of_ones_own() -> None:
    imported = set()
    for node in ast.walk(ast.parse(inspect.getsource(hypergradients))):
        if isinstance(node, ast.Import):
            imported |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported.add(str(node.module) if str(node.module).startswith("jaxnas") else str(node.module).split(".")[0])
    assert imported <= {"__future__", "collections", "typing", "jax", "optax", "jaxnas.errors"}

    # The strength exp(a) of a ridge penalty: w' = w - rate (X^T (X w - y) + exp(a) w), so dw' / da = - rate exp(a) w.
    x, y, (held_out, label), descent = B[:, :2], B[:, 2], (Q[:, :2], Q[:, 2]), optax.sgd(0.1)

    def penalised(w: Any, a: Any) -> Any:
        return ((x @ w - y) ** 2).sum() / 2 + jnp.exp(a) * (w**2).sum() / 2

    def error(w: Any, a: Any) -> Any:
        return ((held_out @ w - label) ** 2).sum() / 2

    w, a = np.array([0.3, -0.7]), -1.2
    moved = w - 0.1 * (x.T @ (x @ w - y) + np.exp(a) * w)
    hypergradient = jax.jit(lambda w, a: unrolled()(penalised, error, w, a, descent, descent.init(w)))
    value, gradient = hypergradient(w, a)
    np.testing.assert_allclose(value, ((held_out @ moved - label) ** 2).sum() / 2, rtol=1e-12)
    np.testing.assert_allclose(gradient, -0.1 * np.exp(a) * w @ held_out.T @ (held_out @ moved - label), rtol=1e-10)

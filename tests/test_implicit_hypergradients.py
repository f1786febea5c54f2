"""Implicit hypergradients against matrices written by hand and a network's whole Hessian; the report they give."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.flatten_util import ravel_pytree

from jaxnas.bilevel import Method, initial_state, search_step
from jaxnas.errors import UserError
from jaxnas.hypergradients import Hypergradient, conjugate_gradient, neumann

pytestmark = pytest.mark.usefixtures("float64")

# A quadratic problem: H = A, the mixed derivative is B, and d valid / dw is P w + Q a.

RNG = np.random.default_rng(0)
A, B = RNG.normal(size=(4, 4)), RNG.normal(size=(4, 3))
A = A @ A.T / 4 + np.eye(4)
P, Q, R = np.diag(RNG.uniform(1, 2, size=4)), RNG.normal(size=(4, 3)), RNG.normal(size=3)
W, ALPHA = RNG.normal(size=4), RNG.normal(size=3)
OF_WEIGHTS, DIRECT = P @ W + Q @ ALPHA, Q.T @ W + R
RATE = 1.5 / float(np.linalg.eigvalsh(A)[-1] + 0.3)


def train_loss(w: Any, a: Any) -> Any:
    return w @ A @ w / 2 + w @ B @ a


def valid_loss(w: Any, a: Any) -> Any:
    return w @ P @ w / 2 + w @ Q @ a + R @ a


# A two-layer network whose units alphas mix; its weights and alphas are trees.

IMAGES, TARGETS = RNG.normal(size=(2, 5, 3)), RNG.normal(size=(2, 5, 2))
WEIGHTS = {"first": [RNG.normal(size=(3, 4)), RNG.normal(size=(4,))], "second": (RNG.normal(size=(4, 2)),)}
ALPHAS = {"units": RNG.normal(size=(4, 2)), "output": RNG.normal(size=(2,))}


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


def on_quadratic(method: Hypergradient, hessian: np.ndarray = A) -> tuple[np.ndarray, dict[str, float]]:
    """Gradient and report, of the problem with another Hessian where one is given."""

    def train(w: Any, a: Any) -> Any:
        return w @ hessian @ w / 2 + w @ B @ a

    (value, aux), gradient = jax.jit(lambda w, a: method(train, valid_loss, w, a, optax.identity(), ()))(W, ALPHA)
    np.testing.assert_allclose(value, valid_loss(W, ALPHA), rtol=1e-14)
    return np.asarray(gradient), {name: float(number) for name, number in aux["hypergradient"].items()}


def with_solution(x: np.ndarray) -> np.ndarray:
    return DIRECT - B.T @ x


def relative_residual(matrix: np.ndarray, x: np.ndarray) -> float:
    return float(np.linalg.norm(OF_WEIGHTS - matrix @ x) / np.linalg.norm(OF_WEIGHTS))


def best_in_krylov_space(matrix: np.ndarray, b: np.ndarray, steps: int) -> np.ndarray:
    """What ``steps`` conjugate gradients come to: stationary in the span of b, M b, M^2 b, ..."""
    basis, _ = np.linalg.qr(np.stack([np.linalg.matrix_power(matrix, power) @ b for power in range(steps)], axis=1))
    return basis @ np.linalg.solve(basis.T @ matrix @ basis, basis.T @ b)


@pytest.mark.quick
@pytest.mark.parametrize("damping", [0.0, 0.3])
@pytest.mark.parametrize("steps", [1, 2, 4])
def test_conjugate_gradients_on_the_quadratic_problem(steps: int, damping: float) -> None:
    matrix = A + damping * np.eye(4)
    x = best_in_krylov_space(matrix, OF_WEIGHTS, steps)
    gradient, report = on_quadratic(conjugate_gradient(steps, damping))
    np.testing.assert_allclose(gradient, with_solution(x), rtol=1e-10)
    np.testing.assert_allclose(report.pop("residual"), relative_residual(matrix, x), rtol=1e-9, atol=1e-14)
    assert report == {"steps": steps, "negative_curvature": 0}
    if steps == 4:
        np.testing.assert_allclose(gradient, with_solution(np.linalg.solve(matrix, OF_WEIGHTS)), rtol=1e-10)


@pytest.mark.parametrize("damping", [0.0, 0.3])
@pytest.mark.parametrize("steps", [1, 2, 7])
def test_neumann_is_the_partial_sum(steps: int, damping: float) -> None:
    matrix = A + damping * np.eye(4)
    shrink = np.eye(4) - RATE * matrix
    x = RATE * np.sum([np.linalg.matrix_power(shrink, j) @ OF_WEIGHTS for j in range(steps)], axis=0)
    gradient, report = on_quadratic(neumann(steps, RATE, damping))
    np.testing.assert_allclose(gradient, with_solution(x), rtol=1e-12)
    # The terms telescope: what is left of the system is the next term.
    left = np.linalg.matrix_power(shrink, steps) @ OF_WEIGHTS
    assert report == {"residual": pytest.approx(np.linalg.norm(left) / np.linalg.norm(OF_WEIGHTS), rel=1e-11)}


def test_at_the_minimum_both_are_the_derivative_of_the_bilevel_objective() -> None:
    best = -np.linalg.inv(A) @ B

    def objective(a: Any) -> Any:
        return valid_loss(best @ a, a)

    expected = jax.grad(objective)(ALPHA)
    for method in (conjugate_gradient(10), neumann(3000, RATE)):
        (_, aux), gradient = method(train_loss, valid_loss, jnp.asarray(best @ ALPHA), ALPHA, optax.identity(), ())
        np.testing.assert_allclose(gradient, expected, rtol=1e-10)
        assert aux["hypergradient"]["residual"] < 1e-12


@pytest.mark.parametrize("recompute", [False, True])
def test_conjugate_gradients_stop_on_negative_curvature(recompute: bool) -> None:
    basis, _ = np.linalg.qr(A)
    indefinite = basis @ np.diag([3.0, 2.0, 1.0, -0.5]) @ basis.T
    # The first directions have positive curvature, then the negative eigenvalue shows.
    b = basis @ np.array([1.0, 1.0, 1.0, 0.3])
    assert b @ indefinite @ b > 0

    def along_b(w: Any, a: Any) -> Any:
        return w @ b + R @ a

    def train(w: Any, a: Any) -> Any:
        return w @ indefinite @ w / 2 + w @ B @ a

    def solve(damping: float, method: Any = conjugate_gradient) -> tuple[Any, Any]:
        method = method(20, damping, recompute=recompute)
        (_, aux), gradient = jax.jit(lambda w, a: method(train, along_b, w, a, optax.identity(), ()))(W, ALPHA)
        return gradient, aux["hypergradient"]

    gradient, report = solve(0.0)
    done = int(report["steps"])
    assert report["negative_curvature"] == 1 and 1 <= done <= 3
    np.testing.assert_allclose(gradient, R - B.T @ best_in_krylov_space(indefinite, b, done), rtol=1e-9)
    # One step further there is a direction of negative curvature in the space.
    space = np.stack([np.linalg.matrix_power(indefinite, power) @ b for power in range(done + 1)], axis=1)
    assert np.linalg.eigvalsh(space[:, :-1].T @ indefinite @ space[:, :-1]).min() > 0
    assert np.linalg.eigvalsh(space.T @ indefinite @ space).min() < 0

    gradient, report = solve(0.6)  # Damping lifts the least eigenvalue above 0.
    assert report["negative_curvature"] == 0
    np.testing.assert_allclose(gradient, R - B.T @ np.linalg.solve(indefinite + 0.6 * np.eye(4), b), rtol=1e-10)


@pytest.mark.quick
@pytest.mark.parametrize("hessian", [-np.eye(4), np.zeros((4, 4))])
def test_without_any_positive_curvature_the_gradient_is_first_order(hessian: np.ndarray) -> None:
    gradient, report = on_quadratic(conjugate_gradient(5), hessian)
    np.testing.assert_array_equal(gradient, DIRECT)
    assert report == {"steps": 0, "negative_curvature": 1, "residual": 1}


def test_a_diverging_series_says_so() -> None:
    gradient, report = on_quadratic(neumann(50, 4 / float(np.linalg.eigvalsh(A)[-1])))
    assert report["residual"] > 1e3
    assert np.isfinite(gradient).all()


@pytest.mark.quick
@pytest.mark.parametrize("method", [conjugate_gradient(3), neumann(3, 0.1)])
def test_validation_loss_without_slope_in_the_weights(method: Hypergradient) -> None:
    def flat(w: Any, a: Any) -> Any:
        return 0 * w.sum() + R @ a

    (_, aux), gradient = jax.jit(lambda w, a: method(train_loss, flat, w, a, optax.identity(), ()))(W, ALPHA)
    np.testing.assert_array_equal(gradient, R)
    assert all(number == 0 for number in aux["hypergradient"].values())


def dense_solution(damping: float) -> tuple[np.ndarray, float, float]:
    """The network's implicit gradient by its whole Hessian, reverse over reverse, and that Hessian's extreme eigenvalues."""
    w, unravel_w = ravel_pytree(WEIGHTS)
    a, unravel_a = ravel_pytree(ALPHAS)

    def on_flat(loss: Any) -> Any:
        return lambda w, a: loss(unravel_w(w), unravel_a(a))

    def derivatives(w: Any, a: Any) -> Any:
        gradient = jax.grad(on_flat(TRAIN))
        return jax.jacrev(gradient, argnums=(0, 1))(w, a), jax.grad(on_flat(VALID), argnums=(0, 1))(w, a)

    (hessian, mixed), (of_weights, direct) = jax.tree.map(np.asarray, jax.jit(derivatives)(w, a))
    eigenvalues = np.linalg.eigvalsh(hessian)
    x = np.linalg.solve(hessian + damping * np.eye(len(w)), of_weights)
    return direct - mixed.T @ x, eigenvalues[0], eigenvalues[-1]


def test_error_on_a_network_against_its_whole_hessian() -> None:
    _, least, largest = dense_solution(0.0)
    damping = max(0.0, -least) + 0.05 * (largest - least)
    exact, _, _ = dense_solution(damping)
    rate = 1 / (largest + damping)

    def errors(methods: list[Hypergradient]) -> list[float]:
        def run_all(w: Any, a: Any) -> Any:
            return [method(TRAIN, VALID, w, a, optax.identity(), ())[1] for method in methods]

        found = jax.jit(run_all)(WEIGHTS, ALPHAS)
        return [float(np.linalg.norm(ravel_pytree(gradient)[0] - exact) / np.linalg.norm(exact)) for gradient in found]

    by_series = errors([neumann(steps, rate, damping) for steps in (1, 8, 64, 1024)])
    assert by_series == sorted(by_series, reverse=True) and by_series[-1] < 1e-9
    by_gradients = errors([conjugate_gradient(steps, damping, recompute=steps > 5) for steps in (1, 5, 12, 40)])
    assert by_gradients == sorted(by_gradients, reverse=True) and by_gradients[-1] < 1e-9


def test_the_report_reaches_the_metrics_of_a_step() -> None:
    def on_batch(loss: Any) -> Any:
        return lambda w, mixture, batch, key, scalars: (loss(w, mixture), {})

    def alpha_metrics(hypergradient: Hypergradient) -> dict[str, Any]:
        method = Method(
            relax=lambda alphas, key, scalars, phase: (alphas, alphas),
            hypergradient=hypergradient,
            weight_optimizer=optax.sgd(0.1),
            alpha_optimizer=optax.sgd(0.1),
            virtual_update=lambda state: (optax.sgd(0.1), state),
            weight_steps_per_alpha_step=2,
        )
        state = initial_state(method, jax.random.key(0), jnp.array(W), jnp.array(ALPHA))
        step = jax.jit(search_step(method, on_batch(train_loss), on_batch(valid_loss)))
        state, metrics = step(state, None, None)
        assert np.isnan(step(state, None, None)[1]["hypergradient_residual"])  # No alpha step, no number.
        return metrics

    metrics = alpha_metrics(conjugate_gradient(2, has_aux=True))
    residual = relative_residual(A, best_in_krylov_space(A, OF_WEIGHTS, 2))
    np.testing.assert_allclose(metrics["hypergradient_residual"], residual, rtol=1e-9)
    assert (metrics["hypergradient_steps"], metrics["hypergradient_negative_curvature"]) == (2, 0)


@pytest.mark.parametrize("build", [lambda **own: neumann(3, 0.1, **own), lambda **own: conjugate_gradient(3, 0.2, **own)])
def test_implicit_reports_are_added_to_the_aux(build: Callable[..., Hypergradient]) -> None:
    def train_with_aux(weights: Any, alphas: Any) -> Any:
        return TRAIN(weights, alphas), {"not to be seen": weights["second"]}

    def valid_with_aux(weights: Any, alphas: Any) -> Any:
        return VALID(weights, alphas), {"bias": weights["first"][1]}

    def both(w: Any, a: Any) -> Any:
        return (
            build()(TRAIN, VALID, w, a, optax.identity(), ()),
            build(has_aux=True)(train_with_aux, valid_with_aux, w, a, optax.identity(), ()),
        )

    ((value, aux), gradient), ((value_too, aux_too), gradient_too) = jax.jit(both)(WEIGHTS, ALPHAS)
    np.testing.assert_allclose(value_too, value, rtol=1e-14)
    np.testing.assert_allclose(ravel_pytree(gradient_too)[0], ravel_pytree(gradient)[0], rtol=1e-10, atol=1e-14)
    assert set(aux) == {"hypergradient"} and set(aux_too) == {"bias", "hypergradient"}
    np.testing.assert_array_equal(aux_too["bias"], WEIGHTS["first"][1])
    np.testing.assert_allclose(aux_too["hypergradient"]["residual"], aux["hypergradient"]["residual"], rtol=1e-10)


@pytest.mark.quick
@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: conjugate_gradient(0), "steps=0"),
        (lambda: neumann(0, 0.1), "steps=0"),
        (lambda: neumann(1, 0.0), "rate of a Neumann series must be positive, got 0.0"),
        (lambda: neumann(1, 0.1, damping=-1.0), "must not be negative, got -1.0"),
        (lambda: conjugate_gradient(1, float("nan")), "must not be negative, got nan"),
    ],
)
def test_what_an_implicit_hypergradient_refuses(build: Callable[[], Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        build()


@pytest.mark.quick
def test_an_aux_that_is_no_dictionary_is_refused() -> None:
    def with_pair(w: Any, a: Any) -> Any:
        return valid_loss(w, a), (w, a)

    with pytest.raises(UserError, match="must be a dictionary, got .*tuple"):
        conjugate_gradient(1, has_aux=True)(with_pair, with_pair, W, ALPHA, optax.identity(), ())

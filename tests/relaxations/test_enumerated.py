"""Mean gradients of the estimators on a network of 27 paths: against the exact expectation and against their own objective."""

from __future__ import annotations

import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import Array
from jax.scipy.special import gammaln

from experiments import estimators as toy
from jaxnas import relaxations

pytestmark = pytest.mark.usefixtures("float64")
SAMPLES = 40_000


def alphas() -> Array:
    return toy.alphas_of("midway")


def assert_mean_is(gradients: Any, expected: Any, error: Any = 0.0) -> None:
    """Within three standard errors in every component, and these must be small enough for the comparison to mean something."""
    found, expected = np.asarray(gradients), np.asarray(expected)
    errors = np.sqrt(found.var(0, ddof=1) / len(found) + np.square(error))
    assert np.linalg.norm(errors) < 0.2 * np.linalg.norm(expected)
    assert (np.abs(found.mean(0) - expected) < 3 * errors + 1e-12).all()


def test_softmax_is_not_the_expectation_here() -> None:
    """The network is not so simple that every estimator agrees: what follows could fail."""
    loss = toy.network(0)
    exact = np.asarray(toy.exact_gradient(loss, alphas()))
    relaxed = np.asarray(toy.estimators(loss)["softmax (DARTS)"](alphas(), jax.random.key(0)))
    assert np.linalg.norm(relaxed - exact) > 0.2 * np.linalg.norm(exact)


def test_exact_gradient_by_differences() -> None:
    loss, paths, at = toy.network(0), toy.every_path(), np.asarray(alphas())
    losses = np.asarray(jax.vmap(lambda path: loss({"cell": path}))(jnp.asarray(paths)))

    def expectation(values: np.ndarray) -> float:
        p = np.exp(values) / np.exp(values).sum(-1, keepdims=True)
        return float(((paths * p).sum(2).prod(1) * losses).sum())

    steps = 1e-6 * np.eye(9).reshape(9, 3, 3)
    slopes = [(expectation(at + step) - expectation(at - step)) / 2e-6 for step in steps]
    np.testing.assert_allclose(toy.exact_gradient(loss, jnp.asarray(at)), np.reshape(slopes, (3, 3)), atol=1e-8)


def test_reinforce_is_unbiased() -> None:
    loss = toy.network(0)
    found = toy.draws(toy.by_score(loss, 4, "others"), alphas(), SAMPLES)
    assert_mean_is(found, toy.exact_gradient(loss, alphas()))


def test_reinforce_with_the_references_baseline_is_shrunk_by_a_known_factor() -> None:
    loss = toy.network(0)
    found = toy.draws(toy.by_score(loss, 4, "running"), alphas(), SAMPLES)
    assert_mean_is(found, (1 - 0.99 / 4) * np.asarray(toy.exact_gradient(loss, alphas())))


def test_reinforce_learns_from_a_value_that_is_only_measured() -> None:
    """A latency by a call back to Python, and the accuracy: against the exact gradient of the expected reward."""
    paths, table = toy.every_path(), np.array([[1.0, 2.0, 9.0], [1.0, 3.0, 5.0], [1.0, 2.0, 4.0]])
    loss = toy.network(0)

    def measured(path: Any) -> Array:
        shape = jax.ShapeDtypeStruct((), jnp.float32)  # JAX calls back from a thread without doubles.
        return jax.pure_callback(
            lambda a: np.float32((a * table).sum()), shape, path["cell"]["active"], vmap_method="sequential"
        )

    def one(weights: Any, path: Any, *_: Any) -> Any:
        return loss(path), {"metrics": {"accuracy": jnp.exp(-loss(path))}}

    value = relaxations.accuracy_over_latency(measured, reference=6.0)
    over = relaxations.over_paths(one, value)
    relax = relaxations.sampled_paths(toy.SPACE, 50)

    def estimate(at: Array, key: Array) -> Array:
        return jax.grad(lambda a: over(None, relax({"cell": a}, key, {}, "alphas")[0], {}, key, {})[0])(at)

    losses = jax.vmap(lambda path: loss({"cell": path}))(jnp.asarray(paths))
    rewards = jnp.exp(-losses) * (6.0 / (paths * table).sum((1, 2))) ** 0.1

    def expectation(at: Array) -> Array:
        return -(jnp.exp((paths * jax.nn.log_softmax(at)).sum((1, 2))) * rewards).sum()

    assert_mean_is(toy.draws(estimate, alphas(), 200), jax.grad(expectation)(alphas()))


def by_density(loss: Any, log_density: Any, sample: Any) -> Any:
    """The gradient of the expected loss of a random mixture by its density: nothing is differentiated through a sample."""

    def estimate(at: Array, key: Array) -> Array:
        level_key, key = jax.random.split(key)
        mixture, other = (jax.lax.stop_gradient(sample(at, k)) for k in (key, level_key))
        # Minus the loss of another sample, which is independent of this one: it lowers the variance alone.
        value = loss({"cell": mixture}) - loss({"cell": other})
        return value * jax.grad(log_density)(at, mixture)

    return estimate


@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_soft_gumbel_is_the_gradient_of_its_relaxed_objective(temperature: float) -> None:
    loss = toy.network(0)
    relax = relaxations.soft_gumbel(toy.SPACE)
    scalars = {"temperature": jnp.asarray(temperature)}

    def log_density(at: Array, y: Array) -> Array:
        """Of the Gumbel softmax (Maddison et al., 2017, eq. 10), but for what does not depend on the alphas."""
        return (at.sum(1) - 3 * jax.nn.logsumexp(at - temperature * jnp.log(y), axis=1)).sum()

    def sample(at: Array, key: Array) -> Array:
        return relax({"cell": at}, key, scalars, "alphas")[0]["cell"]

    found = toy.draws(toy.by_relaxation(loss, relax, temperature=temperature), alphas(), SAMPLES)
    other = toy.draws(by_density(loss, log_density, sample), alphas(), 4 * SAMPLES, seed=1)
    assert_mean_is(found, other.mean(0), np.asarray(other).std(0) / np.sqrt(len(other)))


def test_dirichlet_is_the_gradient_of_its_relaxed_objective() -> None:
    loss = toy.network(0)
    relax = relaxations.dirichlet(toy.SPACE)

    def log_density(at: Array, theta: Array) -> Array:
        c = jnp.where(at > 0, at + 1, jnp.exp(at))
        return (gammaln(c.sum(1)) - gammaln(c).sum(1) + ((c - 1) * jnp.log(theta)).sum(1)).sum()

    def sample(at: Array, key: Array) -> Array:
        return relax({"cell": at}, key, {}, "alphas")[0]["cell"]

    # Over six pairs of seeds the pooled difference was within one standard error in every component.
    found = toy.draws(toy.by_relaxation(loss, relax), alphas(), 2 * SAMPLES, seed=2)
    other = toy.draws(by_density(loss, log_density, sample), alphas(), 4 * SAMPLES, seed=102)
    assert_mean_is(found, other.mean(0), np.asarray(other).std(0) / np.sqrt(len(other)))


def test_dirichlet_differentiates_a_second_moment_to_its_closed_form() -> None:
    """E theta^2 = c (c + 1) / (C (C + 1))."""
    relax = relaxations.dirichlet(toy.SPACE)

    def moment(at: Array) -> Array:
        c = jnp.where(at > 0, at + 1, jnp.exp(at))
        whole = c.sum(1)
        return (c[:, 0] * (c[:, 0] + 1) / (whole * (whole + 1))).sum()

    def estimate(at: Array, key: Array) -> Array:
        return jax.grad(lambda a: (relax({"cell": a}, key, {}, "alphas")[0]["cell"][:, 0] ** 2).sum())(at)

    assert_mean_is(toy.draws(estimate, alphas(), 2 * SAMPLES, seed=202), jax.grad(moment)(alphas()))


def gate_formula(at: np.ndarray, among: np.ndarray, of_gates: np.ndarray) -> np.ndarray:
    """``sum_j d L / d g_j p_j (delta_ij - p_i)``, edge by edge and index by index."""
    gradient = np.zeros_like(at)
    for e in range(len(at)):
        rows = np.flatnonzero(among[e])
        p = np.exp(at[e, rows]) / np.exp(at[e, rows]).sum()
        for a, i in enumerate(rows):
            for b, j in enumerate(rows):
                gradient[e, i] += of_gates[e, j] * p[b] * ((a == b) - p[a])
    return gradient


def gradients_in_gates(loss: Any) -> np.ndarray:
    """``d L / d g`` at every path, ``[27, edges, columns]``: what is not active is seen as data."""

    def at_path(path: Array) -> Array:
        parts = {"active": path > 0, "probed": path == 0}
        return jax.grad(lambda gates: loss({"cell": {"weights": gates, **parts}}))(path)

    return np.asarray(jax.vmap(at_path)(jnp.asarray(toy.every_path())))


@pytest.mark.parametrize("mode", ["full", "full_v2"])
def test_gates_over_all_candidates_average_to_their_formula(mode: Any) -> None:
    loss, at, paths = toy.network(0), np.asarray(alphas()), toy.every_path()
    p = np.exp(at) / np.exp(at).sum(1, keepdims=True)
    everything = np.ones((3, 3), bool)
    probabilities = (paths * p).sum(2).prod(1)
    expected = sum(
        probability * gate_formula(at, everything, gates)
        for probability, gates in zip(probabilities, gradients_in_gates(loss), strict=True)
    )
    found = toy.draws(toy.by_relaxation(loss, relaxations.binary_gates(toy.SPACE, mode)), alphas(), SAMPLES)
    assert_mean_is(found, expected)


def test_gates_of_two_average_to_their_formula_over_all_pairs() -> None:
    loss, at, paths = toy.network(0), np.asarray(alphas()), toy.every_path()
    p = np.exp(at) / np.exp(at).sum(1, keepdims=True)
    gates = dict(zip([tuple(path.argmax(1)) for path in paths], gradients_in_gates(loss), strict=True))

    def of_edge(e: int) -> list[tuple[float, int, tuple[int, int]]]:
        """Probability, active candidate and pair: drawn one after the other, then one of them active."""
        found = []
        for i, j in itertools.combinations(range(3), 2):
            pair = p[e, i] * p[e, j] / (1 - p[e, i]) + p[e, j] * p[e, i] / (1 - p[e, j])
            for k in (i, j):
                found.append((pair * p[e, k] / (p[e, i] + p[e, j]), k, (i, j)))
        return found

    assert sum(probability for probability, *_ in of_edge(0)) == pytest.approx(1)
    expected = np.zeros((3, 3))
    for choice in itertools.product(*map(of_edge, range(3))):
        among = np.zeros((3, 3), bool)
        for e, (_, _, pair) in enumerate(choice):
            among[e, list(pair)] = True
        probability = np.prod([probability for probability, *_ in choice])
        expected += probability * gate_formula(at, among, gates[tuple(k for _, k, _ in choice)])
    found = toy.draws(toy.by_relaxation(loss, relaxations.binary_gates(toy.SPACE, "two")), alphas(), SAMPLES)
    assert_mean_is(found, expected)


@pytest.mark.parametrize("unsampled", ["offset", "nothing"])
def test_gdas_of_one_sample_is_its_formula(unsampled: Any) -> None:
    """The gradient in every hard weight, pulled back through the softmax at a temperature."""
    loss, at, tau = toy.network(0), np.asarray(alphas()), 2.0
    noise = np.random.default_rng(7).gumbel(size=at.shape)
    soft = np.exp((at + noise) / tau) / np.exp((at + noise) / tau).sum(1, keepdims=True)
    hard = np.eye(3)[soft.argmax(1)]

    def at_weights(weights: Array, offset: Array) -> Array:
        return loss({"cell": {"weights": weights, "active": hard > 0, "offset": offset}})

    of_weights, of_offset = (np.asarray(g) for g in jax.grad(at_weights, (0, 1))(jnp.asarray(hard), jnp.zeros(3)))
    slopes = np.where(hard > 0, of_weights, of_offset[:, None] if unsampled == "offset" else 0.0)
    expected = soft * (slopes - (soft * slopes).sum(1, keepdims=True)) / tau

    def objective(at: Array) -> Array:
        sample = relaxations.gumbel_softmax(at, jnp.ones((3, 3), bool), jnp.asarray(noise), jnp.asarray(tau))
        return loss({"cell": relaxations.straight_through(sample, unsampled)})

    np.testing.assert_allclose(jax.grad(objective)(jnp.asarray(at)), expected, rtol=1e-10, atol=1e-13)
    assert float(objective(jnp.asarray(at))) == pytest.approx(float(loss({"cell": jnp.asarray(hard)})), rel=1e-13)

"""The search step against iterations written by hand, on losses that are quadratic in the weights:

train: sum (1 + a^2) (w - t)^2 / 2, validation: sum (1 + a) (w - s)^2 / 2, with the mixture equal to the alphas a.
"""

from __future__ import annotations

import dataclasses
import itertools
from typing import Any, Literal

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import Array

from jaxnas import bilevel
from jaxnas.bilevel import Method, SearchState, draw, initial_state, many_steps, search_step
from jaxnas.hypergradients import Hypergradient, finite_difference, first_order, unrolled
from jaxnas.optimizers import adam, clipped, sgd

MOMENTUM, DECAY, CLIP = 0.9, 0.03, 2.0
ALPHA_RATE, B1, B2, ALPHA_DECAY = 0.05, 0.5, 0.999, 0.01
RNG = np.random.default_rng(11)
WEIGHTS, ALPHAS, TRAIN, VALID = RNG.normal(size=3), RNG.normal(size=3), RNG.normal(size=(8, 3)), RNG.normal(size=(8, 3))
Step = tuple[SearchState, dict[str, Array]]


pytestmark = pytest.mark.usefixtures("float64")


def rate(step: Any) -> Any:
    return 0.2 / (1 + step)


def train_loss(weights: Any, mixture: Any, batch: Any, key: Array, scalars: Any) -> tuple[Array, dict[str, Any]]:
    return jnp.sum((1 + mixture**2) * (weights - batch) ** 2) / 2, {}


def valid_loss(weights: Any, mixture: Any, batch: Any, key: Array, scalars: Any) -> tuple[Array, dict[str, Any]]:
    return jnp.sum((1 + mixture) * (weights - batch) ** 2) / 2, {}


def toy(hypergradient: Hypergradient, nesterov: bool = False, **others: Any) -> Method:
    return Method(
        relax=lambda alphas, key, scalars, phase: (alphas, alphas),
        hypergradient=hypergradient,
        weight_optimizer=clipped(CLIP, sgd(rate, MOMENTUM, DECAY, nesterov)),
        alpha_optimizer=adam(ALPHA_RATE, B1, B2, ALPHA_DECAY),
        virtual_update=lambda state: (sgd(rate, MOMENTUM, DECAY), state[1]),
        **others,
    )


def start(method: Method, **others: Any) -> SearchState:
    return initial_state(method, jax.random.key(5), jnp.array(WEIGHTS), jnp.array(ALPHAS), **others)


def run(method: Method, state: SearchState, steps: int, weight_loss: Any = train_loss) -> list[Step]:
    """State and metrics after each step; all steps must be one program."""
    step, traces, found = search_step(method, weight_loss, valid_loss), [], []

    def counted(*inputs: Any) -> Step:
        traces.append(None)
        return step(*inputs)

    compiled = jax.jit(counted, donate_argnums=0)
    for i in range(steps):
        state, metrics = compiled(state, TRAIN[i], VALID[i])
        found.append((jax.tree.map(jnp.copy, state), metrics))
    assert len(traces) == 1
    return found


@dataclasses.dataclass
class ByHand:
    """The same search in NumPy, one update a method."""

    nesterov: bool = False
    w: Any = dataclasses.field(default_factory=WEIGHTS.copy)
    a: Any = dataclasses.field(default_factory=ALPHAS.copy)
    buffer: Any = 0.0
    first_moment: Any = 0.0
    second_moment: Any = 0.0
    alpha_steps: int = 0

    def update_weights(self, step: int, target: np.ndarray) -> dict[str, float]:
        loss = float(((1 + self.a**2) * (self.w - target) ** 2).sum() / 2)
        gradient = (1 + self.a**2) * (self.w - target)
        norm = float(np.sqrt((gradient**2).sum()))
        descent = gradient * min(1.0, CLIP / (norm + 1e-6)) + DECAY * self.w
        self.buffer = MOMENTUM * self.buffer + descent
        self.w = self.w - rate(step) * (descent + MOMENTUM * self.buffer if self.nesterov else self.buffer)
        return {"train_loss": loss, "weight_gradient_norm": norm}

    def update_alphas(self, step: int, train_target: np.ndarray, target: np.ndarray, second_order: bool) -> dict[str, float]:
        gradient = (1 + self.a**2) * (self.w - train_target)
        xi = rate(step) if second_order else 0.0
        w = self.w - xi * (MOMENTUM * self.buffer + gradient + DECAY * self.w)
        loss = float(((1 + self.a) * (w - target) ** 2).sum() / 2)
        mixed = 2 * self.a * (self.w - train_target)  # d gradient / d a, at the weights themselves
        gradient = (w - target) ** 2 / 2 - xi * mixed * (1 + self.a) * (w - target)
        norm = float(np.sqrt((gradient**2).sum()))
        gradient = gradient + ALPHA_DECAY * self.a
        self.alpha_steps += 1
        self.first_moment = B1 * self.first_moment + (1 - B1) * gradient
        self.second_moment = B2 * self.second_moment + (1 - B2) * gradient**2
        mean = self.first_moment / (1 - B1**self.alpha_steps)
        spread = np.sqrt(self.second_moment / (1 - B2**self.alpha_steps))
        self.a = self.a - ALPHA_RATE * mean / (spread + 1e-8)
        return {"valid_loss": loss, "alpha_gradient_norm": norm}


def assert_equal(actual: Any, expected: Any) -> None:
    chex.assert_trees_all_close(actual, expected, rtol=1e-12, atol=1e-14)


def assert_same_bits(actual: SearchState, expected: SearchState) -> None:
    chex.assert_trees_all_equal(dataclasses.replace(actual, key=None), dataclasses.replace(expected, key=None))


@pytest.mark.quick
@pytest.mark.parametrize(
    ("hypergradient", "order", "nesterov"),
    [
        pytest.param(unrolled(has_aux=True), "alphas_first", False, id="darts second order"),
        pytest.param(finite_difference(has_aux=True), "alphas_first", False, id="the same by finite difference"),
        pytest.param(first_order(has_aux=True), "alphas_first", False, id="darts first order"),
        pytest.param(first_order(has_aux=True), "weights_first", True, id="nb201 first order"),
    ],
)
def test_iteration_of_the_reference(
    request: pytest.FixtureRequest,
    hypergradient: Hypergradient,
    order: Literal["alphas_first", "weights_first"],
    nesterov: bool,
) -> None:
    second_order = "first order" not in request.node.name
    method = toy(hypergradient, nesterov, order=order)
    expected = ByHand(nesterov)
    norms = []
    for i, (state, metrics) in enumerate(run(method, start(method), steps=3)):
        if order == "alphas_first":
            found = expected.update_alphas(i, TRAIN[i], VALID[i], second_order) | expected.update_weights(i, TRAIN[i])
        else:
            found = expected.update_weights(i, TRAIN[i]) | expected.update_alphas(i, TRAIN[i], VALID[i], second_order)
        assert_equal((state.weights, state.alphas, metrics), (expected.w, expected.a, found))
        assert int(state.step) == i + 1
        norms.append(found["weight_gradient_norm"])
    assert min(norms) < CLIP < max(norms)


@pytest.mark.parametrize(("every", "first", "due"), [(5, 0, {0, 5}), (1, 3, {3, 4, 5, 6}), (2, 3, {4, 6})])
def test_alphas_rest_between_their_steps(every: int, first: int, due: set[int]) -> None:
    method = toy(
        first_order(has_aux=True),
        costs=lambda probabilities: {"size": probabilities.sum()},
        weight_steps_per_alpha_step=every,
        alphas_from_step=first,
    )
    before, expected = start(method), ByHand()
    for i, (state, metrics) in enumerate(run(method, start(method), steps=7)):
        if i in due:
            found = {"size": expected.a.sum()} | expected.update_alphas(i, TRAIN[i], VALID[i], second_order=False)
        else:
            found = dict.fromkeys(("size", "valid_loss", "alpha_gradient_norm"), np.nan)
            chex.assert_trees_all_equal((state.alphas, state.alpha_state), (before.alphas, before.alpha_state))
        found |= expected.update_weights(i, TRAIN[i])
        assert_equal((state.weights, state.alphas, metrics), (expected.w, expected.a, found))
        before = state


@pytest.mark.parametrize("keep", [0.9, None])
def test_running_statistics_follow_the_training_batches(keep: float | None) -> None:
    def loss(weights: Any, mixture: Any, batch: Any, *rest: Any) -> tuple[Array, dict[str, Any]]:
        return train_loss(weights, mixture, batch, *rest)[0], {"moments": {"mean": batch.mean(), "var": batch.var()}}

    method = toy(first_order(has_aux=True), running_momentum=keep)
    running = {"mean": np.zeros(()), "var": np.ones(())}
    steps = run(method, start(method, statistics=jax.tree.map(jnp.array, running)), 3, weight_loss=loss)
    for i, (state, _) in enumerate(steps):
        if keep is None:
            assert state.statistics is None
        else:
            moments = {"mean": TRAIN[i].mean(), "var": TRAIN[i].var()}
            running = {name: keep * running[name] + (1 - keep) * moments[name] for name in running}
            assert_equal(state.statistics, running)


def noisy_train_loss(weights: Any, mixture: Any, batch: Any, key: Array, scalars: Any) -> tuple[Array, dict[str, Any]]:
    return train_loss(weights, mixture, batch + jax.random.uniform(key, batch.shape), key, scalars)


@pytest.mark.quick
def test_many_steps_are_the_steps_one_by_one() -> None:
    method = toy(unrolled(has_aux=True))
    one_by_one = run(method, start(method), 4, noisy_train_loss)
    step, traces = search_step(method, noisy_train_loss, valid_loss), []

    def indexed(state: SearchState, data: Any, train: Array, valid: Array) -> Step:
        traces.append(None)
        return step(state, data["train"][train], data["valid"][valid])

    data, order = {"train": jnp.asarray(TRAIN), "valid": jnp.asarray(VALID)}, jnp.arange(5)
    many = jax.jit(many_steps(indexed, most=5), donate_argnums=0)
    for count in (0, 1, 3, 4):
        state, metrics = many(start(method), data, (order, order), count)
        expected = one_by_one[count - 1][0] if count else start(method)
        assert_equal(dataclasses.replace(state, key=None), dataclasses.replace(expected, key=None))
        for name, series in metrics.items():
            assert_equal(series[:count], np.array([found[name] for _, found in one_by_one[:count]]))
        if count == 0:
            traces_of_one_program = len(traces)
    assert len(traces) == traces_of_one_program

    # Stopped and continued, the search is bit by bit the same.
    resumed, _ = many(start(method), data, (order, order), 3)
    resumed, _ = many(resumed, data, (order + 3, order + 3), 1)
    assert_same_bits(resumed, state)


def test_two_compilations_give_the_same_bits() -> None:
    method = toy(unrolled(has_aux=True))
    (first, _), (second, _) = (run(method, start(method), 3, noisy_train_loss)[-1] for _ in range(2))
    assert_same_bits(first, second)


@pytest.mark.quick
def test_every_draw_has_a_key_of_its_own() -> None:
    """What a step gives to losses and relaxation is the key of its purpose; no two purposes or steps share one."""

    def relax(alphas: Any, key: Array, scalars: Any, phase: str) -> tuple[Any, Any]:
        return {"alphas": alphas, "drawn": jax.random.uniform(key)}, alphas

    def drawing(loss: Any) -> Any:
        def wrapped(weights: Any, mixture: Any, batch: Any, key: Array, scalars: Any) -> tuple[Array, dict[str, Any]]:
            metrics = {"own": jax.random.uniform(key), "relaxed": mixture["drawn"]}
            return loss(weights, mixture["alphas"], batch, key, scalars)[0], {"metrics": metrics}

        return wrapped

    method = dataclasses.replace(toy(first_order(has_aux=True)), relax=relax)
    step = jax.jit(search_step(method, drawing(train_loss), drawing(valid_loss)))
    state, drawn = start(method), []
    purposes = {
        "train_own": bilevel.WEIGHT_STEP,
        "train_relaxed": bilevel.RELAX_FOR_WEIGHTS,
        "valid_own": bilevel.ALPHA_STEP,
        "valid_relaxed": bilevel.RELAX_FOR_ALPHAS,
    }
    for i in range(3):
        state, metrics = step(state, TRAIN[i], VALID[i])
        for name, purpose in purposes.items():
            assert float(metrics[name]) == float(jax.random.uniform(draw(jax.random.key(5), jnp.asarray(i), purpose)))
            drawn.append(float(metrics[name]))
    assert len(set(drawn)) == 12

    every = itertools.product(range(20), range(6))
    keys = [tuple(jax.random.key_data(draw(jax.random.key(5), jnp.asarray(i), purpose)).tolist()) for i, purpose in every]
    assert len(set(keys)) == 120

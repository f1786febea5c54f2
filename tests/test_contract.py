"""A stub of every kind of method and space through the one compiled step, each against values computed by hand in NumPy.

Two edges of four operations: operation ``o`` of edge ``e`` multiplies its feature by its weight, the supernet adds up what the
mixture lets through, and the loss is the mean squared error: with coefficients ``mixture * weights`` its gradient is one line.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Any, Literal

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax import Array

from jaxnas import bilevel, optimizers
from jaxnas.bilevel import Loss, Method, SearchState, draw, initial_state, many_steps, search_step
from jaxnas.hypergradients import first_order
from jaxnas.relaxations import initial_alphas, softmax
from jaxnas.spaces import CellSpace, darts_family

EDGES, OPERATIONS = 2, 4
RATE, ALPHA_RATE = 0.1, 0.5
KEY = 7
Step = tuple[SearchState, dict[str, Array]]


pytestmark = pytest.mark.usefixtures("float64")


def random_problem(steps: int = 3) -> tuple[np.ndarray, np.ndarray, list[tuple[Any, Any]]]:
    """Weights, alphas and for each step a training and a validation batch."""
    rng = np.random.default_rng(3)

    def batch() -> dict[str, np.ndarray]:
        return {"features": rng.normal(size=(5, EDGES, OPERATIONS)), "targets": rng.normal(size=5)}

    weights, alphas = rng.normal(size=(2, EDGES, OPERATIONS))
    return weights, alphas, [(batch(), batch()) for _ in range(steps)]


def simple_method(relax: Any, **changes: Any) -> Method:
    """First order, gradient descent at both levels."""
    method = Method(
        relax=relax,
        hypergradient=first_order(has_aux=True),
        weight_optimizer=optax.sgd(RATE),
        alpha_optimizer=optax.sgd(ALPHA_RATE),
        virtual_update=lambda state: (optax.sgd(RATE), state),
    )
    return dataclasses.replace(method, **changes)


def start(method: Method, weights: Any, alphas: Any, **others: Any) -> SearchState:
    parts = jax.tree.map(jnp.array, {"weights": weights, "alphas": alphas, **others})
    return initial_state(method, jax.random.key(KEY), **parts)


def assert_equal(actual: Any, expected: Any) -> None:
    chex.assert_trees_all_close(actual, expected, rtol=1e-12, atol=1e-14)


def run(method: Method, weight_loss: Loss, alpha_loss: Loss, state: SearchState, batches: list[tuple[Any, Any]]) -> list[Step]:
    """State and metrics after each step; the same steps in one dispatch must come to the same."""
    step = search_step(method, weight_loss, alpha_loss)
    one = jax.jit(step, donate_argnums=0)
    many = jax.jit(many_steps(lambda state, _, *batch: step(state, *batch), most=len(batches)), donate_argnums=0)
    copied = functools.partial(jax.tree.map, jnp.copy)
    stacked = jax.tree.map(lambda *b: np.stack(b), *batches)
    at_once, series = many(copied(state), None, stacked, len(batches))
    state, found = copied(state), []
    for batch in batches:
        state, metrics = one(state, *batch)
        found.append((copied(state), metrics))
    assert_equal(dataclasses.replace(at_once, key=None), dataclasses.replace(state, key=None))
    assert_equal(series, jax.tree.map(lambda *m: np.stack(m), *[metrics for _, metrics in found]))
    return found


def dense_error(weights: Any, mixture: Any, batch: Any, key: Array, scalars: Any) -> tuple[Array, dict[str, Any]]:
    predictions = jnp.einsum("neo,eo->n", batch["features"], mixture * weights)
    return jnp.mean((predictions - batch["targets"]) ** 2), {}


def sampled_error(weights: Any, mixture: Any, batch: Any, key: Array, scalars: Any) -> tuple[Array, dict[str, Any]]:
    """Looks only at the operations in ``mixture["index"]``, int ``[edges, k]``."""
    chosen = jnp.take_along_axis(weights["operations"], mixture["index"], axis=1)
    features = jnp.take_along_axis(batch["features"], mixture["index"][None], axis=2)
    predictions = jnp.einsum("nek,ek->n", features, mixture["gate"] * chosen) + weights["bias"]
    return jnp.mean((predictions - batch["targets"]) ** 2), {}


def error_by_hand(batch: Any, coefficients: np.ndarray, bias: float = 0.0) -> tuple[float, np.ndarray, float]:
    """The error and its derivatives in coefficients and bias."""
    residual = np.tensordot(batch["features"], coefficients, 2) + bias - batch["targets"]
    slope = 2 * np.tensordot(residual, batch["features"], 1) / len(residual)
    return float(np.mean(residual**2)), slope, 2 * float(residual.mean())


def softmax_by_hand(x: np.ndarray) -> np.ndarray:
    powers = np.exp(x)
    return powers / powers.sum(-1, keepdims=True)


def softmax_pullback(p: np.ndarray, slope: np.ndarray) -> np.ndarray:
    return p * (slope - (p * slope).sum(-1, keepdims=True))


def dense(alphas: Any, key: Array, scalars: Any, phase: str) -> tuple[Any, Any]:
    probabilities = jax.nn.softmax(alphas)
    return probabilities, probabilities


@pytest.mark.quick
@pytest.mark.parametrize("order", ["alphas_first", "weights_first"])
def test_dense_mixture_in_both_orders(order: Literal["alphas_first", "weights_first"]) -> None:
    def smoothed_error(weights: Any, mixture: Any, batch: Any, *rest: Any) -> Any:
        return dense_error(weights, mixture, {**batch, "targets": 0.9 * batch["targets"]}, *rest)

    w, a, batches = random_problem()
    method = simple_method(dense, order=order)
    steps = run(method, smoothed_error, dense_error, start(method, w, a), batches)
    for (train, valid), (state, metrics) in zip(batches, steps, strict=True):
        expected = {}
        for level in sorted(("alphas", "weights"), reverse=order == "weights_first"):
            p = softmax_by_hand(a)
            if level == "alphas":
                expected["valid_loss"], slope, _ = error_by_hand(valid, p * w)
                gradient = softmax_pullback(p, w * slope)
                a = a - ALPHA_RATE * gradient
                expected["alpha_gradient_norm"] = np.sqrt((gradient**2).sum())
            else:
                expected["train_loss"], slope, _ = error_by_hand({**train, "targets": 0.9 * train["targets"]}, p * w)
                w = w - RATE * p * slope
                expected["weight_gradient_norm"] = np.sqrt(((p * slope) ** 2).sum())
        assert_equal((state.weights, state.alphas, metrics), (w, a, expected))
    assert int(steps[-1][0].step) == 3


def test_dense_mixture_with_weights_of_edges() -> None:
    def relax(alphas: Any, key: Array, scalars: Any, phase: str) -> tuple[Any, Any]:
        mixture = {"operations": jax.nn.softmax(alphas["operations"]), "edges": jax.nn.softmax(alphas["edges"])}
        return mixture, mixture

    def loss(weights: Any, mixture: Any, *rest: Any) -> Any:
        return dense_error(weights, mixture["operations"] * mixture["edges"][:, None], *rest)

    w, a, batches = random_problem()
    b = np.array([0.3, -0.4])
    method = simple_method(relax)
    steps = run(method, loss, loss, start(method, w, {"operations": a, "edges": b}), batches)
    for (train, valid), (state, _) in zip(batches, steps, strict=True):
        p, q = softmax_by_hand(a), softmax_by_hand(b)
        _, slope, _ = error_by_hand(valid, p * q[:, None] * w)
        a = a - ALPHA_RATE * softmax_pullback(p, q[:, None] * w * slope)
        b = b - ALPHA_RATE * softmax_pullback(q, (p * w * slope).sum(1))
        coefficient = softmax_by_hand(a) * softmax_by_hand(b)[:, None]
        w = w - RATE * coefficient * error_by_hand(train, coefficient * w)[1]
        assert_equal((state.weights, state.alphas), (w, {"operations": a, "edges": b}))


def test_one_sampled_index_per_edge() -> None:
    """GDAS: the arg max of a Gumbel softmax at a temperature, straight-through, another sample for each of the two updates."""

    def relax(alphas: Any, key: Array, scalars: Any, phase: str) -> tuple[Any, Any]:
        noisy = jax.nn.log_softmax(alphas) + jax.random.gumbel(key, alphas.shape)
        soft = jax.nn.softmax(noisy / scalars["temperature"])
        index = soft.argmax(-1, keepdims=True)
        chosen = jnp.take_along_axis(soft, index, -1)
        return {"index": index, "gate": 1 - jax.lax.stop_gradient(chosen) + chosen}, soft

    def sample_by_hand(alphas: np.ndarray, step: int, purpose: int) -> tuple[np.ndarray, np.ndarray, float]:
        temperature = 10 - 3 * step
        gumbel = np.asarray(jax.random.gumbel(draw(jax.random.key(KEY), jnp.asarray(step), purpose), alphas.shape))
        soft = softmax_by_hand((np.log(softmax_by_hand(alphas)) + gumbel) / temperature)
        return np.eye(OPERATIONS)[soft.argmax(-1)], soft, temperature

    w, a, batches = random_problem()
    method = simple_method(relax, scalars=lambda step: {"temperature": 10.0 - 3.0 * step}, order="weights_first")
    bias, other_sample = 0.2, False
    steps = run(method, sampled_error, sampled_error, start(method, {"operations": w, "bias": bias}, a), batches)
    for i, ((train, valid), (state, _)) in enumerate(zip(batches, steps, strict=True)):
        for_weights, _, _ = sample_by_hand(a, i, bilevel.RELAX_FOR_WEIGHTS)
        _, slope, bias_slope = error_by_hand(train, for_weights * w, bias)
        w, bias = w - RATE * for_weights * slope, bias - RATE * bias_slope
        one_hot, soft, temperature = sample_by_hand(a, i, bilevel.RELAX_FOR_ALPHAS)
        _, slope, _ = error_by_hand(valid, one_hot * w, bias)
        # The rows of a softmax's pullback add up to 0: what log_softmax would subtract vanishes.
        a = a - ALPHA_RATE * softmax_pullback(soft, one_hot * w * slope) / temperature
        assert_equal((state.weights, state.alphas), ({"operations": w, "bias": bias}, a))
        other_sample |= bool((for_weights != one_hot).any())
    assert other_sample


@pytest.mark.quick
def test_two_gates_rescaling_and_masked_weights() -> None:
    """ProxylessNAS: one path for the weights, of which alone they move; two for the alphas, rescaled after Adam (b1 = 0)."""
    rate, momentum, decay, b2 = 0.1, 0.9, 0.2, 0.999

    def sample(alphas: Array, key: Array, k: int) -> Array:
        """``k`` operations of each edge without replacement from the softmax, by the Gumbel top k."""
        return jax.lax.top_k(alphas + jax.random.gumbel(key, alphas.shape), k)[1]

    def relax(alphas: Any, key: Array, scalars: Any, phase: str) -> tuple[Any, Any]:
        probabilities = jax.nn.softmax(alphas)
        if phase == "weights":
            index = sample(alphas, key, 1)
            return {"index": index, "gate": jnp.ones(index.shape)}, probabilities
        index = sample(alphas, key, 2)
        pair = jax.nn.softmax(jnp.take_along_axis(alphas, index, 1))
        return {"index": index, "gate": jnp.array([1.0, 0.0]) - jax.lax.stop_gradient(pair) + pair}, probabilities

    def rescale(before: Any, after: Any, mixture: Any) -> Any:
        rows, pair = jnp.arange(EDGES)[:, None], mixture["index"]
        drift = jax.nn.logsumexp(after[rows, pair], axis=1) - jax.nn.logsumexp(before[rows, pair], axis=1)
        return after.at[rows, pair].add(-drift[:, None])

    def mask(mixture: Any, weights: Any) -> Any:
        return {"operations": jax.nn.one_hot(mixture["index"][:, 0], OPERATIONS), "bias": True}

    w, a, batches = random_problem(steps=6)
    method = simple_method(
        relax,
        weight_optimizer=optimizers.clipped(1e6, optimizers.sgd(lambda count: rate / (1 + count), momentum, decay)),
        alpha_optimizer=optimizers.adam(rate, b1=0.0, b2=b2, weight_decay=0.0),
        weight_mask=mask,
        after_update=rescale,
    )
    bias, stopped = 0.2, False
    last = start(method, {"operations": w, "bias": bias}, a)
    steps = run(method, sampled_error, sampled_error, last, batches)
    buffer, bias_buffer, second_moment = np.zeros_like(w), 0.0, np.zeros_like(a)
    for i, ((train, valid), (state, _)) in enumerate(zip(batches, steps, strict=True)):
        key = jax.random.key(KEY)
        pair = np.asarray(sample(jnp.asarray(a), draw(key, jnp.asarray(i), bilevel.RELAX_FOR_ALPHAS), 2))
        both = np.arange(EDGES)[:, None], pair
        active, gradient = np.eye(OPERATIONS)[pair[:, 0]], np.zeros_like(a)
        _, slope, _ = error_by_hand(valid, active * w, bias)
        gradient[both] = softmax_pullback(softmax_by_hand(a[both]), (w * slope)[both])
        second_moment = b2 * second_moment + (1 - b2) * gradient**2
        moved = a - rate * gradient / (np.sqrt(second_moment / (1 - b2 ** (i + 1))) + 1e-8)
        moved[both] += np.log(np.exp(a[both]).sum(1) / np.exp(moved[both]).sum(1))[:, None]

        rest = np.ones_like(a, bool)
        rest[both] = False
        np.testing.assert_array_equal(state.alphas[rest], last.alphas[rest])
        np.testing.assert_allclose(softmax_by_hand(state.alphas)[rest], softmax_by_hand(last.alphas)[rest], rtol=1e-14)
        assert (state.alphas[~rest] != last.alphas[~rest]).all()
        assert_equal(state.alphas, moved)
        a = moved

        path = np.asarray(sample(jnp.asarray(a), draw(key, jnp.asarray(i), bilevel.RELAX_FOR_WEIGHTS), 1))
        chosen = np.eye(OPERATIONS)[path[:, 0]]
        _, slope, bias_slope = error_by_hand(train, chosen * w, bias)
        stopped |= bool((buffer[chosen == 0] != 0).any())  # momentum that would move an operation out of its turn
        buffer = np.where(chosen == 1, momentum * buffer + slope + decay * w, buffer)
        bias_buffer = momentum * bias_buffer + bias_slope + decay * bias
        w, bias = np.where(chosen == 1, w - rate / (1 + i) * buffer, w), bias - rate / (1 + i) * bias_buffer
        _, momenta, schedule = state.weight_state[1]
        assert_equal(state.weights, {"operations": w, "bias": bias})
        assert_equal(momenta.trace, {"operations": buffer, "bias": bias_buffer})
        assert int(schedule.count) == i + 1
        for new, old in ((state.weights, last.weights), (momenta.trace, last.weight_state[1][1].trace)):
            np.testing.assert_array_equal(new["operations"][chosen == 0], old["operations"][chosen == 0])
        last = state
    assert stopped


def test_stage_change() -> None:
    """P-DARTS: the weakest operation of each edge goes, alphas begin anew, weights and their momentum are kept."""
    everything = ("skip_connect", "max_pool_3x3", "sep_conv_3x3", "dil_conv_3x3")

    def build(space: CellSpace) -> tuple[Method, Loss]:
        columns = np.array([[everything.index(name) for name in names] for names in space.cell("normal").operations])

        def loss(weights: Any, mixture: Any, *rest: Any) -> Any:
            spread = jnp.zeros((EDGES, OPERATIONS)).at[jnp.arange(EDGES)[:, None], columns].set(mixture["normal"])
            return dense_error(weights, spread, *rest)

        return simple_method(softmax(space), weight_optimizer=optimizers.sgd(RATE, 0.9, 0.0)), loss

    def restage(state: SearchState, key: Array) -> tuple[CellSpace, SearchState]:
        strongest = np.sort(np.argsort(np.asarray(state.alphas["normal"]))[:, 1:])
        kept = tuple(tuple(everything[column] for column in row) for row in strongest)
        space = darts_family("second stage", kept, nodes=1)
        alphas = initial_alphas(space, key, scale=1.0)
        state = dataclasses.replace(state, alphas=alphas, alpha_state=build(space)[0].alpha_optimizer.init(alphas))
        return space, state

    def by_hand(w: Any, buffer: Any, a: Any, present: np.ndarray, batches: list[tuple[Any, Any]]) -> tuple[Any, Any, Any]:
        """With alphas of minus infinity for what is gone."""
        for train, valid in batches:
            p = softmax_by_hand(np.where(present, a, -np.inf))
            a = a - ALPHA_RATE * softmax_pullback(p, w * error_by_hand(valid, p * w)[1])
            p = softmax_by_hand(np.where(present, a, -np.inf))
            buffer = 0.9 * buffer + p * error_by_hand(train, p * w)[1]
            w = w - RATE * buffer
        return w, buffer, a

    w, a, batches = random_problem(steps=4)
    method, loss = build(darts_family("first stage", everything, nodes=1))
    first, _ = run(method, loss, loss, start(method, w, {"normal": a, "reduce": a}), batches[:2])[-1]
    w, buffer, a = by_hand(w, np.zeros_like(w), a, np.ones_like(a, bool), batches[:2])
    assert_equal((first.weights, first.alphas["normal"]), (w, a))

    present = a != a.min(1, keepdims=True)
    space, state = restage(first, jax.random.key(1))
    for names, row in zip(space.cell("normal").operations, present, strict=True):
        assert names == tuple(name for name, kept in zip(everything, row, strict=True) if kept)
    a = np.zeros_like(a)
    a[present] = np.ravel(state.alphas["normal"])
    method, loss = build(space)
    second, _ = run(method, loss, loss, state, batches[2:])[-1]
    w, buffer, a = by_hand(w, buffer, a, present, batches[2:])
    assert_equal((second.weights, second.weight_state[1].trace), (w, buffer))
    assert_equal(np.ravel(second.alphas["normal"]), a[present])
    assert int(second.step) == 4


def test_recurrent_cell_carries_each_stream() -> None:
    """``h = c x + u h`` with c mixed, through two time steps; what is carried in has no gradient."""

    def loss(weights: Any, mixture: Any, batch: Any, key: Array, scalars: Any) -> tuple[Array, dict[str, Any]]:
        hidden = batch["carry"]
        for x in batch["inputs"]:
            hidden = mixture @ weights["inputs"] * x + weights["hidden"] * hidden
        return jnp.mean(hidden**2), {"carry": hidden}

    def by_hand(c: Any, u: float, hidden: np.ndarray, inputs: np.ndarray) -> tuple[np.ndarray, float, float]:
        """The last hidden state and the loss's derivatives in c and u, back through time."""
        states = [hidden]
        for x in inputs:
            states.append(c * x + u * states[-1])
        back, slope_c, slope_u = 2 * states[-1] / len(hidden), 0.0, 0.0
        for x, earlier in zip(inputs[::-1], states[-2::-1], strict=True):
            slope_c, slope_u, back = slope_c + float(back @ x), slope_u + float(back @ earlier), u * back
        return states[-1], slope_c, slope_u

    rng = np.random.default_rng(5)
    w, u, a = rng.normal(size=3), 0.7, rng.normal(size=3)
    hidden = {"train": rng.normal(size=4), "valid": rng.normal(size=4)}
    batches = [({"inputs": rng.normal(size=(2, 4))}, {"inputs": rng.normal(size=(2, 4))}) for _ in range(3)]
    method = simple_method(dense)
    steps = run(method, loss, loss, start(method, {"inputs": w, "hidden": u}, a, carry=hidden), batches)
    for (train, valid), (state, _) in zip(batches, steps, strict=True):
        p = softmax_by_hand(a)
        valid_hidden, slope_c, _ = by_hand(p @ w, u, hidden["valid"], valid["inputs"])
        a = a - ALPHA_RATE * softmax_pullback(p, slope_c * w)
        p = softmax_by_hand(a)
        train_hidden, slope_c, slope_u = by_hand(p @ w, u, hidden["train"], train["inputs"])
        w, u = w - RATE * slope_c * p, u - RATE * slope_u
        hidden = {"train": train_hidden, "valid": valid_hidden}
        assert_equal((state.weights, state.alphas, state.carry), ({"inputs": w, "hidden": u}, a, hidden))


def test_multiplicative_objective_and_a_dual() -> None:
    """``CE a (log E / log ref)^b`` (ProxylessNAS's mul#log) plus a constraint on E whose multiplier climbs within the step."""
    latency, reference, factor, power, ascent = np.array([[5.0, 20.0, 9.0, 40.0]] * EDGES), 12.0, 0.2, 0.3, 0.25

    def objective(task_loss: Array, costs: Any, duals: Any) -> Array:
        ratio = jnp.log(costs["latency"]) / np.log(reference)
        return task_loss * factor * ratio**power + duals["latency"] * (costs["latency"] / reference - 1)

    w, a, batches = random_problem()
    method = simple_method(
        dense,
        costs=lambda probabilities: {"latency": jnp.sum(probabilities * latency)},
        objective=objective,
        update_duals=lambda duals, costs: {
            "latency": jnp.maximum(0.0, duals["latency"] + ascent * (costs["latency"] / reference - 1))
        },
    )
    dual = 0.1
    steps = run(method, dense_error, dense_error, start(method, w, a, duals={"latency": dual}), batches)
    for (train, valid), (state, metrics) in zip(batches, steps, strict=True):
        p = softmax_by_hand(a)
        expected = (p * latency).sum()
        error, slope, _ = error_by_hand(valid, p * w)
        ratio = np.log(expected) / np.log(reference)
        value = error * factor * ratio**power + dual * (expected / reference - 1)
        in_latency = error * factor * power * ratio ** (power - 1) / (expected * np.log(reference)) + dual / reference
        a = a - ALPHA_RATE * softmax_pullback(p, factor * ratio**power * w * slope + in_latency * latency)
        dual = max(0.0, dual + ascent * (expected / reference - 1))
        p = softmax_by_hand(a)
        w = w - RATE * p * error_by_hand(train, p * w)[1]
        assert_equal((state.weights, state.alphas, state.duals["latency"]), (w, a, dual))
        assert_equal((metrics["valid_loss"], metrics["latency"]), (value, expected))
    assert dual > 0.1

"""Expected costs and their gradients against closed forms, and the dual variable on problems whose answer is known."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxnas import relaxations
from jaxnas.bilevel import Method, initial_state, search_step
from jaxnas.estimators import ESTIMATORS, start
from jaxnas.hypergradients import first_order
from jaxnas.latency import terms
from jaxnas.latency.terms import Cost
from jaxnas.optimizers import adam
from jaxnas.recipe import SearchRecipe
from jaxnas.spaces import Space, darts_family, nb201_family

pytestmark = pytest.mark.usefixtures("float64")

UNEVEN = nb201_family(
    "uneven", (("none", "skip_connect", "nor_conv_3x3"), ("skip_connect", "nor_conv_1x1"), ("none",)), nodes=2
)
CELLS = darts_family("cells", ("none", "skip_connect", "sep_conv_3x3"), nodes=2)


def costs_of(space: Space, seed: int = 0) -> Cost:
    rng = np.random.default_rng(seed)
    numbers = {
        kind: np.where(np.array(cell.present), rng.uniform(1, 9, np.shape(cell.present)), 0) for kind, cell in space.cells
    }
    return Cost("latency", "ms", numbers, fixed=1.5)


def alphas_of(space: Space, seed: int = 1) -> dict[str, jax.Array]:
    rng = np.random.default_rng(seed)
    return {kind: jnp.asarray(rng.normal(size=np.shape(cell.present))) for kind, cell in space.cells}


def softmax(x: np.ndarray) -> np.ndarray:
    powers = np.exp(x - x.max())
    return powers / powers.sum()


@pytest.mark.parametrize("estimator", ["softmax", "gdas", "proxyless", "sdarts_rs", "setn", "reinforce"])
def test_expected_latency_is_its_closed_form_where_the_probabilities_are_a_softmax(estimator: Any) -> None:
    """``E = sum_j p_j lat_j``, ``dE / d alpha_i = sum_j p_j (delta_ij - p_i) lat_j``."""
    recipe = SearchRecipe(space="nb201", cells=1, estimator=estimator)
    method, cost = ESTIMATORS[estimator].build(recipe, UNEVEN, 5), costs_of(UNEVEN)
    scalars = method.get("scalars", lambda step: {})(jnp.array(0))
    of = terms.expected(UNEVEN, cost)
    alphas = alphas_of(UNEVEN)
    found, gradient = jax.value_and_grad(lambda a: of(method["relax"](a, jax.random.key(2), scalars, "alphas")[1]))(alphas)
    expected, slopes = cost.fixed, np.zeros((3, 3))
    for e, names in enumerate(UNEVEN.cell("cell").operations):
        p, lat = softmax(np.asarray(alphas["cell"])[e, : len(names)]), cost.candidates["cell"][e, : len(names)]
        expected += p @ lat
        slopes[e, : len(names)] = [sum(p[j] * ((i == j) - p[i]) * lat[j] for j in range(len(p))) for i in range(len(p))]
    np.testing.assert_allclose(found, expected, rtol=1e-14)
    np.testing.assert_allclose(gradient["cell"], slopes, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("estimator", ["snas", "pc_darts", "drnas", "proxyless"])
def test_gradients_are_exact_for_every_other_estimators_probabilities(estimator: Any) -> None:
    """Against central differences of the expectation at the same draw."""
    extra: dict[str, Any] = {"gates": "two"} if estimator == "proxyless" else {}
    recipe = SearchRecipe(estimator=estimator, share=4 if estimator == "pc_darts" else 1, **extra)
    method, of = ESTIMATORS[estimator].build(recipe, CELLS, 5), terms.expected(CELLS, costs_of(CELLS))
    scalars = method.get("scalars", lambda step: {})(jnp.array(0))
    alphas = {**start(recipe, CELLS, jax.random.key(0)), **alphas_of(CELLS)}

    def value(alphas: Any) -> Any:
        return of(method["relax"](alphas, jax.random.key(2), scalars, "alphas")[1])

    gradient = jax.grad(value)(alphas)
    for kind, row, column in (("normal", 0, 1), ("normal", 4, 2), ("reduce", 2, 0)):
        step = 1e-5 * (jnp.arange(3) == column) * (jnp.arange(5) == row)[:, None]
        difference = (value({**alphas, kind: alphas[kind] + step}) - value({**alphas, kind: alphas[kind] - step})) / 2e-5
        np.testing.assert_allclose(gradient[kind][row, column], difference, rtol=1e-6, atol=1e-9)


def test_cells_of_darts_count_the_edges_that_are_kept_and_never_none() -> None:
    """The mean over the architectures of the space in which a node keeps each pair of its edges alike."""
    cost, alphas = costs_of(CELLS), alphas_of(CELLS)
    probabilities = relaxations.softmax(CELLS)(alphas, jax.random.key(0), {}, "alphas")[1]
    expected = cost.fixed
    for kind, cell in CELLS.cells:
        for node in range(cell.nodes):
            rows = cell.incoming(node)
            pairs = [(a, b) for a in rows for b in rows if a < b]
            for pair in pairs:
                for row in pair:
                    q = softmax(np.asarray(alphas[kind])[row, 1:])
                    expected += q @ cost.candidates[kind][row, 1:] / len(pairs)
    np.testing.assert_allclose(terms.expected(CELLS, cost)(probabilities), expected, rtol=1e-13)


def test_each_form() -> None:
    space = nb201_family("one edge", ("none", "skip_connect"), nodes=1)
    cost, size = (
        Cost("latency", "ms", {"cell": np.array([[8.0, 16.0]])}),
        Cost("parameters", "", {"cell": np.array([[2.0, 4.0]])}),
    )
    found = {"latency": jnp.array(12.0), "parameters": jnp.array(3.0)}

    def value(*chosen: terms.Term) -> float:
        return float(terms.fields(space, chosen)["objective"](jnp.array(1.7), found, terms.initial_duals(chosen)))

    assert value(terms.additive(cost, 8.0, 0.1)) == pytest.approx(1.7 + 0.1 * (12 - 8) / 8)
    assert value(terms.fbnet(cost, 0.2, 0.6)) == pytest.approx(1.7 * 0.2 * np.log(12.0) ** 0.6)
    assert value(terms.fbnet(cost, 0.2, 0.6, 1000.0)) == pytest.approx(1.7 * 0.2 * np.log(12e3) ** 0.6)
    assert value(terms.multiplicative(cost, 8.0)) == pytest.approx(1.7 * 0.2 * (np.log(12) / np.log(8)) ** 0.3)
    assert value(terms.weighted(cost, 0.01)) == pytest.approx(1.7 + 0.12)
    # The violation, 0.5, counts as 0.1 in the multiplier.
    assert value(terms.held(cost, 8.0, damping=2.0)) == pytest.approx(1.7 + 0.2 * 0.5)
    # What multiplies comes first, in whichever order they are given.
    both = 1.7 * 0.2 * np.log(12.0) ** 0.6 + 0.01 * 3
    assert value(terms.weighted(size, 0.01), terms.fbnet(cost)) == value(terms.fbnet(cost), terms.weighted(size, 0.01))
    assert value(terms.weighted(size, 0.01), terms.fbnet(cost)) == pytest.approx(both)


@pytest.mark.parametrize("target", [2.0, 3.5, 9.0])
def test_the_dual_solves_a_convex_problem(target: float) -> None:
    """Least squares under a linear constraint, ``min |x - y|^2 / 2 so that c x <= T``: ``x = y - m c / T``, by Kuhn and Tucker.

    The multiplier of the relative violation is ``m = T max(0, c y - T) / c c``.
    """
    wanted, prices = np.array([3.0, 1.0, 2.0]), np.array([1.0, 2.0, 1.0])
    cost = Cost("latency", "ms", {"cell": prices[None]})
    term = terms.held(cost, target)
    space = nb201_family("one edge", ("none", "skip_connect", "nor_conv_1x1"), nodes=1)
    method = Method(
        relax=lambda alphas, key, scalars, phase: (alphas, alphas),
        hypergradient=first_order(has_aux=True),
        weight_optimizer=optax.sgd(0.0),
        alpha_optimizer=optax.sgd(0.05),
        virtual_update=lambda state: (optax.sgd(0.0), state),
        **terms.fields(space, [term]),
    )

    def loss(weights: Any, mixture: Any, batch: Any, key: Any, scalars: Any) -> tuple[jax.Array, dict[str, Any]]:
        return weights * 0 + ((mixture["cell"][0] - wanted) ** 2).sum() / 2, {}

    state = initial_state(
        method, jax.random.key(0), jnp.ones(()), {"cell": jnp.zeros((1, 3))}, duals=terms.initial_duals([term])
    )
    step = search_step(method, loss, loss)
    state = jax.jit(lambda state: jax.lax.fori_loop(0, 6000, lambda _, state: step(state, {}, {})[0], state))(state)
    multiplier = target * max(0.0, prices @ wanted - target) / (prices @ prices)
    np.testing.assert_allclose(state.alphas["cell"][0], wanted - multiplier * prices / target, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(state.duals["latency"]["multiplier"], multiplier, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("share", [0.35, 0.55, 0.8])
def test_the_dual_meets_its_target_through_a_softmax_and_adam(share: float) -> None:
    """The alphas' optimizer of DARTS, noise in the task's gradient, targets far below where the search begins."""
    rng = np.random.default_rng(0)
    cost = Cost("latency", "ms", {"cell": np.tile([0.0, 0.0, 1.0, 9.0, 0.1], (6, 1))}, fixed=3.0)
    space = nb201_family("whole")
    of, slopes = terms.expected(space, cost), jnp.asarray(rng.normal(size=(6, 5)) * 0.1 - np.array([0, 0, 0.05, 0.15, 0]))
    optimizer, target = adam(3e-3, 0.5, 0.999, 1e-3), share * float(of({"cell": jnp.full((6, 5), 0.2)}))
    term = terms.held(cost, target)

    def move(i: Any, carry: Any) -> Any:
        alphas, state, duals = carry
        noisy = slopes + 0.1 * jax.random.normal(jax.random.fold_in(jax.random.key(0), i), slopes.shape)

        def objective(alphas: Any) -> Any:
            p = jax.nn.softmax(alphas)
            return term.value((p * noisy).sum(), of({"cell": p}), duals)

        updates, state = optimizer.update(jax.grad(objective)(alphas), state, alphas)
        return optax.apply_updates(alphas, updates), state, term.update_duals(duals, of({"cell": jax.nn.softmax(alphas)}))

    begin = jnp.zeros((6, 5))
    carry = (begin, optimizer.init(begin), terms.initial_duals([term])["latency"])
    alphas, _, duals = jax.jit(lambda carry: jax.lax.fori_loop(0, 2000, move, carry))(carry)
    assert float(of({"cell": jax.nn.softmax(alphas)})) == pytest.approx(target, rel=0.05)
    assert float(duals["multiplier"]) > 0

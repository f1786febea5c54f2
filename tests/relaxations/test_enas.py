"""ENAS's controller on spaces that can be enumerated: what it writes, its gradient, and that it finds a planted best."""

from __future__ import annotations

import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import Array
from jax.flatten_util import ravel_pytree

from jaxnas import methods
from jaxnas.bilevel import initial_state, search_step
from jaxnas.controller import INPUT, OPERATION, read
from jaxnas.derive import derive
from jaxnas.estimators import ESTIMATORS, start
from jaxnas.recipe import SearchRecipe
from jaxnas.relaxations.enas import (
    by_accuracy,
    controller_of,
    decisions_of,
    drawn_paths,
    initial_controller,
    likeliest_path,
    path_of,
)
from jaxnas.spaces import darts_family, fbnet, nb201_family

SPACE = nb201_family("three edges", ("none", "skip_connect", "nor_conv_1x1"), nodes=2)
EVERY = np.array(list(itertools.product(range(3), repeat=3)))
PLANTED = np.eye(3)[[2, 0, 1]]
SMALL_DARTS = darts_family("small", ("none", "skip_connect", "sep_conv_3x3"), nodes=1)


def loss(weights: Any, mixture: Any, batch: Any, key: Array, scalars: Any) -> Any:
    """Its accuracy is the share of the planted candidates."""
    right = (mixture["cell"]["weights"] * PLANTED).sum() / 3
    return 1 - right + (weights**2).sum(), {"metrics": {"accuracy": right}}


def recipe(**changes: Any) -> SearchRecipe:
    values = {"paths": 8, "alpha_learning_rate": 0.03, "alpha_b1": 0.0, "baseline_decay": 0.9, "epochs": 3}
    return SearchRecipe(space="nb201", estimator="enas", **{**values, **changes})


@pytest.fixture(scope="module")
def trajectory() -> list[tuple[Any, dict[str, float]]]:
    """State and metrics after each of 160 steps."""
    method = methods.build(recipe(), SPACE, 1)
    state = initial_state(method, jax.random.key(2), jnp.ones(3), start(recipe(), SPACE, jax.random.key(1)))
    step, found = jax.jit(search_step(method, loss, loss)), []
    for _ in range(160):
        state, metrics = step(state, {}, {})
        found.append((state, {name: float(value) for name, value in metrics.items()}))
    return found


def test_it_finds_the_planted_best_of_27(trajectory: list[Any]) -> None:
    np.testing.assert_array_equal(likeliest_path(SPACE, trajectory[-1][0].alphas)["cell"], PLANTED)
    # Random paths are right by a third, and less than one of 27 is right in all.
    assert np.mean([metrics["valid_accuracy"] for _, metrics in trajectory[-20:]]) > 0.9
    assert np.mean([metrics["valid_accuracy"] for _, metrics in trajectory[:20]]) < 0.5


def test_the_baseline_is_the_moving_mean_of_the_rewards(trajectory: list[Any]) -> None:
    mean = weight = 0.0
    for state, metrics in trajectory:
        mean, weight = 0.9 * mean + 0.1 * metrics["valid_reward"], 0.9 * weight + 0.1
        np.testing.assert_allclose(state.alphas["baseline"]["mean"], mean, rtol=1e-4)
        np.testing.assert_allclose(state.alphas["baseline"]["weight"], weight, rtol=1e-4)


@pytest.mark.slow
def test_the_gradient_is_that_of_accuracy_and_entropy_within_three_standard_errors() -> None:
    controller, decisions, entropy_weight, samples = controller_of(SPACE), decisions_of(SPACE), 0.2, 30_000
    flat, unravel = ravel_pytree(initial_controller(SPACE, jax.random.key(0))["controller"])
    flat = flat + 0.5 * jax.random.normal(jax.random.key(1), flat.shape)
    rewards = (np.eye(3)[EVERY] * PLANTED).sum((1, 2)) / 3
    directions = np.random.default_rng(0).standard_normal((8, len(flat)))

    def logs(flat: Array) -> Array:
        return jax.lax.map(
            lambda choices: read(controller, decisions, unravel(flat), choices).log_probability, jnp.asarray(EVERY)
        )

    @jax.jit
    def exact(flat: Array) -> Array:
        def objective(flat: Array) -> Array:
            each = logs(flat)
            return -(jnp.exp(each) * (rewards - entropy_weight * each)).sum()

        return jax.grad(objective)(flat)

    def of_one(flat: Array, choices: Array) -> Array:
        def objective(flat: Array) -> Array:
            written = read(controller, decisions, unravel(flat), choices)
            mixture = {
                "paths": jax.tree.map(lambda part: part[None], path_of(SPACE, choices)),
                "log_probability": written.log_probability[None],
                "entropy": written.entropy[None],
                "baseline": {"mean": jnp.float32(0.2), "weight": jnp.float32(0.5)},  # A baseline of 0.4.
            }
            return by_accuracy(loss, entropy_weight)(jnp.zeros(3), mixture, {}, jax.random.key(0), {})[0]

        return jax.grad(objective)(flat)

    each = np.asarray(jax.jit(lambda flat: jax.lax.map(lambda choices: of_one(flat, choices), jnp.asarray(EVERY)))(flat))
    probabilities = np.exp(np.asarray(jax.jit(logs)(flat), np.float64))
    assert probabilities.sum() == pytest.approx(1, abs=1e-5)
    paths, written = jax.jit(lambda keys: drawn_paths(SPACE, {"controller": unravel(flat)}, keys))(
        jax.random.split(jax.random.key(2), samples)
    )
    np.testing.assert_array_equal(np.asarray(paths["cell"]["active"]).argmax(-1), np.asarray(written.choices))
    drawn = (np.asarray(written.choices) @ np.array([9, 3, 1])).astype(np.int64)
    counts = np.bincount(drawn, minlength=27)
    assert ((counts - samples * probabilities) ** 2 / (samples * probabilities)).sum() < 54.1  # 0.1 % point of 26 degrees.
    truth, estimates = directions @ np.asarray(exact(flat), np.float64), (each.astype(np.float64) @ directions.T)[drawn]
    error = estimates.std(0, ddof=1) / np.sqrt(samples)
    assert (np.abs(estimates.mean(0) - truth) < 3 * error).all()
    assert (np.abs(truth) > 3 * error).any()


def test_a_cell_of_darts_has_two_inputs_a_node_and_no_none() -> None:
    """All 64 pairs of cells with one node: two inputs in either order, each with one of two operations."""
    decisions, alphas = decisions_of(SMALL_DARTS), initial_controller(SMALL_DARTS, jax.random.key(0))
    cells = [(a, 1 - a, p, q) for a in (0, 1) for p in (1, 2) for q in (1, 2)]
    every = jnp.array([(0, 0, *normal, 0, 0, 0, *reduce, 0) for normal in cells for reduce in cells])
    log_probability = jax.jit(
        lambda every: jax.lax.map(
            lambda choices: read(controller_of(SMALL_DARTS), decisions, alphas["controller"], choices).log_probability, every
        )
    )(every)
    assert np.exp(np.asarray(log_probability, np.float64)).sum() == pytest.approx(1, abs=1e-5)
    for choices in np.asarray(every)[[0, 9, 37, 63]]:
        path = path_of(SMALL_DARTS, jnp.asarray(choices))
        genotype = derive(SMALL_DARTS, {kind: part["weights"] for kind, part in path.items()})
        for cell, at in ((genotype.normal, 2), (genotype.reduce, 9)):  # pyright: ignore[reportAttributeAccessIssue]
            names = {
                int(choices[at + slot]): SMALL_DARTS.cell("normal").operations[0][int(choices[at + 2 + slot])]
                for slot in (0, 1)
            }
            assert {source: name for name, source in cell} == names


def test_larger_cells_choose_among_all_that_is_before() -> None:
    space = darts_family("three nodes", ("none", "max_pool_3x3", "sep_conv_3x3", "dil_conv_3x3"), nodes=3)
    decisions = decisions_of(space)
    assert decisions.inputs[decisions.kinds == INPUT].sum(1).tolist() == [2, 2, 3, 3, 4, 4] * 2
    operations = decisions.operations[decisions.kinds == OPERATION]
    assert not operations[:, :, 0].any() and operations[-1].sum() == 4 * 3
    # ENAS adds its bonus in the first cell alone, to convolutions, and takes it from the others.
    bonus = decisions.bonus[decisions.kinds == OPERATION]
    assert bonus[0].tolist() == [-1, -1, 1, 1] and not bonus[6:].any()
    alphas = initial_controller(space, jax.random.key(0))
    paths, _ = drawn_paths(space, alphas, jax.random.split(jax.random.key(1), 20))
    for kind, cell in space.cells:
        active = np.asarray(paths[kind]["active"])
        assert not active[:, :, 0].any()
        for node in range(3):
            edges = active[:, cell.incoming(node)]
            assert (edges.any(-1).sum(-1) == 2).all() and (edges.sum((-1, -2)) == 2).all()


def test_a_chain_has_a_choice_for_each_block() -> None:
    decisions = decisions_of(fbnet())
    assert (decisions.kinds == OPERATION).all() and len(decisions.kinds) == 22
    assert ESTIMATORS["enas"].selects

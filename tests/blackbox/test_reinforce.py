"""The policy gradient against exact enumeration; both policies are distributions over what there is to choose."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

from jaxnas.blackbox import AskTell, Policy, independent, lstm, policy_loss, reinforce
from jaxnas.errors import UserError

CARDINALITY = (2, 3)
EVERY = jnp.array([[i, j] for i in range(2) for j in range(3)])
VALUES = jnp.array([3.0, -1.0, 0.5, 2.0, 7.0, 1.0])
POLICIES = pytest.mark.parametrize("policy", [independent(CARDINALITY), lstm(CARDINALITY)], ids=["independent", "lstm"])


def shifted(policy: Policy) -> tuple[jax.Array, Callable[[jax.Array], Any]]:
    """Parameters far from uniform, flat, and what makes them a pytree again."""
    flat, unravel = ravel_pytree(policy.init(jax.random.key(0)))
    return flat + 0.3 * jax.random.normal(jax.random.key(1), flat.shape), unravel


@POLICIES
def test_the_gradient_is_that_of_the_expected_value_within_three_standard_errors(policy: Policy) -> None:
    flat, unravel = shifted(policy)
    baseline, samples = 1.5, 40_000

    @jax.jit
    def exact(flat: jax.Array) -> jax.Array:
        def expectation(flat: jax.Array) -> jax.Array:
            logs = jax.vmap(lambda choices: policy.log_probability(unravel(flat), choices))(EVERY)
            return (jnp.exp(logs) * VALUES).sum()

        return -jax.grad(expectation)(flat)

    # What is drawn decides the gradient, so that each architecture's is computed once.
    @jax.jit
    def of_each(flat: jax.Array) -> jax.Array:
        return jax.vmap(
            lambda choices, value: jax.grad(lambda flat: policy_loss(policy, unravel(flat), choices, value - baseline))(flat)
        )(EVERY, VALUES)

    keys = jax.random.split(jax.random.key(2), samples)
    drawn = np.asarray(jax.jit(jax.vmap(lambda key: policy.draw(unravel(flat), key)))(keys) @ jnp.array([3, 1]))
    # In a few random directions: of thousands of coordinates some would be beyond three errors.
    directions = np.random.default_rng(0).standard_normal((8, len(flat)))
    truth = directions @ np.asarray(exact(flat), np.float64)
    estimates = (np.asarray(of_each(flat), np.float64) @ directions.T)[drawn]
    error = estimates.std(0, ddof=1) / np.sqrt(samples)
    assert (np.abs(estimates.mean(0) - truth) < 3 * error).all()
    assert (np.abs(truth) > 3 * error).any()  # So that a gradient of nothing would be noticed.


@POLICIES
def test_probabilities_are_of_what_is_drawn(policy: Policy) -> None:
    flat, unravel = shifted(policy)
    parameters = unravel(flat)
    probabilities = np.asarray(
        jnp.exp(jax.vmap(lambda choices: policy.log_probability(parameters, choices))(EVERY)), np.float64
    )
    assert probabilities.sum() == pytest.approx(1, abs=1e-5)
    drawn = jax.jit(jax.vmap(lambda key: policy.draw(parameters, key)))(jax.random.split(jax.random.key(3), 8000))
    counts = np.bincount(np.asarray(drawn @ jnp.array([3, 1])), minlength=6)
    assert ((counts - 8000 * probabilities) ** 2 / (8000 * probabilities)).sum() < 20.5  # The 0.1 % point of 5 degrees.


def test_an_answer_is_one_step_of_adam_from_the_mean_of_those_before() -> None:
    """Two answers by hand: the first teaches nothing, Adam's next step is as long as its rate, whatever the advantage."""
    searcher = reinforce(independent([2]), rate=0.1)
    state = searcher.init(jax.random.key(0))
    start = np.asarray(state["parameters"])
    state, question = searcher.ask(state, jax.random.key(1))
    state = searcher.tell(state, question, jnp.float32(40.0))
    np.testing.assert_array_equal(np.asarray(state["parameters"]), start)
    state = searcher.tell(state, question, jnp.float32(60.0))  # Better than 40: what was chosen becomes more probable.
    moved = np.asarray(state["parameters"] - start)[0]
    chosen = int(question.choices[0])
    # Moments of a gradient g after one of 0: 0.1 g / 0.19 and 0.001 g^2 / 0.001999, so the step is 0.1 * 0.5263 / 0.7073.
    assert moved[chosen] == pytest.approx(0.1 * (0.1 / 0.19) / np.sqrt(0.001 / 0.001999), rel=1e-4)
    assert moved[1 - chosen] == pytest.approx(-moved[chosen], rel=1e-4)


def test_it_finds_the_planted_best_of_27() -> None:
    search = AskTell(reinforce(independent([3, 3, 3]), rate=0.1), seed=0)
    for _ in range(150):
        trial = search.ask()
        assert trial is not None
        search.tell(trial, float(np.sum(np.array(trial.choices) == (2, 0, 1))))
    last = [search.ask() for _ in range(20)]
    assert sum(trial is not None and trial.choices == (2, 0, 1) for trial in last) >= 15


def test_a_rate_that_is_none_is_refused() -> None:
    with pytest.raises(UserError, match="rate is 0"):
        reinforce(independent([2]), 0)

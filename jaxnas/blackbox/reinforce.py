"""REINFORCE (Williams, 1992): a policy draws architectures, and what was good becomes more probable."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array

from jaxnas.blackbox.searcher import Question, Searcher, State, at_least, checked, present
from jaxnas.controller import ZOPH_AND_LE, drawn, initial, operations_only, read
from jaxnas.errors import UserError

Parameters = Any
INDEPENDENT_RATE, LSTM_RATE = 0.01, 0.0035
"""Of Adam: for a categorical a choice, as NATS-Bench's scripts have it, and for a controller, as ENAS's."""
BASELINE_DECAY = 0.9
"""Of NAS-Bench-201's baseline REINFORCE: how much of the running mean of the values an answer leaves."""


@dataclass(frozen=True)
class Policy:
    """A distribution over architectures.

    Attributes:
      cardinality: how many choices each position has.
      init: ``init(key) -> parameters``.
      draw: ``draw(parameters, key) -> choices [positions]`` int32.
      log_probability: ``log_probability(parameters, choices) -> []``, differentiable in the parameters.
    """

    cardinality: tuple[int, ...]
    init: Callable[[Array], Parameters]
    draw: Callable[[Parameters, Array], Array]
    log_probability: Callable[[Parameters, Array], Array]


def independent(cardinality: Sequence[int]) -> Policy:
    """A categorical for each position, as in NAS-Bench-201's baseline: its logits begin at 0.001 times a normal number.

    Raises:
      UserError: nothing to choose.

    >>> policy = independent([2, 2])
    >>> round(float(policy.log_probability(jnp.zeros((2, 2)), jnp.array([0, 1]))), 4)
    -1.3863
    """
    numbers = checked(cardinality)
    there_is = present(numbers)

    def masked(parameters: Array) -> Array:
        return jnp.where(there_is, parameters, -jnp.inf)

    def init(key: Array) -> Array:
        return 1e-3 * jax.random.normal(key, there_is.shape)

    def draw(parameters: Array, key: Array) -> Array:
        return jax.random.categorical(key, masked(parameters)).astype(jnp.int32)

    def log_probability(parameters: Array, choices: Array) -> Array:
        return jnp.take_along_axis(jax.nn.log_softmax(masked(parameters)), choices[:, None], 1).sum()

    return Policy(numbers, init, draw, log_probability)


def lstm(cardinality: Sequence[int]) -> Policy:
    """Zoph and Le's controller (2017), ``jaxnas.controller.ZOPH_AND_LE``: a position's choice is the next one's input.

    Raises:
      UserError: nothing to choose.

    >>> policy = lstm([2, 3])
    >>> parameters = policy.init(jax.random.key(0))
    >>> each = [policy.log_probability(parameters, jnp.array([i, j])) for i in range(2) for j in range(3)]
    >>> round(float(jnp.exp(jnp.array(each)).sum()), 4)
    1.0
    """
    numbers = checked(cardinality)
    decisions = operations_only(np.asarray(present(numbers)))
    return Policy(
        numbers,
        lambda key: initial(ZOPH_AND_LE, decisions, key),
        lambda parameters, key: drawn(ZOPH_AND_LE, decisions, parameters, key).choices,
        lambda parameters, choices: read(ZOPH_AND_LE, decisions, parameters, choices).log_probability,
    )


def reinforce(policy: Policy, rate: float, budget: int = 0) -> Searcher:
    """One architecture a query, drawn from the policy; one step of Adam an answer.

    The gradient is ``-(value - baseline) d log probability`` (:func:`policy_loss`). The baseline is the running mean of the
    values *before* the answer, as in Zoph and Le, so the gradient is unbiased; NAS-Bench-201's code counts the answer in, which
    makes the gradient smaller by nearly a tenth, and Adam takes no notice of a factor.

    Args:
      rate: of Adam. NAS-Bench-201's script takes 0.5 for CIFAR-10, NATS-Bench's 0.01, Zoph and Le 0.0006 for thousands of
        queries.
      budget: the number of the budget at which all are trained.

    Raises:
      UserError: a rate that is not positive.

    >>> searcher = reinforce(independent([5] * 6), rate=0.1)
    >>> searcher.init(jax.random.key(0))["parameters"].shape
    (6, 5)
    """
    if not 0 < rate < float("inf"):
        raise UserError(f"The rate is {rate}; it must be a positive number.")
    at_least(budget, 0, "the budget's number")
    adam = optax.adam(rate)

    def init(key: Array) -> State:
        parameters = policy.init(key)
        return {"parameters": parameters, "adam": adam.init(parameters), "mean": jnp.zeros(()), "weight": jnp.zeros(())}

    def ask(state: State, key: Array) -> tuple[State, Question]:
        return state, Question(policy.draw(state["parameters"], key), jnp.int32(budget))

    def tell(state: State, question: Question, value: Array) -> State:
        # The mean is of what there is: before the first answer of nothing, so that this one teaches nothing.
        baseline = jnp.where(state["weight"] > 0, state["mean"] / jnp.maximum(state["weight"], 1e-12), value)
        gradient = jax.grad(policy_loss, 1)(policy, state["parameters"], question.choices, value - baseline)
        updates, moments = adam.update(gradient, state["adam"])
        return {
            "parameters": optax.apply_updates(state["parameters"], updates),
            "adam": moments,
            "mean": BASELINE_DECAY * state["mean"] + (1 - BASELINE_DECAY) * value,
            "weight": BASELINE_DECAY * state["weight"] + (1 - BASELINE_DECAY),
        }

    return Searcher(policy.cardinality, init, ask, tell)


def policy_loss(policy: Policy, parameters: Parameters, choices: Array, advantage: Array) -> Array:
    """What has the gradient of REINFORCE: on average minus that of the expected value.

    >>> float(policy_loss(independent([2]), jnp.zeros((1, 2)), jnp.array([0]), jnp.float32(0.0)))
    0.0
    """
    return -advantage * policy.log_probability(parameters, choices)

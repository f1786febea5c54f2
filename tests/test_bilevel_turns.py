"""A step whose two updates are turns of one piece of program, against the same step with a piece of program for each."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxnas import relaxations
from jaxnas.bilevel import Method, initial_state, search_step
from jaxnas.hypergradients import first_order
from jaxnas.losses import cross_entropy
from jaxnas.nets import Shape, supernet
from jaxnas.optimizers import adam
from jaxnas.relaxations import initial_alphas
from jaxnas.spaces import nb201_family

pytestmark = pytest.mark.usefixtures("float64")
BATCH, STEPS = 4, 3
SPACE = nb201_family("one convolution", ("none", "skip_connect", "sep_conv_3x3"), nodes=3)
NETWORK = supernet(SPACE, Shape(channels=2, cells=1, classes=3, image_size=8))
# Whatever the two updates can have of their own: draws, costs, duals, running averages, alphas that rest.
METHOD = Method(
    relax=relaxations.softmax(SPACE),
    hypergradient=first_order(has_aux=True),
    plain_gradient=True,
    weight_optimizer=optax.sgd(0.1, 0.9),
    alpha_optimizer=adam(0.05, 0.5, 0.999, 1e-3),
    virtual_update=lambda state: (optax.sgd(0.1), state),
    scalars=lambda step: {"temperature": 2.0 - 0.5 * step},
    costs=lambda probabilities: {"skips": probabilities["cell"][:, 1].sum()},
    objective=lambda task_loss, costs, duals: task_loss * (1 + costs["skips"]) + duals * costs["skips"],
    regulariser=lambda alphas: 1e-2 * (alphas["cell"] ** 2).sum(),
    update_duals=lambda duals, costs: duals + 0.1 * costs["skips"],
    running_momentum=0.9,
)


def batches(step: int) -> list[dict[str, Any]]:
    rng = np.random.default_rng(step)
    return [
        {"images": jnp.asarray(rng.normal(size=(BATCH, 8, 8, 3))), "labels": jnp.asarray(rng.integers(3, size=BATCH))}
        for _ in range(2)
    ]


def searched(method: Method) -> tuple[list[Any], int]:
    """The state and the metrics after each step, and the lines of the program."""
    weights, statistics = NETWORK.init(jax.random.key(0))
    alphas = initial_alphas(SPACE, jax.random.key(1), 0.5)
    weights, statistics, alphas = jax.tree.map(lambda a: a.astype(jnp.float64), (weights, statistics, alphas))
    state = initial_state(method, jax.random.key(2), weights, alphas, statistics, duals=jnp.asarray(0.3))
    loss, found = cross_entropy(NETWORK), []
    lowered = jax.jit(search_step(method, loss, loss)).lower(state, *batches(0))
    step = lowered.compile()
    for i in range(STEPS):
        state, metrics = step(state, *batches(i))
        found.append((dataclasses.replace(state, key=jax.random.key_data(state.key)), metrics))
    return found, lowered.as_text().count("\n")


@pytest.mark.parametrize(
    "own",
    [
        pytest.param({"alphas_from_step": 1}, id="all candidates, alphas first, from the second step on"),
        pytest.param(
            {
                "relax": relaxations.hard_gumbel(SPACE),
                "order": "weights_first",
                "weight_steps_per_alpha_step": 2,
                "running_momentum": None,
            },
            id="one sampled candidate, weights first, alphas every second step",
        ),
    ],
)
def test_turns_are_the_two_updates(own: dict[str, Any]) -> None:
    method = dataclasses.replace(METHOD, **own)
    in_turns, short = searched(method)
    apart, long = searched(dataclasses.replace(method, plain_gradient=False))
    for (state, metrics), (state_apart, metrics_apart) in zip(in_turns, apart, strict=True):
        assert metrics.keys() == metrics_apart.keys()
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12), (state, metrics), (state_apart, metrics_apart)
        )
    assert short < 0.75 * long


def test_updates_of_other_forms_stay_apart() -> None:
    """ProxylessNAS probes candidates in the alphas' update alone: the program is the same with and without the field."""
    loss = cross_entropy(NETWORK)
    weights, statistics = NETWORK.init(jax.random.key(0))
    method = dataclasses.replace(METHOD, relax=relaxations.binary_gates(SPACE, "full_v2"), running_momentum=None)
    state = initial_state(
        method, jax.random.key(2), weights, initial_alphas(SPACE, jax.random.key(1)), statistics, jnp.zeros(())
    )
    programs = {
        jax.jit(search_step(dataclasses.replace(method, plain_gradient=plain), loss, loss)).lower(state, *batches(0)).as_text()
        for plain in (True, False)
    }
    assert len(programs) == 1

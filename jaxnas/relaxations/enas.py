"""ENAS: paths written by an LSTM, which learns from their accuracies with shared weights (Pham et al., 2018)."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array, lax

from jaxnas.controller import INPUT, OPERATION, STATE, Controller, Decisions, drawn, initial, likeliest, operations_only
from jaxnas.relaxations.relaxation import Alphas, Mixture, Phase, Relax
from jaxnas.spaces import NONE, CellSpace, Space

ENAS_MICRO = Controller(
    size=64,
    layers=1,
    temperature=1.0,
    tanh_constant=1.1,
    operation_tanh_reduce=2.5,
    convolution_bias=10.0,
    convolution_bonus=0.25,
)
"""Of ENAS's search of cells (src/cifar10/main.py, micro_controller.py, scripts/cifar10_micro_search.sh)."""

EPSILON = 1e-3
"""Of the controller's Adam (ENAS, src/utils.py): with advantages of a few hundredths it makes the steps shorter."""


def controller_of(space: Space) -> Controller:
    """ENAS's own where inputs are chosen, which are DARTS's cells; else that of NAS-Bench-201."""
    return ENAS_MICRO if space.family == "darts" else Controller()


def decisions_of(space: Space) -> Decisions:
    """What the controller decides: the operation of every edge or block; of DARTS's cells, as in ENAS's micro space, of each
    node two inputs, then their operations, first in the normal cell, then in the reduction cell.

    Of a DARTS cell ``none`` is never chosen, as it is never derived.

    >>> from jaxnas.spaces import darts, nb201
    >>> len(decisions_of(nb201()).kinds), len(decisions_of(darts()).kinds)
    (6, 44)
    """
    if not isinstance(space, CellSpace) or space.family != "darts":
        return operations_only(np.array(space.cells[0][1].present))
    states, width = space.cells[0][1].inputs + space.cells[0][1].nodes, space.cells[0][1].columns
    steps: list[tuple[int, int, int, Any, Any, float]] = []
    nothing, nowhere = np.zeros((states, width), bool), np.zeros(states, bool)
    convolutions = np.array(["conv" in name for name in space.cells[0][1].operations[0]])
    for number, (_, cell) in enumerate(space.cells):
        steps += [(STATE, state, 0, nowhere, nothing, 0.0) for state in range(cell.inputs)]
        for node in range(cell.nodes):
            target, allowed = cell.inputs + node, nothing.copy()
            for row in cell.incoming(node):
                names = cell.operations[row]
                allowed[cell.edges[row][0], : len(names)] = [name != NONE for name in names]
            before = np.arange(states) < target
            steps += [(INPUT, 0, slot, before, nothing, 0.0) for slot in (0, 1)]
            steps += [(OPERATION, 0, slot, nowhere, allowed, float(number == 0)) for slot in (0, 1)]
            steps += [(STATE, target, 0, nowhere, nothing, 0.0)]
    kinds, of_state, slots, inputs, operations, biased = (np.array(column) for column in zip(*steps, strict=True))
    bonus = biased[:, None] * np.where(convolutions, 1.0, -1.0)
    return Decisions(kinds, of_state, slots, inputs, operations, bonus, convolutions)


def path_of(space: Space, choices: Array) -> Mixture:
    """The mixture in which what was decided runs alone, with weights of 1.

    Args:
      choices: int ``[T]``, of :func:`decisions_of`.

    >>> from jaxnas.spaces import nb201_family
    >>> space = nb201_family("one edge", ("none", "skip_connect"), nodes=1)
    >>> path_of(space, jnp.array([1]))["cell"]["active"]
    Array([[False,  True]], dtype=bool)
    """
    mixture, at = {}, 0
    for kind, cell in space.cells:
        shape = len(cell.edges), cell.columns
        if not isinstance(space, CellSpace) or space.family != "darts":
            active = jax.nn.one_hot(choices, cell.columns, dtype=bool)
        else:
            active = jnp.zeros(shape, bool)
            at += space.cell(kind).inputs
            for node in range(space.cell(kind).nodes):
                rows = jnp.array(space.cell(kind).incoming(node))  # By source, from 0.
                active = active.at[rows[choices[at : at + 2]], choices[at + 2 : at + 4]].set(True)
                at += 5
        mixture[kind] = {"weights": active.astype(float), "active": active}
    return mixture


def initial_controller(space: Space, key: Array, scale: float = 1e-3) -> Alphas:
    """The alphas of ENAS: the controller's parameters, and the moving mean of the rewards with its weight.

    The start has its own bound; ``scale`` is not read.
    """
    controller = initial(controller_of(space), decisions_of(space), key)
    return {"controller": controller, "baseline": {"mean": jnp.zeros(()), "weight": jnp.zeros(())}}


def likeliest_path(space: Space, alphas: Alphas) -> dict[str, Array]:
    """By kind of cell ``[edges, columns]``, one-hot: the likeliest choice at every step, for logs and derivation."""
    choices = likeliest(controller_of(space), decisions_of(space), alphas["controller"]).choices
    return {kind: part["weights"] for kind, part in path_of(space, choices).items()}


def drawn_paths(space: Space, alphas: Alphas, keys: Array) -> tuple[Mixture, Any]:
    """Paths ``[keys, ...]`` that the controller draws, and what it wrote, with its log-probability and entropy."""
    controller, decisions = controller_of(space), decisions_of(space)
    # One after the other: XLA:CPU compiles small matrix products side by side for long.
    written = lax.map(lambda key: drawn(controller, decisions, alphas["controller"], key), keys)
    return jax.vmap(lambda choices: path_of(space, choices))(written.choices), written


def written_paths(space: Space, samples: int) -> Relax:
    """One path for the weights' update; ``samples`` for the controller's, with what :func:`by_accuracy` needs.

    The probabilities are the mean of the paths; there is no gradient in them.
    """

    def relax(alphas: Alphas, key: Array, scalars: dict[str, Array], phase: Phase) -> tuple[Mixture, Any]:
        paths, written = drawn_paths(space, alphas, jax.random.split(key, 1 if phase == "weights" else samples))
        probabilities = {kind: part["weights"].mean(0) for kind, part in paths.items()}
        if phase == "weights":
            return jax.tree.map(lambda part: part[0], paths), probabilities
        score = {"log_probability": written.log_probability, "entropy": written.entropy}
        return {"paths": paths, **score, "baseline": alphas["baseline"]}, probabilities

    return relax


def by_accuracy(loss: Any, entropy_weight: float) -> Any:
    """The loss of several paths, one after the other: its value is their mean, its gradient that of REINFORCE.

    A path's reward is its accuracy on the batch, so what the controller makes large is ``E[accuracy] + entropy_weight H``; the
    entropy has its own derivative besides (ENAS's code adds it to the reward alone). The baseline is the moving mean of the
    rewards of former updates, hence the gradient is unbiased; before there is one, the mean of these. That mean is learnt
    beside the controller, from the squared error (:func:`controller_optimizer`).
    """

    def mean(weights: Any, mixture: Any, batch: Any, key: Array, scalars: Any) -> tuple[Array, dict[str, Any]]:
        def one(path: Mixture) -> tuple[Array, Array, dict[str, Any]]:
            task_loss, aux = loss(lax.stop_gradient(weights), path, batch, key, scalars)
            return task_loss, aux["metrics"]["accuracy"], aux["metrics"]

        losses, rewards, metrics = lax.stop_gradient(lax.map(one, mixture["paths"]))
        total, score = rewards + entropy_weight * lax.stop_gradient(mixture["entropy"]), mixture["log_probability"]
        known = mixture["baseline"]
        weight = lax.stop_gradient(known["weight"])
        before = lax.stop_gradient(known["mean"]) / jnp.where(weight > 0, weight, 1.0)
        level = jnp.where(weight > 0, before, total.mean())
        surrogate = -((total - level) * score).mean() - entropy_weight * mixture["entropy"].mean()
        moving = ((known["mean"] - total.mean()) ** 2 + (known["weight"] - 1) ** 2) / 2
        gradient = surrogate + moving
        averages = jax.tree.map(jnp.mean, metrics)
        return losses.mean() + gradient - lax.stop_gradient(gradient), {"metrics": {**averages, "reward": total.mean()}}

    return mean


def controller_optimizer(
    adam: Callable[[float], optax.GradientTransformation], baseline_decay: float
) -> optax.GradientTransformation:
    """Adam for the controller, and plain descent that makes of the baseline a moving mean.

    Args:
      adam: makes it, given its epsilon.
      baseline_decay: how much of the mean an update leaves.
    """
    parts: dict[Hashable, optax.GradientTransformation] = {
        "controller": adam(EPSILON),
        "baseline": optax.sgd(1 - baseline_decay),
    }
    return optax.partition(parts, {"controller": "controller", "baseline": "baseline"})

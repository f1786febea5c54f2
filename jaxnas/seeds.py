"""Seeds as an axis of one program: searches that differ in nothing but their seed, stepped together.

Each has its own state and its own order of the data, and comes to what it comes to alone, but for rounding. From which size on
this is or is not faster: ``benchmarks/results/seeds_axis.json``.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from jaxnas.bilevel import SearchState
from jaxnas.errors import UserError
from jaxnas.feeding import Stage

AXES = SearchState(step=None, key=0, weights=0, alphas=0, weight_state=0, alpha_state=0, statistics=0, duals=0, carry=0)  # pyright: ignore[reportArgumentType]
"""Of a state of several searches: all have done the same number of steps, so what a method does in some steps alone is decided
once, by a condition that stays one. All else has the seeds' axis in front."""


def together(stages: Sequence[Stage]) -> Stage:
    """Stages of searches that differ in their seeds as one stage, whose state and metrics have an axis of seeds in front.

    Args:
      stages: as from :func:`jaxnas.searching.search_stage` for one recipe at several seeds, on one device. They share their
        images: a recipe that draws them by its seed has others for each.

    Returns:
      A stage for :func:`jaxnas.feeding.epochs_of_steps` or :func:`jaxnas.feeding.compile_stage`; :func:`of_seed` takes a search
      out of its state.

    Raises:
      UserError: stages of several devices, of different lengths, or on different images.

    >>> def step(state, data, rows):
    ...     return dataclasses.replace(state, step=state.step + 1, weights=state.weights + data[rows].sum()), {"seen": rows[0]}
    >>> def stage(seed):
    ...     zero, rows = jnp.zeros(()), jnp.array([[seed, 1], [2, 2]])
    ...     state = SearchState(jnp.int32(0), jax.random.key(seed), zero, zero, zero, zero)
    ...     return Stage(step, lambda: state, DATA, lambda epoch: (rows,), 1, 2)
    >>> DATA = jnp.array([1.0, 10.0, 100.0])
    >>> both = together([stage(0), stage(2)])
    >>> state, metrics = both.step(both.start(), DATA, both.indices(0)[0][0])
    >>> state.weights.tolist(), int(state.step), metrics["seen"].tolist(), float(of_seed(state, 1).weights)
    ([11.0, 110.0], 1, [0, 2], 110.0)
    """
    first = stages[0]
    if any(stage.mesh is not None for stage in stages):
        raise UserError("Seeds go together on one device. Search with one, --devices 1, or one seed after the other.")
    if len({(stage.epochs, stage.steps_per_epoch, stage.first_epoch, stage.paced) for stage in stages}) > 1:
        raise UserError("Searches that go together have equally many epochs and steps.")
    same = jax.tree.map(lambda *leaves: all(leaf is leaves[0] for leaf in leaves), *(stage.data for stage in stages))
    if not all(jax.tree.leaves(same)):
        raise UserError("Searches that go together share their images: shares of them are drawn by the seed. Leave them out.")
    step = jax.vmap(first.step, in_axes=(AXES, None, *(0 for _ in first.indices(0))), out_axes=(AXES, 0))

    def start() -> SearchState:
        states = [stage.start() for stage in stages]
        stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *states)
        return dataclasses.replace(stacked, step=states[0].step)

    def indices(epoch: int) -> tuple[Array, ...]:
        return tuple(jnp.stack(rows, axis=1) for rows in zip(*(stage.indices(epoch) for stage in stages), strict=True))

    return dataclasses.replace(first, step=step, start=start, indices=indices)


def of_seed(state: SearchState, at: int) -> SearchState:
    """The state of one of the searches of :func:`together`."""
    others: Any = dataclasses.replace(state, step=None)  # pyright: ignore[reportArgumentType]
    return dataclasses.replace(jax.tree.map(lambda leaf: leaf[at], others), step=state.step)

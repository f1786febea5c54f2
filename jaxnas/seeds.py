"""Seeds as an axis of one program: searches that differ in nothing but their seed, stepped together.

Each has its own state and its own order of the data, and comes to what it comes to alone, but for rounding. From which size on
this is or is not faster: ``benchmarks/results/seeds_axis.json``.
"""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from jaxnas import leaving
from jaxnas.bilevel import SearchState
from jaxnas.compiling import Compiled
from jaxnas.errors import UserError
from jaxnas.feeding import Done, Report, Stage

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
      UserError: stages of several devices, of different lengths, on different images, or on images that stay on disk.

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
    if any(stage.streams for stage in stages):
        raise UserError("Images that are read from disk are of one search: each seed has its own order. Search in turn.")
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


class Apart(Report):
    """Tells the report of each search of :func:`together` what it would be told if it were alone.

    Args:
      overall: is told of all of them, means of their metrics; it has no state to save.
      each: of the searches, in their order. They begin anew: none is resumed together.
    """

    def __init__(self, overall: Report, each: Sequence[Report]) -> None:
        self.overall, self.each = overall, each

    def begin(self, state: SearchState, done: Done) -> tuple[SearchState, Done]:
        for at, report in enumerate(self.each):
            report.begin(of_seed(state, at), done)
        return state, done

    def compiled(self, compiled: Compiled) -> None:
        for report in (self.overall, *self.each):
            report.compiled(compiled)

    def progress(self, epoch: int, epochs: int, step: int, steps: int, metrics: dict[str, Any]) -> None:
        self.overall.progress(epoch, epochs, step, steps, _means(metrics))
        for at, report in enumerate(self.each):
            report.progress(epoch, epochs, step, steps, {name: values[at] for name, values in metrics.items()})

    def epoch(self, epoch: int, epochs: int, metrics: dict[str, Any], state: SearchState, seconds: float) -> None:
        self.overall.epoch(epoch, epochs, _means(metrics), state, seconds)
        for at, report in enumerate(self.each):
            own = {name: values[at] for name, values in metrics.items()}
            report.epoch(epoch, epochs, own, of_seed(state, at), seconds)

    def reached(self, state: SearchState, done: Done) -> None:
        left: leaving.Left | None = None
        for at, report in enumerate(self.each):
            own = {name: [chunk[:, at] for chunk in chunks] for name, chunks in done.metrics.items()}
            try:
                report.reached(of_seed(state, at), dataclasses.replace(done, metrics=own))
            except leaving.Left as one:  # All are saved before the process leaves.
                left = one
        if left is not None:
            raise left


def _means(metrics: dict[str, Any]) -> dict[str, float]:
    return {name: statistics.fmean(values) for name, values in metrics.items()}

"""Epochs of steps: the order of the data, chunks of steps per dispatch, and what is reported of them."""

from __future__ import annotations

import dataclasses
import functools
import math
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.sharding import Mesh

from jaxnas.bilevel import many_steps
from jaxnas.compiling import Compiled, compile_ahead
from jaxnas.errors import UserError
from jaxnas.parallel import local, on_mesh, put, shapes_on
from jaxnas.processes import speaking
from jaxnas.profiling import profile

STEPS_PER_DISPATCH = 20  # Enough that the time outside the compiled program vanishes, few enough that progress is seen.


class NotFinite(UserError):
    """A number that makes all that follows worthless."""


@dataclasses.dataclass(frozen=True)
class Done:
    """How far a stage is.

    Attributes:
      epoch: the epoch that it is in; those before are done.
      step: steps of that epoch that are done.
      metrics: what these reported, by name arrays of numbers, one after the other.
    """

    epoch: int
    step: int = 0
    metrics: Mapping[str, Sequence[np.ndarray]] = dataclasses.field(default_factory=dict)


class Report(Protocol):
    """Where progress goes: to the screen and the log. All methods are called on the host between dispatches."""

    def begin(self, state: Any, done: Done) -> tuple[Any, Done]:
        """First of all: the state to begin with and how far it is, which are those given unless a run is resumed."""
        ...

    def compiled(self, compiled: Compiled) -> None:
        """The step is compiled."""

    def progress(self, epoch: int, epochs: int, step: int, steps: int, metrics: dict[str, float]) -> None:
        """Some steps of an epoch are done; the metrics are means over the epoch so far."""

    def epoch(self, epoch: int, epochs: int, metrics: dict[str, float], state: Any, seconds: float) -> bool | None:
        """An epoch is done, with the state after it, which the next dispatch takes back: copy what is to be kept.

        True ends the stage with it.
        """

    def evaluated(self, compiled: Compiled, seconds: float) -> None:
        """A trained network is judged: the program that did it, and how long that ran."""

    def reached(self, state: Any, done: Done) -> None:
        """Called last between any two dispatches, and after the last one: a place to go on from. Copy what is to be kept."""


def check_batch(batch: int, size: int, what: str) -> None:
    """Refuses a batch that a split cannot fill.

    Raises:
      UserError: the batch is larger than the split.
    """
    if batch > size:
        raise UserError(
            f"A batch of {batch} does not fit the {what}, which has {size} images. Choose a batch of at most {size}."
        )


@functools.partial(jax.jit, static_argnums=(1, 2, 3))
def index_batches(key: Array, size: int, batch: int, steps: int) -> Array:
    """Indices ``[steps, batch]`` of an epoch that goes through a split once, or more often, in random order."""
    passes = -(-steps // (size // batch))
    keys = [key] if passes == 1 else jax.random.split(key, passes)
    rows = [jax.random.permutation(key, size)[: size // batch * batch].reshape(-1, batch) for key in keys]
    return jnp.concatenate(rows)[:steps]


@functools.partial(jax.jit, static_argnums=(1, 2, 3))
def fresh_batches(key: Array, size: int, batch: int, steps: int) -> Array:
    """Indices ``[steps, batch]``: every batch drawn anew from the whole split, without repeats within a batch."""
    return jax.lax.map(lambda k: jax.random.permutation(k, size)[:batch], jax.random.split(key, steps))


@dataclasses.dataclass(frozen=True)
class Stage:
    """Epochs of one step, described and not yet run.

    Attributes:
      step: ``(state, data, *indices of a batch) -> (state, metrics)``.
      start: ``() -> state`` at the first epoch.
      data: host arrays that every step reads, resident on the device while the stage runs.
      indices: epoch -> arrays ``[steps_per_epoch, batch]``.
      epochs, steps_per_epoch: how many.
      first_epoch: with which it begins, where it goes on with another's state; the epochs end before ``epochs`` all the same.
      mesh: the devices that every batch is split over; the step then knows the axis :data:`jaxnas.parallel.AXIS`. State and
        data are whole on each. None for one device.
      paced: the step reads the number of an epoch's steps from the data, so that its program serves any number.
    """

    step: Callable[..., tuple[Any, dict[str, Array]]]
    start: Callable[[], Any]
    data: Any
    indices: Callable[[int], tuple[Array, ...]]
    epochs: int
    steps_per_epoch: int
    first_epoch: int = 0
    mesh: Mesh | None = None
    paced: bool = False

    @property
    def steps_per_dispatch(self) -> int:
        """At most so many steps of an epoch are one call of the compiled program."""
        return STEPS_PER_DISPATCH if self.paced else min(STEPS_PER_DISPATCH, self.steps_per_epoch)


def compile_stage(stage: Stage) -> Compiled:
    """The one program of a stage, ``(state, data, indices of a dispatch, steps) -> (state, metrics)``, the state donated.

    It is compiled for shapes: nothing is computed, and nothing is put on the device.
    """
    most, mesh = stage.steps_per_dispatch, stage.mesh
    state, data = jax.eval_shape(stage.start), jax.eval_shape(lambda data: data, stage.data)
    rows = jax.eval_shape(lambda: stage.indices(0))
    indices = tuple(jax.ShapeDtypeStruct((most, *row.shape[1:]), row.dtype) for row in rows)
    state, data, count = shapes_on(mesh, (state, data, jax.ShapeDtypeStruct((), jnp.int32)))
    program = many_steps(stage.step, most)
    program = program if mesh is None else on_mesh(program, mesh)
    return compile_ahead(program, state, data, shapes_on(mesh, indices, split=True), count, donate=(0,))


def epochs_of_steps(
    stage: Stage,
    report: Report,
    profile_folder: Path | None = None,
    compiled: Compiled | None = None,
    over: Callable[[], bool] = lambda: False,
) -> tuple[Any, Compiled]:
    """Runs a stage; its report is told of everything.

    Args:
      stage: what to run.
      report: what is told.
      profile_folder: gets a profile of a few steps before the first epoch. They are done on a copy of the state, so that the
        stage comes to the same with and without it.
      compiled: the stage's program, where it is compiled already.
      over: asked after every dispatch whether the time is over: the epoch that has begun is then the last, as far as it is.

    Returns:
      The final state and the compiled program's seconds.

    Raises:
      NotFinite: a loss or a gradient that is not; the message names epoch and step.
      Lost: another process of the search is gone.
    """
    mesh = stage.mesh
    state, done = report.begin(stage.start(), Done(stage.first_epoch))
    state, data = put(mesh, state), put(mesh, stage.data)
    epochs, steps_per_epoch, most = stage.epochs, stage.steps_per_epoch, stage.steps_per_dispatch

    def chunk(inputs: tuple[np.ndarray, ...], start: int) -> tuple[Array, ...]:
        # The last chunk of an epoch is filled up with rows that are not run.
        whole = tuple(np.resize(rows[start : start + most], (most, *rows.shape[1:])) for rows in inputs)
        return put(mesh, whole, split=True)

    run = compile_stage(stage) if compiled is None else compiled
    report.compiled(run)
    if profile_folder is not None:
        rows = chunk(tuple(np.asarray(rows) for rows in stage.indices(done.epoch)), 0)

        def trial(steps: int) -> Any:
            return run.call(jax.tree.map(jnp.copy, state), data, rows, put(mesh, np.int32(min(steps, most))))

        profile(trial, profile_folder)
    for epoch in range(done.epoch, epochs):
        start_time = time.perf_counter()
        inputs = tuple(np.asarray(rows) for rows in stage.indices(epoch))
        collected, ended = {name: list(values) for name, values in done.metrics.items()}, False
        for start in range(done.step, steps_per_epoch, most):
            count = min(most, steps_per_epoch - start)
            with speaking():
                state, metrics = run.call(state, data, chunk(inputs, start), put(mesh, np.int32(count)))
                metrics = jax.device_get(metrics)
            for name, values in metrics.items():
                collected.setdefault(name, []).append(values[:count])
            _check_finite(collected, epoch, start)
            report.progress(epoch, epochs, start + count, steps_per_epoch, _means(collected))
            ended = over()
            if ended:
                break
            if start + count < steps_per_epoch:
                report.reached(local(mesh, state), Done(epoch, start + count, collected))
        ends = report.epoch(epoch, epochs, _means(collected), local(mesh, state), time.perf_counter() - start_time)
        done = Done(epoch + 1)
        report.reached(local(mesh, state), done)
        if ends or ended:
            break
    return local(mesh, state), run


def _means(collected: dict[str, list[np.ndarray]]) -> dict[str, float]:
    """Mean over an epoch's steps; NaN marks steps in which the alphas rested."""
    means = {}
    for name, chunks in collected.items():
        values = np.concatenate(chunks).astype(np.float64)
        values = values[~np.isnan(values)]
        means[name] = float(values.mean()) if len(values) else math.nan
    return means


_SPOKEN = {
    "train_loss": "training loss",
    "weight_gradient_norm": "norm of the weights' gradient",
    "valid_loss": "validation loss",
    "alpha_gradient_norm": "norm of the alphas' gradient",
}
_OF_ALPHAS = ("valid_loss", "alpha_gradient_norm")


def _check_finite(collected: Mapping[str, Sequence[np.ndarray]], epoch: int, start: int) -> None:
    """Refuses losses and norms that are not finite. Where the alphas rest, all that is said of their step is NaN."""
    last = {name: collected[name][-1] for name in _SPOKEN if name in collected}
    rests = np.isnan(last.get("valid_loss", 0.0)) & np.isnan(last.get("alpha_gradient_norm", np.nan))
    for name, values in last.items():
        bad = ~np.isfinite(values) & ~(rests & (name in _OF_ALPHAS))
        if bad.any():
            at = int(np.flatnonzero(bad)[0])
            raise NotFinite(
                f"The {_SPOKEN[name]} became {values[at]} in epoch {epoch}, "
                f"step {start + at}. A lower learning rate or a stronger gradient clip may help."
            )

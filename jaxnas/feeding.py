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
from jaxnas.data import Split, Stream
from jaxnas.errors import UserError
from jaxnas.parallel import local, on_mesh, put, put_shares, shapes_on, share_of
from jaxnas.processes import speaking
from jaxnas.profiling import profile

STEPS_PER_DISPATCH = 20  # Enough that the time outside the compiled program vanishes, few enough that progress is seen.
DISPATCH_BYTES = 2**28
"""Of streamed images in one dispatch, in all processes together; as many are read ahead meanwhile."""


class NotFinite(UserError):
    """A number that makes all that follows worthless."""


@dataclasses.dataclass(frozen=True)
class Done:
    """How far a stage is.

    Attributes:
      epoch: the epoch that it is in; those before are done.
      step: steps of that epoch that are done.
      metrics: what these reported, by name arrays of numbers, one after the other.
      positions: of the streams that the next step's images come from, see :attr:`jaxnas.data.Stream.position`.
    """

    epoch: int
    step: int = 0
    metrics: Mapping[str, Sequence[np.ndarray]] = dataclasses.field(default_factory=dict)
    positions: Sequence[dict[str, Any]] = ()


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
      step: ``(state, data, *batch) -> (state, metrics)``; the batch is its indices, or where there are streams for each of them
        its ``images`` and ``labels``. :func:`gathered` is the same for both.
      start: ``() -> state`` at the first epoch.
      data: host arrays that every step reads, resident on the device while the stage runs.
      indices: epoch -> arrays ``[steps_per_epoch, batch]``, one for each of several splits.
      epochs, steps_per_epoch: how many.
      first_epoch: with which it begins, where it goes on with another's state; the epochs end before ``epochs`` all the same.
      mesh: the devices that every batch is split over; the step then knows the axis :data:`jaxnas.parallel.AXIS`. State and
        data are whole on each. None for one device.
      paced: the step reads the number of an epoch's steps from the data, so that its program serves any number.
      streams: the splits that the indices are of, where their images are on disk and each process reads its share of a batch.
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
    streams: tuple[Split, ...] = ()

    @property
    def steps_per_dispatch(self) -> int:
        """At most so many steps of an epoch are one call of the compiled program; fewer where their images come with it."""
        most = STEPS_PER_DISPATCH if self.paced else min(STEPS_PER_DISPATCH, self.steps_per_epoch)
        if not self.streams:
            return most
        batch = jax.eval_shape(lambda: self.indices(0))[0].shape[1]
        bytes_of_step = sum(batch * math.prod(split.images.shape[1:]) for split in self.streams)
        return min(most, max(1, DISPATCH_BYTES // bytes_of_step))


def gathered(rows: Any, data: Mapping[str, Array]) -> tuple[Array, Array]:
    """Images and labels of a batch of a stage: gathered by its indices, unless they were streamed."""
    if isinstance(rows, Mapping):
        return rows["images"], rows["labels"]
    return data["images"][rows], data["labels"][rows]


def compile_stage(stage: Stage) -> Compiled:
    """The one program of a stage, ``(state, data, indices of a dispatch, steps) -> (state, metrics)``, the state donated.

    It is compiled for shapes: nothing is computed, and nothing is put on the device.
    """
    most, mesh = stage.steps_per_dispatch, stage.mesh
    state, data = jax.eval_shape(stage.start), jax.eval_shape(lambda data: data, stage.data)
    rows = jax.eval_shape(lambda: stage.indices(0))
    batches: Any = tuple(jax.ShapeDtypeStruct((most, *row.shape[1:]), row.dtype) for row in rows)
    if stage.streams:
        batches = tuple(_shapes_of(split, row.shape) for split, row in zip(stage.streams, batches, strict=True))
    state, data, count = shapes_on(mesh, (state, data, jax.ShapeDtypeStruct((), jnp.int32)))
    program = many_steps(stage.step, most)
    program = program if mesh is None else on_mesh(program, mesh)
    return compile_ahead(program, state, data, shapes_on(mesh, batches, split=True), count, donate=(0,))


def _shapes_of(split: Split, rows: tuple[int, ...]) -> dict[str, jax.ShapeDtypeStruct]:
    images = jax.ShapeDtypeStruct((*rows, *split.images.shape[1:]), np.uint8)
    return {"images": images, "labels": jax.ShapeDtypeStruct(rows, np.int32)}


class Batches:
    """The batches of an epoch, a chunk of steps at a time: indices, or what streams read by them."""

    def __init__(self, stage: Stage, done: Done) -> None:
        self.stage, self.step = stage, done.step
        self.rows = tuple(np.asarray(rows) for rows in stage.indices(done.epoch))
        self.places = share_of(stage.mesh, self.rows[0].shape[1])
        self.streams: list[Stream] = []
        # A run may go on whose images were in memory before: the step alone says where it is.
        positions = done.positions or [None] * len(stage.streams)
        for split, rows, position in zip(stage.streams, self.rows, positions, strict=False):
            self.streams.append(Stream(split, rows[:, self.places], stage.steps_per_dispatch, position, done.step))

    def take(self, count: int) -> Any:
        """Batches of the next so many steps, on the devices, filled up to a whole dispatch's with some that are not run."""
        mesh, most, start = self.stage.mesh, self.stage.steps_per_dispatch, self.step
        self.step += count
        if not self.streams:
            return put(mesh, tuple(_filled(rows[start : self.step], most) for rows in self.rows), split=True)
        read = [{name: _filled(of, most) for name, of in stream.take(count).items()} for stream in self.streams]
        return put_shares(mesh, tuple(read), self.places, self.rows[0].shape[1])

    @property
    def positions(self) -> tuple[dict[str, Any], ...]:
        """Of the streams, at the next step."""
        return tuple(stream.position for stream in self.streams)

    def __enter__(self) -> Batches:
        return self

    def __exit__(self, *_: object) -> None:
        for stream in self.streams:
            stream.close()


def _filled(rows: np.ndarray, most: int) -> np.ndarray:
    return rows if len(rows) == most else np.resize(rows, (most, *rows.shape[1:]))


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
      Unreadable: an image on disk that is damaged, or gone.
      Lost: another process of the search is gone.
    """
    mesh = stage.mesh
    state, done = report.begin(stage.start(), Done(stage.first_epoch))
    state, data = put(mesh, state), put(mesh, stage.data)
    epochs, steps_per_epoch, most = stage.epochs, stage.steps_per_epoch, stage.steps_per_dispatch

    if done.epoch >= epochs and compiled is None and profile_folder is None:
        return local(mesh, state), Compiled(stage.step, 0.0, 0.0)  # Nothing is left to do: nothing is compiled.
    run = compile_stage(stage) if compiled is None else compiled
    report.compiled(run)
    if profile_folder is not None:
        with Batches(stage, Done(done.epoch)) as batches:
            rows = batches.take(min(most, steps_per_epoch))

        def trial(steps: int) -> Any:
            return run.call(jax.tree.map(jnp.copy, state), data, rows, put(mesh, np.int32(min(steps, most))))

        profile(trial, profile_folder)
    for epoch in range(done.epoch, epochs):
        start_time = time.perf_counter()
        collected, ended = {name: list(values) for name, values in done.metrics.items()}, False
        with Batches(stage, done) as batches:
            for start in range(done.step, steps_per_epoch, most):
                count = min(most, steps_per_epoch - start)
                rows = batches.take(count)
                with speaking():
                    state, metrics = run.call(state, data, rows, put(mesh, np.int32(count)))
                    metrics = jax.device_get(metrics)
                for name, values in metrics.items():
                    collected.setdefault(name, []).append(values[:count])
                _check_finite(collected, epoch, start)
                report.progress(epoch, epochs, start + count, steps_per_epoch, _means(collected))
                ended = over()
                if ended:
                    break
                if start + count < steps_per_epoch:
                    report.reached(local(mesh, state), Done(epoch, start + count, collected, batches.positions))
        ends = report.epoch(epoch, epochs, _means(collected), local(mesh, state), time.perf_counter() - start_time)
        done = Done(epoch + 1)
        report.reached(local(mesh, state), done)
        if ends or ended:
            break
    return local(mesh, state), run


def _means(collected: dict[str, list[np.ndarray]]) -> dict[str, Any]:
    """Mean over an epoch's steps, of each seed where there are several; NaN marks steps in which the alphas rested."""
    return {name: _mean(np.concatenate(chunks).astype(np.float64)) for name, chunks in collected.items()}


def _mean(values: np.ndarray) -> Any:
    if values.ndim > 1:
        return [_mean(of_seed) for of_seed in values.T]
    values = values[~np.isnan(values)]
    return float(values.mean()) if len(values) else math.nan


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
            at = tuple(int(index) for index in np.argwhere(bad)[0])
            of_seeds = f" for search {at[1]} of those that go together" if at[1:] else ""
            raise NotFinite(
                f"The {_SPOKEN[name]} became {values[at]} in epoch {epoch}, "
                f"step {start + at[0]}{of_seeds}. A lower learning rate or a stronger gradient clip may help."
            )

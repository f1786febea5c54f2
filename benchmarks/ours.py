"""Our side of a measurement: the program that a search compiles, on images of noise."""

from __future__ import annotations

import dataclasses
import time
from importlib import metadata
from typing import Any
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.cases import CASES, CLASSES, STEPS_PER_TURN, Case, Order, Precision
from jaxnas import feeding
from jaxnas.compiling import Compiled
from jaxnas.data import Augmentation, Dataset, Split
from jaxnas.recipes import Recipe, find
from jaxnas.searching import search_network, search_stage


def recipe_of(case: Case, order: Order, precision: Precision = "float32", rematerialise: bool = False) -> Recipe:
    """The recipe of a case. Nothing is augmented, as the peer does not."""
    names = {
        ("darts", "first"): "darts-first-order",
        ("darts", "second"): "darts-second-order-exact",
        ("nb201", "first"): "nb201-darts-v1",
        ("nb201", "second"): "nb201-darts-v2",
    }
    recipe = find(names[case.family, order])
    search = dataclasses.replace(
        recipe.search,
        channels=case.channels,
        cells=case.cells,
        batch=case.batch,
        epochs=1,
        hypergradient="first_order" if order == "first" else "unrolled",
        valid_order="shuffled",
        augmentation=Augmentation(),
    )
    saving = {"dtype": precision} if precision != "float32" else {}
    saving |= {"rematerialise": True} if rematerialise else {}
    search = dataclasses.replace(search, **saving)
    return dataclasses.replace(recipe, search=search)


def noise(case: Case) -> Dataset:
    """As many images as an epoch of the measurement has."""
    rng = np.random.default_rng(0)

    def split(images: int) -> Split:
        shape = (images, case.image_size, case.image_size, 3)
        return Split(rng.integers(0, 256, shape, np.uint8), rng.integers(0, CLASSES, images, np.int32))

    half = case.batch * case.epoch_steps
    train, test = split(2 * half), split(CLASSES)
    halves = [Split(train.images[rows], train.labels[rows]) for rows in (slice(half), slice(half, None))]
    return Dataset("noise", CLASSES, halves[0], halves[1], train, test, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25))


class Side:
    """A compiled search, one step at a time.

    Attributes:
      facts: seconds until it could begin, and bytes that its program needs.
    """

    def __init__(self, case: Case, order: Order, precision: Precision, rematerialise: bool, started: float) -> None:
        recipe, dataset = recipe_of(case, order, precision, rematerialise), noise(case)
        self.stage = search_stage(recipe, dataset, search_network(recipe.search, dataset))
        began = time.perf_counter()
        self.state = self.stage.start()
        self.data = jax.tree.map(jnp.asarray, self.stage.data)
        jax.block_until_ready((self.state, self.data))
        start_seconds = time.perf_counter() - began
        self.compiled = feeding.compile_stage(self.stage)
        self.rows = tuple(jnp.asarray(rows[: self.stage.steps_per_dispatch]) for rows in self.stage.indices(0))
        to_first_step = time.time() - started
        first_step = self._dispatch(1)
        memory = self.compiled.call.memory_analysis()  # pyright: ignore[reportFunctionMemberAccess]
        device = jax.devices()[0]
        self.facts = {
            "start_s": start_seconds,
            "trace_s": self.compiled.trace_seconds,
            "compile_s": self.compiled.compile_seconds,
            "from_cache": self.compiled.from_cache,
            "to_first_step_s": to_first_step,
            "first_step_s": first_step,
            "argument_bytes": memory.argument_size_in_bytes,
            "output_bytes": memory.output_size_in_bytes,
            "temporary_bytes": memory.temp_size_in_bytes,
            "alias_bytes": memory.alias_size_in_bytes,
            "memory_bytes": memory.argument_size_in_bytes
            + memory.output_size_in_bytes
            + memory.temp_size_in_bytes
            - memory.alias_size_in_bytes,
            "device": f"{device.platform} {device.device_kind}",
            "jax": jax.__version__,
            "jaxlib": metadata.version("jaxlib"),
        }

    def step(self) -> float:
        """Seconds of one of the steps of a turn, which are one dispatch."""
        return self._dispatch(STEPS_PER_TURN) / STEPS_PER_TURN

    def _dispatch(self, steps: int) -> float:
        began = time.perf_counter()
        self.state, metrics = self.compiled.call(self.state, self.data, self.rows, jnp.asarray(steps, jnp.int32))
        jax.block_until_ready((self.state, metrics))
        return time.perf_counter() - began

    def epoch(self) -> float:
        """Share of an epoch's time that is outside the compiled program: feeding, metrics, reports."""
        inside = 0.0

        def timed(*arguments: Any) -> Any:
            nonlocal inside
            began = time.perf_counter()
            found = jax.block_until_ready(self.compiled.call(*arguments))
            inside += time.perf_counter() - began
            return found

        report = _Report()
        program = dataclasses.replace(self.compiled, call=timed)
        with mock.patch.object(feeding, "compile_stage", lambda stage: program):
            feeding.epochs_of_steps(self.stage, report)
        return 1 - inside / report.seconds


class _Report:
    """Keeps an epoch's seconds."""

    seconds = 0.0

    def begin(self, state: Any, done: feeding.Done) -> tuple[Any, feeding.Done]:
        return state, done

    def compiled(self, compiled: Compiled) -> None:
        pass

    def progress(self, epoch: int, epochs: int, step: int, steps: int, metrics: dict[str, float]) -> None:
        pass

    def epoch(self, epoch: int, epochs: int, metrics: dict[str, float], state: Any, seconds: float) -> None:
        self.seconds = seconds

    def reached(self, state: Any, done: feeding.Done) -> None:
        pass

    def evaluated(self, compiled: Compiled, seconds: float) -> None:
        pass


def open_side(case: str, order: Order, precision: Precision, rematerialise: bool, started: float) -> Side:
    """For :class:`benchmarks.workers.Worker`."""
    return Side(CASES[case], order, precision, rematerialise, started)

"""What is told of a run while it goes: seconds, progress on the screen, the files of each epoch."""

from __future__ import annotations

import dataclasses
import math
import time
from typing import Any

import numpy as np

from jaxnas import leaving, rollback
from jaxnas.bilevel import SearchState
from jaxnas.compiling import Compiled
from jaxnas.console import Console
from jaxnas.estimators import ESTIMATORS
from jaxnas.feeding import Done
from jaxnas.instruments import EarlyStop
from jaxnas.probe import Probe
from jaxnas.run_folder import ALPHAS, GENOTYPE_JSON, GENOTYPE_TEXT, LOG, SUPERNET, TIMING, RunFolder
from jaxnas.saves import Saves
from jaxnas.spaces import Genotype, to_json, to_text
from jaxnas.stages import Part, spread


@dataclasses.dataclass
class Seconds:
    """Wall-clock seconds by stage; trace and compile are of all programs of the run."""

    imports: float = 0.0
    trace: float = 0.0
    compile: float = 0.0
    search: float = 0.0
    train: float = 0.0
    total: float = 0.0

    def add_compilation(self, compiled: Any) -> None:
        self.trace += compiled.trace_seconds
        self.compile += compiled.compile_seconds


class StageReport:
    """Hands one stage's progress to the screen and, where a run is saved, to its files and checkpoints."""

    def __init__(self, stage: str, console: Console, saves: Saves | None) -> None:
        self.stage, self.console, self.saves, self._last = stage, console, saves, False
        self._since = time.perf_counter()  # Seconds from here on are not yet told as spent.
        console.compiling(stage)

    def begin(self, state: Any, done: Done) -> tuple[Any, Done]:
        if self.saves is None:
            return state, done
        state, reached = self.saves.begin(self.stage, state, done)
        if reached is not done:
            self.console.note(f"{self.stage}: resumed after epoch {reached.epoch}, step {reached.step}")
            self.console.compiling(self.stage)
        return state, reached

    def compiled(self, compiled: Compiled) -> None:
        self.console.compiled(self.stage, compiled)
        self._spent_compiling(compiled)
        self._since = time.perf_counter()

    def evaluated(self, compiled: Compiled, seconds: float) -> None:
        self._spent_compiling(compiled)
        if self.saves is not None:
            self.saves.spent("evaluate", seconds, True)

    def _spent_compiling(self, compiled: Compiled) -> None:
        if self.saves is not None:
            self.saves.spent("trace", compiled.trace_seconds, False)
            self.saves.spent("compile", compiled.compile_seconds, True)

    def progress(self, epoch: int, epochs: int, step: int, steps: int, metrics: dict[str, float]) -> None:
        leaving.saves_first(self.saves is not None)  # Until the last epoch is saved, see below.
        self.console.progress(self.stage, epoch, epochs, step, steps, metrics)

    def epoch(self, epoch: int, epochs: int, metrics: dict[str, float], state: Any, seconds: float) -> bool | None:
        if self.saves is not None:
            folder = self.saves.folder
            folder.append(LOG, {"stage": self.stage, "epoch": epoch, **metrics, **self.keep(folder, epoch, state)})
            folder.append(TIMING, {"stage": self.stage, "epoch": epoch, "seconds": round(seconds, 3)})
        self.console.epoch(self.stage, epoch, epochs, metrics, seconds)
        ends = self.ends(epoch)
        self._last = ends or epoch + 1 == epochs
        return ends

    def reached(self, state: Any, done: Done) -> None:
        if self.saves is not None:
            now = time.perf_counter()
            self.saves.spent(self.stage, now - self._since, done.step == 0 or leaving.asked())
            self._since = now
            self.saves.reached(self.stage, state, done)
        if self._last:
            leaving.saves_first(False)

    def keep(self, folder: RunFolder, epoch: int, state: Any) -> dict[str, Any]:
        """Writes what is to outlive the epoch and returns what the log says of it: nothing, by default."""
        return {}

    def ends(self, epoch: int) -> bool:
        """Whether the stage ends with an epoch that is logged, though it has more: by default it does not."""
        return False


class SearchReport(StageReport):
    """Keeps the state of every epoch in place of the one before: whatever ends a run, its last whole epoch is there."""

    def __init__(self, console: Console, saves: Saves | None, part: Part, probe: Probe | None = None) -> None:
        super().__init__(part.name, console, saves)
        self.part, self.probe = part, probe

    def begin(self, state: Any, done: Done) -> tuple[Any, Done]:
        state, reached = super().begin(state, done)
        # Saved, but ended before it was gone back: there is no epoch to do.
        return state, reached if self.call() is None else Done(self.part.end_epoch)

    def ends(self, epoch: int) -> bool:
        """Says so when RobustDARTS's rule calls; True where the recipe acts upon it."""
        if self.saves is None or not self.part.search.instruments_every:
            return False
        found = rollback.called(self.saves.folder, self.part)
        if found is not None and found.seen_at == epoch:
            self.console.note(rollback.told(found, self.part.search))
        return self.call() is not None

    def call(self) -> EarlyStop | None:
        """The call of the rule that ended the stage."""
        return None if self.saves is None else rollback.acts(self.saves.folder, self.part)

    def keep(self, folder: RunFolder, epoch: int, state: SearchState) -> dict[str, Any]:
        """Writes the state and returns what the log says of it: alphas, multipliers, and what is measured."""
        said: dict[str, Any] = {"alphas": self.write(folder, state)}
        if state.duals:
            said["duals"] = {name: float(dual["multiplier"]) for name, dual in state.duals.items()}
        search = self.part.search
        every = search.instruments_every
        if self.probe is not None and every and (epoch + 1) % every == 0:
            said["instruments"] = self._measured(self.probe, epoch, state)
            # The largest: what one looks at.
            said[rollback.EIGENVALUE] = said["instruments"]["eigenvalues"][-1]
            if search.early_stop != "off":
                rollback.keep(folder, epoch, every, state)
        return said

    def write(self, folder: RunFolder, state: SearchState) -> dict[str, Any]:
        """Writes supernet, alphas and the genotype that they stand for; returns the alphas as the log has them.

        Those of a later stage are in the columns of the whole space: what an edge does not have any more is NaN, in the log
        null.
        """
        scores = ESTIMATORS[self.part.search.estimator].scores(self.part.space, state.alphas)
        genotype = self.part.genotype(scores)  # First of all: it refuses alphas that are not finite.
        alphas = {kind: np.asarray(alpha) for kind, alpha in scores.items()}
        if self.part.number:
            alphas = spread(self.part.search.build_space(), self.part.space, alphas)
        # The largest first: a disk that is full keeps the epoch before whole.
        folder.write_arrays(SUPERNET, state.weights)
        folder.write_arrays(ALPHAS, alphas)
        # Weights, or targets, choose after the last epoch: the strongest alphas stand for nothing.
        if not ESTIMATORS[self.part.search.estimator].selects and not self.part.search.has_targets:
            write_genotype(folder, genotype, self.part.space.name)
        return {kind: _without_nan(alpha.tolist()) for kind, alpha in alphas.items()}

    def _measured(self, probe: Probe, epoch: int, state: SearchState) -> dict[str, Any]:
        """What the instruments say; their seconds are told apart from the stage's."""
        began, compiled = time.perf_counter(), probe.compiled
        said = probe(epoch, state)
        took, compiling = time.perf_counter() - began, 0.0
        if compiled is None and probe.compiled is not None:
            self._spent_compiling(probe.compiled)
            compiling = probe.compiled.trace_seconds + probe.compiled.compile_seconds
        if self.saves is not None:
            self.saves.spent("instruments", took - compiling, False)
        self._since += took
        return said


def _without_nan(values: Any) -> Any:
    """Nested lists of numbers, with None for what is none."""
    if isinstance(values, list):
        return [_without_nan(value) for value in values]
    return None if math.isnan(values) else values


def write_genotype(folder: RunFolder, genotype: Genotype, space_name: str) -> None:
    """Writes a genotype in both notations."""
    folder.write_json(GENOTYPE_JSON, to_json(genotype, space_name))
    folder.write_text(GENOTYPE_TEXT, to_text(genotype) + "\n")

"""How far a run is, read from its folder alone: from another terminal, while it runs or after it was ended."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Iterator
from pathlib import Path

from jaxnas.recipe import Recipe
from jaxnas.report import Run, read_run
from jaxnas.run_folder import CONFIG, LOG, RESULT
from jaxnas.stages import first_part, next_part

RECENT = 5
"""So many of the last epochs say how long one takes."""


@dataclasses.dataclass(frozen=True)
class Stage:
    """A stage of a run: epochs done and in all, and the seconds of one, None where none is done."""

    name: str
    done: int
    epochs: int
    seconds: float | None

    @property
    def left(self) -> int:
        """Epochs to do."""
        return max(0, self.epochs - self.done)


@dataclasses.dataclass(frozen=True)
class Status:
    """How far a run is.

    Attributes:
      run: what its folder holds.
      stages: all that it has or will have.
      finished: whether it has its result.
      seconds_left: of the epochs to do, by those done of the same kind; compilation is not in it. None where it is not known.
    """

    run: Run
    stages: tuple[Stage, ...]
    finished: bool
    seconds_left: float | None

    @property
    def now(self) -> Stage | None:
        """The stage that is being worked on."""
        return next((stage for stage in self.stages if stage.left), None)


def status(folder: Path) -> Status:
    """How far the run in a folder is.

    Raises:
      UserError: no run there.
    """
    run = read_run(folder)
    stages = tuple(_stage(run, name, first, end) for name, first, end in _planned(run))
    # An early stop leaves a stage before its last epoch: it is over when a later one has begun.
    begun = max((i for i, stage in enumerate(stages) if stage.done), default=0)
    stages = tuple(dataclasses.replace(one, epochs=one.done) if i < begun else one for i, one in enumerate(stages))
    finished = bool(run.result)
    return Status(run, stages, finished, 0.0 if finished else _left(stages))


def _planned(run: Run) -> Iterator[tuple[str, int, int]]:
    """Name, first and end epoch of every stage that the configuration asks for."""
    if isinstance(run.recipe, Recipe):
        part = first_part(run.recipe.search)
        yield part.name, part.first_epoch, part.end_epoch
        for _ in run.recipe.search.next_stages:
            part = next_part(run.recipe.search, part, part.space)
            yield part.name, part.first_epoch, part.end_epoch
        if run.recipe.only_search:
            return
        for label in ("found", *(f"random {i}" for i in range(1, run.recipe.random_cells + 1))):
            yield f"train {label}", 0, run.recipe.train.epochs
    elif run.recipe is not None:
        yield "train given", 0, run.recipe.train.epochs


def _stage(run: Run, name: str, first: int, end: int) -> Stage:
    done = {record["epoch"] for record in run.log if record["stage"] == name and isinstance(record.get("epoch"), int)}
    took = [record.get("seconds") for record in run.timing if record["stage"] == name]
    seconds = [float(value) for value in took if isinstance(value, int | float)][-RECENT:]
    return Stage(name, len(done), end - first, statistics.median(seconds) if seconds else None)


def _left(stages: tuple[Stage, ...]) -> float | None:
    """Seconds of what is to do; a stage not begun takes as long an epoch as the last one of its kind."""
    known: dict[str, float] = {}
    total = 0.0
    for stage in stages:
        kind = stage.name.split()[0]
        if stage.seconds is not None:
            known[kind] = stage.seconds
        if stage.left:
            if kind not in known:
                return None
            total += stage.left * known[kind]
    return total


def found_runs(folder: Path) -> list[Path]:
    """The folders of runs in a folder and below it, by name.

    >>> found_runs(Path("no such folder"))
    []
    """
    return sorted({path.parent for name in (CONFIG, LOG, RESULT) for path in folder.rglob(name) if path.parent != folder})

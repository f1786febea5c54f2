"""A budget of time: how many steps an epoch may have, once a stage is compiled and its steps are timed, and when to stop."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from jaxnas.compiling import Compiled
from jaxnas.errors import UserError
from jaxnas.feeding import Batches, Done, Stage, compile_stage
from jaxnas.recipe import Recipe

SEARCH_SHARE = 1 / 3
"""Of the time that compilation leaves, the search's; the rest trains what it found. Ours."""

USED = 0.9
"""Of the time for steps what they are planned to take: the rest is for what a machine does besides."""

EVALUATION = 0.5
"""Seconds that a network's evaluation takes to compile, at most, for each of the program that trains it."""


@dataclasses.dataclass
class Budget:
    """The time of one run, which begins when this is made.

    Epochs stay the recipe's, so every schedule is gone through; how many steps they have is decided when the program is
    compiled and its steps are timed. Where they then take longer, the stage stops when its time is over.

    Attributes:
      minutes: what it may take.
      steps: by stage, ``search`` and ``train``, the steps of an epoch that were decided.
      step_seconds: by stage, of a step when it was timed.
      cut: the stages that were stopped.

    Raises:
      UserError: no positive number of minutes.
    """

    minutes: float
    steps: dict[str, int] = dataclasses.field(default_factory=dict)
    step_seconds: dict[str, float] = dataclasses.field(default_factory=dict)
    cut: list[str] = dataclasses.field(default_factory=list)

    def __post_init__(self) -> None:
        if isinstance(self.minutes, bool) or not isinstance(self.minutes, int | float) or not 0 < self.minutes < math.inf:
            raise UserError(f"A budget is a positive number of minutes, got {self.minutes!r}.")
        self._began = time.perf_counter()
        self._stage, self._until = "", math.inf

    @property
    def spent(self) -> float:
        """Seconds since it began."""
        return time.perf_counter() - self._began

    @property
    def left(self) -> float:
        """Seconds until it ends; negative after that."""
        return 60 * self.minutes - self.spent

    def search_steps(self, stage: Stage, one_pass: int, compile_seconds: float, step_seconds: float) -> int:
        """The steps of each of the search's epochs.

        What training the network takes to compile is not known yet: as much as the search took is kept for it.

        Raises:
          UserError: no time for one pass over the images in the search, and for as long a training.
        """
        left, pass_seconds = self.left - compile_seconds, _least(stage, one_pass) * stage.epochs * step_seconds
        if left * USED < 2 * pass_seconds:
            shortest = self.spent + compile_seconds + 2 * pass_seconds / USED
            raise UserError(
                f"A budget of {self.minutes:g} minutes is too short: compiling the search took {compile_seconds:.0f} s, and "
                f"after {self.spent:.0f} s no step is done. What it finds has to be compiled and trained, too: give at least "
                f"{math.ceil(shortest / 6) / 10:g} minutes (an estimate), or a recipe with a smaller supernet."
            )
        return self._decide("search", stage, one_pass, step_seconds, SEARCH_SHARE * left)

    def train_steps(self, stage: Stage, one_pass: int, compile_seconds: float, step_seconds: float) -> int:
        """The steps of each of the training's epochs, of the time that is left but for the network's evaluation."""
        return self._decide("train", stage, one_pass, step_seconds, self.left - EVALUATION * compile_seconds)

    def over(self) -> bool:
        """Whether the stage whose steps were decided last has used its time."""
        ended = time.perf_counter() > self._until
        if ended and self._stage not in self.cut:
            self.cut.append(self._stage)
        return ended

    def report(self) -> dict[str, Any]:
        """For ``result.json``."""
        return {
            "minutes": self.minutes,
            "seconds": round(self.spent, 3),
            "steps_per_epoch": self.steps,
            "step_seconds": {stage: round(seconds, 6) for stage, seconds in self.step_seconds.items()},
            "cut": self.cut,
        }

    def _decide(self, name: str, stage: Stage, one_pass: int, step_seconds: float, seconds: float) -> int:
        steps = max(_least(stage, one_pass), int(USED * seconds / step_seconds / stage.epochs))
        self.steps[name], self.step_seconds[name] = steps, step_seconds
        self._stage, self._until = name, time.perf_counter() + seconds
        return steps


def _least(stage: Stage, one_pass: int) -> int:
    """Steps of an epoch by which all epochs together go through the images once."""
    return math.ceil(one_pass / stage.epochs)


def for_budget(recipe: Recipe) -> Recipe:
    """A recipe as it is searched within a budget: its rates change by epochs, and no random genotypes are trained beside it.

    Raises:
      UserError: a search in stages, each of which compiles a program of its own, or one that may go back.

    >>> from jaxnas.recipes import find
    >>> for_budget(find("nb201-darts-v1")).search.cosine_every
    'epoch'
    """
    if recipe.search.next_stages:
        raise UserError(
            f"A budget is for searches of one stage, but the recipe's has {1 + len(recipe.search.next_stages)}, each of which "
            "is compiled anew. Choose another recipe, or no budget."
        )
    if recipe.search.early_stop == "regularise":
        raise UserError(
            "A budget cannot be kept by a search that goes back and compiles anew: early_stop=regularise does. Set "
            "early_stop=end, or give no budget."
        )
    changes: Any = {"cosine_every": "epoch", "steps_per_epoch": 0}
    search, train = dataclasses.replace(recipe.search, **changes), dataclasses.replace(recipe.train, **changes)
    return dataclasses.replace(recipe, search=search, train=train, random_cells=0)


Decide = Callable[[Stage, int, float, float], int]
"""``(stage, steps of one pass, seconds of its compilation, seconds of a step) -> steps of an epoch``."""


def pace(stage: Stage, decide: Decide) -> tuple[int, Compiled]:
    """Compiles a paced stage, times its steps and has the steps of an epoch decided; returns these and the program.

    The stage's own steps of an epoch are those of one pass over the images.
    """
    compiled = compile_stage(stage)
    seconds = _step_seconds(stage, compiled)
    return decide(stage, stage.steps_per_epoch, compiled.trace_seconds + compiled.compile_seconds, seconds), compiled


def _step_seconds(stage: Stage, compiled: Compiled) -> float:
    """Seconds of a step, over about a half of a second of them; their state is thrown away."""
    most = stage.steps_per_dispatch
    state, data = stage.start(), jax.device_put(stage.data)

    def timed(state: Any, steps: int) -> tuple[Any, float]:
        with Batches(stage, Done(stage.first_epoch)) as batches:
            start = time.perf_counter()  # Where images are streamed, reading them counts.
            state, metrics = compiled.call(state, data, batches.take(min(steps, stage.steps_per_epoch)), np.int32(steps))
            jax.block_until_ready(metrics)
        return state, (time.perf_counter() - start) / steps

    state, first = timed(state, 1)  # It also waits for the images.
    return timed(state, max(1, min(most, round(0.5 / first))))[1]

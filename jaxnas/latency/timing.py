"""Seconds of a compiled function without those of its dispatch: the slope over dependent repeats inside one program."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Mapping, Sequence
from statistics import NormalDist
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from jaxnas.compiling import Compiled, compile_ahead
from jaxnas.errors import UserError

Run = Callable[[int], None]
"""Runs so many repeats, and returns when they are done."""

Clock = Callable[[], float]
"""The time in seconds; only differences count."""


QUARTILES = 2 * NormalDist().inv_cdf(0.75)
"""Distance of the quartiles of a normal distribution, in standard deviations."""


@dataclasses.dataclass(frozen=True)
class Effort:
    """How long is measured, and what is too noisy.

    Attributes:
      rounds: how often each function is timed; between two of its turns all others have theirs.
      most_rounds: how often those are that are too noisy after that.
      seconds: what the repeats of one turn take, about.
      limit: the largest spread that is believed, as a share of the time.
      floor: a spread of so many seconds is believed whatever the time: a function that does nothing has only noise.

    Raises:
      UserError: fewer than 3 rounds, most_rounds below them, a number that is not positive.
    """

    rounds: int = 11
    most_rounds: int = 44
    seconds: float = 0.05
    limit: float = 0.15
    floor: float = 2e-6

    def __post_init__(self) -> None:
        if self.rounds < 3:
            raise UserError(f"A spread needs at least 3 rounds, got {self.rounds}.")
        if self.most_rounds < self.rounds:
            raise UserError(f"most_rounds cannot be below rounds={self.rounds}, got {self.most_rounds}.")
        for name in ("seconds", "limit", "floor"):
            if not 0 < getattr(self, name) < math.inf:
                raise UserError(f"{name} must be a positive number, got {getattr(self, name)}.")


EFFORT = Effort()
"""What is enough for whole networks on a machine that does nothing else."""


@dataclasses.dataclass(frozen=True)
class Timing:
    """What the rounds gave.

    Attributes:
      seconds: the median.
      spread: their standard deviation as the distance of the quartiles has it, in seconds: a round that was disturbed counts
        as one.
      count: number of rounds.
    """

    seconds: float
    spread: float
    count: int


def repeated(function: Callable[..., Array], weights: Any, x: Array) -> Compiled:
    """Compiles ``program(count, weights, x, nothing)``, which applies a function ``count`` times, each fed by the one before.

    A repeat's input is ``x`` with ``nothing`` times the first element of the last repeat's result added to its first element.
    XLA does not know that ``nothing`` will be 0, so it can neither do the repeats at once nor leave any out; and as all of
    a result goes on to the next repeat, no part of it can be left out. What depends on the weights alone is computed once, as
    in a network whose weights are fixed.

    Args:
      function: ``(weights, x) -> y``, arrays of any shapes.
    """
    like = jax.eval_shape(function, weights, x)

    def program(count: Array, weights: Any, x: Array, nothing: Array) -> tuple[Array, Array]:
        def repeat(_: Array, carry: tuple[Array, Array]) -> tuple[Array, Array]:
            x, y = carry
            fed = _first(x) + (nothing * _first(y)).astype(x.dtype)
            x = lax.dynamic_update_slice(x, fed, (0,) * x.ndim)
            return x, function(weights, x)

        return lax.fori_loop(0, count, repeat, (x, jnp.zeros(like.shape, like.dtype)))

    return compile_ahead(program, jnp.int32(0), weights, x, jnp.float32(0))


def runner(program: Compiled, weights: Any, x: Array) -> Run:
    """What runs a program of :func:`repeated`."""

    def run(count: int) -> None:
        jax.block_until_ready(program.call(jnp.int32(count), weights, x, jnp.float32(0)))

    return run


def time_all(
    runs: Mapping[str, Run],
    effort: Effort = EFFORT,
    clock: Clock = time.perf_counter,
    report: Callable[[int], None] = lambda done: None,
) -> dict[str, Timing]:
    """Times functions in turns, warm.

    In each round each function has a turn: one repeat to warm up, one that is timed, and as many as take ``effort.seconds``;
    the difference of the two times by the difference of their repeats is free of what a call costs. A machine that slows down
    for a while slows a round of all functions, not all rounds of one.

    Args:
      runs: by name.
      report: told how many rounds are done.

    Raises:
      UserError: a function whose rounds still differ by more than the effort allows; the message names it.

    >>> now = [0.0]
    >>> def run(count): now[0] += 1.0 + 0.25 * count
    >>> time_all({"convolution": run}, clock=lambda: now[0])
    {'convolution': Timing(seconds=0.25, spread=0.0, count=11)}
    """
    counts = {name: _enough(run, effort.seconds, clock) for name, run in runs.items()}
    slopes: dict[str, list[float]] = {name: [] for name in runs}
    for done in range(effort.most_rounds):
        turns = [name for name in runs if done < effort.rounds or _too_noisy(_timing(slopes[name]), effort)]
        if not turns:
            break
        for name in turns:
            runs[name](1)
            once, many = _seconds(runs[name], 1, clock), _seconds(runs[name], counts[name], clock)
            slopes[name].append((many - once) / (counts[name] - 1))
        report(done + 1)
    timings = {name: _timing(found) for name, found in slopes.items()}
    for name, timing in timings.items():
        if _too_noisy(timing, effort):
            raise UserError(
                f"{name} is too noisy to believe: {timing.seconds * 1e3:.4f} ms with a spread of {timing.spread * 1e3:.4f} ms "
                f"after {timing.count} rounds, more than {effort.limit:.0%}. End what else runs on this machine, or allow more."
            )
    return timings


def _timing(slopes: Sequence[float]) -> Timing:
    low, median, high = np.percentile(slopes, (25, 50, 75)).tolist()
    # Of a function that does nothing the slope is noise around 0.
    return Timing(max(median, 0.0), (high - low) / QUARTILES, len(slopes))


def _too_noisy(timing: Timing, effort: Effort) -> bool:
    return timing.spread > max(effort.limit * timing.seconds, effort.floor)


def _enough(run: Run, seconds: float, clock: Clock) -> int:
    """Repeats, at least 2, that take so long."""
    run(1)
    count = 2
    while True:
        taken = _seconds(run, count, clock)
        if taken >= seconds / 4 or count >= 2**24:
            return max(2, min(2**24, math.ceil(count * seconds / max(taken, 1e-9))))
        count *= 4


def _seconds(run: Run, count: int, clock: Clock) -> float:
    start = clock()
    run(count)
    return clock() - start


def _first(x: Array) -> Array:
    return lax.slice(x, (0,) * x.ndim, (1,) * x.ndim)

"""Tables measured on the device at hand: layer by layer, or fitted to whole networks; both checked on networks held out."""

from __future__ import annotations

import dataclasses
import functools
import time
from collections.abc import Callable, Mapping
from typing import Literal

import numpy as np

from jaxnas.errors import UserError
from jaxnas.latency.additive import fit, fitted_table
from jaxnas.latency.deployed import Deployment, device_name, layer_run, network_run, software_versions
from jaxnas.latency.encodings import encode
from jaxnas.latency.graphs import Graph, has_path
from jaxnas.latency.layers import layers
from jaxnas.latency.scores import scores
from jaxnas.latency.table import Checks, Row, Table, costs
from jaxnas.latency.timing import EFFORT, Clock, Effort, Run, Timing, time_all
from jaxnas.nets import ChainShape, Shape
from jaxnas.spaces import Genotype, Space, random_genotype, to_text

Mode = Literal["operations", "networks"]
"""``operations``: a row for each layer, timed alone. ``networks``: one for each candidate of each edge, fitted to networks."""

GRAPH: Graph = "folded"
"""What runs of a network here: XLA leaves out what reaches no output, and computes once what depends on the weights alone."""

Report = Callable[[str, int, int], None]
"""Told what is being done, how much of it is, and of how much."""


@dataclasses.dataclass(frozen=True)
class Measured:
    """A whole network's latency beside the table's.

    Attributes:
      genotype: its notation.
      part: ``fit`` or ``held out``.
      milliseconds: median of the rounds.
      spread: their standard deviation, by the quartiles.
      count: number of rounds.
      predicted: the table's sum, in milliseconds.
    """

    genotype: str
    part: str
    milliseconds: float
    spread: float
    count: int
    predicted: float


def measured_table(
    space: Space,
    shape: Shape | ChainShape,
    deployment: Deployment,
    mode: Mode,
    networks: int,
    held_out: int,
    seed: int = 0,
    effort: Effort = EFFORT,
    report: Report = lambda doing, done, of: None,
    clock: Clock = time.perf_counter,
) -> tuple[Table, list[Measured]]:
    """Makes a table of the networks of a space on JAX's first device, and checks it on networks that it has not seen.

    Networks are drawn uniformly, each once, without those of NAS-Bench-201 in which nothing leads from the input to the output.
    What is predicted of one is the sum of what a compiler keeps (:data:`GRAPH`).

    Args:
      networks: how many the rows are fitted to, in the mode ``networks``.
      held_out: how many it is checked on.
      seed: of the draw; the networks held out are the same in both modes.

    Raises:
      UserError: fewer than 2 networks held out, more than the space has, too few to determine the rows; what is too noisy.
    """
    if held_out < 2:
        raise UserError(f"The check needs at least 2 networks held out, got {held_out}.")
    if mode == "networks" and networks < 1:
        raise UserError(f"The rows are fitted to whole networks: at least 1, got {networks}.")
    drawn = drawn_networks(space, held_out + (networks if mode == "networks" else 0), seed)
    encoded = encode(space, drawn, GRAPH)
    if mode == "networks":
        # What the fit will refuse is refused before all is compiled and timed.
        fit(space, encoded.kept[held_out:], np.ones(networks)).predict(encoded.kept)
    needed = layers(space, shape).distinct if mode == "operations" else ()
    texts = [to_text(genotype) for genotype in drawn]
    jobs: dict[str, Callable[[], Run]] = {layer.key: functools.partial(layer_run, layer, deployment) for layer in needed}
    jobs |= {
        text: functools.partial(network_run, genotype, shape, deployment) for text, genotype in zip(texts, drawn, strict=True)
    }
    timings = time_all(_compiled(jobs, report), effort, clock, lambda done: report("timing", done, effort.rounds))
    milliseconds = np.array([timings[text].seconds * 1e3 for text in texts])
    table, predicted = _table(space, shape, deployment, mode, encoded.kept, milliseconds, held_out, timings, effort)
    found = [
        Measured(text, "held out" if i < held_out else "fit", *_milliseconds(timings[text]), predicted=float(predicted[i]))
        for i, text in enumerate(texts)
    ]
    return table, found


def _table(
    space: Space,
    shape: Shape | ChainShape,
    deployment: Deployment,
    mode: Mode,
    kept: np.ndarray,
    milliseconds: np.ndarray,
    held_out: int,
    timings: Mapping[str, Timing],
    effort: Effort,
) -> tuple[Table, np.ndarray]:
    """The table, and its sums for all networks, of which those held out come first."""
    words = f"{held_out} drawn at random" + (", none of them of the fit" if mode == "networks" else "")
    how = (
        f"medians of at least {effort.rounds} rounds in turns, dispatch taken out by the slope over dependent repeats; spreads "
        f"are standard deviations by the quartiles, at most {effort.limit:.0%}"
    )
    device, software = device_name(), software_versions()
    if mode == "networks":
        found = fit(space, kept[held_out:], milliseconds[held_out:])
        predicted = found.predict(kept)
        checked = (kept[:held_out], milliseconds[:held_out], words)
        source = f"jaxnas profile, fitted to {len(kept) - held_out} whole networks: {how}"
        about = (device, deployment.batch, deployment.precision, software, source)
        return fitted_table(found, shape, checked, *about, graph=GRAPH), predicted
    rows = {layer.key: Row(*_milliseconds(timings[layer.key])) for layer in layers(space, shape).distinct}
    source = f"jaxnas profile, layers timed one by one: {how}"
    about = ("layers", space.name, device, deployment.batch, deployment.precision, rows)
    table = Table(*about, software=software, source=source, graph=GRAPH)
    predicted = table_sums(table, space, shape, kept)
    return dataclasses.replace(table, checks=Checks(scores(milliseconds, predicted), words)), predicted


def table_sums(table: Table, space: Space, shape: Shape | ChainShape, kept: np.ndarray) -> np.ndarray:
    """A table's milliseconds of encoded networks ``[networks, candidates]``."""
    by_kind, fixed = costs(table, space, shape)
    return fixed + kept @ np.concatenate([by_kind[kind][np.array(cell.present)] for kind, cell in space.cells])


def drawn_networks(space: Space, count: int, seed: int) -> list[Genotype]:
    """Different genotypes of a space in which something leads from the input to the output.

    Raises:
      UserError: the space has not so many.

    >>> from jaxnas.spaces import nb201_family
    >>> space = nb201_family("one edge", ("none", "skip_connect"), nodes=1)
    >>> [to_text(genotype) for genotype in drawn_networks(space, 1, seed=0)]
    ['|skip_connect~0|']
    """
    rng, found = np.random.default_rng(seed), {}
    for _ in range(1000 + 100 * count):
        if len(found) == count:
            break
        genotype = random_genotype(space, rng)
        if has_path(genotype):
            found.setdefault(to_text(genotype), genotype)
    if len(found) < count:
        raise UserError(
            f"Space {space.name!r} has too few networks: {count} different ones are wanted, drawn were {len(found)}."
        )
    return list(found.values())


def _compiled(jobs: Mapping[str, Callable[[], Run]], report: Report) -> dict[str, Run]:
    runs: dict[str, Run] = {}
    for name, job in jobs.items():
        report("compiling", len(runs), len(jobs))
        runs[name] = job()
    report("compiling", len(runs), len(jobs))
    return runs


def _milliseconds(timing: Timing) -> tuple[float, float, int]:
    return timing.seconds * 1e3, timing.spread * 1e3, timing.count

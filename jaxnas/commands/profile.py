"""``jaxnas profile``: a table of latencies of a space's networks on this device."""

# No "from __future__ import annotations" here: tyro reads the annotations of a nested function.

import contextlib
import dataclasses
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import rich.console
import rich.progress

from jaxnas.commands.arguments import JsonTarget, parse, take_name
from jaxnas.commands.json_output import json_output
from jaxnas.errors import UserError, did_you_mean
from jaxnas.latency import Table, warning, write
from jaxnas.latency.deployed import Deployment
from jaxnas.latency.measure import Mode, Report, measured_table
from jaxnas.latency.timing import EFFORT
from jaxnas.nets import ChainShape, Dtype, Shape
from jaxnas.run_folder import environment
from jaxnas.spaces import BLOCK_SPACES, CELL_SPACES, BlockSpace, Space, SpaceName, named_space

SPACES: dict[str, SpaceName] = {name: name for name in (*CELL_SPACES, *BLOCK_SPACES)}
IMAGE_SIZES = {"proxyless": 224, "fbnet": 224, "proxyless_tiny": 8, "fbnet_tiny": 8}
"""Pixels of the images that a space's networks are for, where they are not 32."""

CELLS = {"darts": (36, 20), "nb201": (16, 5)}
"""Channels and cells of the references' networks for CIFAR, by family."""


def main(arguments: list[str]) -> int:
    """Writes the table and prints its check; 1 where it fails, else 0.

    The JSON is ``checks`` of the table, ``networks`` as :class:`jaxnas.latency.measure.Measured`, and the ``environment``.
    """
    name, rest = take_name(arguments)
    if name is None and not {"-h", "--help"} & set(rest):
        raise UserError(f"Which space? jaxnas profile SPACE --out FILE. {did_you_mean('', SPACES)}")
    if name is not None and name not in SPACES:
        raise UserError(f"Unknown space {name!r}. {did_you_mean(name, SPACES)}")

    def profiled(
        out: Path,
        mode: Mode = "networks",
        batch: int = 1,
        dtype: Dtype = "float32",
        width: float = 1.0,
        channels: int | None = None,
        cells: int | None = None,
        classes: int = 10,
        image_size: int | None = None,
        networks: int = 80,
        held_out: int = 40,
        rounds: int = EFFORT.rounds,
        noise: float = EFFORT.limit,
        seed: int = 0,
        json: JsonTarget = None,
    ) -> int:
        """A table of latencies.

        Args:
          out: the file that gets the table; it is never one that exists.
          mode: networks: whole networks are timed and a cost for each candidate of each edge is fitted to them; the table holds
            for this size of network alone. operations: each layer is timed by itself; what is compiled together is faster.
          batch: images at a time.
          dtype: of the images and of what goes through the network.
          width: of spaces of blocks: multiplier of their channels.
          channels: C, of spaces of cells: by default as the references' networks for CIFAR.
          cells: of the network (family darts) or of a stage (family nb201); by default as theirs.
          classes: labels.
          image_size: height and width of the images, in pixels; by default what the space is for.
          networks: how many the costs are fitted to.
          held_out: how many others the table is checked on.
          rounds: how often everything is timed; what is too noisy then, four times as often.
          noise: the largest spread that is believed, as a share of the time.
          seed: of the networks that are drawn.
        """
        assert name is not None
        if name in CELL_SPACES and width != 1:
            raise UserError(f"Space {name!r} is of cells: give --channels instead of --width {width}.")
        space = named_space(SPACES[name], width)
        shape = _shape(space, channels, cells, classes, image_size or IMAGE_SIZES.get(name, 32))
        _check(out)
        with json_output(json) as write_json, _shown() as report:
            deployment = Deployment(batch, dtype)
            effort = dataclasses.replace(EFFORT, rounds=rounds, most_rounds=4 * rounds, limit=noise)
            table, found = measured_table(space, shape, deployment, mode, networks, held_out, seed, effort, report)
            write(table, out)
            for line in _lines(table, shape, out):
                print(line)
            assert table.checks
            checks = dataclasses.asdict(table.checks.scores) | {"passed": table.checks.scores.passed}
            documents = [dataclasses.asdict(network) for network in found]
            write_json({"checks": checks, "networks": documents, "environment": environment()})
        return 0 if table.checks.scores.passed else 1

    about = (
        "Latencies of the networks of a space on this device, without those of dispatch, as a table that is checked on whole "
        f"networks. Nothing else should run meanwhile. Spaces: {', '.join(SPACES)}."
    )
    return parse(profiled, rest, f"profile {name or 'SPACE'}", about)


def _shape(space: Space, channels: int | None, cells: int | None, classes: int, image_size: int) -> Shape | ChainShape:
    if isinstance(space, BlockSpace):
        for option, value in (("channels", channels), ("cells", cells)):
            if value is not None:
                raise UserError(f"Space {space.name!r} has its own blocks and widths: leave out --{option} {value}.")
        return ChainShape(classes, image_size)
    default_channels, default_cells = CELLS[space.family]
    return Shape(
        default_channels if channels is None else channels, default_cells if cells is None else cells, classes, image_size
    )


def _check(out: Path) -> None:
    """Refuses before all is measured what could not be written then."""
    if out.exists():
        raise UserError(f"{out} exists: nothing was overwritten. Name another file after --out.")
    if not out.parent.is_dir() or not os.access(out.parent, os.W_OK):
        raise UserError(
            f"{out} cannot be written: there is no folder {out.parent}, or no permission. Name another after --out."
        )


@contextlib.contextmanager
def _shown() -> Iterator[Report]:
    """A bar for each of what is done where there is a terminal, else a line."""
    out = rich.console.Console(highlight=False, soft_wrap=True)
    columns: list[Any] = [
        rich.progress.TextColumn("{task.description}"),
        rich.progress.BarColumn(bar_width=20),
        rich.progress.MofNCompleteColumn(),
        rich.progress.TextColumn("ETA"),
        rich.progress.TimeRemainingColumn(),
    ]
    with rich.progress.Progress(*columns, console=out, transient=True, disable=not out.is_terminal) as bar:
        tasks: dict[str, rich.progress.TaskID] = {}

        def report(doing: str, done: int, of: int) -> None:
            if doing not in tasks:
                tasks[doing] = bar.add_task(doing, total=of)
                if not out.is_terminal:
                    print(f"{doing}: {of}", flush=True)
            bar.update(tasks[doing], completed=done)

        yield report


def _lines(table: Table, shape: Shape | ChainShape, out: Path) -> Iterator[str]:
    assert table.checks
    found = table.checks.scores
    yield f"device    {table.device}"
    yield f"networks  {table.space}, {shape}, batch {table.batch}, {table.precision}"
    yield f"rows      {len(table.rows)} of kind {table.kind}"
    yield f"check     R2 {found.r2:.3f}, MAPE {found.mape:.1f} %, Spearman {found.spearman:.3f} on {found.networks} networks"
    yield warning(table) or "          passed"
    yield f"file      {out}"

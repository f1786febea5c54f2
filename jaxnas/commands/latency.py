"""``jaxnas latency``: published tables of latencies in jaxnas's form, and what a table holds."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import tyro

from jaxnas import latency
from jaxnas.commands.arguments import Actions, JsonTarget, parse_action
from jaxnas.commands.json_output import json_output
from jaxnas.errors import UserError
from jaxnas.latency import importers
from jaxnas.nets import ChainShape, Shape
from jaxnas.spaces import BlockSpace, named_space

USAGE = """usage: jaxnas latency ACTION ...

  import FILE  a published table of latencies in jaxnas's form
  show TABLE   what a table holds, and whether it passed its check

jaxnas latency ACTION --help tells more."""

Format = Literal["mobile-yaml", "fbnet-json", "fbnet-csv", "architectures"]
Published = Literal["nb201", "fbnet", "fbnet_small"]
"""Spaces of published tables; the small one is HW-NAS-Bench's, of images of 32x32 pixels."""


def main(arguments: list[str]) -> int:
    """Imports or shows; 0."""
    question = "What is to be done? Type: jaxnas latency import FILE ..., or: jaxnas latency show TABLE"
    return parse_action("latency", "action", ACTIONS, USAGE, question, arguments)


def _import(
    file: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="FILE")],
    format: Format,
    device: str,
    out: Path,
    space: Published = "nb201",
    architectures: Path | None = None,
    classes: int = 10,
    image_size: int = 32,
    channels: int = 16,
    cells: int = 5,
    batch: int | None = None,
    precision: str | None = None,
    overwrite: bool = False,
    json: JsonTarget = None,
) -> int:
    """Write a published table of latencies in jaxnas's form.

    Args:
      file: what is imported.
      format: mobile-yaml, of ProxylessNAS and of Once-for-All, milliseconds of layers; fbnet-json, of HW-NAS-Bench's FBNet,
        milliseconds; fbnet-csv, a line of microseconds for each of FBNet's blocks; architectures, a CSV file with the
        milliseconds of whole networks, to which a table is fitted.
      device: what was measured. fbnet-json and architectures: its name in the file.
      out: the table's file.
      space: of FBNet's formats and of architectures.
      architectures: a CSV file with columns index and arch_str: what the numbers of architectures stand for.
      classes: labels of the networks that were measured.
      image_size: pixels of their images, in height and width.
      channels: of nb201, of the first cells.
      cells: of nb201, in each stage.
      batch: images at a time.
      precision: such as float32.
      overwrite: replace the file at --out.
    """
    with json_output(json) as write:
        if out.exists() and not overwrite:  # Also before the work, which may be long.
            raise UserError(f"{out} exists. Give --overwrite to replace it, or another --out.")
        table = _imported(file, format, device, space, architectures, classes, image_size, channels, cells, batch, precision)
        latency.write(table, out, overwrite=True)
        print(_summary(table))
        print(f"written to {out}")
        write(latency.to_json(table))
    return 0


def _imported(
    file: Path,
    format: Format,
    device: str,
    space_name: Published,
    architectures: Path | None,
    classes: int,
    image_size: int,
    channels: int,
    cells: int,
    batch: int | None,
    precision: str | None,
) -> latency.Table:
    if format == "mobile-yaml":
        return importers.proxylessnas(file, device, batch, precision)
    space = named_space(space_name)
    chain = ChainShape(classes, image_size)
    if format == "architectures":
        shape = chain if isinstance(space, BlockSpace) else Shape(channels, cells, classes, image_size)
        return importers.per_architecture(file, device, space, shape, architectures, batch, precision)
    if not isinstance(space, BlockSpace):
        raise UserError(f"The format {format} is of FBNet's blocks, not of {space_name}: give --space fbnet or fbnet_small.")
    if format == "fbnet-json":
        return importers.fbnet_json(file, device, space, chain, batch, precision)
    return importers.fbnet_csv(file, device, space, chain, batch, precision)


def _show(
    table: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="TABLE")], rows: int = 10, json: JsonTarget = None
) -> int:
    """Print what a table of latencies holds.

    Args:
      table: its file.
      rows: how many of the slowest rows are printed.
    """
    with json_output(json) as write:
        found = latency.read(table)
        print(_summary(found))
        for key, row in sorted(found.rows.items(), key=lambda item: -item[1].mean)[: max(rows, 0)]:
            spread = "" if row.spread is None else f" ± {row.spread:.4f}"
            print(f"  {row.mean:9.4f}{spread} ms  {key}")
        write(latency.to_json(found))
    return 0


def _summary(table: latency.Table) -> str:
    unknown = "not known"
    lines = [
        f"{len(table.rows)} rows of {table.kind} for space {table.space}, milliseconds on {table.device}",
        f"batch {table.batch or unknown}, precision {table.precision or unknown}, beside the rows {table.intercept:.4f} ms",
        f"graph: {_GRAPHS[table.graph]}",
    ]
    lines += [table.source] if table.source else []
    if table.checks:
        found = table.checks.scores
        lines.append(
            f"checked on {found.networks:,} whole networks, {table.checks.networks}: R2 {found.r2:.4f}, "
            f"MAPE {found.mape:.2f} %, Spearman {found.spearman:.4f}"
        )
    said = latency.warning(table)
    return "\n".join([*lines, f"warning: {said}"] if said else lines)


_GRAPHS: dict[latency.Graph, str] = {
    "whole": "every edge runs",
    "reaching": "what reaches no output does not run",
    "folded": "what reaches no output, and what the images do not reach, does not run",
}


ACTIONS: Actions = {
    "import": (_import, "Write a published table of latencies in jaxnas's form."),
    "show": (_show, "Print what a table of latencies holds, and whether it passed its check."),
}

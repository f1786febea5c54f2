"""``jaxnas query``: what a benchmark says of one architecture."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import tyro

from jaxnas import table_query
from jaxnas.commands.arguments import JsonTarget, parse
from jaxnas.commands.json_output import json_output
from jaxnas.tabular import read


def main(arguments: list[str]) -> int:
    """Prints it; 0."""
    return parse(_query, arguments, "query", "Print what a benchmark's table says of one architecture, and what was averaged.")


def _query(
    arch: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="ARCH")],
    table: Path,
    dataset: str | None = None,
    split: str | None = None,
    epochs: int | None = None,
    latency: Path | None = None,
    json: JsonTarget = None,
) -> int:
    """Print what a benchmark's table says of one architecture, and what was averaged.

    Dataset, split and epochs have no default: without them what the table has is listed.

    Args:
      arch: its number, its string, the folder of a run that found it, or a genotype's file.
      table: a file of jaxnas table convert, or a plain table.
      dataset: what was trained on: cifar10-valid (half of the training images), cifar10 (all), cifar100, ImageNet16-120.
      split: what the accuracy is of: x-valid, x-test, ori-test.
      epochs: how long it was trained.
      latency: a CSV file with milliseconds of the same architectures on devices, by a column index.
    """
    with json_output(json) as write:
        benchmark = read(table)
        index = table_query.architecture(arch, benchmark)
        answer = table_query.query(benchmark, index, dataset, split, epochs)
        if latency is not None:
            answer["latency"] = table_query.latencies(latency, index, benchmark)
        print(table_query.report(answer))
        write(answer)
    return 0

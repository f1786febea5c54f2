"""``jaxnas trust``: a search on NAS-Bench-201 against a table."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated

import tyro

from jaxnas import trust
from jaxnas.commands.arguments import JsonTarget, parse
from jaxnas.commands.json_output import json_output


def main(arguments: list[str]) -> int:
    """Prints the report; as JSON the fields of :class:`jaxnas.trust.Trust`."""
    return parse(_trust, arguments, "trust", "How far a search on NAS-Bench-201 can be trusted, and where its regret is from.")


def _trust(
    run: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")],
    table: Path,
    dataset: str | None = None,
    sample: int | None = None,
    images: int = 256,
    data_dir: Path | None = None,
    json: JsonTarget = None,
) -> int:
    """How far a search on NAS-Bench-201 can be trusted, and where its regret is from.

    Args:
      run: the folder of a run.
      table: table of the benchmark: a compact file, CSV or NPZ.
      dataset: of the table, cifar10, cifar100 or ImageNet16-120; by default that of the run.
      sample: architectures to score, drawn uniformly; by default all on an accelerator, 300 on a CPU.
      images: of the validation half, that each is scored on.
      data_dir: folder of the dataset's official files.
    """
    with json_output(json) as write:
        found = trust.trust(run, table, dataset, sample, images, data_dir)
        print(trust.told(found))
        write(dataclasses.asdict(found))
    return 0

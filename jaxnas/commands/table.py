"""``jaxnas table``: official files of benchmarks in jaxnas's own form, and how well little training ranks architectures."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated, Any

import tyro

from jaxnas.commands.arguments import Actions, JsonTarget, parse_action
from jaxnas.commands.json_output import json_output
from jaxnas.errors import UserError
from jaxnas.tabular import (
    CODECS,
    NAMES,
    SEARCHED,
    Benchmark,
    fidelities,
    fidelity_text,
    is_official,
    read,
    read_official,
    told,
    words,
    write_compact,
)

USAGE = """usage: jaxnas table ACTION ...

  convert PATH    official files of NATS-Bench or NAS-Bench-201, or a plain table, in one compact file with a checksum
  fidelity TABLE  rank correlation of validation accuracy, by epochs of training, with the final test accuracy

jaxnas table ACTION --help tells more."""


def main(arguments: list[str]) -> int:
    """Converts or correlates; 0."""
    question = "What is to be done? Type: jaxnas table convert PATH --out FILE, or: jaxnas table fidelity TABLE"
    return parse_action("table", "action", ACTIONS, USAGE, question, arguments)


def _convert(
    path: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="PATH")],
    out: Path,
    overwrite: bool = False,
    json: JsonTarget = None,
) -> int:
    """Write a benchmark in one compact file with a checksum.

    Args:
      path: a folder with a record for each architecture (NATS-tss-v1_0-3ffb9-simple, NAS-Bench-201-v1_1-archive), a file with
        all (NATS-tss-v1_0-3ffb9.pickle.pbz2, NAS-Bench-201-v1_1-096897.pth), which takes as much memory as with the benchmark's
        own interface, or a plain table, CSV or NPZ.
      out: the file that is written.
      overwrite: replace the file at --out.
    """
    with json_output(json) as write:
        if out.exists() and not overwrite:  # Also before the work, which may be long.
            raise UserError(f"{out} exists. Give --overwrite to replace it, or another --out.")
        benchmark = read_official(path, print) if is_official(path) else read(path)
        checksum = write_compact(benchmark, out, overwrite)
        print(_summary(benchmark))
        print(f"written to {out}, {out.stat().st_size / 1e6:.1f} MB, SHA-256 of its content {checksum}")
        write({**_document(benchmark), "sha256": checksum})
    return 0


def _summary(benchmark: Benchmark) -> str:
    lines = [f"{CODECS[benchmark.space].SIZE:,} architectures of {NAMES[benchmark.space]}, from {benchmark.source}"]
    for key, found in benchmark.accuracy.items():
        curve = ", and after each epoch" if key in benchmark.curves else ""
        lines.append(f"  {words(key)}{curve}: {told(found)}, best {found.mean.max():.2f} %")
    lines += [f"  seconds of {dataset}, {epochs} epochs" for dataset, epochs in benchmark.seconds]
    return "\n".join([*lines, f"  counts: {', '.join(benchmark.counts) or 'none'}"])


def _document(benchmark: Benchmark) -> dict[str, Any]:
    accuracy = [
        {"dataset": dataset, "split": split, "epochs": epochs, "averaged": told(found), "best": float(found.mean.max())}
        for (dataset, split, epochs), found in benchmark.accuracy.items()
    ]
    seconds = [{"dataset": dataset, "epochs": epochs} for dataset, epochs in benchmark.seconds]
    counts = {"accuracy": accuracy, "seconds": seconds, "counts": list(benchmark.counts)}
    return {"space": benchmark.space, "source": benchmark.source, **counts}


def _fidelity(
    table: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="TABLE")],
    dataset: str | None = None,
    json: JsonTarget = None,
) -> int:
    """Print how validation accuracy after little training ranks architectures, beside their final test accuracy.

    Args:
      table: a file of jaxnas table convert, or a plain table.
      dataset: cifar10, cifar100 or ImageNet16-120; without it each of them.
    """
    with json_output(json) as write:
        benchmark = read(table)
        found = [one for name in ([dataset] if dataset else SEARCHED) for one in fidelities(benchmark, name)]
        print(fidelity_text(found))
        write([dataclasses.asdict(one) for one in found])
    return 0


ACTIONS: Actions = {
    "convert": (_convert, "Write a benchmark in one compact file with a checksum."),
    "fidelity": (_fidelity, "Print how validation accuracy after little training ranks architectures."),
}

"""``jaxnas verify``: comparison with records of the reference implementations, and with published figures and tables."""

from __future__ import annotations

import json as json_format
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import tyro

from jaxnas import published, table_checks
from jaxnas.commands.arguments import Actions, JsonTarget, parse_action
from jaxnas.commands.json_output import json_output
from jaxnas.interop import golden

USAGE = """usage: jaxnas verify CHECK ...

  golden FILE ...  networks, gradients and search steps against records (.npz) of the reference implementations
  published        parameters and multiply-adds of published networks against the published figures
  nb201            a table of NAS-Bench-201 against what is known of it, and our networks against the table

jaxnas verify CHECK --help tells more. Exit code 0 where all agrees, else 1."""


def main(arguments: list[str]) -> int:
    """Prints what was compared; 0 where all agrees, else 1."""
    types = ("golden FILE ...", "published", "nb201 --table FILE")
    question = f"What is to be verified? Type: {', or: '.join(f'jaxnas verify {rest}' for rest in types)}"
    return parse_action("verify", "check", CHECKS, USAGE, question, arguments)


def _golden(
    files: Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="FILE ...")], json: JsonTarget = None
) -> int:
    """Compare with records of the reference implementations, in float64 and float32.

    Args:
      files: records (.npz).
    """
    return _checked(lambda report: golden.verify_files(files, report), json)


def _published(json: JsonTarget = None) -> int:
    """Compare parameters and multiply-adds with the published figures."""
    return _checked(published.verify_published, json)


def _nb201(table: Path, json: JsonTarget = None) -> int:
    """Check a table of NAS-Bench-201, and our codecs and networks against it.

    Args:
      table: CSV or NPZ file of the benchmark.
    """
    return _checked(lambda report: table_checks.verify_nb201(table, report), json)


def _checked(check: Callable[[Path | None], bool], json: Path | None) -> int:
    """Runs a check that writes its report to a file, and hands on the report."""
    if json is None:
        return 0 if check(None) else 1
    with json_output(json) as write, tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        passed = check(report)
        write(json_format.loads(report.read_text(encoding="utf-8")))
    return 0 if passed else 1


CHECKS: Actions = {
    "golden": (_golden, "Compare with records of the reference implementations."),
    "published": (_published, "Compare parameters and multiply-adds of published networks with the published figures."),
    "nb201": (_nb201, "Check a table of NAS-Bench-201, and our codecs and networks against it."),
}

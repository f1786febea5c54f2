"""``jaxnas verify``: comparison with records of the reference implementations, and with published figures."""

from __future__ import annotations

import json as json_format
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import tyro

from jaxnas import published
from jaxnas.commands.arguments import Actions, JsonTarget, parse_action
from jaxnas.commands.json_output import json_output
from jaxnas.interop import golden

USAGE = """usage: jaxnas verify CHECK ...

  golden FILE ...  networks, gradients and search steps against records (.npz) of the reference implementations
  published        parameters and multiply-adds of published networks against the published figures

jaxnas verify CHECK --help tells more. Exit code 0 where all agrees, else 1."""


def main(arguments: list[str]) -> int:
    """Prints what was compared; 0 where all agrees, else 1."""
    question = "What is to be verified? Type: jaxnas verify golden FILE ..., or: jaxnas verify published"
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
}

"""``jaxnas report``: a run as a page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import tyro

from jaxnas.commands.arguments import JsonTarget, parse
from jaxnas.commands.json_output import json_output
from jaxnas.commands.output_file import check_output, write_output
from jaxnas.report import is_ours, read_run, report, to_html
from jaxnas.run_folder import REPORT


def main(arguments: list[str]) -> int:
    """Writes the page; as JSON ``report``, the file, and ``problems``, what is missing or damaged."""
    return parse(_report, arguments, "report", "One HTML page about a run, also while it goes on, or where it was ended.")


def _report(
    run: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")],
    out: Path | None = None,
    overwrite: bool = False,
    json: JsonTarget = None,
) -> int:
    """One HTML page about a run.

    Args:
      run: the folder of a run.
      out: the page, report.html in the run's folder by default. A page of jaxnas is replaced.
      overwrite: replace another file there.
    """
    with json_output(json) as write:
        path, problems = write_report(run, out, overwrite)
        print(f"report: {path}")
        for problem in problems:
            print(f"  {problem}")
        write({"report": str(path), "problems": problems})
    return 0


def write_report(run: Path, out: Path | None = None, overwrite: bool = False) -> tuple[Path, list[str]]:
    """Writes the page of a run; returns where it is, and what is missing or damaged.

    Raises:
      UserError: no run there, or the page cannot be written.
    """
    found = read_run(run)
    path = out or run / REPORT
    check_output(path, overwrite or is_ours(path))
    page = report(found)
    write_output(path, to_html(page).encode())
    return path, list(page.problems)

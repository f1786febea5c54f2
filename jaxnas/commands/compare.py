"""``jaxnas compare``: several runs beside each other, as a page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import tyro

from jaxnas.commands.arguments import JsonTarget, parse
from jaxnas.commands.json_output import json_output
from jaxnas.commands.output_file import check_output, write_output
from jaxnas.report import comparison, is_ours, read_run, to_html


def main(arguments: list[str]) -> int:
    """Writes the page; as JSON ``report``, the file, and ``problems``, what is missing or damaged."""
    return parse(_compare, arguments, "compare", "One HTML page that compares runs, with the spread over seeds.")


def _compare(
    runs: Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="RUN...")],
    out: Path = Path("compare.html"),
    overwrite: bool = False,
    json: JsonTarget = None,
) -> int:
    """One HTML page that compares runs, with the spread over seeds.

    Args:
      runs: folders of runs; those of one recipe are taken for its seeds.
      out: the page. A page of jaxnas is replaced.
      overwrite: replace another file there.
    """
    with json_output(json) as write:
        page = comparison([read_run(run) for run in runs])
        check_output(out, overwrite or is_ours(out))
        write_output(out, to_html(page).encode())
        print(f"comparison: {out}")
        write({"report": str(out), "problems": list(page.problems)})
    return 0

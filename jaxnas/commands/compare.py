"""``jaxnas compare``: several runs beside each other, in the terminal and as a page; what cannot be compared is refused."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import rich.table
import tyro

from jaxnas.card import refused
from jaxnas.commands.arguments import JsonTarget, parse
from jaxnas.commands.json_output import json_output
from jaxnas.commands.output_file import check_output, write_output
from jaxnas.commands.wide_table import print_table
from jaxnas.errors import UserError
from jaxnas.report import Group, apart, comparison, groups, is_ours, random_search, read_run, spread, to_html


def main(arguments: list[str]) -> int:
    """Prints a table and writes the page; as JSON the groups of runs, what differs, the page, and what is damaged."""
    return parse(_compare, arguments, "compare", "Runs beside each other: mean and deviation over seeds, cost, random search.")


def _compare(
    runs: Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="RUN...")],
    anyway: bool = False,
    out: Path = Path("compare.html"),
    overwrite: bool = False,
    json: JsonTarget = None,
) -> int:
    """Runs beside each other: mean and deviation over seeds, cost, random search.

    Args:
      runs: folders of runs; those that differ in nothing but their seeds are one row.
      anyway: compare runs that differ in data, split, space, recipe or hardware, too; what differs is told.
      out: the page. A page of jaxnas is replaced.
      overwrite: replace another file there.
    """
    with json_output(json) as write:
        read = [read_run(run) for run in runs]
        found = apart(read)
        if refused(found) and not anyway:
            lines = "\n".join(f"  {one}" for one in refused(found))
            raise UserError(f"These runs are not comparable:\n{lines}\nTo compare them all the same, marked: --anyway")
        page, rows = comparison(read), groups(read)
        check_output(out, overwrite or is_ours(out))
        write_output(out, to_html(page).encode())
        for problem in page.problems:
            print(problem)
        _table(rows)
        print(f"comparison: {out}")
        apart_json = [{"what": one.what, "fact": one.fact, "values": dict(one.values)} for one in found]
        rows_json = [row.as_json() for row in rows]
        write({"report": str(out), "groups": rows_json, "differences": apart_json, "problems": list(page.problems)})
    return 0


def _table(rows: Sequence[Group]) -> None:
    """A row for each recipe; random search's line at the same cost beneath it."""
    table = rich.table.Table(box=None, pad_edge=False)
    for column in ("recipe", "test accuracy"):
        table.add_column(column)
    for column in ("search", "training", "compilation, s"):
        table.add_column(column, justify="right")
    table.add_column("not as the first in")
    for row in rows:
        known = row.device_seconds
        seconds = [f"{known.get(kind, 0.0):,.1f}" if known else "-" for kind in ("search", "train found")]
        compiling = "-" if row.compile_seconds is None else f"{row.compile_seconds:,.1f}"
        table.add_row(row.label, spread(row.found), *seconds, compiling, ", ".join(row.differs))
        table.add_row("  random networks", spread(row.random))
        table.add_row("  random search, equal cost", random_search(row.equal))
    print("Search and training in device seconds, compilation apart; means over the runs of a row.")
    print_table(table)

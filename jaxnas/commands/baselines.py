"""``jaxnas baselines``: every black-box searcher on a table."""

# No "from __future__ import annotations" here: tyro reads the annotations of a nested function.

from pathlib import Path
from typing import Any

import rich.table

from jaxnas import baselines
from jaxnas.commands.arguments import JsonTarget, parse
from jaxnas.commands.json_output import json_output, to_text
from jaxnas.console import Console
from jaxnas.errors import UserError
from jaxnas.tabular import read, table_of
from jaxnas.whole_files import write_whole

JSON, PICTURE = "baselines.json", "baselines.svg"


def main(arguments: list[str]) -> int:
    """Runs the searchers and compares them with random search; the JSON is ``baselines.json``."""

    def search_table(
        table: Path,
        dataset: str = "cifar10",
        seeds: int = 200,
        queries: int = 200,
        seed: int = 0,
        out: Path | None = None,
        overwrite: bool = False,
        json: JsonTarget = None,
    ) -> int:
        """Run every black-box searcher on a table.

        Args:
          table: file of NAS-Bench-201, as of jaxnas verify nb201.
          dataset: whose accuracies: cifar10, cifar100 or ImageNet16-120.
          seeds: searches of each searcher; of Bayesian optimisation there are five.
          queries: architectures that a search trains, by the table's shortest training.
          seed: of all random numbers.
          out: folder for the result and the picture, runs/baselines-DATASET by default.
          overwrite: replace the result in --out.
        """
        with json_output(json) as write:
            folder = out or Path("runs") / f"baselines-{dataset}"
            _check(folder, overwrite)
            known = table_of(read(table, "nb201"), dataset)
            with Console() as console:
                console.note(f"{known.name}. Searches see the validation accuracies; what they find is judged by the test one.")
                console.note(f"averaged: {known.averaged}")
                result = baselines.run(known, seeds, queries, seed, console.note)
                drawn = baselines.picture(result)
                folder.mkdir(parents=True, exist_ok=True)
                write_whole(folder / JSON, (to_text(result) + "\n").encode())
                write_whole(folder / PICTURE, drawn.encode())
                _table(result, console)
                console.note(f"files: {folder}/ ({JSON}, {PICTURE})")
            write(result)
        return 0

    return parse(search_table, arguments, "baselines", "Run every black-box searcher on a table of NAS-Bench-201.")


def _check(folder: Path, overwrite: bool) -> None:
    """Refuses to replace anything unasked, before the searches begin."""
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder} is a file, not a folder. Choose another --out.")
    if not overwrite and any((folder / name).exists() for name in (JSON, PICTURE)):
        raise UserError(f"{folder} holds a result. Give --overwrite to replace it, or another --out.")


def _table(result: dict[str, Any], console: Console) -> None:
    queries, seconds = result["queries"], result["costs"][-1]
    table = rich.table.Table(box=None, pad_edge=False)
    for column in ("searcher", f"{queries} queries", "- random", f"{seconds:,.0f} s", "- random"):
        table.add_column(column, justify="left" if column in ("searcher", "- random") else "right")
    for one in result["searchers"]:
        queried = one["after_queries"] if one["queries"] == queries else None
        table.add_row(one["name"], *_found(queried), *_found(one["at_equal_cost"]))
    console.note(
        f"\nTest accuracy in percent of what is found +- deviation of the seeds, after {queries} queries and, at equal cost, "
        f"after {seconds:,.0f} simulated seconds of training; and what it is more than random search's. In brackets: within "
        f"the error ({result['confidence']:.0%}). The best of the table is {result['best_test_accuracy']:.2f}."
    )
    console.out.print(table)


def _found(found: dict[str, Any] | None) -> tuple[str, str]:
    if found is None:
        return "-", "-"
    against = found.get("against_random")
    number = f"{found['mean']:.2f} +- {found['deviation']:.2f}"
    if against is None:
        return number, ""
    word, within, _ = against["verdict"].partition(", within the error")
    return number, f"{against['difference']:+.2f} {f'({word})' if within else word}"

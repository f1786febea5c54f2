"""``jaxnas list``: the runs in a folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import rich.console
import rich.markup
import rich.table
import tyro

from jaxnas.commands.arguments import JsonTarget, parse
from jaxnas.commands.json_output import json_output
from jaxnas.commands.status import summary
from jaxnas.errors import UserError
from jaxnas.status import Status, found_runs, status


def main(arguments: list[str]) -> int:
    """Prints them; the JSON has a list ``runs`` of what ``jaxnas status`` says of each."""
    return parse(_list, arguments, "list", "The runs in a folder and below it.")


def _list(
    folder: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="DIR")] = Path("runs"),
    json: JsonTarget = None,
) -> int:
    """The runs in a folder and below it.

    Args:
      folder: where to look.
    """
    with json_output(json) as write:
        if not folder.is_dir():
            raise UserError(f"{folder} is not a folder. Name the one that holds your runs.")
        runs = [status(path) for path in found_runs(folder)]
        if not runs:
            print(f"{folder} holds no run.")
        else:
            table = rich.table.Table(box=None, pad_edge=False)
            for column in ("run", "recipe", "seed", "state"):
                table.add_column(column)
            table.add_column("test accuracy", justify="right")
            for found in runs:
                table.add_row(*(rich.markup.escape(text) for text in _row(folder, found)))
            rich.console.Console(highlight=False, soft_wrap=True).print(table)
        write({"runs": [summary(found) for found in runs]})
    return 0


def _row(folder: Path, found: Status) -> tuple[str, ...]:
    run, accuracy = found.run, found.run.network.get("test_accuracy")
    state = "done" if found.finished else "not done"
    if not found.finished and found.now is not None:
        state = f"{found.now.name} {found.now.done}/{found.now.epochs}"
    elif "missed" in run.result:
        state = "target missed"
    seed = "" if run.recipe is None else str(run.recipe.seed)
    shown = f"{accuracy:.2%}" if isinstance(accuracy, float) else ""
    return str(run.folder.relative_to(folder)), run.name, seed, state, shown

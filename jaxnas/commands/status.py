"""``jaxnas status``: how far a run is, from another terminal."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Any

import tyro

from jaxnas.commands.arguments import JsonTarget, parse
from jaxnas.commands.json_output import json_output
from jaxnas.console import metrics_line, time_line
from jaxnas.run_folder import LOG
from jaxnas.status import Status, status

SECONDS = 1.0
"""Between two looks at a run that is followed."""


def main(arguments: list[str]) -> int:
    """Prints it; the JSON is that of :func:`summary`."""
    return parse(_status, arguments, "status", "How far a run is: from another terminal, or after it was ended.")


def _status(
    run: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")],
    follow: bool = False,
    json: JsonTarget = None,
) -> int:
    """How far a run is.

    Args:
      run: the folder of a run.
      follow: go on, with a line for every epoch, until it is done; Ctrl-C ends it, not the run.
    """
    with json_output(json) as write:
        found = status(run)
        for line in _lines(found):
            print(line, flush=True)
        while follow and not found.finished:
            time.sleep(SECONDS)
            seen, found = len(found.run.log), status(run)
            for record in found.run.log[seen:]:
                print(_epoch(found, record), flush=True)
            if found.finished:
                print(_state(found), flush=True)
        write(summary(found))
    return 0


def summary(found: Status) -> dict[str, Any]:
    """A status for JSON: its stages, whether the run is finished, the seconds left or null, and what is damaged."""
    stages = [
        {"name": stage.name, "done": stage.done, "epochs": stage.epochs, "seconds": stage.seconds} for stage in found.stages
    ]
    return {
        "run": str(found.run.folder),
        "recipe": found.run.name,
        "stages": stages,
        "finished": found.finished,
        "seconds_left": found.seconds_left,
        "test_accuracy": found.run.network.get("test_accuracy"),
        "problems": list(found.run.problems),
    }


def _lines(found: Status) -> list[str]:
    run = found.run
    seed = "" if run.recipe is None else f", seed {run.recipe.seed}"
    lines = [f"recipe    {run.name}{seed}, begun {run.environment.get('date', 'at a time that is not known')}"]
    for stage in found.stages:
        pace = "" if stage.seconds is None else f", {stage.seconds:.1f} s an epoch"
        last = next((record for record in reversed(run.log) if record["stage"] == stage.name and "epoch" in record), {})
        lines.append(f"{stage.name:<15} {stage.done}/{stage.epochs} epochs{pace}  {metrics_line(_numbers(last))}".rstrip())
    lines += [f"note      {problem}" for problem in run.problems if "is missing" not in problem]
    return [*lines, _state(found)]


def _state(found: Status) -> str:
    if found.finished:
        accuracy = found.run.network.get("test_accuracy")
        return "done" + (f": test accuracy {accuracy:.2%}" if isinstance(accuracy, float) else "")
    log = found.run.folder / LOG
    ago = f"{time_line(max(0.0, time.time() - log.stat().st_mtime))} ago" if log.exists() else "never"
    left = "not known yet" if found.seconds_left is None else f"{time_line(found.seconds_left)} and compilation"
    now = f"{found.now.name} goes on" if found.now else "all epochs are done"
    return f"not done: {now}; last written {ago}; left: {left}"


def _epoch(found: Status, record: dict[str, Any]) -> str:
    if "epoch" not in record:
        return f"{record['stage']}: {', '.join(f'{name} {value}' for name, value in record.items() if name != 'stage')}"
    epochs = next((f"/{stage.epochs}" for stage in found.stages if stage.name == record["stage"]), "")
    left = "" if found.seconds_left is None else f"  left {time_line(found.seconds_left)}"
    return f"{record['stage']} epoch {record['epoch'] + 1}{epochs}  {metrics_line(_numbers(record))}{left}"


def _numbers(record: dict[str, Any]) -> dict[str, float]:
    return {name: value for name, value in record.items() if isinstance(value, float)}

"""The page of a run, at the end of every search."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from jaxnas.console import Console
from jaxnas.errors import TargetMissed, UserError
from jaxnas.run_folder import RunFolder


@contextlib.contextmanager
def reported(folder: RunFolder, console: Console) -> Iterator[None]:
    """Writes the page of the run inside when it is done, also where it missed its target.

    A page that cannot be written takes nothing from the run, and is a note.
    """
    try:
        yield
    except TargetMissed:
        _write(folder, console)
        raise
    _write(folder, console)


def _write(folder: RunFolder, console: Console) -> None:
    from jaxnas.commands.report import write_report  # Not above: a search begins sooner without it.

    if not folder.written:
        return
    try:
        path, _ = write_report(folder.path)
    except UserError as error:
        console.note(f"no report: {error}")
    else:
        console.note(f"report: {path}")

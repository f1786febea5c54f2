"""Leaving at a signal: with the state saved where there is one to save, at once where nothing would be lost.

A signal is noticed by a thread of the command line (:mod:`jaxnas.cli`), also while XLA compiles for minutes; what it then does
is decided by what the main thread is at, which says so here. There is one such place, since signals are the process's.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

RESUME_ME = 75
"""The exit code of a run that can be resumed: ``EX_TEMPFAIL`` of ``sysexits.h``, "try again later"."""

_asked = threading.Event()
_resumable: str | None = None
_steps = False


class Left(Exception):
    """A run has saved its state, as it was asked to leave; what is said of it."""


@contextlib.contextmanager
def resumable(command: str) -> Iterator[None]:
    """Inside, a command would go on with what is done: to end at once loses at most what was not saved yet.

    >>> with resumable("jaxnas resume runs/mine"):
    ...     print(how_to_resume())
    Go on with: jaxnas resume runs/mine
    """
    global _resumable
    _resumable = command
    try:
        yield
    finally:
        _resumable = None
        saves_first(False)
        _asked.clear()


def how_to_resume() -> str | None:
    """What to type to go on with the run that is interrupted; None where there is none."""
    return None if _resumable is None else f"Go on with: {_resumable}"


def saves_first(steps: bool) -> None:
    """Says whether the main thread does steps, between which it looks at :func:`asked` and can save their state."""
    global _steps
    _steps = steps


def ask() -> bool:
    """Asks the main thread to save and leave. False where it would not, or was asked before: then end the process."""
    if not _steps or _asked.is_set():
        return False
    _asked.set()
    return True


def asked() -> bool:
    """Whether the run was asked to leave."""
    return _asked.is_set()

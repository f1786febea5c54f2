"""Leaving at a signal, with the state saved where there is one to save, at once where nothing would be lost; or leaving others.

A signal is noticed by a thread of the command line (:mod:`jaxnas.cli`), also while XLA compiles for minutes; what it then does
is decided by what the main thread is at, which says so here. There is one such place, since signals are the process's.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from typing import NoReturn

RESUME_ME = 75
"""The exit code of a run that can be resumed: ``EX_TEMPFAIL`` of ``sysexits.h``, "try again later"."""

GRACE = 5.0
"""Seconds that process 0, when it fails, waits for others, which may fail alike and have something to say."""

_asked = threading.Event()
_resumable: str | None = None
_steps = False
_part: Callable[[], None] | None = None
_watcher: subprocess.Popen[bytes] | None = None

# Says the words of a process that did not, before the pipe from it was closed, say that it had none.
_WATCH = "import sys; sys.stdin.read() or print('jaxnas: ' + sys.argv[1], file=sys.stderr, flush=True)"


class Left(Exception):
    """A run has saved its state, as it was asked to leave; what is said of it."""


class Lost(Exception):
    """Another process of the search is gone, so this one cannot go on; what is said of it."""


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
        with last_words() if _part is not None else contextlib.nullcontext():
            yield
    finally:
        _resumable = None
        saves_first(False)
        _asked.clear()


def how_to_resume() -> str | None:
    """What to type to go on with the run that is interrupted; None where there is none."""
    everywhere = "" if _part is None else " on every host, with what says who is who"
    return None if _resumable is None else f"Go on with: {_resumable}{everywhere}"


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


def among_others(part: Callable[[], None]) -> None:
    """Says that this process is one of several, and what it does, :data:`GRACE` seconds at most, when it has failed."""
    global _part
    _part = part


def is_among_others() -> bool:
    """Whether this process is one of several."""
    return _part is not None


@contextlib.contextmanager
def last_words() -> Iterator[None]:
    """Inside, a process that ends without a word has it said by another that waits for this: how to go on.

    JAX ends a process, and lets no Python run any more, when process 0 is gone or another one was not heard of for long.
    """
    global _watcher
    words = f"This process ended without a word: it was killed, or JAX ended it as another one is gone. {how_to_resume()}"
    command = [sys.executable, "-I", "-S", "-c", _WATCH, words]
    # In a session of its own: Ctrl-C is for the search.
    _watcher = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, start_new_session=True)
    try:
        yield
    finally:
        has_spoken()


def has_spoken() -> None:
    """Says that this process ends with words of its own, or well."""
    global _watcher
    watcher, _watcher = _watcher, None
    if watcher is not None:
        with contextlib.suppress(OSError):  # It is gone itself.
            watcher.communicate(b".")


def end(code: int, agreed: bool) -> NoReturn:
    """Ends the process.

    One that JAX has among others waits at its end for these to end as well. They will not, unless all agreed: so one that fails
    ends at once. But process 0 gives the others a moment: it is what they find each other by, and without it JAX ends them
    before they can say what they, perhaps, failed of as well.

    Args:
      code: the exit code.
      agreed: all processes end here.
    """
    if _part is not None and not agreed:
        parting = threading.Thread(target=_quietly, args=(_part,), daemon=True)
        parting.start()
        parting.join(GRACE)
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


def _quietly(part: Callable[[], None]) -> None:
    with contextlib.suppress(Exception):  # What it would say was said better.
        part()

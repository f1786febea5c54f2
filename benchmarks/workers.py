"""Sides of a measurement as processes of their own, which work one at a time and when they are told to.

Not in one process: a fresh one shows what a first step takes, and the peak of its memory is one framework's alone. The
thread pools then cannot disturb each other either, unless they spin while they wait; ``search_step`` therefore records
the peer's seconds alone beside those in turns.
"""

from __future__ import annotations

import importlib
import multiprocessing
import os
import time
from collections.abc import Mapping
from multiprocessing.connection import Connection
from typing import Any
from unittest import mock


class Worker:
    """A process that imports a module and calls its ``open_side(**arguments)``; what that returns does the work.

    Attributes:
      facts: the side's, once it is ready, and the seconds of importing its module.
    """

    def __init__(self, module: str, arguments: Mapping[str, Any], environment: Mapping[str, str] | None = None) -> None:
        # Spawned, not forked: nothing of the parent's is in it.
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, module, time.time(), dict(arguments)), daemon=True)
        with mock.patch.dict(os.environ, environment or {}):
            self._process.start()
        theirs.close()
        self.facts: dict[str, Any] = self._connection.recv()

    def ask(self, name: str) -> Any:
        """Calls a method of the side, without arguments."""
        self._connection.send(name)
        return self._connection.recv()

    def close(self) -> None:
        self._connection.send(None)
        self._process.join()


def _serve(connection: Connection, module: str, started: float, arguments: dict[str, Any]) -> None:
    began = time.perf_counter()
    imported = importlib.import_module(module)
    import_seconds = time.perf_counter() - began
    side = imported.open_side(started=started, **arguments)
    connection.send({"import_s": import_seconds, **side.facts})
    while (name := connection.recv()) is not None:
        connection.send(getattr(side, name)())

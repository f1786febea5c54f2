"""Results as JSON: one meaning of ``--json`` for every verb."""

from __future__ import annotations

import contextlib
import json
import math
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from jaxnas.errors import UserError
from jaxnas.whole_files import replaceable, write_whole


@contextlib.contextmanager
def json_output(target: Path | None) -> Iterator[Callable[[Any], None]]:
    """Where the command inside leaves its result: it calls what it is handed, once.

    Args:
      target: a file, which a result may replace and nothing else is; ``-`` for standard output, which then gets nothing but
        the result, as all else that is printed inside goes to standard error; None to drop the result.

    Raises:
      UserError: before the command has begun where the file could not be written, else when it cannot.
    """
    if target is None:
        yield lambda result: None
    elif target == Path("-"):
        out = sys.stdout
        with contextlib.redirect_stdout(sys.stderr):
            yield lambda result: print(to_text(result), file=out, flush=True)
    else:
        _check(target)
        yield lambda result: _write(target, result)


def to_text(result: Any) -> str:
    """Indented JSON; a number that is not finite, which JSON does not have, becomes null.

    >>> to_text({"error": math.inf})
    '{\\n  "error": null\\n}'
    """
    return json.dumps(_finite(result), indent=2, allow_nan=False)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _check(path: Path) -> None:
    if path.is_dir():
        raise UserError(f"{path} is a folder. Name a file after --json, or - for standard output.")
    if not path.parent.is_dir():
        raise UserError(f"{path} cannot be written: there is no folder {path.parent}.")
    written = ([path.parent] if replaceable(path) else []) + ([path] if path.exists() else [])
    if not all(os.access(target, os.W_OK) for target in written):
        raise UserError(f"{path} cannot be written: no permission. Name another file after --json.")
    if path.is_file() and path.stat().st_size:
        try:
            json.loads(path.read_bytes())
        except ValueError as error:
            raise UserError(
                f"{path} exists and is not JSON: nothing was overwritten. Name another file after --json."
            ) from error


def _write(path: Path, result: Any) -> None:
    try:
        write_whole(path, (to_text(result) + "\n").encode())
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error.strerror}.") from error

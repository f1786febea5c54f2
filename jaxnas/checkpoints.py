"""Checkpoints by Orbax: written in the background, whole or not counted, the last few of them kept."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import hashlib
import io
import itertools
import json
import os
import shutil
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxnas.errors import UserError
from jaxnas.whole_files import write_whole

KEPT = 2  # The last one, and the one before to fall back to.
SEAL = "sha256.json"
ROOM = 1.25  # Of the arrays' bytes: names, shapes and the log come on top.


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """What was kept.

    Attributes:
      number: of the checkpoint; they are counted.
      arrays: by name.
      about: what was said of them, JSON.
    """

    number: int
    arrays: dict[str, np.ndarray]
    about: dict[str, Any]


def to_bytes(kept: Checkpoint | None) -> bytes:
    """A checkpoint in one piece, for another process; none as no bytes.

    >>> from_bytes(to_bytes(Checkpoint(1, {"step": np.asarray(3)}, {"epoch": 2})))
    Checkpoint(number=1, arrays={'step': array(3)}, about={'epoch': 2})
    >>> from_bytes(to_bytes(None)) is None
    True
    """
    if kept is None:
        return b""
    archive, about = io.BytesIO(), json.dumps([kept.number, kept.about]).encode()
    arrays: dict[str, Any] = {f"array.{name}": array for name, array in kept.arrays.items()}
    np.savez(archive, about=np.frombuffer(about, np.uint8), **arrays)
    return archive.getvalue()


def from_bytes(piece: bytes) -> Checkpoint | None:
    """The inverse of :func:`to_bytes`."""
    if not piece:
        return None
    with np.load(io.BytesIO(piece)) as archive:
        arrays = {name.removeprefix("array."): archive[name] for name in archive.files if name.startswith("array.")}
        return Checkpoint(arrays=arrays, **dict(zip(("number", "about"), json.loads(archive["about"].tobytes()), strict=True)))


class Checkpoints:
    """The checkpoints of one folder, each in a folder of its number.

    Orbax writes under another name and renames, in the background. When that is done the checksums of all files are put
    beside them: a checkpoint counts from then on, and a byte that has changed since is noticed before Orbax reads it.

    >>> import tempfile
    >>> kept = Checkpoints(Path(tempfile.mkdtemp()))
    >>> for epoch in range(3):
    ...     kept.save({"weights": np.full(2, epoch)}, {"epoch": epoch})
    >>> kept.close()
    >>> last, damaged = kept.restore()
    >>> last.about, last.arrays, damaged
    ({'epoch': 2}, {'weights': array([2, 2])}, [])
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder.absolute()  # Orbax asks for it.
        self.last = 0
        self._orbax: Any = None
        self._background = ThreadPoolExecutor(1, "checkpoint")
        self._pending: Future[None] | None = None

    def save(self, arrays: dict[str, np.ndarray], about: dict[str, Any]) -> None:
        """Begins to write a checkpoint, as soon as the one before is written. The arrays must not change until :meth:`wait`.

        Args:
          arrays: by name, of any shapes; an array without elements is not kept, as Orbax refuses it.
          about: JSON that goes with them.

        Raises:
          OSError: no space is left, or no permission.
          UserError: what else Orbax says, of this one or the one before.
        """
        self.wait()
        self._check_room(sum(array.nbytes for array in arrays.values()))
        self.last += 1
        folder, kept = self.folder / str(self.last), {name: array for name, array in arrays.items() if array.size}
        with _spoken(self.folder):
            orbax, manager = _orbax(), self._manager()
            state = orbax.args.Composite(state=orbax.args.StandardSave(kept))
            manager.save(self.last, args=state, custom_metadata=about, force=True)

        def finish() -> None:
            with _spoken(folder):
                manager.wait_until_finished()
                write_whole(folder / SEAL, json.dumps(_checksums(folder), indent=2).encode())

        self._pending = self._background.submit(finish)

    def wait(self) -> None:
        """Returns when the last checkpoint is written.

        Raises:
          OSError, UserError: as :meth:`save`.
        """
        pending, self._pending = self._pending, None
        if pending is not None:
            pending.result()

    def close(self) -> None:
        """Waits, and ends what goes on in the background.

        Raises:
          OSError, UserError: as :meth:`save`.
        """
        try:
            self.wait()
        finally:
            if self._orbax is not None:
                with contextlib.suppress(Exception):  # It repeats what the wait has raised.
                    self._orbax.close()
                self._orbax = None
            self._background.shutdown()

    def restore(self) -> tuple[Checkpoint | None, list[str]]:
        """The last checkpoint that is whole, and what is to be said of later ones that are not.

        These are renamed, so that they are out of the way; what a kill left unfinished is removed.

        Raises:
          OSError: no permission.
        """
        damaged: list[str] = []
        self._remove_unfinished()
        for number in sorted(self._numbers(), reverse=True):
            folder = self.folder / str(number)
            try:
                if json.loads((folder / SEAL).read_bytes()) != _checksums(folder):
                    raise ValueError("its checksums are others")
                arrays, about = _read(folder)
            except PermissionError:
                raise
            except Exception as error:  # Damaged files raise whatever their first bad byte leads to.
                aside = _free_name(self.folder / f"damaged-{number}")
                folder.rename(aside)
                damaged.append(f"checkpoint {number} is damaged ({_first_line(error)}); it is now {aside.name}")
                continue
            self.last = number
            return Checkpoint(number, arrays, about), damaged
        return None, damaged

    def _numbers(self) -> list[int]:
        return [int(path.name) for path in self.folder.glob("*") if path.name.isdecimal()]

    def _remove_unfinished(self) -> None:
        for path in self.folder.glob("*"):
            unsealed = path.name.isdecimal() and not (path / SEAL).exists()
            if unsealed or ".orbax-checkpoint-tmp" in path.name:
                shutil.rmtree(path)

    def _check_room(self, size: int) -> None:
        """Orbax that finds no room raises as well, but its threads print what they think of it."""
        place = next(path for path in (self.folder, *self.folder.parents) if path.exists())
        if shutil.disk_usage(place).free < ROOM * size:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.folder))

    def _manager(self) -> Any:
        if self._orbax is None:
            orbax = _orbax()
            self.folder.mkdir(parents=True, exist_ok=True)
            # Of several processes this one alone, which waits for no other: the manager of Orbax's v1 cannot be told so.
            this = jax.process_index()
            alone = orbax.options.MultiprocessingOptions(primary_host=this, active_processes={this})
            options = orbax.CheckpointManagerOptions(max_to_keep=KEPT, create=False, multiprocessing_options=alone)
            self._orbax = orbax.CheckpointManager(self.folder, options=options)
        return self._orbax


def _orbax() -> Any:
    """Orbax, imported when it is needed: it takes as long as much of what precedes a search's first step."""
    import orbax.checkpoint
    from absl import logging

    logging.set_verbosity(logging.FATAL)  # It logs, with tracebacks, the errors that it raises.
    return orbax.checkpoint


def _read(folder: Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Arrays and about of a checkpoint; as the arrays are flat and NumPy's, their tree needs no description."""
    orbax = _orbax().v1
    alone, this = orbax.Context(), jax.process_index()
    alone.multiprocessing.primary_host, alone.multiprocessing.active_processes = this, {this}
    with alone:
        return orbax.load(folder), orbax.metadata(folder).custom_metadata


def _checksums(folder: Path) -> dict[str, str]:
    """SHA-256 of all files but the seal, by their paths."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.name != SEAL:
            with path.open("rb") as file:
                found[path.relative_to(folder).as_posix()] = hashlib.file_digest(file, "sha256").hexdigest()
    return found


@contextlib.contextmanager
def _spoken(folder: Path) -> Any:
    """Errors of Orbax as ours; TensorStore's of a full disk is a ValueError."""
    try:
        yield
    except OSError:
        raise
    except Exception as error:
        if os.strerror(errno.ENOSPC) in str(error) or "RESOURCE_EXHAUSTED" in str(error):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder)) from error
        raise UserError(f"The checkpoint {folder} cannot be written: {_first_line(error)}. Earlier ones are whole.") from error


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]


def _free_name(path: Path) -> Path:
    """The path, or where something is there one with a number behind it."""
    numbered = (path.with_name(f"{path.name}-{number}") for number in itertools.count(2))
    return next(name for name in itertools.chain([path], numbered) if not name.exists())

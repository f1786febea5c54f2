"""What a run has behind it, kept in checkpoints: the whole state of its stage, its logs, what its ended stages left."""

from __future__ import annotations

import contextlib
import copy
import shlex
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from jaxnas import leaving, processes
from jaxnas.checkpoints import Checkpoint, Checkpoints, from_bytes, to_bytes
from jaxnas.data import Unreadable
from jaxnas.errors import UserError
from jaxnas.feeding import Done, NotFinite
from jaxnas.run_folder import ABANDONED, CHECKPOINTS, LOG, TIMING, RunFolder, difference, fitted, flat_arrays, packages

FORMAT = 1
LOGS = (LOG, TIMING, ABANDONED)
SECONDS = 600.0
"""So long after the last checkpoint another one is due within an epoch."""


Spent = Callable[[str, float, bool], None]
"""Is told on what seconds were spent, and whether to write that now; see :meth:`jaxnas.card.Card.spent`."""


def _untold(what: str, seconds: float, now: bool) -> None:
    """Of a run without a card."""


class Saves:
    """A run that can be ended at any moment and goes on.

    A checkpoint holds, besides arrays, the lines of both logs up to then. The logs are written first and the state last, so of
    the two the logs can only be the younger; resuming puts them back to what they were.

    Of several processes the first writes and reads; all leave at the same place, and go on from the same checkpoint.

    Args:
      folder: the run's.
      begun_with: the documents that decide what the run does, by their names; a checkpoint of others is refused.
      note: is told what is damaged.
      spent: is told what seconds were spent on.

    Attributes:
      folder: the run's.
      notes: JSON that ended stages left for later ones; whatever it holds goes into the next checkpoint.

    Raises:
      UserError: the last whole checkpoint is of another configuration, or of other versions; the message has the difference.
    """

    def __init__(
        self,
        folder: RunFolder,
        begun_with: dict[str, Any],
        note: Callable[[str], None] = print,
        spent: Spent = _untold,
    ) -> None:
        self.folder, self.spent = folder, spent
        self.notes: dict[str, Any] = {}
        self._what = {"format": FORMAT, "packages": packages(), **begun_with}
        self._kept = Checkpoints(folder.path / CHECKPOINTS)
        self._saved_at = time.monotonic()
        self._last: tuple[str, Done] | None = None
        self._restored: Checkpoint | None = None
        if folder.resumed:
            self._restore(note)

    def begin(self, stage: str, state: Any, done: Done) -> tuple[Any, Done]:
        """The state that a stage begins with, and how far it is: those given, unless it is the one that goes on.

        Raises:
          UserError: arrays of other shapes; the message has the difference.
          Left: the run was asked to leave.
          Lost: another process is gone.
        """
        if self._restored is not None and self._restored.about["stage"] == stage:
            kept, self._restored = self._restored, None
            arrays = {name: array for name, array in kept.arrays.items() if name.startswith("state.")}
            where = f"Checkpoint {kept.number} of {self.folder.path}"
            state = fitted(arrays, {"state": state}, where)["state"]
            done = Done(kept.about["epoch"], kept.about["step"], _metrics(kept), kept.about.get("positions", ()))
        if processes.any_of(leaving.asked()):
            self._leave()
        return state, done

    def reached(self, stage: str, state: Any, done: Done) -> None:
        """Saves after every epoch, within one that takes long, and before leaving.

        Raises:
          Left: the run was asked to leave, in any of its processes, and has saved its state.
          Lost: another process is gone.
          NotFinite: numbers in the state that are not finite, which then is not saved.
          OSError, UserError: it cannot be saved.
        """
        asked = processes.any_of(leaving.asked())
        if asked or done.step == 0 or time.monotonic() - self._saved_at > SECONDS:
            self._save(stage, state, done)
        if asked:
            self._leave()

    def last_good(self) -> str:
        """Where the last whole checkpoint is, in words."""
        if not self.folder.written:
            return f"Process 0 says which is the last good checkpoint in {self.folder.path}."
        if self._last is None:
            return f"No checkpoint was written in {self.folder.path} since it was started."
        stage, done = self._last
        where = f"epoch {done.epoch}, step {done.step}"
        return f"The last good checkpoint is {self.folder.path / CHECKPOINTS / str(self._kept.last)}: {stage}, {where}."

    def close(self) -> None:
        """Waits for what is being written.

        Raises:
          OSError, UserError: it cannot be written.
        """
        self._kept.close()

    def _restore(self, note: Callable[[str], None]) -> None:
        kept, damaged = self._kept.restore() if self.folder.written else (None, [])
        kept = from_bytes(processes.told(to_bytes(kept)))
        for what in damaged:
            note(f"warning: {what}; going on from {'the beginning' if kept is None else f'checkpoint {kept.number}'}")
        logs = dict.fromkeys(LOGS, "") if kept is None else kept.about["logs"]
        if kept is not None:
            self._refuse_other(kept)
            self._restored, self.notes = kept, kept.about["notes"]
            self._last = kept.about["stage"], Done(kept.about["epoch"], kept.about["step"])
        for name, text in logs.items() if self.folder.written else ():
            if text:
                self.folder.write_text(name, text)
            else:
                (self.folder.path / name).unlink(missing_ok=True)

    def _refuse_other(self, kept: Checkpoint) -> None:
        if (found := difference(kept.about["what"], self._what)) is not None:
            raise UserError(
                f"The run in {self.folder.path} cannot go on: in its checkpoint {kept.number} {found}. "
                "Restore that, or begin a run anew."
            )

    def _save(self, stage: str, state: Any, done: Done) -> None:
        if not self.folder.written:
            return
        arrays = flat_arrays({"state": state, "metrics": {name: np.concatenate(of) for name, of in done.metrics.items()}})
        for name, array in arrays.items():
            if name.startswith("state.") and array.dtype.kind == "f" and not np.isfinite(array).all():
                raise NotFinite(f"{name} is not finite in stage {stage}, after epoch {done.epoch}, step {done.step}.")
        logs = {name: path.read_text() if (path := self.folder.path / name).exists() else "" for name in LOGS}
        place = {"stage": stage, "epoch": done.epoch, "step": done.step, "positions": [*done.positions]}
        self._kept.save(arrays, {"what": self._what, **place, "logs": logs, "notes": copy.deepcopy(self.notes)})
        self._saved_at, self._last = time.monotonic(), (stage, done)

    def _leave(self) -> None:
        self._kept.wait()
        raise leaving.Left(f"Left, as asked. {self.last_good()} {leaving.how_to_resume() or ''}".strip())


@contextlib.contextmanager
def saving(
    folder: RunFolder, begun_with: dict[str, Any], note: Callable[[str], None], spent: Spent = _untold
) -> Iterator[Saves]:
    """A :class:`Saves` that is closed in the end, and whose last checkpoint is named where numbers are not finite, images are
    lost or another process is gone.

    Raises:
      UserError: as :class:`Saves`, and with that name.
      Lost: another process is gone.
    """
    with leaving.resumable(f"jaxnas resume {shlex.quote(str(folder.path))}"):
        saves = Saves(folder, begun_with, note, spent)
        try:
            yield saves
            saves.close()
        except (NotFinite, Unreadable) as error:
            with contextlib.suppress(OSError, UserError):
                saves.close()
            then = f" {leaving.how_to_resume()}" if isinstance(error, Unreadable) else ""
            raise UserError(f"{error} {saves.last_good()}{then}") from error
        except leaving.Lost as lost:
            with contextlib.suppress(OSError, UserError):
                saves.close()
            raise leaving.Lost(f"{lost} {saves.last_good()} {leaving.how_to_resume()}") from lost
        except BaseException:
            with contextlib.suppress(OSError, UserError):  # What is raised here came first.
                saves.close()
            raise


def _metrics(kept: Checkpoint) -> dict[str, list[np.ndarray]]:
    return {name.removeprefix("metrics."): [array] for name, array in kept.arrays.items() if name.startswith("metrics.")}

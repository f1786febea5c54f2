"""A run's metrics for TensorBoard, as they come."""

from __future__ import annotations

import atexit
from pathlib import Path
from typing import Any

from jaxnas.errors import UserError


class Scalars:
    """Writes the numbers in every line of a run's log, called with it, by stage and epoch.

    Args:
      folder: gets a file of events beside those that are there.

    Raises:
      UserError: tensorboardX, which writes them, is not installed, or the folder is none.
    """

    def __init__(self, folder: Path) -> None:
        if folder.exists() and not folder.is_dir():
            raise UserError(f"{folder} is a file, not a folder. Give another --tensorboard.")
        try:
            from tensorboardX import SummaryWriter
        except ImportError as error:
            raise UserError("--tensorboard needs tensorboardX. Run: pip install tensorboardX") from error
        # It writes in a thread of its own: what an epoch says is in the file a second later, and all of it when it is closed.
        self._writer = SummaryWriter(str(folder), flush_secs=1)
        atexit.register(self.close)

    def __call__(self, record: dict[str, Any]) -> None:
        for name, value in record.items():
            if isinstance(value, float):
                self._writer.add_scalar(f"{record['stage']}/{name}".replace(" ", "_"), value, record.get("epoch", 0))

    def close(self) -> None:
        """Writes what is left; Python's end does it, too."""
        self._writer.close()

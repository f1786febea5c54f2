"""Files of events, read back record by record."""

from __future__ import annotations

import struct
import sys
from pathlib import Path
from typing import Any

import pytest

from jaxnas.errors import UserError
from jaxnas.run_folder import LOG, TIMING, RunFolder
from jaxnas.tensorboard import Scalars


def test_every_number_of_the_log_by_stage_and_epoch(tmp_path: Path) -> None:
    from tensorboardX.proto import event_pb2

    messages: Any = event_pb2  # Its Event is made at run time.
    scalars = Scalars(tmp_path / "events")
    folder = RunFolder(tmp_path / "run", heard=scalars)
    for epoch in range(2):
        folder.append(LOG, {"stage": "train found", "epoch": epoch, "train_loss": 1.5 - epoch, "valid_loss": float("nan")})
        folder.append(TIMING, {"stage": "train found", "epoch": epoch, "seconds": 1.0})
    folder.append(LOG, {"stage": "train found", "test_accuracy": 0.75})
    scalars.close()
    (file,) = (tmp_path / "events").iterdir()
    data, at, found = file.read_bytes(), 0, []
    while at < len(data):  # Length, its checksum, the event, its checksum.
        (length,) = struct.unpack_from("<Q", data, at)
        event = messages.Event.FromString(data[at + 12 : at + 12 + length])
        found += [(value.tag, event.step, value.simple_value) for value in event.summary.value]
        at += 16 + length
    assert found == [
        ("train_found/train_loss", 0, 1.5),
        ("train_found/train_loss", 1, 0.5),
        ("train_found/test_accuracy", 0, 0.75),
    ]


def test_what_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(UserError, match="is a file, not a folder"):
        Scalars(tmp_path / "file")
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    with pytest.raises(UserError, match="pip install tensorboardX"):
        Scalars(tmp_path / "events")

"""The page at the end of a search."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from jaxnas.commands.reported import reported
from jaxnas.console import Console
from jaxnas.errors import TargetMissed
from jaxnas.run_folder import RunFolder


def test_a_run_gets_its_page_and_one_that_missed_its_target_too(
    write_run: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = RunFolder(write_run(tmp_path / "run", "nb201-digits", epochs=2), resume=True)
    with reported(folder, Console()):
        pass
    assert capsys.readouterr().out == f"report: {folder.path / 'report.html'}\n"
    (folder.path / "result.json").write_text(json.dumps({"missed": "The fastest takes 5 ms."}))
    with pytest.raises(TargetMissed), reported(folder, Console()):
        raise TargetMissed("The fastest takes 5 ms.", {})
    assert "The target was missed: The fastest takes 5 ms." in (folder.path / "report.html").read_text(encoding="utf-8")


def test_a_page_that_cannot_be_written_takes_nothing_from_the_run(
    write_run: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = RunFolder(write_run(tmp_path / "run", "nb201-digits", epochs=2), resume=True)
    (folder.path / "report.html").write_text("mine")
    with reported(folder, Console()):
        pass
    assert "no report: " in capsys.readouterr().out and (folder.path / "report.html").read_text() == "mine"

"""``jaxnas resume`` of a black-box search: what is finished is kept, and it ends as it would have."""

from __future__ import annotations

import json
import types
from pathlib import Path
from typing import Any

import pytest

from jaxnas import candidates, cli

SEARCH = ("blackbox", "nb201-digits", "--trainings", "6", "--epochs", "2", "--searcher", "evolution", "--out")


def call(*arguments: str) -> Any:
    with pytest.raises(SystemExit) as exit_:
        cli.main(list(arguments))
    return exit_.value.code


class Train:
    """In place of trainings: accuracies that depend on the genotype. One may be interrupted."""

    def __init__(self) -> None:
        self.done = 0
        self.end_at: int | None = None

    def __call__(self, genotype: Any, *_: Any) -> Any:
        if self.done == self.end_at:
            raise KeyboardInterrupt
        self.done += 1
        found = {"test_accuracy": str(genotype).count("conv") / 6, "parameters": 5}
        return types.SimpleNamespace(**found, trace_seconds=0.0, compile_seconds=0.0)


def test_a_black_box_search_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(candidates, "train", train := Train())
    assert call(*SEARCH, str(tmp_path / "whole")) == 0
    trained, train.done, train.end_at = train.done, 0, 3
    with pytest.raises(KeyboardInterrupt):
        cli.main([*SEARCH, str(tmp_path / "ended run")])
    train.end_at = None
    capsys.readouterr()
    assert call("resume", str(tmp_path / "ended run"), "--json", str(tmp_path / "found.json")) == 0
    assert f"next:  jaxnas train '{tmp_path / 'ended run'}'" in capsys.readouterr().out
    assert train.done == trained
    whole, ended = ((tmp_path / run / "result.json").read_bytes() for run in ("whole", "ended run"))
    assert whole == ended
    assert json.loads((tmp_path / "found.json").read_text()) == json.loads(whole)
    assert call("resume", str(tmp_path / "ended run")) == 0
    assert "is finished" in capsys.readouterr().out and train.done == trained
    (tmp_path / "ended run" / "result.json").unlink()
    (tmp_path / "ended run" / "blackbox.json").write_text('{"searcher": "evolution"}')
    assert call("resume", str(tmp_path / "ended run")) == 2
    assert "Was it changed?" in capsys.readouterr().err

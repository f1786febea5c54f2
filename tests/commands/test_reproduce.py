"""``jaxnas reproduce``: what is listed, planned, judged and recorded."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from jaxnas import registry
from jaxnas.commands import reproduce


@pytest.fixture
def copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A registry of one result that may be written to."""
    folder = tmp_path / "published"
    folder.mkdir()
    shutil.copy(registry.CHECKOUT / "counts-spaces.json", folder)
    monkeypatch.setattr(registry, "CHECKOUT", folder)
    return folder


def changed(folder: Path, **changes: Any) -> None:
    path = folder / "counts-spaces.json"
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | changes))


def test_a_count_is_judged_and_recorded_where_asked(copied: Path, capsys: pytest.CaptureFixture[str]) -> None:
    changed(copied, measured=None)
    assert reproduce.main(["counts-spaces"]) == 0
    assert "counts-spaces holds." in capsys.readouterr().out
    assert registry.find("counts-spaces").measured is None
    reproduce.main([])
    assert "not run" in capsys.readouterr().out
    assert reproduce.main(["counts-spaces", "--record"]) == 0
    measured = registry.find("counts-spaces").measured
    assert measured is not None and measured["holds"] and measured["values"]["darts: alphas"]["mean"] == 224
    capsys.readouterr()
    reproduce.main([])
    line = next(line for line in capsys.readouterr().out.splitlines() if "counts-spaces" in line)
    assert "10 figures" in line and "holds" in line and measured["date"][:10] in line


def test_what_does_not_hold_is_exit_code_1(copied: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    changed(copied, expected=[{"quantity": "darts: alphas", "value": 225, "spread": 0, "tolerance": 0}])
    out = tmp_path / "out.json"
    assert reproduce.main(["counts-spaces", "--json", str(out)]) == 1
    assert "DOES NOT HOLD: darts: alphas: 224; published 225" in capsys.readouterr().out
    assert json.loads(out.read_text())["results"][0]["holds"] is False


def test_a_dry_run_says_what_would_be_done(capsys: pytest.CaptureFixture[str]) -> None:
    assert reproduce.main(["counts-nb101", "--dry-run"]) == 0
    said = capsys.readouterr().out
    assert "published cost: not known" in said and "counts 1 figure; nothing is trained" in said

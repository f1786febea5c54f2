"""``jaxnas status`` and ``jaxnas list``: how far runs are."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from jaxnas.commands import list as list_command
from jaxnas.commands import status as status_command
from jaxnas.errors import UserError
from jaxnas.status import status


@pytest.fixture
def run(write_run: Callable[..., Path], tmp_path: Path) -> Path:
    return write_run(tmp_path / "runs" / "one", "nb201-digits", epochs=4)


def cut(run: Path, lines: int) -> tuple[str, str]:
    """Takes a run back to its first lines; returns all that its logs had."""
    (run / "result.json").unlink(missing_ok=True)
    whole = (run / "log.jsonl").read_text(), (run / "timing.jsonl").read_text()
    for name, text in zip(("log.jsonl", "timing.jsonl"), whole, strict=True):
        (run / name).write_text("".join(text.splitlines(keepends=True)[:lines]))
    return whole


def test_epochs_and_seconds_left_by_hand(run: Path) -> None:
    recipe = status(run).run.search
    assert recipe is not None and status(run).finished and status(run).seconds_left == 0
    cut(run, 3)
    found = status(run)
    assert [(stage.name, stage.done, stage.epochs) for stage in found.stages[:2]] == [
        ("search", 3, 4),
        ("train found", 0, recipe.train.epochs),
    ]
    assert len(found.stages) == 2 + recipe.random_cells
    assert found.now == found.stages[0] and found.seconds_left is None  # No epoch of a training is known yet.
    (run / "timing.jsonl").write_text('{"stage": "search", "seconds": 2.0}\n{"stage": "train found", "seconds": 3.0}\n')
    # One epoch of the search is left, and every epoch of all trainings.
    assert status(run).seconds_left == 2.0 + 3.0 * recipe.train.epochs * (1 + recipe.random_cells)
    # A search that an early stop ended after three epochs of four: its training has begun.
    with (run / "log.jsonl").open("a") as log:
        log.write('{"stage": "train found", "epoch": 0}\n')
    ended = status(run)
    assert ended.stages[0].left == 0 and ended.now == ended.stages[1]


def test_a_run_that_is_done_and_one_that_is_not(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert status_command.main([str(run)]) == 0
    assert "done: test accuracy" in capsys.readouterr().out
    cut(run, 2)
    with (run / "log.jsonl").open("a") as log:
        log.write('{"stage": "sea')
    assert status_command.main([str(run), "--json"]) == 0
    out, err = capsys.readouterr()
    assert "search          2/4 epochs, 2.0 s an epoch  train loss" in err and "line 3 is damaged" in err
    assert json.loads(out)["finished"] is False and json.loads(out)["stages"][0]["done"] == 2


def test_following_ends_with_the_run(run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    result = (run / "result.json").read_bytes()
    log, _ = cut(run, 1)
    looks = threading.Event()

    def next_look(_: float) -> None:
        """What a run would write meanwhile."""
        if looks.is_set():
            (run / "result.json").write_bytes(result)
        (run / "log.jsonl").write_text("".join(log.splitlines(keepends=True)[:3]))
        looks.set()

    monkeypatch.setattr("jaxnas.commands.status.time.sleep", next_look)
    assert status_command.main([str(run), "--follow"]) == 0
    out = capsys.readouterr().out.splitlines()
    assert [line.split("  ")[0] for line in out if " epoch " in line and "train loss" in line and "epochs" not in line] == [
        "search epoch 2/4",
        "search epoch 3/4",
    ]
    assert out[-1].startswith("done: test accuracy")


def test_list(write_run: Callable[..., Path], run: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    cut(write_run(tmp_path / "runs" / "deep" / "two", "darts-digits", epochs=4), 2)
    (tmp_path / "runs" / "broken").mkdir()
    (tmp_path / "runs" / "broken" / "config.json").write_text("{")
    assert list_command.main([str(tmp_path / "runs")]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert [row[0] for row in rows] == ["run", "broken", "deep/two", "one"]
    assert rows[2][1:] == ["darts-digits", "0", "search", "2/4"] and rows[3][3] == "done"
    assert list_command.main([str(tmp_path / "runs" / "broken")]) == 0
    assert "holds no run" in capsys.readouterr().out
    with pytest.raises(UserError, match="is not a folder"):
        list_command.main([str(tmp_path / "no")])

"""Sweeps for real, on digits: killed and repeated, and with the seeds of a setting together."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from jaxnas.card import read
from jaxnas.recipes import find

pytestmark = pytest.mark.slow

TINY = (
    "sweep nb201-digits --search.channels 2 --search.cells 1 --search.epochs 4 --train.channels 2 --train.cells 1 "
    "--train.epochs 1 --train.batch 128 --random-cells 0 --seeds 0 1"
).split()
RUNS = [f"search.batch={batch}-seed={seed}" for batch in (64, 128) for seed in (0, 1)]


def started(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-m", "jaxnas", *arguments], stdout=subprocess.PIPE, text=True)


def printed(process: subprocess.Popen[str]) -> str:
    out = process.communicate()[0]
    assert process.returncode == 0, out
    return out


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def test_a_sweep_that_is_killed_goes_on(tmp_path: Path) -> None:
    command = [*TINY, "--set", "search.batch=64,128", "--out", str(tmp_path)]
    process = started(*command)
    killed = tmp_path / RUNS[1]
    while len(lines(killed / "log.jsonl")) < 2 and process.poll() is None:
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL and not (tmp_path / "sweep.json").exists()
    before = {path: path.read_bytes() for path in (tmp_path / RUNS[0]).iterdir() if path.is_file()}
    seconds = lines(killed / "timing.jsonl")[:1]
    said = printed(started(*command))
    assert said.count("finished before") == 1 and said.count("resumed after epoch") == 1
    assert {path: path.read_bytes() for path in before} == before
    assert lines(killed / "timing.jsonl")[:1] == seconds  # Its first epoch was not done again.
    result = json.loads((tmp_path / "sweep.json").read_text())
    assert [one["run"] for one in result["runs"]] == RUNS and not result["failed"]
    assert [one["seeds"] for one in result["settings"]] == [2, 2]
    for name in RUNS:
        assert [line["epoch"] for line in lines(tmp_path / name / "log.jsonl") if line["stage"] == "search"] == [0, 1, 2, 3]


def test_seeds_that_search_together_leave_the_runs_that_they_leave_alone(tmp_path: Path) -> None:
    size = ("--search.batch", "64")
    said = printed(started(*TINY, *size, "--together", "--out", str(tmp_path / "together")))
    assert "search of seeds 0, 1 epoch 4/4" in said and "failed" not in said
    printed(started(*TINY, *size, "--out", str(tmp_path / "alone")))
    for seed in (0, 1):
        together, alone = (tmp_path / how / f"seed={seed}" for how in ("together", "alone"))
        names = [{path.name for path in run.iterdir()} for run in (together, alone)]
        assert names[0] == names[1]
        assert json.loads((together / "config.json").read_text()) == json.loads((alone / "config.json").read_text())
        cards = [read(run) for run in (together, alone)]
        assert all(one["cost"]["whole"] and one["cost"]["device_seconds"]["search"] > 0 for one in cards)
        facts = [{part: said for part, said in one.items() if part not in ("cost", "result", "tuning")} for one in cards]
        assert facts[0] == facts[1]
        logs = [lines(run / "log.jsonl") for run in (together, alone)]
        assert [line.keys() for line in logs[0]] == [line.keys() for line in logs[1]]
        for name in ("train_loss", "valid_loss", "train_accuracy", "weight_gradient_norm"):
            assert logs[0][0][name] == pytest.approx(logs[1][0][name], rel=2e-3)
        # Adam turns the rounding of a gradient near 0 into a part of a step (tests/test_seeds.py compares in float64).
        step = find("nb201-digits").search.alpha_learning_rate
        for row, expected in zip(logs[0][0]["alphas"]["cell"], logs[1][0]["alphas"]["cell"], strict=True):
            assert row == pytest.approx(expected, abs=2 * step)
    states = [lines(tmp_path / "together" / f"seed={seed}" / "log.jsonl")[0]["train_loss"] for seed in (0, 1)]
    assert states[0] != states[1]

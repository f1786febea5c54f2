"""Searches of several seeds by one program: what each run's folder is told of it. For real: test_sweep_real.py."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from jaxnas.card import read
from jaxnas.commands import sweep_together
from jaxnas.compiling import Compiled
from jaxnas.console import Console
from jaxnas.data import load
from jaxnas.feeding import Done, Report, Stage
from jaxnas.recipes import find

NAME = "nb201-digits"


def test_the_card_of_each_run_counts_the_joint_search_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = find(NAME)
    recipe = dataclasses.replace(recipe, search=dataclasses.replace(recipe.search, channels=2, cells=1, batch=64))

    def one_epoch(stage: Stage, report: Report) -> Any:
        report.compiled(Compiled(stage.step, 1.0, 2.0))
        report.reached(stage.start(), Done(1))

    monkeypatch.setattr(sweep_together, "epochs_of_steps", one_epoch)
    runs = {tmp_path / f"seed={seed}": dataclasses.replace(recipe, seed=seed) for seed in (0, 1)}
    with Console(quiet=True) as console:
        sweep_together.search(NAME, runs, load("digits"), console)
    for path, own in runs.items():
        found = read(path)
        assert found["seeds"]["search"] == [own.seed]
        assert found["cost"]["whole"] and found["cost"]["compile_seconds"] == {"trace": 1.0, "compile": 2.0}
        assert found["cost"]["device_seconds"]["search"] > 0

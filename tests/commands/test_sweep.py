"""A search for every seed and setting: what is finished is kept, what was ended goes on, what fails stops nothing."""

from __future__ import annotations

import json
import statistics
from pathlib import Path
from typing import Any

import pytest

from jaxnas import cli, leaving, run
from jaxnas.errors import UserError
from jaxnas.recipes import Recipe
from jaxnas.run_folder import CONFIG, RESULT, RunFolder, plain

SWEEP = ("sweep", "nb201-digits", "--seeds", "0", "1", "--set", "search.batch=32,64", "--out", "runs")


def call(*arguments: str) -> Any:
    with pytest.raises(SystemExit) as exit_:
        cli.main(list(arguments))
    return exit_.value.code


def accuracy(recipe: Recipe) -> float:
    return recipe.search.batch / 100 + recipe.seed / 10


class Runs:
    """In place of runs: their folders and results. Some seed may fail, or be asked to leave."""

    def __init__(self) -> None:
        self.begun: list[tuple[int, int, bool]] = []
        self.raises: dict[tuple[int, int], Exception] = {}

    def __call__(self, name: str, recipe: Recipe, dataset: Any, folder: RunFolder, *_: Any) -> dict[str, Any]:
        at = recipe.search.batch, recipe.seed
        self.begun.append((*at, folder.resumed))
        folder.write_json(CONFIG, {"recipe": name, **plain(recipe)})
        if at in self.raises:
            raise self.raises.pop(at)
        result = {"found": {"test_accuracy": accuracy(recipe), "genotype": "a"}, "random_mean": None}
        folder.write_json(RESULT, result)
        return result


@pytest.fixture(autouse=True)
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Runs:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(run, "check", lambda *_: None)
    stub = Runs()
    monkeypatch.setattr(run, "run", stub)
    return stub


ALL = [(batch, seed, False) for batch in (32, 64) for seed in range(2)]


def test_every_seed_and_setting_is_run_once(runs: Runs, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(*SWEEP, "--json", "again.json") == 0
    assert runs.begun == ALL
    result = json.loads(Path("runs/sweep.json").read_text())
    assert json.loads(Path("again.json").read_text()) == result
    for setting, batch in zip(result["settings"], (32, 64), strict=True):
        expected = [batch / 100 + seed / 10 for seed in range(2)]
        assert setting["setting"] == f"search.batch={batch}"
        assert setting["mean"] == pytest.approx(statistics.mean(expected))
        assert setting["std"] == pytest.approx(statistics.stdev(expected))
    assert {path.name for path in Path("runs").iterdir() if path.is_dir()} == {
        f"search.batch={batch}-seed={seed}" for batch, seed, _ in ALL
    }
    assert "37.00%" in capsys.readouterr().out
    assert call(*SWEEP) == 0
    assert runs.begun == ALL  # All were finished.
    assert call(*SWEEP, "--search.epochs", "7") == 1
    assert "search.epochs is" in capsys.readouterr().out
    assert runs.begun == ALL


def test_what_was_ended_goes_on(runs: Runs, capsys: pytest.CaptureFixture[str]) -> None:
    runs.raises[64, 1] = leaving.Left("Left, as asked.")
    assert call(*SWEEP) == 75
    assert "repeat the sweep's command" in capsys.readouterr().err
    assert call(*SWEEP) == 0
    assert runs.begun == [*ALL, (64, 1, True)]


def test_what_fails_stops_nothing(runs: Runs) -> None:
    runs.raises[32, 0] = UserError("The training loss became nan.")
    assert call(*SWEEP) == 1
    assert runs.begun == ALL
    result = json.loads(Path("runs/sweep.json").read_text())
    assert result["failed"] == [{"setting": "search.batch=32", "seed": 0, "why": "The training loss became nan."}]
    assert [one["seeds"] for one in result["settings"]] == [1, 2]


@pytest.mark.parametrize(
    ("given", "message"),
    (
        ("search.batchs=3", "Perhaps you meant: --search.batch"),
        ("search.batch=many", "Error parsing --search.batch"),
        ("search.batch", "needs KEY=VALUE,VALUE"),
        ("seed=1,2", "seeds have --seeds"),
    ),
)
def test_mistakes_are_told_before_anything_runs(
    given: str, message: str, runs: Runs, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call("sweep", "nb201-digits", "--set", given) == 2
    assert message in " ".join(capsys.readouterr().err.split())
    assert not list(Path.cwd().iterdir()) and not runs.begun


def test_searches_that_train_nothing_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert call("sweep", "nb201-digits", "--only-search") == 2
    assert "jaxnas sweep compares what its searches' networks learn: leave out --only-search." in capsys.readouterr().err

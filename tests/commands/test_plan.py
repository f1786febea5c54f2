"""``jaxnas plan`` as a user sees it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from jaxnas import cli, plan
from jaxnas.counting import COUNTERS
from jaxnas.data import Dataset
from jaxnas.recipes import Recipe
from jaxnas.stages import Part

MEBIBYTE = 2**20


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of its own, without data sets."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.delenv("JAXNAS_DATA", raising=False)
    return folder


@pytest.fixture(autouse=True)
def asked(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What was planned, in place of a compilation; ``free`` is what the device is to have."""
    asked: dict[str, Any] = {"free": 200 * MEBIBYTE}

    def planned(recipe: Recipe, dataset: Dataset, part: Part, mesh: object) -> plan.Plan:
        asked.update(recipe=recipe, dataset=dataset)
        sizes = {"arguments": 100, "outputs": 20, "temporary": 100, "aliased": 20, "data": 50}
        memory, free = plan.Memory(**{name: size * MEBIBYTE for name, size in sizes.items()}), asked["free"]
        advised = () if free is None or free >= memory.total else plan.advice(recipe.search, memory, free)
        counts = dict.fromkeys(COUNTERS, 1234)
        batch = recipe.search.batch
        return plan.Plan(
            5678 + part.number, 224, counts, 50, 390, batch, 1.5, 2.5, False, memory, "gpu", "made up", 1, free, advised
        )

    monkeypatch.setattr(plan, "plan", planned)
    return asked


def call(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as done:
        cli.main(["plan", *arguments])
    assert isinstance(done.value.code, int)
    printed = capsys.readouterr()
    return done.value.code, printed.out, printed.err


def test_without_files_the_published_shapes_do(capsys: pytest.CaptureFixture[str], asked: dict[str, Any], here: Path) -> None:
    for missing in ([], ["--data-dir", "nope"]):
        code, printed, _ = call(capsys, "darts-cifar10-small", "--search.batch", "96", *missing)
        assert code == 0
        assert "planned with the shapes of cifar10 as it is published, since: " in printed
        assert ("does not exist" if missing else "No folder is given for data set 'cifar10'.") in printed
    assert asked["dataset"].search_train.images.shape == (25_000, 32, 32, 3)
    assert asked["recipe"].search.batch == 96
    for told in (
        "made up (gpu)",
        "5,678 parameters, 224 alphas",
        "1,234 multiply-adds an image",
        "50 epochs of 390, 19,500 in all, batch 96",
        "traced in 1.5 s, compiled in 2.5 s",
        "200.0 MiB: arguments 100.0 MiB (of which data 50.0 MiB) + outputs 20.0 MiB + temporary 100.0 MiB - aliased 20.0 MiB",
        "fits      yes: 200.0 MiB are free",
    ):
        assert told in printed
    assert not list(here.iterdir())


def test_what_does_not_fit_says_what_to_change(capsys: pytest.CaptureFixture[str], asked: dict[str, Any]) -> None:
    asked["free"] = 150 * MEBIBYTE
    code, printed, _ = call(capsys)
    assert code == 1
    assert "fits      NO: 150.0 MiB are free" in printed
    assert "change: --search.batch 16 (an estimate" in printed
    assert "planned with the shapes" not in printed


def test_a_device_that_does_not_say(capsys: pytest.CaptureFixture[str], asked: dict[str, Any]) -> None:
    asked["free"] = None
    code, printed, _ = call(capsys)
    assert code == 0
    assert "fits      unknown" in printed


def test_the_result_as_json(capsys: pytest.CaptureFixture[str], asked: dict[str, Any]) -> None:
    asked["free"] = 150 * MEBIBYTE
    code, printed, told = call(capsys, "darts-cifar10-small", "--json")
    found = json.loads(printed)
    assert code == 1 and "fits" in told
    assert found["memory"]["total"] == 200 * MEBIBYTE
    assert (found["fits"], found["free"], found["steps_per_epoch"]) == (False, 150 * MEBIBYTE, 390)
    assert found["advice"][0].startswith("--search.batch 32")
    assert "No folder is given" in found["data_missing"]
    _, printed, _ = call(capsys, "--json")
    assert json.loads(printed)["data_missing"] is None


def test_every_stage_is_planned(capsys: pytest.CaptureFixture[str], asked: dict[str, Any]) -> None:
    code, printed, _ = call(capsys, "p-darts-digits")
    assert code == 0
    assert [line.split()[1] for line in printed.splitlines() if line.startswith("stage ")] == ["2,"]
    supernets = [line for line in printed.splitlines() if line.startswith("supernet")]
    expected = [f"supernet  nb201, C=8, {1 + i} cells: {5678 + i:,} parameters, 224 alphas" for i in range(2)]
    assert supernets == expected
    asked["free"] = 150 * MEBIBYTE
    code, printed, _ = call(capsys, "p-darts-digits", "--json")
    assert code == 1
    found = json.loads(printed)
    assert [stage["parameters"] for stage in found["stages"]] == [5678, 5679]
    assert found["fits"] is False
    asked["free"] = None
    assert call(capsys, "p-darts-digits")[0] == 0

"""Searches from Python: what goes in, what comes out, and what is refused before anything is compiled."""

from __future__ import annotations

import dataclasses
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import jaxnas
from jaxnas import budget, interface
from jaxnas.data import load
from jaxnas.errors import UserError
from jaxnas.interface import SearchResult
from jaxnas.recipes import Recipe, find
from jaxnas.spaces import read


def tiny(**changes: Any) -> Recipe:
    recipe = find("nb201-digits")
    search = dataclasses.replace(recipe.search, channels=2, epochs=2, batch=100, **changes)
    return dataclasses.replace(recipe, search=search, train=dataclasses.replace(recipe.train, channels=2, epochs=2, batch=200))


def images(count: int = 500) -> tuple[np.ndarray, np.ndarray]:
    """Digits as real numbers, and their names."""
    digits = load("digits").train
    names = np.array(["nought", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"])
    return digits.images[:count, :, :, 0] / 255, names[digits.labels[:count]]


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> SearchResult:
    """A search on arrays, within a budget that is long enough for a machine under load and is not used up."""
    x, y = images()
    patch = pytest.MonkeyPatch()
    # Of a minute's steps a few: what is timed is taken for slow.
    patch.setattr(budget, "_step_seconds", lambda stage, compiled: 60.0)
    try:
        return jaxnas.search(
            x, y, recipe=tiny(), minutes=60, seeds=[3], out=tmp_path_factory.mktemp("found") / "run", verbose=False
        )
    finally:
        patch.undo()


def test_what_a_search_returns(found: SearchResult) -> None:
    [run] = found.runs
    assert found.genotype is run.genotype and found.test_accuracies == [run.test_accuracy]
    assert list(found.classes) == sorted(found.classes) and found.classes.dtype.kind == "U"
    x, y = images(30)
    probabilities = found.predict_proba(x)
    assert probabilities.shape == (30, 10)
    np.testing.assert_allclose(probabilities.sum(1), 1, rtol=1e-5)
    np.testing.assert_array_equal(found.predict(x), found.classes[probabilities.argmax(1)])
    # One image alone is as it is among others.
    np.testing.assert_allclose(found.predict_proba(x[7:8])[0], probabilities[7], rtol=1e-6)
    assert run.result["random"] == [] and run.recipe.seed == 3


def test_its_test_accuracy_is_that_of_its_predictions(found: SearchResult) -> None:
    from jaxnas.data import from_arrays

    x, y = images()
    test = from_arrays("again", x, y).test
    predicted = found.runs[0].predictor(test.images).argmax(1)
    assert (predicted == test.labels).mean() == pytest.approx(found.test_accuracies[0])


def test_a_budget_says_what_it_decided_and_the_recipe_repeats_it(found: SearchResult, tmp_path: Path) -> None:
    """The same steps without a budget: the same architecture, and the same network to the bit."""
    [run] = found.runs
    report = run.result["budget"]
    assert report["minutes"] == 60 and 0 < report["seconds"] < 3600 and report["cut"] == []
    # A third of 60 minutes less compilation, at 90 %, in steps of a minute and 2 epochs; the least is a pass over 200 images.
    assert report["steps_per_epoch"]["search"] in (7, 8, 9)
    assert run.recipe.search.steps_per_epoch == report["steps_per_epoch"]["search"]
    assert run.recipe.train.steps_per_epoch == report["steps_per_epoch"]["train"]
    config = json.loads((run.folder / "config.json").read_text())
    assert config["budget"] == {"minutes": 60.0}
    again = jaxnas.search(*images(), recipe=run.recipe, seeds=3, out=tmp_path / "again", verbose=False)
    assert again.genotype == found.genotype
    for name in ("alphas.npz", "network.npz"):
        assert (tmp_path / "again" / name).read_bytes() == (run.folder / name).read_bytes()


def test_its_page(found: SearchResult, tmp_path: Path) -> None:
    path = found.report()
    assert path == found.runs[0].folder / "report.html" and "</html>" in path.read_text()
    assert found.report() == path  # Our own page is written anew.
    mine = tmp_path / "mine.html"
    mine.write_text("mine")
    with pytest.raises(UserError, match="nothing was overwritten"):
        found.report(mine)
    assert mine.read_text() == "mine"
    [run] = found.runs
    other = dataclasses.replace(run, folder=shutil.copytree(run.folder, tmp_path / "other"))
    both = dataclasses.replace(found, runs=(run, other))
    assert "</html>" in both.report(tmp_path / "both.html").read_text()


def test_its_network_for_elsewhere(found: SearchResult, tmp_path: Path) -> None:
    files = found.export("genotype", "safetensors", "flax", out=tmp_path / "out")
    assert sorted(files) == ["genotype.json", "network.py", "preprocessing.json", "weights.safetensors"]
    assert read(files["genotype.json"]) == found.genotype
    said = json.loads(files["preprocessing.json"].read_text())
    assert said["image_size"] == 8 and said["class_names"] == found.classes.tolist()
    with pytest.raises(UserError, match="nothing was overwritten"):
        found.export("genotype", out=tmp_path / "out")
    with pytest.raises(UserError, match="Did you mean flax"):
        found.export("flex")
    (tmp_path / "file").write_text("mine")
    with pytest.raises(UserError, match="Cannot write into .*file/below: Not a directory"):
        found.export("genotype", out=tmp_path / "file" / "below")


def test_several_seeds_are_an_ensemble(found: SearchResult) -> None:
    x, _ = images(5)
    [run] = found.runs
    flipped = dataclasses.replace(run, predictor=lambda images: run.predictor(images)[:, ::-1])
    both = dataclasses.replace(found, runs=(run, flipped))
    expected = (found.predict_proba(x) + found.predict_proba(x)[:, ::-1]) / 2
    np.testing.assert_allclose(both.predict_proba(x), expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (np.zeros((3, 12, 12)), "trained on images 8x8"),
        (np.zeros((3, 64)), r"must be \[N, S, S\]"),
        (np.full((3, 8, 8), 200.0), "must be real numbers in 0..1, as they were in training; these go from 200.0"),
        (np.full((3, 8, 8), 200, np.uint8), "must be real numbers in 0..1"),
        (np.full((3, 8, 8), np.nan), "go from nan to nan"),
        ([[1, 2], [3]], "x is no array"),
        (np.array(["a"]), "x must hold numbers of one type"),
    ],
)
def test_what_cannot_be_predicted(found: SearchResult, x: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        found.predict(x)


def with_nan() -> np.ndarray:
    x = images(40)[0].copy()
    x[7, 3, 3] = np.nan
    return x


@pytest.mark.parametrize(
    ("x", "y", "options", "message"),
    [
        (with_nan(), images(40)[1], {}, r"image 7 \(counted from 0\) has NaN or infinite pixels"),
        (images(40)[0], images(39)[1], {}, "Give one label an image"),
        (images(40)[0], ["one"] * 40, {}, "at least two classes"),
        (images(40)[0], [1, "one"] * 20, {}, "batch of 32"),  # NumPy makes text of these.
        (images(40)[0], np.array([1, "one"] * 20, object), {}, "labels of several types, int, str"),
        (images(40)[0].astype(object), images(40)[1], {}, "numbers of one type, got object"),
        (images(40)[0].reshape(40, 64), images(40)[1], {}, r"x is \[40, 64\], which are no images.*reshape"),
        (images(40)[0], None, {}, "y is missing"),
        ("digits", images(40)[1], {}, "has its own labels"),
        ("digit", None, {}, "Did you mean digits"),
        ("digits", None, {"minutes": 0}, "positive number of minutes"),
        ("digits", None, {"recipe": "nb201-digit"}, "Did you mean nb201-digits"),
        ("digits", None, {"recipe": "p-darts", "minutes": 1}, "searches of one stage"),
        ("digits", None, {"target_ms": 1.0}, "target_ms and latency_table go together"),
        ("digits", None, {"seeds": []}, "seeds is empty"),
        ("digits", None, {"seeds": -1}, "seed must be at least 0"),
    ],
)
def test_what_cannot_be_searched(x: Any, y: Any, options: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message):
        interface.search(x, y, out=tmp_path / "run", verbose=False, **options)
    assert not (tmp_path / "run").exists()


def test_seeds_that_have_no_time_left_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interface.Budget, "left", -1.0)
    with pytest.raises(UserError, match="The 5 minutes are over after 0 of 2 seeds, whose runs are in .*runs"):
        jaxnas.search("digits", minutes=5, seeds=(0, 1), out=tmp_path / "runs")


def test_seeds_have_the_same_minutes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else their runs could not be compared: a budget is a part of a run's recipe."""
    given: list[float] = []
    monkeypatch.setattr(interface.runs, "run", lambda *_, budget: given.append(budget.minutes))
    monkeypatch.setattr(interface, "_found", lambda *_: None)
    jaxnas.search("digits", minutes=3, seeds=(0, 1, 2), out=tmp_path / "runs", verbose=False)
    assert len(given) == 3 and len(set(given)) == 1 and 0.9 < given[0] <= 1


def test_a_run_is_not_overwritten(found: SearchResult) -> None:
    with pytest.raises(UserError, match="exists"):
        jaxnas.search("digits", recipe=tiny(), out=found.runs[0].folder, verbose=False)


def test_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names = []
    for _ in range(3):
        names.append(interface._new_folder("tiny"))
        names[-1].mkdir(parents=True)
    assert [name.as_posix() for name in names] == ["runs/tiny-python", "runs/tiny-python-2", "runs/tiny-python-3"]


@pytest.mark.quick
def test_importing_jaxnas_imports_nothing_else() -> None:
    """Nor is jaxnas.search there only once a module of that name was imported: there is none."""
    code = "import sys, jaxnas; assert 'jax' not in sys.modules; import jaxnas.bilevel; print(jaxnas.search.__module__)"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout == "jaxnas.interface\n"
    with pytest.raises(AttributeError, match="no attribute 'serach'"):
        jaxnas.serach  # noqa: B018

"""Published results that need searches: what is run in which order, what is kept, how it goes on, and what is looked up."""

from __future__ import annotations

import dataclasses
import importlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jaxnas import candidates, registry, tabular
from jaxnas.commands import reproduce
from jaxnas.commands import search as search_verb
from jaxnas.commands.reproduce_runs import Place, commands, planned, run
from jaxnas.errors import UserError
from jaxnas.registry import Choice, Expected, Jobs, Result
from jaxnas.reproducing import judged
from jaxnas.spaces import read, to_text
from jaxnas.tabular.benchmark import Accuracy

QUANTITY = "cifar10/ori-test/200"
LOOKED_UP = Result(
    "toy", "A toy", "nobody", "two searches", None, "", (Expected(QUANTITY, 50.0, 1.0, 40.0),), None,
    Jobs("nb201-digits", (0, 1)), looked_up=True,
)  # fmt: skip
TRAINED = Result(
    "toy", "A toy", "nobody", "three searches", None, "", (Expected("test error, %", 2.75, 0.2, 0.2),), None,
    Jobs("nb201-digits", (0, 1, 2)), False, Choice("nb201-digits", 7), Jobs("nb201-digits", (5, 6)),
)  # fmt: skip


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table of NAS-Bench-201 in which an architecture's accuracy tells its number."""
    mean = np.linspace(10, 90, tabular.nb201.SIZE, dtype=np.float32)
    keys = (("cifar10-valid", "x-valid", 200), ("cifar10", "ori-test", 200))
    seconds = {("cifar10-valid", 200): mean}
    accuracy = {key: Accuracy(mean, np.ones(len(mean), np.uint8), "one") for key in keys}
    path = tmp_path_factory.mktemp("tables") / "nb201.npz"
    tabular.write_compact(tabular.Benchmark("nb201", accuracy, seconds, {}, "nowhere"), path)
    return path


@pytest.fixture
def typed(monkeypatch: pytest.MonkeyPatch, write_run: Callable[..., Path]) -> list[list[str]]:
    """The commands that are typed, in place of which folders of runs are written; without searches and trainings."""
    every: list[list[str]] = []

    def search(words: list[str]) -> int:
        every.append(["search", *words])
        out = Path(words[words.index("--out") + 1])
        write_run(out, words[0], seed=int(words[words.index("--seed") + 1]))
        return 0

    def train(words: list[str]) -> int:
        every.append(["train", *words])
        seed = int(words[words.index("--seed") + 1])
        return left(Path(words[words.index("--out") + 1]), seed)

    def left(out: Path, seed: int) -> int:
        out.mkdir(exist_ok=True)
        (out / "config.json").write_text("{}")
        (out / "result.json").write_text(json.dumps({"given": {"test_accuracy": 0.97 + seed / 1000}}))
        return 0

    def resume(words: list[str]) -> int:
        every.append(["resume", *words])
        return left(Path(words[0]), int(words[0][-1]))

    def brief(job: candidates.Job) -> dict[str, Any]:
        every.append(["brief", job.folder.name, str(job.training.train.epochs)])
        accuracy = {"choice-seed0": 0.5, "choice-seed1": 0.8, "choice-seed2": 0.6}[job.folder.name]
        result = {"choices": [], "budget": 0, "validation_accuracy": accuracy, "seconds": 5.0, "compile_seconds": 1.0}
        job.folder.mkdir()
        (job.folder / "result.json").write_text(json.dumps(result))
        return result

    for verb, main in (("search", search), ("train", train), ("resume", resume)):
        monkeypatch.setattr(importlib.import_module(f"jaxnas.commands.{verb}"), "main", main)
    monkeypatch.setattr(candidates, "trained", brief)
    return every


def test_searches_are_looked_up_and_only_once(typed: list[list[str]], table: Path, tmp_path: Path) -> None:
    place = Place(tmp_path / "toy", Path("data"), table)
    values, cost = run(LOOKED_UP, place)
    begin = ["search", "nb201-digits", "--only-search", "--seed"]
    assert typed == [[*begin, s, "--data-dir", "data", "--out", f"{tmp_path}/toy/search-seed{s}"] for s in "01"]
    found = [to_text(read(tmp_path / "toy" / f"search-seed{seed}" / "genotype.json")) for seed in (0, 1)]
    expected = 10 + 80 * tabular.nb201.indices_of_strings(found) / (tabular.nb201.SIZE - 1)
    assert values[QUANTITY] == pytest.approx(expected.tolist(), abs=1e-4)
    assert cost == {"searches": 2 * 32.5, "choice": None, "compilation": 2 * 49.0}  # By the cards of the runs.
    assert run(LOOKED_UP, place)[0] == values and len(typed) == 2


def test_the_search_of_the_best_brief_training_is_kept_and_trained(typed: list[list[str]], tmp_path: Path) -> None:
    place = Place(tmp_path / "toy", None, None)
    said = list(planned(TRAINED, place))
    assert said[3].startswith("KEPT: each trained by nb201-digits for 7 epochs on the search's training half")
    assert not (tmp_path / "toy").exists()
    values, cost = run(TRAINED, place)
    assert [words[0] for words in typed] == ["search"] * 3 + ["brief"] * 3 + ["train"] * 2
    assert typed[3] == ["brief", "choice-seed0", "7"]
    train = ["train", f"{tmp_path}/toy/search-seed1", "--recipe", "nb201-digits", "--seed", "5", "--out"]
    assert typed[6] == [*train, f"{tmp_path}/toy/train-seed5"]
    assert values["test error, %"] == pytest.approx([2.5, 2.4]) and cost["choice"] == 12.0
    (verdict,) = judged(TRAINED, values)
    assert (verdict.mean, verdict.number, verdict.holds) == (pytest.approx(2.45), 2, False)


def test_a_brief_training_that_fails_ends_it_before_anything_is_kept(
    typed: list[list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = candidates.trained

    def failing(job: candidates.Job) -> dict[str, Any]:
        found = whole(job)
        return {**found, "validation_accuracy": 0.0, "failed": "no"} if job.folder.name == "choice-seed2" else found

    monkeypatch.setattr(candidates, "trained", failing)
    with pytest.raises(UserError, match="judges search-seed2 failed: no The choice .* remove .*choice-seed2 and go on"):
        run(TRAINED, Place(tmp_path / "toy", None, None))
    assert "train" not in [words[0] for words in typed]


def test_what_was_ended_goes_on(typed: list[list[str]], tmp_path: Path) -> None:
    place = Place(tmp_path / "toy", Path("data"), None)
    run(TRAINED, place)
    (tmp_path / "toy" / "train-seed6" / "result.json").unlink()
    shutil.rmtree(tmp_path / "toy" / "train-seed5")
    del typed[:]
    run(TRAINED, place)
    assert [words[0] for words in typed] == ["train", "resume"]
    assert typed[1] == ["resume", f"{tmp_path}/toy/train-seed6", "--data-dir", "data"]


def test_a_folder_of_another_protocol_is_refused(typed: list[list[str]], tmp_path: Path, table: Path) -> None:
    place = Place(tmp_path / "toy", None, table)
    run(LOOKED_UP, place)
    with pytest.raises(UserError, match="runs of another protocol: .*searches"):
        run(TRAINED, place)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("mine")
    with pytest.raises(UserError, match="files that are not of toy"):
        run(LOOKED_UP, Place(tmp_path / "mine", None, table))
    with pytest.raises(UserError, match="needs a table of NAS-Bench-201"):
        run(LOOKED_UP, Place(tmp_path / "new", None, None))
    wanted = dataclasses.replace(LOOKED_UP, expected=(Expected("cifar100/x-test/200", 50.0, 1.0, 1.0),))
    with pytest.raises(UserError, match="cifar100"):
        run(wanted, Place(tmp_path / "new", None, table))
    assert not (tmp_path / "new").exists() and len(typed) == 2  # Nothing was searched for it.


class Parsed(Exception):
    """All was understood."""


@pytest.mark.parametrize("name", [name for name in registry.names() if not registry.find(name).count])
def test_the_searches_of_every_result_are_understood(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def loaded(*_: Any) -> None:
        raise Parsed

    monkeypatch.setattr(search_verb, "load", loaded)
    place = Place(tmp_path, None, tmp_path / "table.json")
    searches, _ = commands(registry.find(name), place, "kept")
    for words, _ in searches:
        with pytest.raises(Parsed):
            search_verb.main(words[1:])


@pytest.mark.slow
def test_a_search_on_digits_from_its_command_to_its_record(
    table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Searched, looked up, judged and recorded; nothing is in place of anything."""
    small = ["--search.epochs", "1", "--search.channels", "2", "--search.batch", "64"]
    document = {
        "title": "A toy", "source": "nobody", "protocol": "one search", "published_cost": None, "differs": "",
        "expected": [{"quantity": QUANTITY, "value": 50.0, "spread": 1.0, "tolerance": 50.0}],
        "searches": {"recipe": "nb201-digits", "seeds": [3], "arguments": small}, "looked_up": True, "measured": None,
    }  # fmt: skip
    folder = tmp_path / "published"
    folder.mkdir()
    (folder / "toy.json").write_text(json.dumps(document))
    monkeypatch.setattr(registry, "CHECKOUT", folder)
    command = ["toy", "--table", str(table), "--out", str(tmp_path / "runs"), "--record"]
    assert reproduce.main(command) == 0
    assert "holds: cifar10/ori-test/200" in capsys.readouterr().out
    measured = registry.find("toy").measured
    assert measured is not None and measured["holds"] and measured["values"][QUANTITY]["number"] == 1
    assert measured["cost"]["searches"] > 0 < measured["cost"]["compilation"]
    assert reproduce.main([*command, "--json", str(tmp_path / "out.json")]) == 0
    assert "finished before" in capsys.readouterr().out

"""``--json`` of every verb: a file, or pure JSON on standard output with all else on standard error."""

from __future__ import annotations

import dataclasses
import json
import math
import re
import shutil
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from jaxnas import candidates, card, cli, latency, plan, published, recipes, run, stored, tabular, trust
from jaxnas.commands import VERBS, baselines, blackbox, profile
from jaxnas.counting import COUNTERS
from jaxnas.data import load
from jaxnas.interop import golden
from jaxnas.latency import measure
from jaxnas.relaxations import initial_alphas
from jaxnas.run_folder import ALPHAS, CONFIG, RunFolder, plain
from jaxnas.spaces import from_json, from_text
from jaxnas.tabular.benchmark import Accuracy

NB201 = "|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+|skip_connect~0|nor_conv_3x3~1|nor_conv_1x1~2|"
RESULT = {
    "recipe": "nb201-digits",
    "found": {"test_accuracy": 0.75, "validation_accuracy": 0.75, "genotype": NB201, "parameters": 5},
    "costs": {"parameters": {"unit": "weights", "form": "target", "target": 2e4, "derived": 19e3}},
    "random_mean": None,
    "random_std": None,
}
COMPARED = {
    "table": "a table",
    "best_test_accuracy": 94.0,
    "queries": 9,
    "confidence": 0.95,
    "costs": [1.0, 2.0],
    "searchers": [
        {
            "name": "random search",
            "seeds": 3,
            "queries": 9,
            "after_queries": {"mean": 93.0, "deviation": 0.1},
            "at_equal_cost": {"mean": 93.0, "deviation": 0.1},
            "curve": {"mean": [math.nan, 93.0], "low": [math.nan, 92.0], "high": [math.nan, 93.5]},
        }
    ],
}
TRUSTED = trust.Trust("digits", "a table", 300, 256, 0.5, 0.6, 0.1, 0.2, NB201, 93.0, 94.0, 1.0, 0.1, 0.4, 0.3, 0.2, 87.0)
REPORT = {"passed": False, "quantities": [{"error": math.inf}, {"error": 1e-12}]}


@pytest.fixture(scope="module")
def benchmark(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table of NAS-Bench-201 of made-up numbers."""
    mean = np.linspace(10, 90, tabular.nb201.SIZE, dtype=np.float32)
    settings = [("cifar10-valid", "x-valid", 12), ("cifar10-valid", "x-valid", 200), ("cifar10", "ori-test", 200)]
    accuracy = {key: Accuracy(mean, np.ones(len(mean), np.uint8), "one") for key in settings}
    seconds = {("cifar10-valid", epochs): mean for epochs in (12, 200)}
    path = tmp_path_factory.mktemp("tables") / "nb201.npz"
    tabular.write_compact(tabular.Benchmark("nb201", accuracy, seconds, {}, "nowhere"), path)
    return path


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, benchmark: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Every test runs in a folder of its own, which holds two runs that have searched and tables of latencies."""
    monkeypatch.chdir(tmp_path)
    recipe = recipes.find("nb201-digits")
    space = recipe.search.build_space()
    for seed, name in enumerate(("searched", "again")):
        seeded = dataclasses.replace(recipe, seed=seed)
        written = RunFolder(tmp_path / name)
        written.write_json(CONFIG, {"recipe": "nb201-digits", **plain(seeded)})
        card.Card(written, card.of_search("nb201-digits", seeded, load("digits"), space))
        written.write_arrays(ALPHAS, initial_alphas(space, jax.random.key(3)))
    latency.write(latency.Table("layers", "nb201", "x", 1, "float32", {"a": latency.Row(1.0)}), tmp_path / "table.json")
    shutil.copy(benchmark, tmp_path / "nb201.npz")
    (tmp_path / "lut.yaml").write_text("Conv-input:8x8x3-output:4x4x8:\n  mean: 1.5\n")
    return tmp_path


@pytest.fixture(autouse=True)
def nothing_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """In place of what runs for minutes: what it prints, and what it hands back."""

    def report(path: Path | None, say: Callable[[str], None]) -> bool:
        say("FAIL  one quantity")
        if path is not None:
            path.write_text(json.dumps(REPORT))
        return False

    def ran(*arguments: Any) -> dict[str, Any]:
        next(argument for argument in arguments if hasattr(argument, "note")).note("an epoch")
        return RESULT

    memory = plan.Memory(arguments=3, outputs=2, temporary=5, aliased=2, data=1)
    monkeypatch.setattr(
        plan,
        "plan",
        lambda *_: plan.Plan(1, 30, dict.fromkeys(COUNTERS, 7), 1, 1, 1, 0.0, 0.0, False, memory, "cpu", "cpu", 1, None, ()),
    )
    monkeypatch.setattr(run, "run", ran)
    monkeypatch.setattr(run, "train_only", ran)
    monkeypatch.setattr("jaxnas.commands.load.load_run", lambda *_: {"given": RESULT["found"]})
    monkeypatch.setattr("jaxnas.commands.load.weights_of", lambda training, *_: (training, ()))
    monkeypatch.setattr("jaxnas.commands.load.read_state_dict", lambda path: {})
    monkeypatch.setattr(stored, "genotype_of", lambda *_: from_text(NB201))
    monkeypatch.setattr(stored, "test_accuracy", lambda *_: (0.5, 500))
    monkeypatch.setattr(trust, "trust", lambda *_: TRUSTED)
    monkeypatch.setattr(golden, "verify_files", lambda files, path: report(path, print))
    checks = latency.Checks(latency.Scores(0.9, 5.0, 1.0, 2), "two drawn")
    table = latency.Table("layers", "nb201", "x", 1, "float32", {"a": latency.Row(1.0)}, checks=checks)
    networks = [measure.Measured(NB201, "held out", 1.0, 0.1, 3, 1.1)] * 2
    monkeypatch.setattr(profile, "measured_table", lambda *_: (table, networks))
    monkeypatch.setattr(profile, "write", lambda *_: None)
    monkeypatch.setattr(published, "verify_published", lambda path: report(path, print))
    monkeypatch.setattr(candidates, "search", ran)
    monkeypatch.setattr(blackbox, "RunFolder", lambda path, **_: types.SimpleNamespace(path=path))
    monkeypatch.setattr(baselines, "read", lambda *_: None)
    monkeypatch.setattr(baselines, "table_of", lambda *_: types.SimpleNamespace(name="a table", averaged="nothing"))
    monkeypatch.setattr(baselines.baselines, "run", lambda *_: COMPARED)


def call(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    """The exit code, standard output and standard error."""
    with pytest.raises(SystemExit) as done:
        cli.main(list(arguments))
    assert isinstance(done.value.code, int)
    printed = capsys.readouterr()
    return done.value.code, printed.out, printed.err


WHEN = re.compile(r'"date": "[^"]+"')

# What is typed, the exit code, and what a person reads of it.
COMMANDS: dict[str, tuple[list[str], int, str]] = {
    "search": (["search", "nb201-digits"], 0, "an epoch"),
    "resume": (["resume", "searched"], 0, "an epoch"),
    "sweep": (["sweep", "nb201-digits", "--seeds", "4"], 0, "an epoch"),
    "pareto": (["pareto", "nb201-digits", "--cost", "parameters", "--targets", "20000", "30000"], 0, "hypervolume 54739.5"),
    "baselines": (["baselines", "--table", "nb201.csv", "--out", "compared", "--overwrite"], 0, "93.00 +- 0.10"),
    "blackbox": (["blackbox", "--searcher", "random"], 0, "an epoch"),
    "plan": (["plan", "nb201-digits"], 0, "1 parameters, 30 alphas"),
    "derive": (["derive", "searched"], 0, "|"),
    "draw": (["draw", "DARTS_V2", "--out", "cell.svg", "--overwrite"], 0, "picture: cell.svg"),
    "report": (["report", "searched"], 0, "report: searched"),
    "compare": (["compare", "searched", "again"], 0, "comparison: compare.html"),
    "card": (["card", "searched"], 0, "15,625 genotypes"),
    "status": (["status", "searched"], 0, "nb201-digits"),
    "list": (["list", "."], 0, "nb201-digits"),
    "trust": (["trust", "searched", "--table", "nb201.npz"], 0, "regret 1.00 points"),
    "table convert": (["table", "convert", "nb201.npz", "--out", "copy.npz", "--overwrite"], 0, "15,625 architectures"),
    "table fidelity": (["table", "fidelity", "nb201.npz", "--dataset", "cifar10"], 0, "Spearman"),
    "query": (
        ["query", "7", "--table", "nb201.npz", "--dataset", "cifar10", "--split", "ori-test", "--epochs", "200"],
        0,
        "cifar10",
    ),
    "train": (["train", NB201], 0, "an epoch"),
    "evaluate": (["evaluate", "searched"], 0, "test accuracy 50.00% on 500 images"),
    "load": (["load", "weights.npz", NB201, "--out", "loaded", "--overwrite"], 0, "test accuracy 75.00%, 5 parameters"),
    "export": (["export", "searched", "--to", "genotype", "--overwrite"], 0, "written: searched/export/genotype.json"),
    "latency import": (
        ["latency", "import", "lut.yaml", "--format", "mobile-yaml", "--device", "x", "--out", "lut.json", "--overwrite"],
        0,
        "1 rows of layers for space proxyless",
    ),
    "latency show": (["latency", "show", "table.json"], 0, "never checked against whole networks"),
    "profile": (["profile", "nb201", "--out", "new.json"], 1, "R2 0.900 is below 0.95"),
    "data": (["data", "digits"], 0, "8x8 pixels"),
    "doctor": (["doctor"], 0, "Searches can run."),
    "verify golden": (["verify", "golden", "record.npz"], 1, "FAIL  one quantity"),
    "verify published": (["verify", "published"], 1, "FAIL  one quantity"),
    "reproduce": (["reproduce"], 0, "counts-nb101"),
}


def test_every_verb_is_here() -> None:
    assert {command.split()[0] for command in COMMANDS} == set(VERBS)


@pytest.mark.parametrize("command", COMMANDS)
def test_a_result_on_standard_output_stands_alone(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    arguments, expected, text = COMMANDS[command]
    code, out, err = call(capsys, *arguments, "--json")
    assert code == expected
    json.loads(out, parse_constant=pytest.fail)  # NaN and Infinity are no JSON.
    assert text in err
    code, again, _ = call(capsys, *arguments, "--json", "-")
    assert code == expected
    if command != "doctor":  # Free memory is another each time.
        assert WHEN.sub("", again) == WHEN.sub("", out)


@pytest.mark.parametrize("command", COMMANDS)
def test_a_result_in_a_file_leaves_the_text(command: str, capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    arguments, expected, text = COMMANDS[command]
    code, out, _ = call(capsys, *arguments, "--json", "result.json")
    assert code == expected
    assert text in out
    assert json.loads((folder / "result.json").read_text())
    assert call(capsys, *arguments, "--json=result.json")[0] == expected  # One result replaces another.


def test_the_file_may_come_before_the_names(capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    assert call(capsys, "verify", "golden", "--json", "report.json", "record.npz")[0] == 1
    assert json.loads((folder / "report.json").read_text())["passed"] is False


def test_what_the_results_say(capsys: pytest.CaptureFixture[str]) -> None:
    def result(*arguments: str) -> Any:
        return json.loads(call(capsys, *arguments, "--json")[1])

    _, text, _ = call(capsys, "derive", "searched")
    assert from_json(result("derive", "searched")) == from_text(text)
    assert result("evaluate", "searched") == {"test_accuracy": 0.5, "test_images": 500}
    assert result("search", "nb201-digits") == RESULT
    assert result("train", NB201) == RESULT
    # What is infinite in the report is null: JSON has no other word for it.
    assert result("verify", "golden", "r.npz") == {"passed": False, "quantities": [{"error": None}, {"error": 1e-12}]}


REFUSED = {
    "a folder": ("searched", "searched is a folder. Name a file after --json"),
    "no folder": ("nowhere/result.json", "there is no folder nowhere"),
    "no JSON": ("precious.npz", "precious.npz exists and is not JSON: nothing was overwritten."),
}


@pytest.mark.parametrize("refused", REFUSED)
def test_a_file_that_could_not_be_written_is_told_first(refused: str, capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    target, message = REFUSED[refused]
    (folder / "precious.npz").write_bytes(b"PK\x03\x04\x80")
    for arguments, _, _ in COMMANDS.values():
        code, out, err = call(capsys, *arguments, "--json", target)
        assert code == 2
        assert message in err and out == ""
    assert not (folder / "compared").exists()
    assert (folder / "precious.npz").read_bytes() == b"PK\x03\x04\x80"
    assert not (folder / "runs").exists()


def test_mistakes_leave_standard_output_empty(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (["search", "--dry-run", "--json"], ["evaluate", "nowhere", "--json", "x/y"], ["data", "cifr", "--json"]):
        code, out, err = call(capsys, *arguments)
        assert code == 2
        assert out == "" and err.startswith("jaxnas: ")


def test_a_full_disk_leaves_the_result_before(
    capsys: pytest.CaptureFixture[str], folder: Path, request: pytest.FixtureRequest
) -> None:
    (folder / "result.json").write_text("{}")
    request.getfixturevalue("full_disk")
    code, _, err = call(capsys, "evaluate", "searched", "--json", "result.json")
    assert code == 2
    assert err == "jaxnas: result.json cannot be written: No space left on device.\n"
    assert (folder / "result.json").read_text() == "{}"
    there = {"searched", "again", "table.json", "nb201.npz", "lut.yaml", "result.json"}
    assert {path.name for path in folder.iterdir()} == there


def test_what_is_no_regular_file_is_not_replaced(capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    (folder / "link").symlink_to("result.json")
    assert call(capsys, "evaluate", "searched", "--json", "link")[0] == 0
    assert (folder / "link").is_symlink()
    assert json.loads((folder / "result.json").read_text()) == {"test_accuracy": 0.5, "test_images": 500}

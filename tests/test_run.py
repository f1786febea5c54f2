"""Whole runs: the files that they leave, what decides their bytes, and what they report of the cells they compare."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
import re
import statistics
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import Array

from jaxnas import cli, run, searching
from jaxnas.bilevel import SearchState, search_step
from jaxnas.commands import search as search_command
from jaxnas.compiling import Compiled
from jaxnas.console import Console
from jaxnas.data import Dataset, Split, load
from jaxnas.errors import UserError
from jaxnas.feeding import Stage
from jaxnas.nets import Network
from jaxnas.recipes import RECIPES, Recipe, find, from_config
from jaxnas.relaxations import initial_alphas
from jaxnas.reports import SearchReport, StageReport
from jaxnas.run_folder import ABANDONED, CHECKPOINTS, FILES, REPORT, RunFolder
from jaxnas.saves import Saves
from jaxnas.spaces import check_fits, darts, from_text, nb201, random_genotype, read
from jaxnas.stages import first_part
from jaxnas.status import status
from jaxnas.training import Trained

TINY = (
    "search nb201-digits --search.channels 2 --search.epochs 2 --search.batch 324 "
    "--train.channels 2 --train.epochs 2 --train.batch 640 --random-cells 0 --seed 5"
).split()

SEARCH_FILES = [*(name for name in FILES if name != ABANDONED), CHECKPOINTS]


def call(*arguments: str) -> str:
    """What a command prints that ends well."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), pytest.raises(SystemExit) as exit_:
        cli.main(list(arguments))
    assert exit_.value.code == 0
    return printed.getvalue()


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A tiny run: its folder and what was printed."""
    folder = tmp_path_factory.mktemp("found") / "run"
    return folder, call(*TINY, "--out", str(folder))


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_files_of_a_run(found: tuple[Path, str]) -> None:
    folder, _ = found
    assert {path.name for path in folder.iterdir()} == set(SEARCH_FILES)
    config = json.loads((folder / "config.json").read_text())
    assert config["recipe"] == "nb201-digits"
    recipe = from_config(config)
    base = find("nb201-digits")
    assert recipe == dataclasses.replace(
        base,
        search=dataclasses.replace(base.search, channels=2, epochs=2, batch=324),
        train=dataclasses.replace(base.train, channels=2, epochs=2, batch=640),
        random_cells=0,
        seed=5,
    )
    environment = json.loads((folder / "environment.json").read_text())
    assert environment["packages"]["jax"] == jax.__version__
    assert environment["devices"]
    genotype = read(folder / "genotype.json")
    check_fits(genotype, nb201())
    assert read(folder / "genotype.txt") == genotype


def test_log_has_no_clock(found: tuple[Path, str]) -> None:
    folder, _ = found
    log = lines(folder / "log.jsonl")
    epochs = [(line["stage"], line["epoch"]) for line in log if "epoch" in line]
    assert epochs == [("search", 0), ("search", 1), ("train found", 0), ("train found", 1)]
    assert all(0 <= line[name] <= 1 for line in log for name in line if name.endswith("accuracy"))
    assert not re.search("second|time|date", (folder / "log.jsonl").read_text())
    timing = lines(folder / "timing.jsonl")
    assert [(line["stage"], line["epoch"]) for line in timing] == epochs
    assert all(line["seconds"] >= 0 for line in timing)
    with np.load(folder / "alphas.npz") as alphas:
        np.testing.assert_array_equal(np.float32(log[1]["alphas"]["cell"]), alphas["cell"])


def test_result(found: tuple[Path, str]) -> None:
    folder, _ = found
    result = json.loads((folder / "result.json").read_text())
    assert (result["recipe"], result["dataset"], result["space"], result["seed"]) == ("nb201-digits", "digits", "nb201", 5)
    assert (result["genotypes_in_space"], result["alphas"]) == (15625, 30)
    assert from_text(result["found"]["genotype"]) == read(folder / "genotype.json")
    with np.load(folder / "supernet.npz") as supernet:
        assert result["supernet_parameters"] == sum(array.size for array in supernet.values())
    with np.load(folder / "network.npz") as network:
        weights = sum(array.size for name, array in network.items() if name.startswith("weights."))
    assert result["found"]["parameters"] == weights
    assert result["found"]["test_accuracy"] == lines(folder / "log.jsonl")[-1]["test_accuracy"]
    assert result["random"] == []
    assert result["random_mean"] is None
    seconds = result["seconds"]
    assert set(seconds) == {"imports", "trace", "compile", "search", "train", "total"}
    stages = sum(value for stage, value in seconds.items() if stage != "total")
    assert 0 < stages < seconds["total"] + 0.1


def test_screens(found: tuple[Path, str]) -> None:
    folder, printed = found
    result = json.loads((folder / "result.json").read_text())
    first = [line.split()[0] for line in printed.splitlines()[:9]]
    assert first == ["recipe", "device", "space", "data", "images", "method", "supernet", "network", "compared"]
    for told in (
        "15,625 genotypes, 30 alphas",
        "648 train (weights), 649 valid (alphas), 500 test (not seen by the search)",
        f"{result['supernet_parameters']:,} parameters",
        "search epoch 2/2",
        f"{result['found']['test_accuracy']:.2%}",
        result["found"]["genotype"],
        *SEARCH_FILES,
    ):
        assert told in printed
    assert re.search(r"search: traced in [\d.]+ s, compiled in [\d.]+ s", printed)
    assert printed.splitlines()[-1] == f"next:  jaxnas evaluate {folder}"


def test_derive_and_evaluate_repeat_the_result(found: tuple[Path, str]) -> None:
    folder, _ = found
    result = json.loads((folder / "result.json").read_text())
    assert call("derive", str(folder)) == result["found"]["genotype"] + "\n" == (folder / "genotype.txt").read_text()
    assert call("evaluate", str(folder)) == f"test accuracy {result['found']['test_accuracy']:.2%} on 500 images\n"


def test_same_seed_same_bytes_and_the_test_split_is_not_seen(
    found: tuple[Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run again, with another test split: only what is measured on it changes."""
    folder, _ = found

    def load_with_other_test(*arguments: Any) -> Dataset:
        dataset = load(*arguments)
        images = np.random.default_rng(0).integers(0, 256, dataset.test.images.shape).astype(np.uint8)
        return dataclasses.replace(dataset, test=Split(images, (dataset.test.labels + 1) % 10))

    monkeypatch.setattr(search_command, "load", load_with_other_test)
    call(*TINY, "--out", str(tmp_path))
    for name in ("genotype.json", "genotype.txt", "alphas.npz", "supernet.npz", "network.npz", "config.json"):
        assert (tmp_path / name).read_bytes() == (folder / name).read_bytes(), name
    ours, again = ((path / "log.jsonl").read_bytes().splitlines(keepends=True) for path in (folder, tmp_path))
    assert [b"test_accuracy" in line for line in ours] == [False] * 4 + [True]
    assert again[:4] == ours[:4]
    assert again[4:] != ours[4:]


def digits() -> Dataset:
    return load("digits")


def state_of(alphas: Any) -> SearchState:
    """A state after some epoch, as far as a report looks at it."""
    weights = {"stem": jnp.ones(2)}
    return SearchState(jnp.zeros((), jnp.int32), jax.random.key(0), weights, alphas, None, None)


def search_without_steps(recipe: Recipe, dataset: Dataset, network: Any, report: SearchReport, *_: Any, **__: Any) -> Any:
    alphas = initial_alphas(nb201(), jax.random.key(recipe.seed))
    report.epoch(0, 1, {"train_loss": 1.0}, state_of(alphas), 0.1)
    return state_of(alphas), Compiled(print, 0.0, 0.0)


def run_with_stubs(folder: Path, monkeypatch: pytest.MonkeyPatch, train: Any, random_cells: int) -> dict[str, Any]:
    monkeypatch.setattr(searching, "search_cell", search_without_steps)
    monkeypatch.setattr(run, "train", train)
    recipe = dataclasses.replace(RECIPES["nb201-digits"], random_cells=random_cells)
    with contextlib.redirect_stdout(io.StringIO()):
        return run.run("nb201-digits", recipe, digits(), RunFolder(folder), Console(), 0.0)


@pytest.mark.quick
def test_random_cells_are_trained_alike_and_summarised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trained = []
    accuracies = [0.9, 0.7, 0.8, 0.85]

    def train(genotype: Any, recipe: Any, dataset: Any, seed: int, *_: Any) -> Trained:
        trained.append((genotype, recipe, seed))
        tree = {"w": jnp.full(2, len(trained))}
        return Trained(tree, {"mean": jnp.zeros(1)}, 100 + len(trained), accuracies[len(trained) - 1], 0.5, 1.5)

    result = run_with_stubs(tmp_path, monkeypatch, train, random_cells=3)
    assert [row["test_accuracy"] for row in (result["found"], *result["random"])] == accuracies
    assert [row["parameters"] for row in result["random"]] == [102, 103, 104]
    np.testing.assert_allclose(result["random_mean"], np.mean(accuracies[1:]))
    np.testing.assert_allclose(result["random_std"], np.std(accuracies[1:], ddof=1))
    assert result["random_std"] == statistics.stdev(accuracies[1:])
    assert len({(recipe, seed) for _, recipe, seed in trained}) == 1
    rng = np.random.Generator(np.random.PCG64([0, 1]))
    assert [genotype for genotype, _, _ in trained[1:]] == [random_genotype(nb201(), rng) for _ in range(3)]
    assert result["seconds"]["trace"] == 4 * 0.5
    assert result["seconds"]["compile"] == 4 * 1.5
    with np.load(tmp_path / "network.npz") as network:
        np.testing.assert_array_equal(network["weights.w"], [1, 1])  # The found cell's, not a random one's.
    assert json.loads((tmp_path / "result.json").read_text()) == result


def test_one_random_cell_has_no_deviation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trained = Trained({}, {}, 1, 0.5, 0.0, 0.0)
    result = run_with_stubs(tmp_path, monkeypatch, lambda *_: trained, random_cells=1)
    assert result["random_mean"] == 0.5
    assert result["random_std"] is None


def test_a_search_alone_trains_nothing_and_is_finished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the command, but for the steps; resumed it stays as it is."""
    monkeypatch.setattr(searching, "search_cell", search_without_steps)
    folder = tmp_path / "run"
    printed = call(*TINY, "--only-search", "--out", str(folder))
    assert "network   not trained" in printed
    assert printed.splitlines()[-1] == f"next:  jaxnas train {folder}"
    result = json.loads((folder / "result.json").read_text())
    assert result["found"] == {"cell": "found", "genotype": (folder / "genotype.txt").read_text().strip()}
    assert (result["random"], result["random_mean"], result["seconds"]["train"]) == ([], None, 0.0)
    assert not (folder / "network.npz").exists()
    assert [line["stage"] for line in lines(folder / "log.jsonl")] == ["search"]
    assert status(folder).finished
    assert [(stage.name, stage.done) for stage in status(folder).stages] == [("search", 1)]
    resumed = call("resume", str(folder))
    assert "is finished: nothing is left to do" in resumed
    assert resumed.splitlines()[-1] == f"next:  jaxnas train {folder}"
    assert re.search(r"run +nb201-digits +5 +done", call("list", str(tmp_path)))


def test_what_a_search_found_survives_a_failed_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def train(*_: Any) -> Trained:
        raise UserError("The training loss became nan.")

    with pytest.raises(UserError, match="became nan"):
        run_with_stubs(tmp_path, monkeypatch, train, random_cells=0)
    files = {path.name for path in tmp_path.iterdir()}
    assert files == set(FILES) - {"network.npz", "result.json", ABANDONED, REPORT}
    assert call("derive", str(tmp_path)) == (tmp_path / "genotype.txt").read_text()


def test_alphas_that_are_not_finite_end_the_search(tmp_path: Path) -> None:
    report = SearchReport(Console(), Saves(RunFolder(tmp_path / "run"), {}), first_part(RECIPES["nb201-digits"].search))
    with pytest.raises(UserError, match="the search diverged"):
        report.epoch(0, 1, {}, state_of({"cell": jnp.full((6, 5), jnp.nan)}), 0.1)
    assert not list((tmp_path / "run").iterdir())


def test_training_a_given_genotype(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From a file and from words: the recipe of its family, all of it written, and the way back."""
    monkeypatch.setattr(run, "train", lambda *_: Trained({"w": jnp.ones(2)}, {}, 7, 0.25, 0.0, 0.0))
    genotype = "|nor_conv_3x3~0|+|none~0|skip_connect~1|+|none~0|none~1|avg_pool_3x3~2|"
    (tmp_path / "cell.txt").write_text(genotype)
    for source, name in ((genotype, "a"), (str(tmp_path / "cell.txt"), "b"), (str(tmp_path / "a"), "c")):
        folder = tmp_path / name
        printed = call("train", source, "--train.epochs", "3", "--seed", "2", "--out", str(folder))
        assert printed.endswith(f"next:  jaxnas evaluate {folder}\n")
        result = json.loads((folder / "result.json").read_text())
        assert result["recipe"] == "nb201-digits"
        assert result["given"]["genotype"] == genotype
        assert result["given"]["test_accuracy"] == 0.25
        assert read(folder / "genotype.json") == from_text(genotype)
        recipe = from_config(json.loads((folder / "config.json").read_text()))
        assert (recipe.train.epochs, recipe.seed) == (3, 2)
    with pytest.raises(SystemExit) as exit_, contextlib.redirect_stderr(io.StringIO()) as told:
        cli.main(["derive", str(tmp_path / "a")])
    assert exit_.value.code == 2
    assert "the run only trained a genotype" in told.getvalue()


@pytest.mark.parametrize(("batch", "steps"), ((300, 2), (400, 1)))
def test_dry_run_takes_two_steps_or_what_there_is(
    batch: int, steps: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = {}

    def no_steps(stage: Stage, *_: Any) -> Any:
        asked.update(epochs=stage.epochs, steps=stage.steps_per_epoch, indices=[rows.shape for rows in stage.indices(0)])
        return stage.start(), Compiled(print, 0.0, 0.0)

    monkeypatch.setattr(searching, "epochs_of_steps", no_steps)
    monkeypatch.chdir(tmp_path)
    printed = call("search", "nb201-digits", "--dry-run", "--search.channels", "2", "--search.batch", str(batch))
    assert asked == {"epochs": 1, "steps": steps, "indices": [(steps, batch)] * 2}
    assert "nothing written" in printed
    assert not list(tmp_path.iterdir())


@pytest.mark.quick
def test_family_of_genotype_and_recipe() -> None:
    genotype = random_genotype(darts(), np.random.default_rng(0))
    with pytest.raises(UserError, match="is of family darts, but the recipe is for family nb201"):
        run.check_training(genotype, RECIPES["nb201-digits"].training, digits())
    run.check_training(genotype, RECIPES["darts-digits"].training, digits())


@pytest.mark.quick
@pytest.mark.parametrize("resting", [{}, {"alphas_from_epoch": 1}, {"weight_steps_per_alpha_step": 5}], ids=str)
def test_a_search_traces_its_step_once(resting: dict[str, int], monkeypatch: pytest.MonkeyPatch) -> None:
    """One trace of the step for all epochs, with the alphas moving, frozen at first, or due every fifth step."""
    traced, moved = [], []

    def init(key: Array) -> tuple[Any, Any]:
        return {"matrix": 0.1 * jax.random.normal(key, (3, 10))}, {}

    def forward(weights: Any, mixture: Any, x: Array, *_: Any) -> Any:
        return mixture["cell"][:, 0].sum() * x.mean((1, 2)) @ weights["matrix"], {}

    def counted_step(*arguments: Any) -> Any:
        step = search_step(*arguments)

        def counted(*inputs: Any) -> Any:
            traced.append(None)
            return step(*inputs)

        return counted

    class Watch(StageReport):
        def epoch(self, epoch: int, epochs: int, metrics: dict[str, float], state: Any, seconds: float) -> None:
            moved.append(np.asarray(state.alphas["cell"]))

    monkeypatch.setattr(searching, "search_step", counted_step)
    base = RECIPES["nb201-digits"]
    recipe = dataclasses.replace(base, search=dataclasses.replace(base.search, batch=100, epochs=3, **resting))
    network = Network(init, forward, parameters=30)
    state, _ = searching.search_cell(recipe, digits(), network, Watch("search", Console(), None))
    assert len(traced) == 1
    assert int(state.step) == 18
    # The alphas did rest and did move: both are in the one program.
    initial = np.asarray(searching.search_stage(recipe, digits(), network).start().alphas["cell"])
    assert (moved[0] == initial).all() == ("alphas_from_epoch" in resting)
    assert (moved[1] != moved[0]).any() and (moved[2] != moved[1]).any()

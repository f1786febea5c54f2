"""Runs that are ended and go on: the bytes of one that was never ended, and only of the same configuration."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import pytest
from jax import Array

from jaxnas import card, feeding, leaving, run, searching, training
from jaxnas.bilevel import SearchState, search_step
from jaxnas.checkpoints import Checkpoints
from jaxnas.commands.resume import resumed
from jaxnas.console import Console
from jaxnas.data import Dataset, Split, load
from jaxnas.errors import UserError
from jaxnas.feeding import Done
from jaxnas.nets import Network
from jaxnas.recipes import RECIPES, Recipe, Training
from jaxnas.run_folder import CHECKPOINTS, RunFolder, packages
from jaxnas.saves import Saves, saving
from jaxnas.spaces import from_text

SMALL = from_text("|nor_conv_1x1~0|+|none~0|skip_connect~1|+|none~0|none~1|avg_pool_3x3~2|")
NAME = "nb201-digits"
STAGED = ("p-darts-digits", "drnas-progressive-digits")


def digits() -> Dataset:
    """48 images for both halves."""
    whole = load("digits")
    part = Split(whole.train.images[:48], whole.train.labels[:48])
    return dataclasses.replace(whole, train=part, search_train=part, search_valid=part, test=part)


def linear(recipe: Any, dataset: Any, space: Any = None) -> Network:
    """A supernet that compiles in no time. The key moves its loss."""
    cells = (recipe.build_space() if space is None else space).cells

    def init(key: Array) -> tuple[Any, Any]:
        return {"matrix": 0.1 * jax.random.normal(key, (3, 10))}, {}

    def forward(weights: Any, mixture: Any, x: Array, key: Array, scalars: Any, statistics: Any = None) -> Any:
        scale = sum((mixture[kind] * jnp.arange(1.0, 1 + mixture[kind].shape[1])).sum() for kind, _ in cells)
        return scale * (x.mean((1, 2)) + jax.random.normal(key, (3,))) @ weights["matrix"], {}

    return Network(init, forward, parameters=30)


def linear_derived(*_: Any) -> Network:
    """A derived network like it, whose moments are averaged."""

    def init(key: Array) -> tuple[Any, Any]:
        return {"matrix": 0.1 * jax.random.normal(key, (3, 10))}, {"mean": jnp.zeros(3)}

    def forward(weights: Any, mixture: Any, x: Array, key: Array, scalars: Any, statistics: Any = None) -> Any:
        pixels = x.mean((1, 2))
        if statistics is not None:
            return ((pixels - statistics["mean"]) @ weights["matrix"], None), statistics
        noise = jax.random.normal(key, pixels.shape)
        return ((pixels + noise) @ weights["matrix"], None), {"mean": pixels.mean(0)}

    return Network(init, forward, parameters=30)


def recipe_of(name: str) -> Recipe:
    """Stages of two epochs of two steps, and a training of as many."""
    recipe = RECIPES[name]
    stages = tuple(dataclasses.replace(stage, epochs=2) for stage in recipe.search.next_stages)
    search = dataclasses.replace(recipe.search, batch=24, epochs=2, warmup_epochs=0, alphas_from_epoch=1, next_stages=stages)
    train = dataclasses.replace(recipe.train, epochs=2, batch=24)
    return dataclasses.replace(recipe, search=search, train=train, random_cells=0)


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Linear networks, 48 digits, and a dispatch for every step."""
    monkeypatch.setattr(searching, "search_network", linear)
    monkeypatch.setattr(training, "network_of", linear_derived)
    monkeypatch.setattr(run, "network_of", linear_derived)
    monkeypatch.setattr(feeding, "STEPS_PER_DISPATCH", 1)
    monkeypatch.setattr("jaxnas.commands.resume.load", lambda *_: digits())


def begin(name: str, folder: Path) -> None:
    with contextlib.redirect_stdout(io.StringIO()):
        run.run(name, recipe_of(name), digits(), RunFolder(folder), Console(), 0.0)


def go_on(folder: Path) -> str:
    """What is said meanwhile."""
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        resumed(folder, None, Console(), 0.0)
    return printed.getvalue()


def left_by(folder: Path) -> dict[str, Any]:
    """What the seed decides, as bytes; of the result all but the seconds; the arrays of the last checkpoint."""
    files = ("network.npz", "log.jsonl", "config.json", "genotype.json", "alphas.npz", "supernet.npz")
    found: dict[str, Any] = {name: (folder / name).read_bytes() for name in files if (folder / name).exists()}
    result = json.loads((folder / "result.json").read_text())
    del result["seconds"]
    for row in (*result.get("random", ()), result.get("found", {}), result.get("given", {})):
        row.pop("train_seconds", None)
    last, damaged = Checkpoints(folder / CHECKPOINTS).restore()
    assert last is not None and not damaged
    return {**found, "result": result, **{name: (array.dtype, array.tobytes()) for name, array in last.arrays.items()}}


class Ended(Exception):
    """Stands for whatever ends a run in the middle."""


def ended(how: str, at: int, monkeypatch: pytest.MonkeyPatch, continue_: Callable[[], Any]) -> None:
    """Runs until the ``at``-th place between two dispatches, and ends there."""
    real, counted = Saves.reached, [0]

    def reached(saves: Saves, *arguments: Any) -> None:
        counted[0] += 1
        if counted[0] == at and how == "before the state is saved":
            raise Ended
        if counted[0] == at and how == "asked to leave":
            assert leaving.ask()
        real(saves, *arguments)
        if counted[0] == at:
            raise Ended

    with monkeypatch.context() as patch, pytest.raises(leaving.Left if how == "asked to leave" else Ended):
        patch.setattr(Saves, "reached", reached)
        continue_()


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], dict[str, Any]]:
    """What a run of a recipe leaves that nothing ended."""
    known: dict[str, dict[str, Any]] = {}

    def whole(name: str) -> dict[str, Any]:
        if name not in known:
            folder = tmp_path_factory.mktemp(name) / "run"
            begin(name, folder)
            known[name] = left_by(folder)
        return known[name]

    return whole


def test_a_search_that_leaves_again_and_again(uninterrupted: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each third of the eight places in search and training ends it: within epochs and between them."""
    folder = tmp_path / "run"
    ended("asked to leave", 3, monkeypatch, lambda: begin(NAME, folder))
    ended("asked to leave", 3, monkeypatch, lambda: go_on(folder))
    assert not (folder / "result.json").exists()
    assert "train found: resumed after epoch 1, step 0" in go_on(folder)
    assert left_by(folder) == uninterrupted(NAME)
    assert "nothing is left to do" in go_on(folder)
    kept = card.read(folder)
    first, second, third = (session["seconds"] for session in kept["cost"]["sessions"])
    assert first["search"] > 0 < second["search"] and "search" not in third and third["train found"] > 0 < third["evaluate"]
    every = [item for session in (first, second, third) for item in session.items()]
    total = sum(seconds for name, seconds in every if name not in card.COMPILING)
    assert kept["cost"]["device_seconds"]["total"] == pytest.approx(total, abs=0.01) and kept["cost"]["whole"]
    assert kept["result"]["accuracy"] == json.loads((folder / "result.json").read_text())["found"]["test_accuracy"]


@pytest.mark.slow
@pytest.mark.parametrize("name", STAGED)
@pytest.mark.parametrize("how", ("asked to leave", "before the state is saved"))
def test_a_search_in_stages_that_is_ended_again_and_again(
    how: str, name: str, uninterrupted: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "run"
    ended(how, 3, monkeypatch, lambda: begin(name, folder))
    for _ in range(2):
        ended(how, 3, monkeypatch, lambda: go_on(folder))
    go_on(folder)
    assert left_by(folder) == uninterrupted(name)


@pytest.mark.parametrize("at", (1, 4))
def test_the_log_of_what_was_not_saved_is_taken_back(
    at: int, uninterrupted: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ended between log and state, of which the first is after the first epoch: before it there is nothing to go on from."""
    name, folder = NAME, tmp_path / "run"
    ended("before the state is saved", at, monkeypatch, lambda: begin(name, folder))
    go_on(folder)
    assert left_by(folder) == uninterrupted(name)


def test_a_damaged_checkpoint_falls_back_to_the_one_before(
    uninterrupted: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, folder = NAME, tmp_path / "run"
    ended("after the state is saved", 6, monkeypatch, lambda: begin(name, folder))
    numbers = sorted(path.name for path in (folder / CHECKPOINTS).iterdir())
    assert numbers == ["2", "3"]
    shutil.rmtree(folder / CHECKPOINTS / "3" / "state")
    assert "warning: checkpoint 3 is damaged" in (printed := go_on(folder))
    assert "it is now damaged-3; going on from checkpoint 2" in printed
    assert left_by(folder) == uninterrupted(name)


def test_a_training_leaves_and_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    base = RECIPES["nb201-digits"].training
    given = Training("digits", base.family, dataclasses.replace(base.train, epochs=3, batch=24), seed=3)

    def train(folder: Path) -> None:
        with contextlib.redirect_stdout(io.StringIO()):
            run.train_only("made up", given, SMALL, digits(), RunFolder(folder), Console(), 0.0)

    train(tmp_path / "uninterrupted")
    folder = tmp_path / "run"
    ended("asked to leave", 3, monkeypatch, lambda: train(folder))
    go_on(folder)
    assert left_by(folder) == left_by(tmp_path / "uninterrupted")


def test_another_configuration_does_not_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "run"
    ended("after the state is saved", 2, monkeypatch, lambda: begin(NAME, folder))
    config, before = folder / "config.json", (folder / "config.json").read_text()
    log = (folder / "log.jsonl").read_bytes()
    config.write_text(before.replace('"batch": 24', '"batch": 12', 1))
    with pytest.raises(UserError, match=r"in its checkpoint 1 config.json.search.batch is 24, now it is 12"):
        go_on(folder)
    config.write_text(before)
    with monkeypatch.context() as patch, pytest.raises(UserError, match=r"checkpoint 1 packages.jax is .*, now it is 0.1"):
        patch.setattr("jaxnas.saves.packages", lambda: {**packages(), "jax": "0.1"})
        go_on(folder)
    with monkeypatch.context() as patch, pytest.raises(UserError, match=r"trace.matrix: float32\[3, 10\] in the file, .*3, 11"):
        patch.setattr(searching, "search_network", lambda *arguments: wider(linear(*arguments)))
        go_on(folder)
    assert (folder / "log.jsonl").read_bytes() == log


def wider(network: Network) -> Network:
    return dataclasses.replace(network, init=lambda key: ({"matrix": jnp.zeros((3, 11))}, {}))


def test_numbers_that_are_not_finite_name_the_last_good_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def exploding(*arguments: Any) -> Any:
        step = search_step(*arguments)

        def third(state: SearchState, *batches: Any) -> Any:
            after, metrics = step(state, *batches)
            return after, {**metrics, "weight_gradient_norm": jnp.where(state.step == 2, jnp.inf, 1.0)}

        return third

    monkeypatch.setattr(searching, "search_step", exploding)
    where = "checkpoints/1: search, epoch 1, step 0"
    with pytest.raises(UserError, match=f"weights' gradient became inf in epoch 1, step 0.*learning rate.*last good.*{where}"):
        begin(NAME, tmp_path / "run")
    with pytest.raises(UserError, match=f"became inf in epoch 1, step 0.*{where}"):
        go_on(tmp_path / "run")


def test_a_state_that_is_not_finite_is_not_saved(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    with pytest.raises(UserError, match=r"state.w is not finite in stage search, after epoch 2, step 0.*checkpoints/1: search"):
        with saving(folder, {}, print) as saves:
            saves.reached("search", {"w": jnp.ones(2)}, Done(1))
            saves.reached("search", {"w": jnp.asarray([1.0, jnp.nan])}, Done(2))
    assert [path.name for path in (folder.path / CHECKPOINTS).iterdir()] == ["1"]


def test_missing_data_leave_a_run_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "run"
    ended("after the state is saved", 2, monkeypatch, lambda: begin(NAME, folder))
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    monkeypatch.setattr("jaxnas.commands.resume.load", load)
    config = (folder / "config.json").read_text().replace('"digits"', '"cifar10"')
    (folder / "config.json").write_text(config)
    with pytest.raises(UserError, match="lost, the folder of data set 'cifar10', does not exist"):
        resumed(folder, tmp_path / "lost", Console(), 0.0)
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before | {
        folder / "config.json": config.encode()
    }

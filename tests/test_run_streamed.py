"""Runs whose images stay on disk leave the bytes of runs whose images are in memory, also when they are ended and go on."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from jaxnas import feeding, run, saves, searching, training
from jaxnas.checkpoints import Checkpoints
from jaxnas.commands.resume import resumed
from jaxnas.console import Console
from jaxnas.data import Augmentation, load, pictures
from jaxnas.errors import UserError
from jaxnas.nets import Network
from jaxnas.recipes import RECIPES, Recipe
from jaxnas.run_folder import CHECKPOINTS, RunFolder
from jaxnas.saves import Saves


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """144 digits, 72 for either half of a search, and 40 to test with, as PNG."""
    digits, root = load("digits"), tmp_path_factory.mktemp("digits")
    for split, count in (("train", 144), ("test", 40)):
        part = getattr(digits, split)
        for n in range(count):
            path = root / split / digits.class_names[part.labels[n]] / f"{n}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(part.images[n]).save(path)
    return root


def supernet(recipe: Any, dataset: Any, space: Any = None) -> Network:
    """A linear one that compiles in no time. Every pixel counts."""
    cells = (recipe.build_space() if space is None else space).cells

    def init(key: jax.Array) -> tuple[Any, Any]:
        return {"matrix": 0.1 * jax.random.normal(key, (192, 10))}, {}

    def forward(weights: Any, mixture: Any, x: jax.Array, key: jax.Array, scalars: Any, statistics: Any = None) -> Any:
        scale = sum((mixture[kind] * jnp.arange(1.0, 1 + mixture[kind].shape[1])).sum() for kind, _ in cells)
        return 0.1 * scale * x.reshape(len(x), -1) @ weights["matrix"], {}

    return Network(init, forward, parameters=1920)


def derived(*_: Any) -> Network:
    """A derived network like it."""

    def init(key: jax.Array) -> tuple[Any, Any]:
        return {"matrix": 0.1 * jax.random.normal(key, (192, 10))}, {"mean": jnp.zeros(192)}

    def forward(weights: Any, mixture: Any, x: jax.Array, key: jax.Array, scalars: Any, statistics: Any = None) -> Any:
        x = x.reshape(len(x), -1)
        mean = x.mean(0) if statistics is None else statistics["mean"]
        return ((x - mean) @ weights["matrix"], None), {"mean": mean}

    return Network(init, forward, parameters=1920)


def recipe_of(folder: Path, **changes: Any) -> Recipe:
    """Two epochs of a search of six steps, and of a training of twelve."""
    recipe = RECIPES["nb201-digits"]
    augmentation = Augmentation(flip=True)
    search = dataclasses.replace(recipe.search, batch=12, epochs=2, augmentation=augmentation, **changes)
    train = dataclasses.replace(recipe.train, batch=12, epochs=2, augmentation=augmentation)
    return dataclasses.replace(recipe, dataset=str(folder), search=search, train=train, random_cells=0)


def make_small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Linear networks, four steps a dispatch, a checkpoint after each."""
    monkeypatch.setattr(searching, "search_network", supernet)
    monkeypatch.setattr(training, "network_of", derived)
    monkeypatch.setattr(run, "network_of", derived)
    monkeypatch.setattr(feeding, "STEPS_PER_DISPATCH", 4)
    monkeypatch.setattr(training, "EVALUATION_BATCH", 15)
    monkeypatch.setattr(saves, "SECONDS", 0.0)


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    make_small(monkeypatch)


def begin(recipe: Recipe, to: Path) -> None:
    with contextlib.redirect_stdout(io.StringIO()):
        run.run("streamed", recipe, load(recipe.dataset), RunFolder(to), Console(), 0.0)


def left_by(folder: Path) -> dict[str, Any]:
    """What the seed decides, as bytes, and of the result the accuracy; the arrays of the last checkpoint."""
    files = ("network.npz", "log.jsonl", "config.json", "genotype.json", "alphas.npz", "supernet.npz")
    found: dict[str, Any] = {name: (folder / name).read_bytes() for name in files}
    last, damaged = Checkpoints(folder / CHECKPOINTS).restore()
    assert last is not None and not damaged
    accuracy = json.loads((folder / "result.json").read_text())["found"]["test_accuracy"]
    return {**found, "accuracy": accuracy, **{name: array.tobytes() for name, array in last.arrays.items()}}


class Ended(Exception):
    """Stands for whatever ends a run in the middle."""


@pytest.fixture
def on_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pictures, "RESIDENT_BYTES", 0)


@pytest.fixture(scope="module")
def in_memory(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What a run leaves whose images are in memory."""
    to = tmp_path_factory.mktemp("run") / "in memory"
    with pytest.MonkeyPatch.context() as patch:
        make_small(patch)
        begin(recipe_of(folder), to)
    return left_by(to)


@pytest.mark.usefixtures("on_disk")
def test_a_streamed_run_leaves_the_bytes_of_one_in_memory(folder: Path, tmp_path: Path, in_memory: dict[str, Any]) -> None:
    assert load(str(folder)).streamed
    begin(recipe_of(folder), tmp_path / "streamed")
    assert left_by(tmp_path / "streamed") == in_memory and 0.1 < in_memory["accuracy"] < 1


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [{"order": "together", "estimator": "snas"}, {"train_share": 0.5, "valid_share": 0.25, "valid_order": "fresh"}],
    ids=["one level", "shares"],
)
def test_other_searches_too(folder: Path, tmp_path: Path, changes: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    for name, limit in (("in memory", 2**31), ("streamed", 0)):
        monkeypatch.setattr(pictures, "RESIDENT_BYTES", limit)
        begin(recipe_of(folder, **changes), tmp_path / name)
    assert left_by(tmp_path / "streamed") == left_by(tmp_path / "in memory")


# The places between two dispatches: of the search 4, 6, 4 and 6 steps, of the training 4, 8, 12, 4, 8 and 12.
@pytest.mark.parametrize(
    ("at", "before", "after", "kept"),
    [
        pytest.param(1, 0, 0, ("search", 0, 4, [{"next_index": 4}] * 2), marks=pytest.mark.slow),
        (3, 0, 2**31, ("search", 1, 4, [{"next_index": 4}] * 2)),
        pytest.param(3, 2**31, 0, ("search", 1, 4, []), marks=pytest.mark.slow),
        (6, 0, 0, ("train found", 0, 8, [{"next_index": 8}])),
    ],
)
def test_a_streamed_run_that_is_ended_within_an_epoch_goes_on_to_the_same_bytes(
    folder: Path,
    tmp_path: Path,
    in_memory: dict[str, Any],
    at: int,
    before: int,
    after: int,
    kept: tuple[Any, ...],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Also where the images are on disk before and in memory after, or the other way round."""
    real, reached = Saves.reached, []

    def end(self: Saves, *arguments: Any) -> None:
        real(self, *arguments)
        reached.append(arguments)
        if len(reached) == at:
            raise Ended

    monkeypatch.setattr(pictures, "RESIDENT_BYTES", before)
    with monkeypatch.context() as patch, pytest.raises(Ended):
        patch.setattr(Saves, "reached", end)
        begin(recipe_of(folder), tmp_path / "run")
    last, _ = Checkpoints(tmp_path / "run" / CHECKPOINTS).restore()
    assert last is not None
    assert tuple(last.about[name] for name in ("stage", "epoch", "step", "positions")) == kept
    monkeypatch.setattr(pictures, "RESIDENT_BYTES", after)
    with contextlib.redirect_stdout(io.StringIO()):
        resumed(tmp_path / "run", None, Console(), 0.0)
    assert left_by(tmp_path / "run") == in_memory


@pytest.mark.usefixtures("on_disk")
def test_a_folder_lost_within_a_run_ends_it_with_the_way_to_go_on(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, real, reached = tmp_path / "data", Saves.reached, []
    shutil.copytree(folder, data)

    def lose(self: Saves, *arguments: Any) -> None:
        real(self, *arguments)
        reached.append(arguments)
        if len(reached) == 2:
            shutil.rmtree(data)

    monkeypatch.setattr(Saves, "reached", lose)
    with pytest.raises(UserError) as error:
        begin(recipe_of(data), tmp_path / "run")
    said = str(error.value)
    assert f"{data}/train/" in said and "cannot be read any more (No such file or directory)" in said
    assert "search, epoch 1, step 0. Go on with: jaxnas resume" in said and str(tmp_path / "run") in said


def test_a_dispatch_of_streamed_images_is_as_long_as_they_fit(
    folder: Path, monkeypatch: pytest.MonkeyPatch, on_disk: None
) -> None:
    recipe = recipe_of(folder)
    stage = searching.search_stage(recipe, load(recipe.dataset), supernet(recipe.search, None))
    assert [split.images.shape for split in stage.streams] == [(72, 8, 8, 3)] * 2 and stage.data == {}
    a_step = 2 * 12 * 8 * 8 * 3
    for room, steps in ((4 * a_step, 4), (3 * a_step - 1, 2), (1, 1)):
        monkeypatch.setattr(feeding, "DISPATCH_BYTES", room)
        assert stage.steps_per_dispatch == steps
    assert np.asarray(stage.indices(0)[0]).shape == (6, 12)


SEARCH = (
    *("search", "nb201-digits", "--random-cells", "0", "--search.epochs", "1", "--search.channels", "2", "--search.cells", "1"),
    *("--search.batch", "16", "--train.channels", "2", "--train.cells", "1", "--train.epochs", "1", "--train.batch", "16"),
)


def two_processes(folder: Path, to: Path, limit: int) -> None:
    """One search of two processes with two devices each, which keep so many bytes of images in memory."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    code = f"from jaxnas.data import pictures; pictures.RESIDENT_BYTES = {limit}; from jaxnas.cli import main; main()"
    flags = f"{os.environ['XLA_FLAGS']} --xla_force_host_platform_device_count=2"
    command = [sys.executable, "-c", code, *SEARCH, "--dataset", str(folder), "--out", str(to), "--processes", "2"]
    command += ["--coordinator", f"localhost:{port}", "--process-id"]
    environment = {**os.environ, "XLA_FLAGS": flags}
    pipe: Any = subprocess.PIPE
    started = [subprocess.Popen([*command, str(n)], env=environment, stdout=pipe, stderr=pipe, text=True) for n in range(2)]
    printed = [process.communicate() for process in started]
    assert [process.returncode for process in started] == [0, 0], printed
    assert "4 x cpu" in printed[0][0] and ("streamed from disk" if limit == 0 else "in memory") in printed[0][0]


@pytest.mark.slow
def test_two_processes_that_read_their_shares_leave_the_bytes_of_two_with_all_images(folder: Path, tmp_path: Path) -> None:
    for name, limit in (("in memory", 2**31), ("streamed", 0)):
        two_processes(folder, tmp_path / name, limit)
    for file in ("log.jsonl", "alphas.npz", "supernet.npz", "network.npz", "genotype.json"):
        assert (tmp_path / "streamed" / file).read_bytes() == (tmp_path / "in memory" / file).read_bytes(), file


def killed(command: list[str], checkpoint: Path) -> None:
    """Kills a run as soon as that checkpoint is there."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while process.poll() is None and not checkpoint.exists():
        time.sleep(0.01)
    assert process.poll() is None
    process.kill()
    process.wait()


@pytest.mark.slow
def test_a_streamed_search_that_is_killed_goes_on_to_the_same_bytes(folder: Path, tmp_path: Path) -> None:
    """SIGKILL within the second epoch of five steps, a checkpoint after each step."""
    code = (
        "from jaxnas import feeding, saves; feeding.STEPS_PER_DISPATCH = 1; saves.SECONDS = 0\n"
        "from jaxnas.data import pictures; pictures.RESIDENT_BYTES = {}\n"
        "from jaxnas.cli import main; main()"
    )
    python, search = [sys.executable, "-c"], [*SEARCH, "--dataset", str(folder), "--search.epochs", "2"]
    subprocess.run([*python, code.format(2**31), *search, "--out", str(tmp_path / "whole")], check=True, capture_output=True)
    run_folder = tmp_path / "killed"
    killed([*python, code.format(0), *search, "--out", str(run_folder)], run_folder / CHECKPOINTS / "6" / "sha256.json")
    assert not (run_folder / "result.json").exists()
    subprocess.run([*python, code.format(0), "resume", str(run_folder)], check=True, capture_output=True)
    for file in ("log.jsonl", "alphas.npz", "supernet.npz", "network.npz", "genotype.json"):
        assert (run_folder / file).read_bytes() == (tmp_path / "whole" / file).read_bytes(), file

"""Trainings that are ended and go on: the bytes of one that was never ended, and only of the same configuration."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import pytest
from jax import Array

from jaxnas import run, training
from jaxnas.console import Console
from jaxnas.data import Augmentation, Split, load
from jaxnas.errors import UserError
from jaxnas.nets import Network
from jaxnas.recipes import Training, TrainRecipe
from jaxnas.run_folder import RunFolder
from jaxnas.spaces import from_text
from jaxnas.training import Trained

TRAINING = Training(
    "digits",
    "nb201",
    TrainRecipe(
        channels=4,
        cells=1,
        epochs=3,
        batch=24,
        learning_rate=0.1,
        nesterov=True,
        auxiliary_weight=0.0,
        drop_path=0.0,
        augmentation=Augmentation(crop_padding=1, flip=True),
    ),
    seed=3,
)
SMALL = from_text("|nor_conv_1x1~0|+|none~0|skip_connect~1|+|none~0|none~1|avg_pool_3x3~2|")


class Ended(Exception):
    """Stands for whatever ends a run in the middle."""


def train_given(folder: RunFolder, training: Training = TRAINING) -> dict[str, Any]:
    """Trains the small cell on 48 digits, two steps an epoch."""
    whole = load("digits")
    part = Split(whole.train.images[:48], whole.train.labels[:48])
    dataset = dataclasses.replace(whole, train=part, test=part)
    with contextlib.redirect_stdout(io.StringIO()):
        return run.train_only("made up", training, SMALL, dataset, folder, Console(), 0.0)


def bytes_of(folder: Path) -> dict[str, Any]:
    """What the seed decides, as bytes; of the result all but the seconds."""
    files = {name: (folder / name).read_bytes() for name in ("network.npz", "log.jsonl", "state.npz", "config.json")}
    result = json.loads((folder / "result.json").read_text())
    del result["seconds"], result["given"]["train_seconds"]
    return {**files, "result": result}


def linear(*_: Any) -> Network:
    """Compiles in no time. The key moves its loss, and its moments are averaged."""

    def init(key: Array) -> tuple[Any, Any]:
        return {"matrix": 0.1 * jax.random.normal(key, (3, 10))}, {"mean": jnp.zeros(3)}

    def forward(weights: Any, mixture: Any, x: Array, key: Array, scalars: Any, statistics: Any = None) -> Any:
        pixels = x.mean((1, 2))
        if statistics is not None:
            return ((pixels - statistics["mean"]) @ weights["matrix"], None), statistics
        noise = jax.random.normal(key, pixels.shape)
        return ((pixels + noise) @ weights["matrix"], None), {"mean": pixels.mean(0)}

    return Network(init, forward, parameters=30)


@pytest.mark.parametrize(
    ("ended", "network"),
    (
        ("before the first state", linear),
        ("between log and state", linear),
        ("after a state", linear),
        ("before the result", linear),
        pytest.param("between log and state", training.network_of, marks=pytest.mark.slow),
    ),
)
def test_a_resumed_training_leaves_the_same_bytes(
    ended: str, network: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "network_of", network)
    train_given(RunFolder(tmp_path / "uninterrupted"))
    path, real, write_arrays = tmp_path / "run", RunFolder.write_state, RunFolder.write_arrays

    def write_state(folder: RunFolder, stage: str, epochs: int, state: Any) -> None:
        if (ended, epochs) in (("before the first state", 1), ("between log and state", 2)):
            raise Ended
        real(folder, stage, epochs, state)
        if (ended, epochs) == ("after a state", 2):
            raise Ended

    def write_no_network(folder: RunFolder, name: str, tree: Any) -> None:
        if name == "network.npz":
            raise Ended
        write_arrays(folder, name, tree)

    with monkeypatch.context() as patch, pytest.raises(Ended):
        patch.setattr(RunFolder, "write_state", write_state)
        if ended == "before the result":
            patch.setattr(RunFolder, "write_arrays", write_no_network)
        train_given(RunFolder(path))
    assert not (path / "result.json").exists()
    train_given(RunFolder(path, resume=True))
    assert bytes_of(path) == bytes_of(tmp_path / "uninterrupted")


def test_only_the_same_training_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "train", lambda *_: Trained({"w": jnp.ones(2)}, {}, 7, 0.25, 0.0, 0.0))
    train_given(RunFolder(tmp_path / "run"))
    other = dataclasses.replace(TRAINING, train=dataclasses.replace(TRAINING.train, batch=12))
    with pytest.raises(UserError, match=r"in its config.json train.batch is 24, now it is 12"):
        train_given(RunFolder(tmp_path / "run", resume=True), other)
    (tmp_path / "run" / "genotype.json").write_text(
        (tmp_path / "run" / "genotype.json").read_text().replace("avg_pool_3x3", "nor_conv_3x3")
    )
    with pytest.raises(UserError, match=r"in its genotype.json nodes is .*nor_conv_3x3"):
        train_given(RunFolder(tmp_path / "run", resume=True))

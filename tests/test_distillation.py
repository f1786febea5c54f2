"""Training with a teacher: a step against its closed form, teachers of several kinds, runs as teachers."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import Array
from jax.tree_util import Partial

from jaxnas import cli, run, stored, training, trainings
from jaxnas.data import Dataset, Split, load
from jaxnas.errors import UserError
from jaxnas.feeding import Done
from jaxnas.nets import Network
from jaxnas.recipes import TrainRecipe
from jaxnas.run_folder import CONFIG, GENOTYPE_JSON, NETWORK, RunFolder, plain
from jaxnas.spaces import from_text, to_json
from jaxnas.training import TrainState, network_of, optimizer, train, train_step

MEAN, STD = (0.5, 0.4, 0.3), (0.25, 0.2, 0.5)
RECIPE = TrainRecipe(
    epochs=5, batch=4, learning_rate=0.1, momentum=0.0, weight_decay=0.0, clip=0.0, auxiliary_weight=0.0, drop_path=0.0
)
NB201 = from_text("|nor_conv_1x1~0|+|none~0|skip_connect~1|+|none~0|none~1|avg_pool_3x3~2|")
RNG = np.random.default_rng(0)
MATRIX = RNG.normal(size=(3, 4)).astype(np.float32)


def linear() -> Network:
    """Logits: mean pixel times a matrix."""

    def forward(weights: Any, mixture: Any, x: Array, key: Array, scalars: Any, statistics: Any = None) -> Any:
        return (x.mean((1, 2)) @ weights["matrix"], None), {}

    return Network(lambda key: ({"matrix": jnp.zeros((3, 4))}, {}), forward, parameters=12)


def softmax(values: np.ndarray) -> np.ndarray:
    return np.exp(values) / np.exp(values).sum(1, keepdims=True)


def traced(images: Array) -> Array:
    return images.mean((1, 2)) @ jnp.asarray(MATRIX)


def with_weights(weights: Any, images: Array) -> Array:
    return images.mean((1, 2)) @ weights["matrix"]


def on_the_host(images: Array) -> Array:
    """A teacher of another library: NumPy stands for it."""
    shape = jax.ShapeDtypeStruct((len(images), 4), jnp.float32)
    return jax.pure_callback(lambda x: np.asarray(x).mean((1, 2)) @ MATRIX, shape, images)


TEACHERS = {
    "traced": traced,
    "with weights": Partial(with_weights, {"matrix": jnp.asarray(MATRIX)}),
    "on the host": on_the_host,
}


@pytest.mark.parametrize("kind", TEACHERS)
def test_a_step_with_a_teacher(kind: str) -> None:
    """Loss and update: 1 - w of the labels' cross-entropy and w of the distillation."""
    recipe = dataclasses.replace(RECIPE, distillation_weight=0.7, distillation_temperature=3.0)
    images, labels = RNG.integers(0, 256, (4, 4, 4, 3)).astype(np.uint8), np.array([0, 3, 1, 1])
    start = RNG.normal(size=(3, 4)).astype(np.float32)
    weights = {"matrix": jnp.asarray(start)}
    state = TrainState(jnp.zeros((), jnp.int32), jax.random.key(0), weights, optimizer(recipe, 1).init(weights), {})
    data = {"images": jnp.asarray(images), "labels": jnp.asarray(labels), "teacher": Partial(TEACHERS[kind])}
    state, metrics = jax.jit(train_step(linear(), recipe, 1, MEAN, STD))(state, data, jnp.arange(4))

    pixels = ((images / 255.0 - MEAN) / STD).mean((1, 2))
    hard, soft, target = softmax(pixels @ start), softmax(pixels @ start / 3), softmax(pixels @ MATRIX / 3)
    value = 0.3 * -np.log(hard[np.arange(4), labels]).mean() + 0.7 * 9 * (target * np.log(target / soft)).sum(1).mean()
    slope = (0.3 * (hard - np.eye(4)[labels]) + 0.7 * 3 * (soft - target)) / 4
    np.testing.assert_allclose(metrics["train_loss"], value, rtol=1e-5)
    np.testing.assert_allclose(state.weights["matrix"], start - 0.1 * pixels.T @ slope, rtol=1e-4, atol=1e-6)


class Silent:
    """A report that says nothing."""

    def begin(self, state: Any, done: Done) -> tuple[Any, Done]:
        return state, done

    def __getattr__(self, name: str) -> Any:
        return lambda *_: None


SILENT: Any = Silent()


def test_a_network_learns_from_its_teacher_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """With all the weight on the teacher, labels that are one too large do not matter."""
    images = RNG.integers(0, 256, (40, 4, 4, 3)).astype(np.uint8)
    images[..., :] //= 8
    images += (np.arange(40) % 4 * 60).astype(np.uint8)[:, None, None, None]
    images[..., 1] = images[..., 1] // 2
    found = ((images / 255.0 - MEAN) / STD).mean((1, 2)) @ MATRIX
    right = found.argmax(1).astype(np.int32)
    shifted, true = Split(images, (right + 1) % 4), Split(images, right)
    dataset = Dataset("greys", 4, shifted, shifted, shifted, true, MEAN, STD)
    monkeypatch.setattr(training, "network_of", lambda *_: linear())
    recipe = dataclasses.replace(RECIPE, epochs=60, batch=10, distillation_weight=1.0, distillation_temperature=1.0)
    assert len(set(right)) > 1
    assert train(NB201, recipe, dataset, 0, SILENT, teacher=traced).test_accuracy == 1.0
    assert train(NB201, recipe, dataset, 0, SILENT).test_accuracy < 0.5


def test_what_is_no_teacher() -> None:
    digits = load("digits")
    with pytest.raises(UserError, match=r"a teacher gives out logits \[4, 10\], this one ShapeDtypeStruct\(shape=\(4, 4\)"):
        train(NB201, RECIPE, digits, 0, SILENT, teacher=traced)
    with pytest.raises(UserError, match="names the teacher 'runs/one', but no function is given for it"):
        train(NB201, dataclasses.replace(RECIPE, teacher="runs/one"), digits, 0, SILENT)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"distillation_weight": 1.1}, "distillation_weight is at most 1"),
        ({"distillation_weight": 0.0}, "distillation_weight must be positive"),
        ({"distillation_temperature": 0.0}, "distillation_temperature must be positive"),
    ],
)
def test_values_that_are_refused(values: dict[str, float], message: str) -> None:
    with pytest.raises(UserError, match=message):
        dataclasses.replace(RECIPE, **values)


@pytest.fixture
def teacher(tmp_path: Path) -> Path:
    """A run on digits with the weights that its network starts with."""
    folder, one = RunFolder(tmp_path / "teacher"), trainings.find("nb201-digits")
    one = dataclasses.replace(one, train=dataclasses.replace(one.train, channels=2, cells=1))
    weights, statistics = network_of(NB201, one.train, load("digits")).init(jax.random.key(0))
    folder.write_json(CONFIG, {"recipe": "nb201-digits", **plain(one)})
    folder.write_json(GENOTYPE_JSON, to_json(NB201, "nb201"))
    folder.write_arrays(NETWORK, {"weights": weights, "statistics": statistics})
    return folder.path


def test_a_run_as_the_teacher(teacher: Path) -> None:
    digits = load("digits")
    student = trainings.find("nb201-digits")
    assert stored.teacher_of(student, digits) is None
    student = dataclasses.replace(student, train=dataclasses.replace(student.train, teacher=str(teacher)))
    function = stored.teacher_of(student, digits)
    assert function is not None
    trained, images = stored.trained_network(teacher, None, count=2)
    np.testing.assert_array_equal(function(jnp.asarray(images)), trained.logits(jnp.asarray(images)))
    assert {leaf.shape for leaf in jax.tree.leaves(function)} == {
        leaf.shape for leaf in jax.tree.leaves((trained.weights, trained.statistics))
    }
    run.check_training(NB201, student, digits)
    with pytest.raises(UserError, match="was trained on digits, not on cifar10"):
        run.check_training(NB201, dataclasses.replace(student, dataset="cifar10"), digits)
    (teacher / NETWORK).unlink()
    with pytest.raises(UserError, match="has no network.npz"):
        run.check_training(NB201, student, digits)
    with pytest.raises(UserError, match="is not the folder of a run"):
        run.check_training(NB201, dataclasses.replace(student, train=dataclasses.replace(student.train, teacher="no")), digits)


@pytest.mark.slow
def test_the_command(teacher: Path, tmp_path: Path) -> None:
    """A student of a run: the run's folder is in its configuration, and it is evaluated as any other."""
    out = tmp_path / "student"
    small = ["--train.channels", "2", "--train.cells", "1", "--train.epochs", "1"]
    with pytest.raises(SystemExit) as done:
        cli.main(["train", str(teacher), *small, "--train.teacher", str(teacher), "--out", str(out)])
    assert done.value.code == 0
    assert json.loads((out / CONFIG).read_text())["train"]["teacher"] == str(teacher)
    assert stored.test_accuracy(out, None)[0] == json.loads((out / "result.json").read_text())["given"]["test_accuracy"]

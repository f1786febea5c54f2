"""Training and evaluation against NumPy: a linear classifier stands for the network, so that every value has a closed form."""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import Array

from jaxnas import training
from jaxnas.data import Augmentation, Dataset, Split, load
from jaxnas.errors import UserError
from jaxnas.feeding import Done
from jaxnas.nets import Network
from jaxnas.recipes import TrainRecipe
from jaxnas.spaces import PUBLISHED, BlockGenotype, from_text
from jaxnas.training import TrainState, compile_evaluation, network_of, optimizer, train, train_step
from jaxnas.trainings import find

MEAN, STD = (0.5, 0.4, 0.3), (0.25, 0.2, 0.5)
RNG = np.random.default_rng(0)
RECIPE = TrainRecipe(
    epochs=5, batch=4, learning_rate=0.1, momentum=0.0, weight_decay=0.0, clip=0.0, auxiliary_weight=0.0, drop_path=0.0
)
NB201 = from_text("|nor_conv_3x3~0|+|none~0|skip_connect~1|+|none~0|none~1|avg_pool_3x3~2|")
CELL = "[('sep_conv_3x3', 0), ('skip_connect', 1)]"
DARTS = from_text(f"Genotype(normal={CELL}, normal_concat=[2], reduce={CELL}, reduce_concat=[2])")


def linear(auxiliary: bool = False) -> Network:
    """Logits: mean pixel less the running mean, times a matrix. Its moments: mean pixel of the batch and drop path's scalar."""

    def init(key: Array) -> tuple[Any, Any]:
        return {"matrix": jnp.zeros((3, 4))}, {"mean": jnp.zeros(3), "drop_path": jnp.zeros(())}

    def forward(weights: Any, mixture: Any, x: Array, key: Array, scalars: Any, statistics: Any = None) -> Any:
        pixels = x.mean((1, 2))
        mean = jnp.zeros(3) if statistics is None else statistics["mean"]
        logits = (pixels - mean) @ weights["matrix"]
        moments = {"mean": pixels.mean(0), "drop_path": scalars.get("drop_path", 0.0)}
        return (logits, logits[:, ::-1] if auxiliary else None), moments

    return Network(init, forward, parameters=12)


def split(size: int) -> Split:
    return Split(RNG.integers(0, 256, (size, 4, 4, 3)).astype(np.uint8), RNG.integers(0, 4, size).astype(np.int32))


def pixels_of(images: np.ndarray) -> np.ndarray:
    return ((images / 255.0 - MEAN) / STD).mean((1, 2))


def cross_entropy_and_gradient(matrix: np.ndarray, pixels: np.ndarray, labels: np.ndarray) -> tuple[float, np.ndarray]:
    powers = np.exp(pixels @ matrix)
    probabilities = powers / powers.sum(1, keepdims=True)
    rows = np.arange(len(labels))
    value = -np.log(probabilities[rows, labels]).mean()
    probabilities[rows, labels] -= 1
    return value, pixels.T @ probabilities / len(labels)


@pytest.mark.quick
@pytest.mark.parametrize("size", (16, 19, 5))  # Whole batches, a last one cut short, less than one batch.
def test_accuracy_counts_every_image_once(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "EVALUATION_BATCH", 8)
    test, matrix = split(size), RNG.normal(size=(3, 4)).astype(np.float32)
    mean = np.array([0.3, -0.2, 0.1], np.float32)
    dataset = Dataset("made up", 4, test, test, test, test, MEAN, STD)
    weights, statistics = {"matrix": jnp.asarray(matrix)}, {"mean": jnp.asarray(mean), "drop_path": jnp.zeros(())}
    evaluation = compile_evaluation(linear(), test, weights, statistics, dataset)
    right = sum(int(np.argmax((pixels_of(test.images[i : i + 1])[0] - mean) @ matrix) == test.labels[i]) for i in range(size))
    assert 0 < right < size
    assert evaluation.call(weights, statistics) == right / size


def test_the_centre_is_evaluated() -> None:
    rng = np.random.default_rng(0)
    images, matrix = rng.integers(0, 256, (40, 4, 4, 3)).astype(np.uint8), rng.normal(size=(3, 4)).astype(np.float32)
    mean = pixels_of(images).mean(0).astype(np.float32)
    whole, centre = (((pixels_of(part) - mean) @ matrix).argmax(1) for part in (images, images[:, 1:3, 1:3]))
    test = Split(images, whole.astype(np.int32))
    dataset = Dataset("made up", 4, test, test, test, test, MEAN, STD)
    weights, statistics = {"matrix": jnp.asarray(matrix)}, {"mean": jnp.asarray(mean), "drop_path": jnp.zeros(())}
    found = compile_evaluation(linear(), test, weights, statistics, dataset, crop=2).call(weights, statistics)
    assert found == (centre == whole).mean() < 1


@pytest.mark.quick
@pytest.mark.parametrize(("auxiliary_weight", "every"), ((0.0, "step"), (0.4, "epoch")))
def test_steps_of_training(auxiliary_weight: float, every: Literal["step", "epoch"]) -> None:
    """Loss, SGD update, running averages and the schedules of drop path and learning rate, step by step for two epochs."""
    recipe = dataclasses.replace(RECIPE, auxiliary_weight=auxiliary_weight, drop_path=0.3, cosine_every=every)
    network, steps_per_epoch = linear(auxiliary=auxiliary_weight > 0), 2
    train_set = split(8)
    data = {"images": jnp.asarray(train_set.images), "labels": jnp.asarray(train_set.labels)}
    step = jax.jit(train_step(network, recipe, steps_per_epoch, MEAN, STD))
    weights, statistics = network.init(jax.random.key(0))
    weight_state = optimizer(recipe, steps_per_epoch).init(weights)
    state = TrainState(jnp.zeros((), jnp.int32), jax.random.key(1), weights, weight_state, statistics)

    matrix, running, running_drop_path = np.zeros((3, 4)), np.zeros(3), 0.0
    for i in range(4):
        chosen = np.array([0, 2, 4, 6]) + i % 2
        state, metrics = step(state, data, jnp.asarray(chosen))
        pixels, labels, epoch = pixels_of(train_set.images[chosen]), train_set.labels[chosen], i // 2
        value, gradient = cross_entropy_and_gradient(matrix, pixels, labels)
        # The auxiliary logits are the logits in reverse: the same loss with labels in reverse.
        auxiliary, auxiliary_gradient = cross_entropy_and_gradient(matrix[:, ::-1], pixels, labels)
        value += auxiliary_weight * auxiliary
        gradient = gradient + auxiliary_weight * auxiliary_gradient[:, ::-1]
        rate = 0.1 * (1 + np.cos(np.pi * (epoch if every == "epoch" else i / 2) / 5)) / 2
        accuracy = ((pixels @ matrix).argmax(1) == labels).mean()
        matrix = matrix - rate * gradient
        running = 0.9 * running + 0.1 * pixels.mean(0)
        running_drop_path = 0.9 * running_drop_path + 0.1 * (0.3 * epoch / 5)
        np.testing.assert_allclose(metrics["train_loss"], value, rtol=1e-5)
        np.testing.assert_allclose(metrics["train_accuracy"], accuracy)
        np.testing.assert_allclose(state.weights["matrix"], matrix, rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(state.statistics["mean"], running, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(state.statistics["drop_path"], running_drop_path, rtol=1e-5)
    assert running_drop_path > 0
    assert int(state.step) == 4


def test_a_step_hands_the_recipes_dropout_to_the_network() -> None:
    train_set = split(4)
    data = {"images": jnp.asarray(train_set.images), "labels": jnp.asarray(train_set.labels)}
    seen: list[dict[str, Any]] = []
    plain = linear()

    def forward(weights: Any, mixture: Any, x: Array, key: Array, scalars: Any, statistics: Any = None) -> Any:
        seen.append(scalars)
        return plain.forward(weights, mixture, x, key, scalars, statistics)

    for rate in (0.0, 0.25):
        recipe = dataclasses.replace(RECIPE, dropout=rate)
        weights, statistics = plain.init(jax.random.key(0))
        weight_state = optimizer(recipe, 1).init(weights)
        state = TrainState(jnp.zeros((), jnp.int32), jax.random.key(1), weights, weight_state, statistics)
        train_step(Network(plain.init, forward, 12), recipe, 1, MEAN, STD)(state, data, jnp.arange(4))
    assert seen[0] == {} and seen[1].keys() == {"dropout"} and float(seen[1]["dropout"]) == 0.25


@pytest.mark.quick
def test_label_smoothing_of_both_heads() -> None:
    recipe = dataclasses.replace(RECIPE, auxiliary_weight=0.4, label_smoothing=0.1, clip=0.0)
    network, train_set = linear(auxiliary=True), split(4)
    data = {"images": jnp.asarray(train_set.images), "labels": jnp.asarray(train_set.labels)}
    matrix = RNG.normal(size=(3, 4)).astype(np.float32)
    weights = {"matrix": jnp.asarray(matrix)}
    state = TrainState(
        jnp.zeros((), jnp.int32),
        jax.random.key(1),
        weights,
        optimizer(recipe, 1).init(weights),
        network.init(jax.random.key(0))[1],
    )
    _, metrics = jax.jit(train_step(network, recipe, 1, MEAN, STD))(state, data, jnp.arange(4))
    powers = np.exp(pixels_of(train_set.images) @ matrix)
    losses = -np.log(powers / powers.sum(1, keepdims=True))
    value = 0.0
    for i, label in enumerate(train_set.labels):
        for weight, of_class in ((1.0, losses[i]), (0.4, losses[i, ::-1])):
            value += weight * (0.9 * of_class[label] + 0.1 * of_class.mean()) / 4
    np.testing.assert_allclose(metrics["train_loss"], value, rtol=1e-5)


SCHEDULES: dict[str, tuple[dict[str, Any], list[float]]] = {
    "linear": ({"schedule": "linear", "epochs": 8, "warmup_epochs": 2}, [0.05, 0.1 * 2 / 3, 0.1 / 3, 0.1 / 3, 0.08 / 3]),
    "exponential": ({"schedule": "exponential", "learning_rate_factor": 0.5}, [0.1, 0.05, 0.025, 0.0125]),
    "cosine with warm-up": ({"warmup_epochs": 1, "learning_rate_end": 0.02}, [0.0, 0.1, 0.08828427, 0.06, 0.02]),
}


@pytest.mark.parametrize("case", SCHEDULES)
def test_schedules(case: str) -> None:
    values, rates = SCHEDULES[case]
    update = optimizer(dataclasses.replace(RECIPE, **values), 1)
    weights: Any = {"w": jnp.zeros(1)}
    state = update.init(weights)
    for rate in rates:
        updates, state = update.update({"w": jnp.ones(1)}, state, weights)
        found: Any = updates
        np.testing.assert_allclose(found["w"], -rate, rtol=1e-5)


@pytest.mark.parametrize(("clip", "length"), ((0.0, 50.0), (5.0, 5.0), (60.0, 50.0)))
def test_clip_of_the_gradient(clip: float, length: float) -> None:
    update = optimizer(dataclasses.replace(RECIPE, clip=clip), 1)
    weights = {"w": jnp.zeros(2)}
    updates: Any = update.update({"w": jnp.array([30.0, 40.0])}, update.init(weights), weights)[0]
    np.testing.assert_allclose(updates["w"], -0.1 * length * np.array([0.6, 0.8]), rtol=1e-5)


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return load("digits")


@pytest.mark.parametrize("values", ({"drop_path": 0.2}, {"auxiliary_weight": 0.4}))
def test_what_networks_of_other_families_do_not_have(values: dict[str, float], digits: Dataset) -> None:
    for genotype in (NB201, PUBLISHED["FBNet_A"]):
        with pytest.raises(UserError, match="neither drop path nor an auxiliary head") as refusal:
            network_of(genotype, dataclasses.replace(RECIPE, **values), digits)
        for name, value in values.items():
            assert f"{name}={value}" in str(refusal.value)


def test_only_networks_of_blocks_have_dropout(digits: Dataset) -> None:
    with pytest.raises(UserError, match="family nb201 have no dropout, but dropout=0.1"):
        network_of(NB201, dataclasses.replace(RECIPE, dropout=0.1), digits)


def test_a_crop_larger_than_the_images(digits: Dataset) -> None:
    with pytest.raises(UserError, match="resized_crop=16 needs images of at least 16x16 pixels, those of digits are 8x8"):
        network_of(DARTS, dataclasses.replace(RECIPE, augmentation=Augmentation(resized_crop=16)), digits)


@pytest.mark.slow
def test_training_of_a_network_of_blocks() -> None:
    """By the steps of a published training, on two greys."""
    bright = np.arange(16) % 2
    images = np.broadcast_to((200 * bright + 20)[:, None, None, None], (16, 8, 8, 3)).astype(np.uint8)
    data = Split(images, bright.astype(np.int32))
    dataset = Dataset("two greys", 2, data, data, data, data, MEAN, STD)
    recipe = dataclasses.replace(
        find("proxyless-imagenet").train, epochs=20, batch=8, learning_rate=0.1, augmentation=Augmentation()
    )
    genotype = BlockGenotype("proxyless", (8, 2), (("3x3_MBConv1", 8, 1), ("5x5_MBConv3", 16, 2), ("none", 16, 1)), 32)
    assert train(genotype, recipe, dataset, 0, SILENT).test_accuracy == 1.0


@pytest.mark.slow
def test_training_in_the_template_of_imagenet() -> None:
    """Images of 40x40 pixels, trained on random resized crops of 32x32 and evaluated on their centres."""
    bright = np.arange(16) % 2
    images = np.broadcast_to((200 * bright + 20)[:, None, None, None], (16, 40, 40, 3)).astype(np.uint8)
    data = Split(images, bright.astype(np.int32))
    dataset = Dataset("two greys", 2, data, data, data, data, MEAN, STD)
    recipe = dataclasses.replace(
        find("darts-imagenet").train,
        channels=4,
        cells=3,
        epochs=12,
        batch=8,
        auxiliary_weight=0.0,
        augmentation=dataclasses.replace(find("darts-imagenet").train.augmentation, resized_crop=32, brightness=0.1),
    )
    trained = train(DARTS, recipe, dataset, 0, SILENT)
    assert trained.parameters == network_of(DARTS, recipe, dataset).parameters
    assert trained.parameters != network_of(DARTS, dataclasses.replace(recipe, template="cifar"), dataset).parameters
    assert trained.test_accuracy == 1.0


def test_no_auxiliary_head_on_small_images(digits: Dataset) -> None:
    with pytest.raises(UserError, match="images of 8x8 leave 2x2"):
        network_of(DARTS, dataclasses.replace(RECIPE, auxiliary_weight=0.4), digits)


class Silent:
    """A report that says nothing."""

    def begin(self, state: Any, done: Done) -> tuple[Any, Done]:
        return state, done

    def compiled(self, *_: Any) -> None: ...

    def progress(self, *_: Any) -> None: ...

    def epoch(self, *_: Any) -> None: ...

    def evaluated(self, *_: Any) -> None: ...

    def reached(self, *_: Any) -> None: ...


SILENT: Any = Silent()


def test_batch_larger_than_the_training_set(digits: Dataset) -> None:
    with pytest.raises(UserError, match="A batch of 1298 does not fit the training set, which has 1297 images"):
        train(NB201, dataclasses.replace(RECIPE, batch=1298), digits, 0, SILENT)


def test_whole_training_of_the_linear_classifier(digits: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    """The weights and averages at the end are what is evaluated, and the seed decides them."""
    bright = np.arange(40) % 4
    images = np.repeat((60 * bright)[:, None], 48, axis=1).reshape(40, 4, 4, 3).astype(np.uint8)
    images[..., 1] = (255 * (bright % 2))[:, None, None]
    images[..., 2] = (255 * (bright // 2))[:, None, None]
    data = Split(images, bright.astype(np.int32))
    dataset = Dataset("four colours", 4, data, data, data, Split(data.images[:9], data.labels[:9]), MEAN, STD)
    monkeypatch.setattr(training, "network_of", lambda *_: linear())
    recipe = dataclasses.replace(RECIPE, epochs=20, batch=10, learning_rate=1.0)
    first, again, other = (train(NB201, recipe, dataset, seed, SILENT) for seed in (3, 3, 4))
    assert first.parameters == 12
    np.testing.assert_array_equal(first.weights["matrix"], again.weights["matrix"])
    assert not np.array_equal(first.weights["matrix"], other.weights["matrix"])
    expected = (pixels_of(data.images[:9]) - np.asarray(first.statistics["mean"])) @ np.asarray(first.weights["matrix"])
    assert first.test_accuracy == (expected.argmax(1) == data.labels[:9]).mean()
    assert first.test_accuracy > 0.5

"""Training a derived network from scratch, and its accuracy."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array, lax
from jax.tree_util import Partial

from jaxnas.budget import Budget, pace
from jaxnas.compiling import Compiled, compile_ahead
from jaxnas.data import Augmentation, Dataset, Pictures, Split, Stream, augment, centre_crop, normalise
from jaxnas.errors import UserError
from jaxnas.feeding import Report, Stage, check_batch, epochs_of_steps, gathered, index_batches
from jaxnas.losses import accuracy, distillation, mean_cross_entropy
from jaxnas.nets import ChainShape, Network, Shape, derived
from jaxnas.optimizers import clip_by_torch_norm, cosine, exponential, linear, sgd
from jaxnas.recipes import TrainRecipe
from jaxnas.spaces import Genotype

Teacher = Callable[[Array], Array]
"""From the images that a network is trained on, float32 ``[N, H, W, 3]``, augmented and normalised, to logits ``[N, classes]``.

Any function that JAX can trace. One that runs on the host, of whatever library, is one by ``jax.pure_callback``::

    def teacher(images):
        shape = jax.ShapeDtypeStruct((len(images), 10), jnp.float32)
        return jax.pure_callback(lambda x: predict(np.asarray(x)), shape, images)

A teacher with weights is best a ``jax.tree_util.Partial(function, weights)``: they are then arguments of the compiled step.
"""

RUNNING_MOMENTUM = 0.9  # Weight of the old value: PyTorch's momentum of 0.1.
EVALUATION_BATCH = 250


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class TrainState:
    """What training carries from one step to the next.

    Attributes:
      step: number of steps done, int32.
      key: every draw folds in the step.
      weights, weight_state: and their optimizer's state.
      statistics: running averages of the batch norms' moments.
    """

    step: Array
    key: Array
    weights: Any
    weight_state: Any
    statistics: Any


@dataclasses.dataclass(frozen=True)
class Trained:
    """A trained network.

    Attributes:
      weights, statistics: after the last epoch.
      parameters: number of weights, the auxiliary head's not counted.
      test_accuracy: after the last epoch, by running statistics, 0 to 1.
      trace_seconds, compile_seconds: of the compiled steps and evaluation.
    """

    weights: Any
    statistics: Any
    parameters: int
    test_accuracy: float
    trace_seconds: float
    compile_seconds: float


def network_image_size(augmentation: Augmentation, dataset: Dataset) -> int:
    """Height and width of the images that a network gets: the dataset's, or those of the resized crop.

    Raises:
      UserError: the dataset's are smaller than the crop.
    """
    size, crop = dataset.image_size, augmentation.resized_crop
    if crop > size:
        raise UserError(
            f"resized_crop={crop} needs images of at least {crop}x{crop} pixels, those of {dataset.name} are {size}x{size}."
        )
    return crop or size


def shape_of(genotype: Genotype, recipe: TrainRecipe, dataset: Dataset) -> Shape | ChainShape:
    """The size of the network that a recipe trains for a genotype.

    Raises:
      UserError: a size that a network or a crop cannot have.
    """
    size = network_image_size(recipe.augmentation, dataset)
    if genotype.family == "blocks":
        return ChainShape(dataset.classes, size)
    return Shape(recipe.channels, recipe.cells, dataset.classes, size, template=recipe.template)


def network_of(genotype: Genotype, recipe: TrainRecipe, dataset: Dataset) -> Network:
    """The network that a recipe trains for a genotype.

    Raises:
      UserError: a size that the network or a crop cannot have, drop path, dropout or an auxiliary head where it has none.
    """
    if genotype.family != "darts" and (recipe.drop_path or recipe.auxiliary_weight):
        raise UserError(
            f"Networks of family {genotype.family} have neither drop path nor an auxiliary head, but "
            f"drop_path={recipe.drop_path} and auxiliary_weight={recipe.auxiliary_weight}. Set both to 0."
        )
    if genotype.family != "blocks" and recipe.dropout:
        raise UserError(f"Networks of family {genotype.family} have no dropout, but dropout={recipe.dropout}. Set it to 0.")
    return derived(genotype, shape_of(genotype, recipe, dataset), auxiliary=recipe.auxiliary_weight > 0)


def optimizer(recipe: TrainRecipe, steps_per_epoch: Any) -> optax.GradientTransformation:
    """SGD of a training recipe; without a clip where that is 0. The steps of an epoch may be traced, but for cosine by step."""
    start, epochs, warmup = recipe.learning_rate, recipe.epochs, recipe.warmup_epochs
    if recipe.schedule == "linear":
        rate = linear(start, epochs, steps_per_epoch, warmup)
    elif recipe.schedule == "exponential":
        rate = exponential(start, recipe.learning_rate_factor, epochs, steps_per_epoch)
    else:
        rate = cosine(start, recipe.learning_rate_end, epochs, steps_per_epoch, recipe.cosine_every, warmup)
    descent = sgd(rate, recipe.momentum, recipe.weight_decay, recipe.nesterov)
    return optax.chain(clip_by_torch_norm(recipe.clip), descent) if recipe.clip else descent


def running_average(statistics: Any, moments: Any) -> Any:
    """Running statistics after one more batch, of whose variances the unbiased ones count, as in PyTorch.

    >>> round(running_average({"mean": 1.0}, {"mean": 3.0})["mean"], 6)
    1.2
    """
    return jax.tree.map(lambda old, new: RUNNING_MOMENTUM * old + (1 - RUNNING_MOMENTUM) * new, statistics, moments)


def train_step(
    network: Network, recipe: TrainRecipe, steps_per_epoch: Any, mean: Any, std: Any
) -> Callable[[TrainState, Any, Any], tuple[TrainState, dict[str, Array]]]:
    """The step ``(state, data, batch) -> (state, metrics)``: augmentation, loss with auxiliary head, update, averages.

    Where the data have a ``teacher``, the network learns from its logits, too; an auxiliary head from the labels alone.
    """
    update = optimizer(recipe, steps_per_epoch)

    def step(state: TrainState, data: Any, rows: Any) -> tuple[TrainState, dict[str, Array]]:
        for_augmentation, for_network = jax.random.split(jax.random.fold_in(state.key, state.step))
        images, labels = gathered(rows, data)
        images = augment(for_augmentation, images, recipe.augmentation, mean, std)
        # As in the reference, the probability is drop_path * epoch / epochs: 0 in the first epoch.
        # Without it there is nothing to draw, or to compile.
        drop_path = recipe.drop_path * (state.step // steps_per_epoch) / recipe.epochs
        scalars = {"drop_path": drop_path} if recipe.drop_path else {}
        if recipe.dropout:
            scalars["dropout"] = jnp.asarray(recipe.dropout)

        taught = data["teacher"](images) if "teacher" in data else None

        def loss(weights: Any) -> tuple[Array, Any]:
            (logits, auxiliary), moments = network.forward(weights, None, images, for_network, scalars)
            value = mean_cross_entropy(logits, labels, recipe.label_smoothing)
            if taught is not None:
                share = recipe.distillation_weight
                value = (1 - share) * value + share * distillation(logits, taught, recipe.distillation_temperature)
            if auxiliary is not None:
                value = value + recipe.auxiliary_weight * mean_cross_entropy(auxiliary, labels, recipe.label_smoothing)
            return value, (logits, moments)

        (value, (logits, moments)), gradient = jax.value_and_grad(loss, has_aux=True)(state.weights)
        updates, weight_state = update.update(gradient, state.weight_state, state.weights)
        state = TrainState(
            step=state.step + 1,
            key=state.key,
            weights=optax.apply_updates(state.weights, updates),
            weight_state=weight_state,
            statistics=running_average(state.statistics, moments),
        )
        return state, {"train_loss": value, "train_accuracy": accuracy(logits, labels)}

    return step


def train_stage(
    network: Network, recipe: TrainRecipe, dataset: Dataset, seed: int, paced: bool = False, teacher: Teacher | None = None
) -> Stage:
    """The training of a network as a stage, not yet run. Paced, its program serves any number of steps an epoch."""
    size, steps_per_epoch = len(dataset.train.labels), recipe.steps_per_epoch or len(dataset.train.labels) // recipe.batch
    init_key, step_key, order_key = (jax.random.fold_in(jax.random.key(seed), purpose) for purpose in (10, 11, 12))

    def start() -> TrainState:
        weights, statistics = network.init(init_key)
        return TrainState(
            step=jnp.zeros((), jnp.int32),
            key=step_key,
            weights=weights,
            weight_state=optimizer(recipe, steps_per_epoch).init(weights),
            statistics=statistics,
        )

    def indices(epoch: int) -> tuple[Array]:
        return (index_batches(jax.random.fold_in(order_key, epoch), size, recipe.batch, steps_per_epoch),)

    def paced_step(state: TrainState, data: Any, rows: Any) -> tuple[TrainState, dict[str, Array]]:
        return train_step(network, recipe, data["steps_per_epoch"], dataset.mean, dataset.std)(state, data, rows)

    streams = (dataset.train,) if dataset.streamed else ()
    data: dict[str, Any] = {} if streams else {"images": dataset.train.images, "labels": dataset.train.labels}
    if teacher is not None:
        data["teacher"] = Partial(teacher)  # A tree: its weights, if it is a Partial itself, are arrays among the data.
    if paced:
        data["steps_per_epoch"] = np.int32(steps_per_epoch)
    step = paced_step if paced else train_step(network, recipe, steps_per_epoch, dataset.mean, dataset.std)
    return Stage(step, start, data, indices, recipe.epochs, steps_per_epoch, paced=paced, streams=streams)


def train(
    genotype: Genotype,
    recipe: TrainRecipe,
    dataset: Dataset,
    seed: int,
    report: Report,
    budget: Budget | None = None,
    teacher: Teacher | None = None,
) -> Trained:
    """Trains a genotype's network on the whole training set and measures it once, after the last epoch, on the test set.

    Args:
      budget: decides the steps of an epoch; the recipe is then as from ``jaxnas.budget.for_budget``.
      teacher: what the network learns from beside the labels; the recipe has the weight and the temperature. Where a recipe
        names a run as the teacher, :func:`jaxnas.stored.teacher_of` gives the function.

    Raises:
      UserError: a batch larger than the training set, a network that cannot be built, a loss that is not finite, a teacher that
        is missing or whose outputs are not ``[N, classes]``.
    """
    check_teacher(recipe, dataset, teacher)
    check_batch(recipe.batch, len(dataset.train.labels), "training set")
    network = network_of(genotype, recipe, dataset)
    if budget is None:
        state, compiled = epochs_of_steps(train_stage(network, recipe, dataset, seed, teacher=teacher), report)
    else:
        steps, compiled = pace(train_stage(network, recipe, dataset, seed, True, teacher), budget.train_steps)
        stage = train_stage(network, dataclasses.replace(recipe, steps_per_epoch=steps), dataset, seed, True, teacher)
        state, compiled = epochs_of_steps(stage, report, compiled=compiled, over=budget.over)
    crop = recipe.augmentation.resized_crop
    evaluation = compile_evaluation(network, dataset.test, state.weights, state.statistics, dataset, crop)
    began = time.perf_counter()
    test_accuracy = evaluation.call(state.weights, state.statistics)
    report.evaluated(evaluation, time.perf_counter() - began)
    return Trained(
        weights=state.weights,
        statistics=state.statistics,
        parameters=network.parameters,
        test_accuracy=test_accuracy,
        trace_seconds=compiled.trace_seconds + evaluation.trace_seconds,
        compile_seconds=compiled.compile_seconds + evaluation.compile_seconds,
    )


def check_teacher(recipe: TrainRecipe, dataset: Dataset, teacher: Teacher | None) -> None:
    """Passes where there is no teacher, or one that gives out a logit for every class.

    Raises:
      UserError: the recipe names one, but none is given, or its outputs have another shape.
    """
    if teacher is None:
        if recipe.teacher:
            raise UserError(f"The recipe names the teacher {recipe.teacher!r}, but no function is given for it.")
        return
    size = network_image_size(recipe.augmentation, dataset)
    taught = jax.eval_shape(teacher, jax.ShapeDtypeStruct((recipe.batch, size, size, 3), jnp.float32))
    if getattr(taught, "shape", None) != (recipe.batch, dataset.classes):
        raise UserError(
            f"Of {recipe.batch} images of {dataset.name} a teacher gives out logits [{recipe.batch}, {dataset.classes}], "
            f"this one {taught}."
        )


def as_evaluated(images: Array, dataset: Dataset, crop: int = 0) -> Array:
    """Images of a dataset as a trained network gets them: float32, normalised; where ``crop`` is not 0, their centres.

    Args:
      images: uint8 ``[N, H, W, 3]``.
      dataset: has the mean and the deviation of each channel.
      crop: pixels a side of the centre.

    >>> from jaxnas.data import load
    >>> as_evaluated(jnp.zeros((2, 8, 8, 3), jnp.uint8), load("digits"), 6).shape
    (2, 6, 6, 3)
    """
    return normalise(centre_crop(images, crop) if crop else images, dataset.mean, dataset.std)


def compile_evaluation(
    network: Network, split: Split, weights: Any, statistics: Any, dataset: Dataset, crop: int = 0
) -> Compiled:
    """A compiled ``(weights, statistics) -> accuracy`` of a derived network over a split, by running statistics.

    Where ``crop`` is not 0, of the images' centres of so many pixels a side.
    """
    size = len(split.labels)
    batch = min(EVALUATION_BATCH, size)
    batches = -(-size // batch)
    order = np.arange(batches * batch) % size  # The last batch is filled up, and its filling not counted.
    counted = (np.arange(batches * batch) < size).reshape(batches, batch)

    def correct(weights: Any, statistics: Any, images: Array, labels: Array, counted: Array) -> Array:
        def one(total: Array, inputs: Any) -> tuple[Array, None]:
            batch_images, batch_labels, count = inputs
            x = as_evaluated(batch_images, dataset, crop)
            predicted = network.logits(weights, statistics, x).argmax(-1)
            return total + ((predicted == batch_labels) & count).sum(), None

        return lax.scan(one, jnp.zeros((), jnp.int32), (images, labels, counted))[0]

    if isinstance(split.images, Pictures):
        images = jax.ShapeDtypeStruct((1, batch, *split.images.shape[1:]), np.uint8)
        labels, counts = (jax.ShapeDtypeStruct((1, batch), kind) for kind in (np.int32, bool))
        compiled = compile_ahead(correct, weights, statistics, images, labels, counts)

        def share(weights: Any, statistics: Any) -> float:
            total = 0
            with Stream(split, order.reshape(batches, batch), ahead=2) as stream:
                for count in counted:
                    read = stream.take(1)
                    total += int(compiled.call(weights, statistics, read["images"], read["labels"], count[None]))
            return total / size
    else:
        images = jnp.asarray(split.images[order].reshape(batches, batch, *split.images.shape[1:]))
        labels = jnp.asarray(split.labels[order].reshape(batches, batch))
        compiled = compile_ahead(correct, weights, statistics, images, labels, jnp.asarray(counted))

        def share(weights: Any, statistics: Any) -> float:
            return int(compiled.call(weights, statistics, images, labels, jnp.asarray(counted))) / size

    return dataclasses.replace(compiled, call=share)

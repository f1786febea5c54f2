"""Reading runs back: their recipe, genotype and weights."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial

from jaxnas.data import Dataset, load
from jaxnas.derive import derive
from jaxnas.errors import UserError, did_you_mean
from jaxnas.estimators import ESTIMATORS, start
from jaxnas.export import TrainedNetwork
from jaxnas.nets import Network
from jaxnas.recipes import MAIN, Recipe, Training, from_config
from jaxnas.run_folder import ALPHAS, CONFIG, GENOTYPE_JSON, NETWORK, SUPERNET, read_arrays, read_json
from jaxnas.searching import search_data, search_network
from jaxnas.spaces import PUBLISHED, CellSpace, Genotype, Space, from_text, read
from jaxnas.stages import gathered
from jaxnas.training import Teacher, as_evaluated, compile_evaluation, network_image_size, network_of, shape_of
from jaxnas.trainings import find

RECIPE_OF_FAMILY = {"darts": MAIN, "nb201": "nb201-digits", "blocks": "blocks-digits"}


def recipe_of(folder: Path) -> tuple[str, Recipe]:
    """Name and recipe of a search.

    Raises:
      UserError: no run is there, or one that only trained a genotype.
    """
    name, recipe = config_of(folder)
    if isinstance(recipe, Training):
        raise UserError(f"{folder} has no alphas: the run only trained a genotype.")
    return name, recipe


def training_of(folder: Path) -> tuple[str, Training]:
    """Name of a run's recipe, and how it trained what it found or was given.

    Raises:
      UserError: no run is there.
    """
    name, recipe = config_of(folder)
    return name, recipe if isinstance(recipe, Training) else recipe.training


def config_of(folder: Path) -> tuple[str, Recipe | Training]:
    """Name of a run's recipe, and what it does.

    Raises:
      UserError: no run is there, or its configuration is damaged.
    """
    return config_in(read_config(folder))


def read_config(folder: Path) -> dict[str, Any]:
    """The configuration of a run, as it was written.

    Raises:
      UserError: no run is there, or its configuration is no JSON object.
    """
    if not folder.is_dir():
        raise UserError(f"{folder} is not the folder of a run.")
    config = read_json(folder / CONFIG)
    if not isinstance(config, dict):
        raise UserError(f"{folder / CONFIG} holds no configuration. Was it changed?")
    return config


def config_in(config: dict[str, Any]) -> tuple[str, Recipe | Training]:
    """Name of a recipe, and what it does, from a run's configuration.

    Raises:
      UserError: it is damaged.
    """
    return config.get("recipe", MAIN), from_config(config)


def source(text: str) -> tuple[Genotype, str, Training]:
    """What to train, the name of a recipe and the recipe: of a run, its own; of any other genotype, its family's.

    Args:
      text: the folder of a run, a genotype's file, the name of a published genotype, or a genotype.

    Raises:
      UserError: it is none of these.

    >>> source("DARTS_V2")[1]
    'darts-digits'
    """
    if os.path.isdir(text):  # Unlike Path's, these do not raise for a genotype, which is too long for a name.
        name, training = training_of(Path(text))  # First: it tells a folder of something else from a run that was ended.
        return genotype_of(Path(text)), name, training
    if os.path.exists(text):
        genotype = read(text)
    elif "(" in text or "|" in text:
        genotype = from_text(text)
    elif text in PUBLISHED:
        genotype = PUBLISHED[text]
    else:
        raise UserError(
            f"{text!r} is no folder of a run, no file, no published genotype, and no genotype such as "
            f"'Genotype(normal=...' or '|none~0|+...'. {did_you_mean(text, PUBLISHED)}"
        )
    name = RECIPE_OF_FAMILY[genotype.family]
    return genotype, name, find(name)


def genotype_of(folder: Path) -> Genotype:
    """The genotype that a run found or was given.

    Raises:
      UserError: it has none yet, or its file is damaged.
    """
    if not (folder / GENOTYPE_JSON).exists():
        resume = f"jaxnas resume {shlex.quote(str(folder))}"
        raise UserError(f"{folder} has no {GENOTYPE_JSON}: it ended before it had one. Go on with: {resume}")
    return read(folder / GENOTYPE_JSON)


def derived_genotype(folder: Path) -> Genotype:
    """The genotype of the alphas that a search ended with, or of its last whole epoch where it was interrupted.

    Raises:
      UserError: no run is there, or one without alphas, or its files are damaged.
    """
    space, alphas = alphas_of(folder)
    search = recipe_of(folder)[1].search
    if ESTIMATORS[search.estimator].selects or search.has_targets:
        return genotype_of(folder)
    return derive(space, alphas, search.most_skips)


def alphas_of(folder: Path) -> tuple[Space, Any]:
    """The alphas that a search ended with, or those of its last whole epoch, and the space of what its last stage had.

    Raises:
      UserError: no run is there, or one without alphas, or its files are damaged.
    """
    search = recipe_of(folder)[1].search
    if not (folder / ALPHAS).exists():
        resume = f"jaxnas resume {shlex.quote(str(folder))}"
        raise UserError(f"{folder} has no {ALPHAS}: the search was ended before its first epoch. Go on with: {resume}")
    space = search.build_space()
    alphas = read_arrays(folder / ALPHAS, ESTIMATORS[search.estimator].scores(space, start(search, space, jax.random.key(0))))
    return gathered(space, alphas) if search.next_stages and isinstance(space, CellSpace) else (space, alphas)


def supernet_of(folder: Path, data_dir: Path | None) -> tuple[Recipe, Dataset, Network, Any]:
    """Recipe, data, supernet and its weights, as a search in one stage ended with them or was ended after an epoch.

    Raises:
      UserError: no run is there, or one of stages or partial channels, whose supernet does not hold every architecture; its
        weights are missing or damaged, or its data.
    """
    _, recipe = recipe_of(folder)
    search = recipe.search
    if search.share != 1 or search.next_stages:
        what = "partial channels" if search.share != 1 else "stages"
        raise UserError(f"{folder} searched with {what}: its supernet does not hold every architecture.")
    if not (folder / SUPERNET).exists():
        resume = f"jaxnas resume {shlex.quote(str(folder))}"
        raise UserError(f"{folder} has no {SUPERNET}, the shared weights: the search had no whole epoch. Go on with: {resume}")
    dataset = search_data(recipe, load(recipe.dataset, data_dir, recipe.image_size))
    network = search_network(search, dataset)
    return recipe, dataset, network, read_arrays(folder / SUPERNET, jax.eval_shape(network.init, jax.random.key(0))[0])


def test_accuracy(folder: Path, data_dir: Path | None) -> tuple[float, int]:
    """Accuracy of a run's trained network on the test split, and the number of its images.

    Raises:
      UserError: as :func:`trained_network`.
    """
    training, dataset, trained = _read_back(folder, data_dir)
    network = network_of(trained.genotype, training.train, dataset)
    crop = training.train.augmentation.resized_crop
    evaluation = compile_evaluation(network, dataset.test, trained.weights, trained.statistics, dataset, crop)
    return evaluation.call(trained.weights, trained.statistics), len(dataset.test.labels)


def trained_network(folder: Path, data_dir: Path | None, count: int = 16) -> tuple[TrainedNetwork, np.ndarray]:
    """A run's trained network, and the first training images as it gets them: float32 ``[count, H, W, 3]`` at most.

    Raises:
      UserError: no run is there, or one without a trained network, or its files are damaged.
    """
    training, dataset, trained = _read_back(folder, data_dir)
    images, crop = jnp.asarray(np.asarray(dataset.train.images[:count])), training.train.augmentation.resized_crop
    return trained, np.asarray(as_evaluated(images, dataset, crop))


def teacher_of(training: Training, dataset: Dataset) -> Teacher | None:
    """The network of the run that a training names as its teacher, in evaluation mode; None where it names none.

    Raises:
      UserError: no run is there, or one without a trained network, of another dataset or of images of another size.
    """
    if not training.train.teacher:
        return None
    folder = Path(training.train.teacher)
    taught = training_of(folder)[1]
    if taught.dataset != training.dataset:
        raise UserError(f"The teacher {folder} was trained on {taught.dataset}, not on {training.dataset}. Give another one.")
    trained = _trained(folder, taught, dataset)
    size = network_image_size(training.train.augmentation, dataset)
    if trained.shape.image_size != size:
        raise UserError(
            f"The teacher {folder} is for images of {trained.shape.image_size} pixels, those of this training have {size}. "
            "Give another one."
        )
    network = network_of(trained.genotype, taught.train, dataset)
    return Partial(network.logits, trained.weights, trained.statistics)


def _read_back(folder: Path, data_dir: Path | None) -> tuple[Training, Dataset, TrainedNetwork]:
    _, training = training_of(folder)
    _check_trained(folder)
    dataset = load(training.dataset, data_dir, config_of(folder)[1].image_size)
    return training, dataset, _trained(folder, training, dataset)


def _check_trained(folder: Path) -> None:
    if not (folder / NETWORK).exists():
        genotype_of(folder)  # Which says so, where there is none.
        raise UserError(
            f"{folder} has no {NETWORK}: the run was ended before its network was trained. "
            f"Go on with: jaxnas resume {shlex.quote(str(folder))}"
        )


def _trained(folder: Path, training: Training, dataset: Dataset) -> TrainedNetwork:
    """What a training left in a folder."""
    _check_trained(folder)
    genotype = genotype_of(folder)
    init = network_of(genotype, training.train, dataset).init
    like: Any = dict(zip(("weights", "statistics"), jax.eval_shape(init, jax.random.key(0)), strict=True))
    arrays = read_arrays(folder / NETWORK, like)
    return TrainedNetwork(
        genotype,
        shape_of(genotype, training.train, dataset),
        arrays["weights"],
        arrays["statistics"],
        dataset.mean,
        dataset.std,
        dataset.class_names,
        cropped=training.train.augmentation.resized_crop > 0,
    )

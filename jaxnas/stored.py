"""Reading runs back: their recipe, genotype and weights."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import Any

import jax

from jaxnas.data import load
from jaxnas.derive import derive
from jaxnas.errors import UserError
from jaxnas.recipes import MAIN, Recipe, find, from_config
from jaxnas.relaxations import initial_alphas
from jaxnas.run_folder import ALPHAS, CONFIG, GENOTYPE_JSON, NETWORK, read_arrays, read_json
from jaxnas.spaces import Genotype, from_text, read
from jaxnas.training import compile_evaluation, network_of

RECIPE_OF_FAMILY = {"darts": MAIN, "nb201": "nb201-digits"}


def recipe_of(folder: Path) -> tuple[str, Recipe]:
    """Name and recipe of a run.

    Raises:
      UserError: no run is there.
    """
    if not folder.is_dir():
        raise UserError(f"{folder} is not the folder of a run.")
    config = read_json(folder / CONFIG)
    if not isinstance(config, dict):
        raise UserError(f"{folder / CONFIG} holds no configuration. Was it changed?")
    return config.get("recipe", MAIN), from_config(config)


def source(text: str) -> tuple[Genotype, str, Recipe]:
    """What to train: a run's genotype with its recipe, or a genotype from a file or given in words, with its family's recipe.

    Raises:
      UserError: it is none of these.
    """
    if os.path.isdir(text):  # Unlike Path's, these do not raise for a genotype, which is too long for a name.
        name, recipe = recipe_of(Path(text))
        return _genotype_of(Path(text)), name, recipe
    if os.path.exists(text):
        genotype = read(text)
    elif "(" in text or "|" in text:
        genotype = from_text(text)
    else:
        raise UserError(
            f"{text!r} is no folder of a run, no file, and no genotype such as 'Genotype(normal=...' or '|none~0|+...'."
        )
    name = RECIPE_OF_FAMILY[genotype.family]
    return genotype, name, find(name)


def _genotype_of(folder: Path) -> Genotype:
    if not (folder / GENOTYPE_JSON).exists():
        raise UserError(f"{folder} has no {GENOTYPE_JSON}: it ended before its first epoch. Repeat it, with --overwrite.")
    return read(folder / GENOTYPE_JSON)


def derived_genotype(folder: Path) -> Genotype:
    """The genotype of the alphas that a search ended with, or of its last whole epoch where it was interrupted.

    Raises:
      UserError: no run is there, or one without alphas, or its files are damaged.
    """
    _, recipe = recipe_of(folder)
    if not (folder / ALPHAS).exists():
        raise UserError(
            f"{folder} has no {ALPHAS}: the search was ended before its first epoch, or the run only trained a genotype."
        )
    space = recipe.search.build_space()
    return derive(space, read_arrays(folder / ALPHAS, initial_alphas(space, jax.random.key(0))))


def test_accuracy(folder: Path, data_dir: Path | None) -> tuple[float, int]:
    """Accuracy of a run's trained network on the test split, and the number of its images.

    Raises:
      UserError: no run is there, or one without a trained network, or its files are damaged.
    """
    _, recipe = recipe_of(folder)
    genotype = _genotype_of(folder)
    if not (folder / NETWORK).exists():
        raise UserError(
            f"{folder} has no {NETWORK}: the run was ended before its network was trained. "
            f"To train it, type: jaxnas train {shlex.quote(str(folder))}"
        )
    dataset = load(recipe.dataset, data_dir)
    network = network_of(genotype, recipe.train, dataset)
    like: Any = dict(zip(("weights", "statistics"), jax.eval_shape(network.init, jax.random.key(0)), strict=True))
    arrays = read_arrays(folder / NETWORK, like)
    evaluation = compile_evaluation(network, dataset.test, arrays["weights"], arrays["statistics"], dataset)
    return evaluation.call(arrays["weights"], arrays["statistics"]), len(dataset.test.labels)

"""Reading runs back: their recipe, genotype and weights."""

from __future__ import annotations

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


def recipe_of(folder: Path) -> tuple[str, Recipe]:
    """Name and recipe of a run.

    Raises:
      UserError: no run is there.
    """
    if not folder.is_dir():
        raise UserError(f"{folder} is not the folder of a run.")
    config = read_json(folder / CONFIG)
    return config.get("recipe", MAIN), from_config(config)


def source(text: str) -> tuple[Genotype, str, Recipe]:
    """What to train: a run's genotype with its recipe, or a genotype from a file or given in words, with the main recipe.

    Raises:
      UserError: it is none of these.
    """
    path = Path(text)
    if path.is_dir():
        return (read(path / GENOTYPE_JSON), *recipe_of(path))
    if "(" in text or "|" in text:
        return from_text(text), MAIN, find(MAIN)
    return read(path), MAIN, find(MAIN)


def derived_genotype(folder: Path) -> Genotype:
    """The genotype of the alphas that a search ended with."""
    _, recipe = recipe_of(folder)
    space = recipe.search.build_space()
    return derive(space, read_arrays(folder / ALPHAS, initial_alphas(space, jax.random.key(0))))


def test_accuracy(folder: Path, data_dir: Path | None) -> tuple[float, int]:
    """Accuracy of a run's trained network on the test split, and the number of its images."""
    _, recipe = recipe_of(folder)
    genotype = read(folder / GENOTYPE_JSON)
    dataset = load(recipe.dataset, data_dir)
    network = network_of(genotype, recipe.train, dataset)
    like: Any = dict(zip(("weights", "statistics"), jax.eval_shape(network.init, jax.random.key(0)), strict=True))
    arrays = read_arrays(folder / NETWORK, like)
    evaluation = compile_evaluation(network, dataset.test, arrays["weights"], arrays["statistics"], dataset)
    return evaluation.call(arrays["weights"], arrays["statistics"]), len(dataset.test.labels)

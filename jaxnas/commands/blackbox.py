"""``jaxnas blackbox``: a black-box search that trains its candidates."""

# No "from __future__ import annotations" here: tyro reads the annotations of a nested function.

import dataclasses
import shlex
from pathlib import Path
from typing import Any

from jaxnas import candidates, leaving, recipes, run
from jaxnas.commands.arguments import JsonTarget, parse, recipe_first, take_name
from jaxnas.commands.json_output import json_output
from jaxnas.console import Console
from jaxnas.data import load
from jaxnas.run_folder import RunFolder

RECIPE = "nb201-digits"


def main(arguments: list[str]) -> int:
    """Searches by training candidates; the JSON is the run's ``result.json``."""
    name, rest = take_name(arguments)
    name = RECIPE if name is None else name
    recipe = recipes.find(name)

    def search(
        searcher: str = "evolution",
        trainings: int = 20,
        epochs: tuple[int, ...] = (recipe.train.epochs,),
        workers: int = 1,
        train: recipes.TrainRecipe = recipe.train,
        dataset: str = recipe.dataset,
        seed: int = recipe.seed,
        data_dir: Path | None = None,
        out: Path | None = None,
        json: JsonTarget = None,
    ) -> int:
        """Search a recipe's space by training candidates on one half of the training images and comparing them on the other.

        Args:
          searcher: random, evolution, local, reinforce, reinforce-lstm, halving or bayesian.
          trainings: candidates that are trained.
          epochs: of each training; of halving several numbers, rising.
          workers: trainings at a time, each in a process of its own.
          train: values of the training.
          dataset: name of the dataset.
          seed: of the searcher and of every training.
          data_dir: folder of the dataset's official files.
          out: the run's folder, runs/blackbox-SEARCHER-RECIPE-seedSEED by default.
        """
        with json_output(json) as write:
            what = candidates.Search(searcher, recipe.search.space, epochs, trainings, workers)
            training = dataclasses.replace(recipe.training, train=train, dataset=dataset, seed=seed)
            check(name, training, data_dir)
            folder = RunFolder(out or Path("runs") / f"blackbox-{searcher}-{name}-seed{seed}")
            with Console() as console:
                found = searched(name, what, training, data_dir, folder, console)
                console.note(f"next:  jaxnas train {shlex.quote(str(folder.path))}")
            write(found)
        return 0

    about = f"Train what a black-box searcher asks, in the space of the recipe {name}. Recipes: {', '.join(recipes.RECIPES)}."
    former = {"--resume": "A black-box search that was ended goes on with: jaxnas resume RUN"}
    return parse(search, rest, f"blackbox {name}", about, former | recipe_first("blackbox", recipes.RECIPES))


def check(name: str, training: recipes.Training, data_dir: Path | None) -> None:
    """Refuses a search in a recipe's space whose candidates could not be trained.

    Raises:
      UserError: as :func:`jaxnas.run.check_training`.
    """
    space = recipes.find(name).search.build_space()
    first = candidates.genotype_of(space, (0,) * len(candidates.cardinality_of(space)))
    run.check_training(first, training, candidates.of_halves(load(training.dataset, data_dir, training.image_size)))


def searched(
    name: str,
    what: candidates.Search,
    training: recipes.Training,
    data_dir: Path | None,
    folder: RunFolder,
    console: Console,
) -> dict[str, Any]:
    """Searches in a recipe's space, or goes on; returns ``result.json``.

    Raises:
      UserError: as :func:`jaxnas.candidates.search`.
    """
    with leaving.resumable(f"jaxnas resume {shlex.quote(str(folder.path))}"):
        found = candidates.search(name, what, recipes.find(name).search.build_space(), training, data_dir, folder, console)
    best = found["found"]
    console.note(f"found {best['genotype']}: {best['validation_accuracy']:.2%} on the validation half")
    return found

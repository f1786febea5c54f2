"""``jaxnas train``: training the network of a genotype."""

# No "from __future__ import annotations" here: tyro reads the annotations of a nested function.

import dataclasses
import time
from pathlib import Path

from jaxnas import recipes, run, trainings
from jaxnas.commands import STARTED
from jaxnas.commands.arguments import JsonTarget, evaluate_command, parse, take_name
from jaxnas.commands.json_output import json_output
from jaxnas.commands.to_train import to_train
from jaxnas.console import Console
from jaxnas.data import load
from jaxnas.errors import UserError
from jaxnas.run_folder import RunFolder
from jaxnas.spaces import PUBLISHED
from jaxnas.tensorboard import Scalars


def main(arguments: list[str]) -> int:
    """Trains the network of a genotype; the JSON is the run's ``result.json``."""
    source, rest = take_name(arguments)
    if source is None and not {"-h", "--help"} & set(rest):
        raise UserError(
            "jaxnas train needs the folder of a run, a genotype file, a published genotype's name, or a genotype in quotes, "
            "before all options."
        )
    genotype, name, training, rest = to_train(source, rest)

    def train(
        train: recipes.TrainRecipe = training.train,
        dataset: str = training.dataset,
        seed: int = training.seed,
        data_dir: Path | None = None,
        out: Path | None = None,
        overwrite: bool = False,
        tensorboard: Path | None = None,
        json: JsonTarget = None,
    ) -> int:
        """Train the network of a genotype.

        Args:
          train: values of the recipe; --recipe NAME starts from another one.
          dataset: name of the dataset.
          seed: of weights, order and augmentation.
          data_dir: folder of the dataset's official files.
          out: the run's folder, runs/train-RECIPE-seedSEED by default.
          overwrite: replace the run in that folder.
          tensorboard: write the metrics of every epoch to that folder, too, for TensorBoard.
        """
        import_seconds = time.perf_counter() - STARTED
        assert source is not None and genotype is not None
        whole = dataclasses.replace(training, train=train, dataset=dataset, seed=seed)
        with json_output(json) as write:
            data = load(dataset, data_dir, whole.image_size)
            run.check_training(genotype, whole, data)
            heard = None if tensorboard is None else Scalars(tensorboard)
            folder = RunFolder(out or Path("runs") / f"train-{name}-seed{seed}", overwrite, heard=heard)
            with Console() as console:
                write(run.train_only(name, whole, genotype, data, folder, console, import_seconds))
                console.note(f"next:  {evaluate_command(folder.path, data_dir)}")
        return 0

    about = (
        "Train the network of a genotype: of a run's folder, of a genotype file, in quotes, or a published one by its name. "
        f"Recipes: {', '.join(trainings.TRAININGS)}. Published genotypes: {', '.join(PUBLISHED)}."
    )
    misplaced = {recipe: f"If {recipe} is the recipe, type: --recipe {recipe}" for recipe in trainings.TRAININGS}
    return parse(train, rest, "train", about, misplaced)

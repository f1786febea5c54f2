"""``jaxnas load``: a run of weights that were trained elsewhere."""

# No "from __future__ import annotations" here: tyro reads the annotations of a nested function.

import dataclasses
from pathlib import Path

from jaxnas import recipes, trainings
from jaxnas.commands.arguments import JsonTarget, evaluate_command, parse, take_name
from jaxnas.commands.json_output import json_output
from jaxnas.commands.to_train import to_train
from jaxnas.data import load
from jaxnas.errors import UserError
from jaxnas.loading import load_run, read_state_dict, weights_of
from jaxnas.run_folder import RunFolder


def main(arguments: list[str]) -> int:
    """Leaves the run and prints its test accuracy; the JSON is the run's ``result.json``."""
    weights, rest = take_name(arguments)
    source, rest = take_name(rest)
    if (weights is None or source is None) and not {"-h", "--help"} & set(rest):
        raise UserError("jaxnas load needs a file of weights and then a genotype, before all options.")
    genotype, name, training, rest = to_train(source, rest)

    def load_weights(
        train: recipes.TrainRecipe = training.train,
        dataset: str = training.dataset,
        data_dir: Path | None = None,
        out: Path | None = None,
        overwrite: bool = False,
        json: JsonTarget = None,
    ) -> int:
        """Make a run of weights that were trained elsewhere.

        Args:
          train: values of the recipe, of which the network's sizes count; --recipe NAME starts from another one.
          dataset: name of the dataset.
          data_dir: folder of the dataset's official files.
          out: the run's folder, runs/load-RECIPE by default.
          overwrite: replace the run in that folder.
        """
        assert weights is not None and genotype is not None
        with json_output(json) as write:
            whole = dataclasses.replace(training, train=train, dataset=dataset)
            data = load(dataset, data_dir, whole.image_size)
            whole, trained = weights_of(whole, genotype, data, read_state_dict(Path(weights)))
            folder = RunFolder(out or Path("runs") / f"load-{name}", overwrite)
            result = load_run(name, whole, genotype, data, trained, folder, Path(weights).name)
            print(f"test accuracy {result['given']['test_accuracy']:.2%}, {result['given']['parameters']:,} parameters")
            print(f"next:  {evaluate_command(folder.path, data_dir)}")
            write(result)
        return 0

    about = (
        "Make a run of weights that were trained elsewhere: jaxnas load WEIGHTS GENOTYPE. The weights are a state_dict of "
        "PyTorch's reference implementation as .safetensors or .npz; the genotype is as of jaxnas train. The run is then "
        f"evaluated, exported, a teacher. Recipes: {', '.join(trainings.TRAININGS)}."
    )
    return parse(load_weights, rest, "load WEIGHTS GENOTYPE", about)

"""A run of weights that were trained elsewhere: a ``state_dict`` of PyTorch's reference implementation, as arrays by name."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
import safetensors.numpy

from jaxnas.data import Dataset
from jaxnas.errors import UserError
from jaxnas.interop import from_state_dict
from jaxnas.recipes import Training
from jaxnas.run import check_training
from jaxnas.run_folder import CONFIG, GENOTYPE_JSON, GENOTYPE_TEXT, NETWORK, RESULT, RunFolder, plain
from jaxnas.spaces import Genotype, to_json, to_text
from jaxnas.training import compile_evaluation, network_of

PARALLEL = "module."
"""What torch.nn.DataParallel puts before every name."""

HEAD = "auxiliary_head."


def read_state_dict(path: Path) -> dict[str, np.ndarray]:
    """Arrays by name of a ``.safetensors`` or ``.npz`` file, without what torch.nn.DataParallel puts before the names.

    Raises:
      UserError: another kind of file, or one that is missing or damaged.
    """
    if not path.is_file():
        raise UserError(f"{path} is no file.")
    try:
        if path.suffix == ".safetensors":
            arrays = safetensors.numpy.load_file(path)
        elif path.suffix == ".npz":
            with np.load(path, allow_pickle=False) as archive:
                arrays = {name: archive[name] for name in archive.files}
        else:
            raise UserError(
                f"{path} is neither .safetensors nor .npz. Where PyTorch is, turn a state_dict into one: python -c "
                f"\"import torch, safetensors.torch as s; s.save_file(torch.load('{path.name}', map_location='cpu'), "
                f"'{path.stem}.safetensors')\""
            )
    except UserError:
        raise
    except Exception as error:  # A damaged file raises whatever its first bad byte leads to.
        raise UserError(f"{path} is damaged: {error}.") from error
    return {name.removeprefix(PARALLEL): array for name, array in arrays.items()}


def load_run(
    name: str,
    training: Training,
    genotype: Genotype,
    dataset: Dataset,
    arrays: Mapping[str, np.ndarray],
    folder: RunFolder,
    origin: str,
) -> dict[str, Any]:
    """Leaves a run whose network has these weights, and its accuracy on the test split; returns its ``result.json``.

    An auxiliary head is not read: it is for training alone, and the run's recipe is without it.

    Raises:
      UserError: names or shapes that are not those of the recipe's network for the genotype.
    """
    train = dataclasses.replace(training.train, auxiliary_weight=0.0)
    training = dataclasses.replace(training, train=train)
    check_training(genotype, training, dataset)
    network = network_of(genotype, train, dataset)
    body = {name: np.asarray(array, np.float32) for name, array in arrays.items() if not name.startswith(HEAD)}
    like = jax.eval_shape(network.init, jax.random.key(0))
    weights, statistics = (from_state_dict(body, tree) for tree in like)
    evaluation = compile_evaluation(network, dataset.test, weights, statistics, dataset, train.augmentation.resized_crop)
    row = {"cell": "given", "genotype": to_text(genotype), "test_accuracy": evaluation.call(weights, statistics)}
    result = {
        "recipe": name,
        "dataset": training.dataset,
        "seed": training.seed,
        "given": row | {"parameters": network.parameters, "weights_of": origin},
    }
    folder.write_json(CONFIG, {"recipe": name, **plain(training)})
    folder.write_environment()
    folder.write_json(GENOTYPE_JSON, to_json(genotype, training.family))
    folder.write_text(GENOTYPE_TEXT, to_text(genotype) + "\n")
    folder.write_arrays(NETWORK, {"weights": weights, "statistics": statistics})
    folder.write_json(RESULT, result)
    return result

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


def weights_of(
    training: Training, genotype: Genotype, dataset: Dataset, arrays: Mapping[str, np.ndarray]
) -> tuple[Training, tuple[Any, Any]]:
    """Weights and statistics of a recipe's network for a genotype, and the recipe without an auxiliary head.

    A head is for training alone: its arrays are not read.

    Raises:
      UserError: names or shapes that are not those of the network.
    """
    training = dataclasses.replace(training, train=dataclasses.replace(training.train, auxiliary_weight=0.0))
    check_training(genotype, training, dataset)
    body = {name: np.asarray(array, np.float32) for name, array in arrays.items() if not name.startswith(HEAD)}
    weights, statistics = jax.eval_shape(network_of(genotype, training.train, dataset).init, jax.random.key(0))
    return training, (from_state_dict(body, weights), from_state_dict(body, statistics))


def load_run(
    name: str,
    training: Training,
    genotype: Genotype,
    dataset: Dataset,
    trained: tuple[Any, Any],
    folder: RunFolder,
    origin: str,
) -> dict[str, Any]:
    """Leaves a run whose network has these weights and statistics, and measures it once on the test set.

    Returns:
      What is written to ``result.json``.
    """
    network, crop = network_of(genotype, training.train, dataset), training.train.augmentation.resized_crop
    accuracy = compile_evaluation(network, dataset.test, *trained, dataset, crop).call(*trained)
    row = {"cell": "given", "genotype": to_text(genotype), "test_accuracy": accuracy, "parameters": network.parameters}
    result = {
        "recipe": name,
        "dataset": training.dataset,
        "seed": training.seed,
        "given": {**row, "weights_of": origin},
    }
    folder.write_json(CONFIG, {"recipe": name, **plain(training)})
    folder.write_environment()
    folder.write_json(GENOTYPE_JSON, to_json(genotype, training.family))
    folder.write_text(GENOTYPE_TEXT, to_text(genotype) + "\n")
    folder.write_arrays(NETWORK, dict(zip(("weights", "statistics"), trained, strict=True)))
    folder.write_json(RESULT, result)
    return result

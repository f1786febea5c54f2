"""Named configurations, every value with its source.

A recipe is a frozen dataclass; a command's options replace its fields, and the resolved recipe is written to the run.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from jaxnas.cost_terms import COSTS, CostTerm, LatencyTerm
from jaxnas.data import IMAGENET, Augmentation
from jaxnas.errors import UserError, did_you_mean
from jaxnas.recipe import NextStage, Recipe, SearchRecipe
from jaxnas.searches import (
    CROP_AND_FLIP,
    DARTS,
    IMAGENET_SEARCHES,
    MOBILE_SEARCHES,
    NB201,
    SEARCHES,
    SMALL_SEARCHES,
    with_training,
)
from jaxnas.train_recipe import Training, TrainRecipe

__all__ = ["MAIN", "RECIPES", "NextStage", "Recipe", "SearchRecipe", "TrainRecipe", "Training", "find", "from_config"]

# quark0/darts at f276dd3, cnn/train_search.py and cnn/train.py.
_DARTS = Recipe(
    search=DARTS,
    train=TrainRecipe(augmentation=dataclasses.replace(CROP_AND_FLIP, cutout=16)),
    seed=2,
)

# AutoDL-Projects at f46486e: configs/nas-benchmark/algos/DARTS.config; training: NAS-Bench-201's 200 epochs.
_NB201 = Recipe(
    search=NB201,
    train=TrainRecipe(
        channels=16,
        cells=5,
        epochs=200,
        batch=256,
        learning_rate=0.1,
        cosine_every="step",
        nesterov=True,
        weight_decay=5e-4,
        clip=0.0,
        auxiliary_weight=0.0,
        drop_path=0.0,
        augmentation=CROP_AND_FLIP,
    ),
)

# quark0/darts, cnn/train_imagenet.py; 250 epochs and C=48 are the paper's, the code's defaults are others.
DARTS_IMAGENET = TrainRecipe(
    template="imagenet",
    channels=48,
    cells=14,
    epochs=250,
    batch=128,
    schedule="exponential",
    learning_rate=0.1,
    learning_rate_factor=0.97,
    weight_decay=3e-5,
    label_smoothing=0.1,
    drop_path=0.0,
    augmentation=Augmentation(flip=True, resized_crop=224, brightness=0.4, contrast=0.4, saturation=0.4, hue=0.2),
)
# PC-DARTS, train_imagenet.py: a warm-up where the batch is over 256.
PC_DARTS_IMAGENET = dataclasses.replace(DARTS_IMAGENET, batch=1024, schedule="linear", learning_rate=0.5, warmup_epochs=5)

# Ours: small enough for a CPU. The alphas' rate is raised because there are a hundred times fewer steps than in the paper.
_DIGITS = Recipe(
    dataset="digits",
    search=SearchRecipe(channels=8, cells=3, epochs=10, batch=32, valid_order="shuffled", alpha_learning_rate=6e-3),
    train=TrainRecipe(
        channels=8,
        cells=3,
        epochs=20,
        batch=32,
        auxiliary_weight=0.0,
        drop_path=0.0,
        augmentation=Augmentation(crop_padding=1),
    ),
)

# Ours: as small as still covers every image of CIFAR-10 on a CPU.
_SMALL_CIFAR10 = Recipe(
    search=SearchRecipe(
        channels=8,
        cells=5,
        epochs=5,
        batch=64,
        valid_order="shuffled",
        alpha_learning_rate=3e-3,
        augmentation=CROP_AND_FLIP,
    ),
    train=TrainRecipe(
        channels=12, cells=5, epochs=3, batch=32, auxiliary_weight=0.0, drop_path=0.0, augmentation=CROP_AND_FLIP
    ),
)

_SMALL_NB201 = dataclasses.replace(
    _DIGITS,
    search=dataclasses.replace(_DIGITS.search, space="nb201", cells=1, order="weights_first", nesterov=True),
    train=dataclasses.replace(_DIGITS.train, cells=1, nesterov=True),
)

# Ours: of any mobile network's depth, on images of 8 pixels.
_SMALL_BLOCKS = TrainRecipe(
    epochs=20, batch=32, nesterov=True, auxiliary_weight=0.0, drop_path=0.0, augmentation=Augmentation(crop_padding=1)
)

# mit-han-lab/proxylessnas, search/imagenet_run_exp.py; dropout 0.2 for the cpu network, 0.3 for gpu and mobile_14. The
# reference has no weight decay on batch norms.
_PROXYLESS = Recipe(
    dataset=IMAGENET,
    search=MOBILE_SEARCHES["proxyless"],
    train=TrainRecipe(
        epochs=300,
        batch=256,
        learning_rate=0.05,
        cosine_every="step",
        nesterov=True,
        weight_decay=4e-5,
        clip=0.0,
        label_smoothing=0.1,
        auxiliary_weight=0.0,
        drop_path=0.0,
        dropout=0.1,
        augmentation=Augmentation(flip=True, resized_crop=224, brightness=0.4, contrast=0.4, saturation=0.4, hue=0.1),
    ),
)

RECIPES: dict[str, Recipe] = {
    "darts-digits": _DIGITS,
    "darts-second-order-digits": dataclasses.replace(
        _DIGITS, search=dataclasses.replace(_DIGITS.search, hypergradient="unrolled")
    ),
    "nb201-digits": _SMALL_NB201,
    "darts-first-order": _DARTS,
    "darts-second-order": dataclasses.replace(
        _DARTS, search=dataclasses.replace(_DARTS.search, hypergradient="finite_difference")
    ),
    "darts-second-order-exact": dataclasses.replace(
        _DARTS, search=dataclasses.replace(_DARTS.search, hypergradient="unrolled")
    ),
    "nb201-darts-v1": _NB201,
    "nb201-darts-v2": dataclasses.replace(
        _NB201, search=dataclasses.replace(_NB201.search, hypergradient="finite_difference", order="alphas_first")
    ),
    "darts-cifar10-small": _SMALL_CIFAR10,
    "s3-cifar10-small": dataclasses.replace(_SMALL_CIFAR10, search=dataclasses.replace(_SMALL_CIFAR10.search, space="s3")),
    **with_training(SEARCHES, dataclasses.replace(_DARTS, seed=0), nb201=_NB201.train),
    # P-DARTS, train_cifar.py; DrNAS, DARTS-space/train.py (there pooling keeps its batch norm in training; here it is bare).
    "p-darts": dataclasses.replace(
        _DARTS, seed=0, search=SEARCHES["p-darts"], train=dataclasses.replace(_DARTS.train, batch=128, drop_path=0.3)
    ),
    "drnas": dataclasses.replace(
        _DARTS, seed=0, search=SEARCHES["drnas"], train=dataclasses.replace(_DARTS.train, batch=64, drop_path=0.3)
    ),
    **with_training(IMAGENET_SEARCHES, Recipe(dataset=IMAGENET, train=PC_DARTS_IMAGENET)),
    # FBNet's own training could not be checked: its network is trained as ProxylessNAS's.
    **with_training(MOBILE_SEARCHES, _PROXYLESS),
    **with_training(SMALL_SEARCHES, _DIGITS, nb201=_SMALL_NB201.train, blocks=_SMALL_BLOCKS),
}

MAIN = "darts-digits"


def find(name: str) -> Recipe:
    """The recipe of a name.

    Raises:
      UserError: there is none; the message names the nearest.
    """
    if name not in RECIPES:
        raise UserError(f"Unknown recipe {name!r}. {did_you_mean(name, RECIPES)}")
    return RECIPES[name]


def from_config(config: dict[str, Any]) -> Recipe | Training:
    """The recipe in a run's ``config.json``: of a search with what follows it, or of a training alone.

    Raises:
      UserError: a field that is missing or not known, as in a run of another version, or a value that a recipe cannot have.
    """
    try:
        content = {key: value for key, value in config.items() if key not in ("recipe", "budget")}
        stages = {"search": SearchRecipe, "train": TrainRecipe} if "search" in content else {"train": TrainRecipe}
        for stage, kind in stages.items():
            fields = dict(content[stage])
            fields["augmentation"] = Augmentation(**fields["augmentation"])
            if "next_stages" in fields:
                fields["next_stages"] = tuple(NextStage(**one) for one in fields["next_stages"])
            for name in fields.keys() & COSTS:
                fields[name] = (LatencyTerm if name == "latency" else CostTerm)(**fields[name])
            content[stage] = kind(**fields)
        return Recipe(**content) if "search" in content else Training(**content)
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"The run's config.json does not fit this version of jaxnas: {error}") from error

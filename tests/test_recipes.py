"""Named recipes against the values that the references' code holds; configurations that are read back."""

from __future__ import annotations

import json
from typing import Any

import pytest

from jaxnas.errors import UserError
from jaxnas.recipes import MAIN, RECIPES, find, from_config
from jaxnas.run_folder import plain

NO_COLOUR = {"brightness": 0.0, "contrast": 0.0, "saturation": 0.0, "hue": 0.0}
CROP_AND_FLIP = {"crop_padding": 4, "flip": True, "cutout": 0, "resized_crop": 0, **NO_COLOUR}
ADAM_OF_ALPHAS = {"alpha_learning_rate": 3e-4, "alpha_b1": 0.5, "alpha_b2": 0.999, "alpha_weight_decay": 1e-3}

# quark0/darts, cnn/train_search.py, cnn/architect.py and cnn/train.py.
DARTS_SEARCH = {
    **ADAM_OF_ALPHAS,
    "space": "darts",
    "channels": 16,
    "cells": 8,
    "epochs": 50,
    "batch": 64,
    "valid_order": "fresh",
    "order": "alphas_first",
    "cosine_every": "epoch",
    "weight_steps_per_alpha_step": 1,
    "alphas_from_epoch": 0,
    "learning_rate": 0.025,
    "learning_rate_end": 0.001,
    "momentum": 0.9,
    "nesterov": False,
    "weight_decay": 3e-4,
    "clip": 5.0,
    "augmentation": CROP_AND_FLIP,
}
ROBUST_SEARCH = {**DARTS_SEARCH, "space": "s1", "hypergradient": "finite_difference", "instruments_every": 2}
DARTS_TRAIN = {
    "channels": 36,
    "cells": 20,
    "epochs": 600,
    "batch": 96,
    "learning_rate": 0.025,
    "learning_rate_end": 0.0,
    "cosine_every": "epoch",
    "momentum": 0.9,
    "nesterov": False,
    "weight_decay": 3e-4,
    "clip": 5.0,
    "auxiliary_weight": 0.4,
    "drop_path": 0.2,
    "label_smoothing": 0.0,
    "template": "cifar",
    "warmup_epochs": 0,
    "schedule": "cosine",
    "augmentation": {**CROP_AND_FLIP, "cutout": 16},
}
# D-X-Y/AutoDL-Projects, configs/nas-benchmark/algos/DARTS.config, and NAS-Bench-201's training.
NB201_SEARCH = {
    **DARTS_SEARCH,
    "space": "nb201",
    "cells": 5,
    "affine": False,
    "cosine_every": "step",
    "nesterov": True,
    "weight_decay": 5e-4,
}
NB201_TRAIN = {
    "channels": 16,
    "cells": 5,
    "epochs": 200,
    "batch": 256,
    "learning_rate": 0.1,
    "learning_rate_end": 0.0,
    "cosine_every": "step",
    "momentum": 0.9,
    "nesterov": True,
    "weight_decay": 5e-4,
    "clip": 0.0,
    "auxiliary_weight": 0.0,
    "drop_path": 0.0,
    "label_smoothing": 0.0,
    "warmup_epochs": 0,
    "schedule": "cosine",
    "augmentation": CROP_AND_FLIP,
}
PUBLISHED: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "darts-first-order": ({**DARTS_SEARCH, "hypergradient": "first_order"}, DARTS_TRAIN),
    "darts-second-order": ({**DARTS_SEARCH, "hypergradient": "finite_difference"}, DARTS_TRAIN),
    "darts-second-order-exact": ({**DARTS_SEARCH, "hypergradient": "unrolled", "unrolled_steps": 1}, DARTS_TRAIN),
    "nb201-darts-v1": ({**NB201_SEARCH, "hypergradient": "first_order", "order": "weights_first"}, NB201_TRAIN),
    "nb201-darts-v2": ({**NB201_SEARCH, "hypergradient": "finite_difference", "order": "alphas_first"}, NB201_TRAIN),
    # configs/nas-benchmark/algos/GDAS.config, exps/NAS-Bench-201-algos/GDAS.py.
    "nb201-gdas": (
        {
            **NB201_SEARCH,
            "estimator": "gdas",
            "unsampled": "offset",
            "order": "weights_first",
            "epochs": 250,
            "temperature": 10.0,
            "temperature_end": 0.1,
            "temperature_decay": "linear",
        },
        NB201_TRAIN,
    ),
    "nb201-setn": ({**NB201_SEARCH, "estimator": "setn", "order": "weights_first", "epochs": 250, "clip": 0.0}, NB201_TRAIN),
    "nb201-rsps": ({**NB201_SEARCH, "estimator": "rsps", "order": "weights_first", "epochs": 250}, NB201_TRAIN),
    "gdas": (
        {
            **NB201_SEARCH,
            "space": "gdas",
            "estimator": "gdas",
            "unsampled": "nothing",
            "cells": 8,
            "batch": 256,
            "epochs": 250,
            "order": "weights_first",
            "temperature": 10.0,
            "temperature_end": 0.1,
        },
        DARTS_TRAIN,
    ),
    "snas": (
        {
            **DARTS_SEARCH,
            "estimator": "snas",
            "order": "together",
            "epochs": 150,
            "batch": 96,
            "alpha_mean": 1.0,
            "alpha_deviation": 0.01,
            "alpha_clip": 10.0,
            "temperature": 1.0,
            "temperature_end": 1.0,
        },
        DARTS_TRAIN,
    ),
    # yuhuixu1993/PC-DARTS, train_search.py.
    "pc-darts": (
        {
            **DARTS_SEARCH,
            "estimator": "pc_darts",
            "share": 4,
            "batch": 256,
            "learning_rate": 0.1,
            "learning_rate_end": 0.0,
            "alpha_learning_rate": 6e-4,
            "alphas_from_epoch": 15,
        },
        DARTS_TRAIN,
    ),
    # xiangning-chen/DrNAS, 201-space/train_search.py.
    "nb201-drnas": (
        {**DARTS_SEARCH, "space": "nb201", "cells": 5, "estimator": "drnas", "epochs": 100, "divergence": 0.0},
        NB201_TRAIN,
    ),
    # The same, train_search_progressive.py: ks, num_keeps and train_epochs, with alphas from epoch 10 of each stage.
    "nb201-drnas-progressive": (
        {
            **DARTS_SEARCH,
            "space": "nb201",
            "cells": 5,
            "estimator": "drnas",
            "epochs": 50,
            "share": 4,
            "alphas_from_epoch": 10,
            "between_stages": "carried",
            "next_stages": ({"epochs": 50, "operations": 3, "cells": 5, "share": 2, "skip_dropout": 0.0},),
        },
        NB201_TRAIN,
    ),
    # DARTS-space/train_search.py and train.py.
    "drnas": (
        {
            **DARTS_SEARCH,
            "space": "drnas",
            "channels": 36,
            "cells": 20,
            "estimator": "drnas",
            "divergence": 0.0,
            "epochs": 25,
            "share": 6,
            "learning_rate": 0.1,
            "learning_rate_end": 0.0,
            "alpha_learning_rate": 6e-4,
            "alphas_from_epoch": 10,
            "between_stages": "carried",
            "next_stages": ({"epochs": 25, "operations": 4, "cells": 20, "share": 4, "skip_dropout": 0.0},),
        },
        {**DARTS_TRAIN, "batch": 64, "drop_path": 0.3},
    ),
    # chenxin061/pdarts, train_search.py and train_cifar.py.
    "p-darts": (
        {
            **DARTS_SEARCH,
            "estimator": "softmax",
            "cells": 5,
            "epochs": 25,
            "batch": 96,
            "valid_order": "shuffled",
            "learning_rate_end": 0.0,
            "alpha_learning_rate": 6e-4,
            "alpha_clip": 5.0,
            "alphas_from_epoch": 10,
            "skip_dropout": 0.1,
            "most_skips": 2,
            "between_stages": "anew",
            "next_stages": (
                {"epochs": 25, "operations": 5, "cells": 11, "share": 1, "skip_dropout": 0.4},
                {"epochs": 25, "operations": 3, "cells": 17, "share": 1, "skip_dropout": 0.7},
            ),
        },
        {**DARTS_TRAIN, "batch": 128, "drop_path": 0.3},
    ),
    # xiangning-chen/SmoothDARTS, sota/cnn/train_search.py.
    "sdarts-rs": ({**DARTS_SEARCH, "estimator": "sdarts_rs", "radius": 0.03, "radius_end": 0.3}, DARTS_TRAIN),
    "sdarts-adv": ({**DARTS_SEARCH, "estimator": "sdarts_adv", "radius": 0.03, "radius_end": 0.3}, DARTS_TRAIN),
    # automl/RobustDARTS, src/search/args.py, scripts/DARTS-ADA_search.sh.
    "robust-darts-es": ({**ROBUST_SEARCH, "early_stop": "end"}, DARTS_TRAIN),
    "robust-darts-ada": (
        {**ROBUST_SEARCH, "early_stop": "regularise", "decay_factor": 10.0, "decay_limit": 0.03},
        DARTS_TRAIN,
    ),
}


@pytest.mark.quick
@pytest.mark.parametrize("name", PUBLISHED)
def test_published_values(name: str) -> None:
    search, train = PUBLISHED[name]
    recipe = plain(find(name))
    assert recipe["dataset"] == "cifar10"
    assert {key: recipe["search"][key] for key in search} == search
    assert {key: recipe["train"][key] for key in train} == train


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_comes_back_from_its_json(name: str) -> None:
    config = json.loads(json.dumps({"recipe": name, **plain(RECIPES[name])}))
    assert from_config(config) == RECIPES[name]


def test_main_recipe_needs_no_download() -> None:
    assert find(MAIN).dataset == "digits"


def test_unknown_recipe() -> None:
    with pytest.raises(UserError, match="Unknown recipe 'nb201-digit'. Did you mean nb201-digits?"):
        find("nb201-digit")


def changed(**values: Any) -> dict[str, Any]:
    return {**plain(RECIPES[MAIN]), **values}


CONFIGS = {
    "no stage": {"dataset": "digits"},
    "stage is no object": changed(search=3),
    "stage is a text": changed(train="abc"),
    "field of another version": changed(search={**plain(RECIPES[MAIN].search), "annealing": 1.0}),
    "field unknown": changed(fuel=3),
    "text for a number": changed(train={**plain(RECIPES[MAIN].train), "epochs": "many"}),
    "stages are a number": changed(search={**plain(RECIPES[MAIN].search), "next_stages": 3}),
    "stage of another version": changed(search={**plain(RECIPES[MAIN].search), "next_stages": [{"depth": 3}]}),
    "value not allowed": changed(search={**plain(RECIPES[MAIN].search), "space": "nb200"}),
}


@pytest.mark.parametrize("case", CONFIGS)
def test_a_config_that_does_not_fit(case: str) -> None:
    with pytest.raises(UserError, match="config.json does not fit this version"):
        from_config(CONFIGS[case])


def test_a_config_says_what_a_run_was_given_besides_its_recipe() -> None:
    assert from_config(changed(recipe=MAIN, budget={"minutes": 2.0})) == RECIPES[MAIN]

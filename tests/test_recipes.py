"""Recipes against the values that the references' code holds, and what a recipe refuses."""

from __future__ import annotations

import dataclasses
import json
import math
from typing import Any

import pytest

from jaxnas.data import Augmentation
from jaxnas.errors import UserError
from jaxnas.recipes import MAIN, RECIPES, NextStage, Recipe, SearchRecipe, Training, TrainRecipe, find, from_config
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


LATER = (NextStage(epochs=25, operations=5, cells=8),)
REFUSED: dict[str, tuple[type, dict[str, Any], str]] = {
    "space": (SearchRecipe, {"space": "dart"}, "Unknown space 'dart'. Did you mean darts?"),
    "order": (SearchRecipe, {"order": "weight_first"}, "Did you mean weights_first?"),
    "hypergradient": (SearchRecipe, {"hypergradient": "second_order"}, "Unknown hypergradient 'second_order'"),
    "valid order": (SearchRecipe, {"valid_order": "shuffle"}, "Did you mean shuffled?"),
    "channels of blocks": (
        SearchRecipe,
        {"space": "fbnet_small", "channels": 8},
        "channels=8 is of cells, but space=fbnet_small is a chain of blocks, whose channels width multiplies. Its default is",
    ),
    "cells of blocks": (SearchRecipe, {"space": "fbnet", "cells": 3}, "cells=3 is of cells, but space=fbnet is a chain of"),
    "partial blocks": (
        SearchRecipe,
        {"space": "fbnet", "estimator": "drnas", "share": 2},
        "share=2 is of cells, but space=fbnet is a chain of blocks.",
    ),
    "affine blocks": (SearchRecipe, {"space": "fbnet", "affine": True}, "affine=True is of cells"),
    "rematerialised blocks": (SearchRecipe, {"space": "fbnet", "rematerialise": True}, "rematerialise=True is of cells"),
    "dropout of blocks": (SearchRecipe, {"space": "fbnet", "skip_dropout": 0.1}, "skip_dropout=0.1 is of cells"),
    "skips of blocks": (SearchRecipe, {"space": "fbnet", "most_skips": 2}, "most_skips=2 limits DARTS's normal cells"),
    "stages of blocks": (
        SearchRecipe,
        {"space": "fbnet", "next_stages": (NextStage(25, 5, 8),)},
        "next_stages cannot serve space=fbnet, a chain of blocks.",
    ),
    "width of cells": (
        SearchRecipe,
        {"width": 0.5},
        "width=0.5 is of blocks, but space=darts is of cells, whose width is channels. Its default is 1.0.",
    ),
    "template of blocks": (SearchRecipe, {"space": "fbnet", "template": "imagenet"}, "template=imagenet is of cells"),
    "template of another family": (
        SearchRecipe,
        {"space": "nb201", "template": "imagenet"},
        "template=imagenet is of networks of family darts, but space=nb201 is of another. Its default is cifar.",
    ),
    "template": (SearchRecipe, {"template": "imagnet"}, "Unknown template 'imagnet'. Did you mean imagenet?"),
    "no share": (SearchRecipe, {"valid_share": 0.0}, "valid_share must be positive, got 0.0."),
    "shares that overlap": (
        SearchRecipe,
        {"train_share": 0.8, "valid_share": 0.3},
        "train_share=0.8 and valid_share=0.3 are more than 1 together, but no image may be in both.",
    ),
    "share of one level": (
        SearchRecipe,
        {"order": "together", "train_share": 0.1},
        "train_share=0.1 is not read: order=together searches on all training images. Its default is 0.5.",
    ),
    "rising for ever": (SearchRecipe, {"epochs": 5, "rising_epochs": 5}, "rising_epochs=5 must be fewer than the 5 epochs."),
    "falling": (SearchRecipe, {"rising_epochs": -1}, "rising_epochs must not be negative, got -1."),
    "two warm-ups": (
        SearchRecipe,
        {"rising_epochs": 5, "warmup_epochs": 3},
        "rising_epochs=5 and warmup_epochs=3 are two kinds of warm-up: set one to 0.",
    ),
    "stages that rise": (
        SearchRecipe,
        {"next_stages": LATER, "rising_epochs": 1},
        "rising_epochs=1 is not defined for a search",
    ),
    "width": (SearchRecipe, {"space": "fbnet", "width": 0.0}, "width must be positive, got 0.0."),
    "channels": (SearchRecipe, {"channels": 0}, "channels must be positive, got 0."),
    "clip of a search": (SearchRecipe, {"clip": -1.0}, "clip must not be negative, got -1.0."),
    "estimator": (SearchRecipe, {"estimator": "gads"}, "Unknown estimator 'gads'. Did you mean gdas"),
    "temperature": (SearchRecipe, {"temperature": 2.0}, "temperature=2.0 needs estimator=gdas or snas, got softmax."),
    "share": (SearchRecipe, {"share": 4}, "share=4 needs estimator=pc_darts or drnas, got softmax."),
    "skip dropout": (SearchRecipe, {"skip_dropout": 1.0}, "skip_dropout must be at least 0 and below 1, got 1.0."),
    "skips": (SearchRecipe, {"most_skips": 9}, "most_skips must be between 0 and 8 (any number), got 9."),
    "skips of another family": (SearchRecipe, {"most_skips": 2, "space": "nb201"}, "most_skips=2 limits DARTS's normal cells"),
    "stages that are none": (SearchRecipe, {"between_stages": "carried"}, "between_stages=carried needs next_stages"),
    "stages' estimator": (SearchRecipe, {"next_stages": LATER, "estimator": "rsps"}, "estimator=rsps lets the weights choose"),
    "stages with a warm-up": (SearchRecipe, {"next_stages": LATER, "warmup_epochs": 1}, "warmup_epochs=1 is not defined"),
    "stage without epochs": (
        SearchRecipe,
        {"next_stages": (NextStage(0, 5, 8),)},
        "next_stages.0.epochs=0: with alphas_from_epoch=0, which counts in every stage, its alphas would never move.",
    ),
    "stage too short": (
        SearchRecipe,
        {"alphas_from_epoch": 10, "next_stages": (NextStage(25, 5, 8), NextStage(10, 3, 8))},
        "next_stages.1.epochs=10: with alphas_from_epoch=10",
    ),
    "stage keeps too much": (
        SearchRecipe,
        {"next_stages": (NextStage(25, 5, 8), NextStage(25, 6, 8))},
        "next_stages.1.operations=6: an edge of space darts has 5 candidates before that stage and must keep at least 2.",
    ),
    "stage keeps too little": (
        SearchRecipe,
        {"most_skips": 2, "next_stages": (NextStage(25, 2, 8),)},
        "next_stages.0.operations=2: an edge of space darts has 8 candidates before that stage and must keep at least 3.",
    ),
    "stage in another space": (
        SearchRecipe,
        {"space": "s2", "next_stages": (NextStage(25, 3, 8),)},
        "an edge of space s2 has 2 candidates before that stage",
    ),
    "stage of another depth": (
        SearchRecipe,
        {"between_stages": "carried", "next_stages": (NextStage(25, 5, 11),)},
        "next_stages.0.cells=11: with between_stages=carried it must be cells=8.",
    ),
    "stage that narrows": (
        SearchRecipe,
        {"between_stages": "carried", "estimator": "drnas", "share": 2, "next_stages": (NextStage(25, 5, 8, share=4),)},
        "next_stages.0.share=4: carried weights grow wider, so the share of 2 must not grow.",
    ),
    "dropout where weights are carried": (
        SearchRecipe,
        {"between_stages": "carried", "next_stages": (NextStage(25, 5, 8, skip_dropout=0.1),)},
        "next_stages.0.skip_dropout=0.1 needs between_stages=anew, got carried.",
    ),
    "stage's own values": (
        SearchRecipe,
        {"next_stages": (NextStage(25, 5, 8, share=4),)},
        "next_stages.0: share=4 needs estimator=pc_darts or drnas, got softmax.",
    ),
    "paths": (SearchRecipe, {"estimator": "reinforce", "paths": 1}, "draw at least 2"),
    "radius": (SearchRecipe, {"estimator": "sdarts_rs", "radius": -0.1}, "radius must not be negative, got -0.1."),
    "one level, unrolled": (
        SearchRecipe,
        {"order": "together", "hypergradient": "unrolled"},
        "order=together is of one gradient: it needs hypergradient=first_order, got unrolled.",
    ),
    "one level, at times": (SearchRecipe, {"order": "together", "alphas_from_epoch": 1}, "moves the alphas in every step"),
    "warm-up of a search": (SearchRecipe, {"warmup_epochs": -1}, "warmup_epochs must not be negative, got -1."),
    "alphas' rate": (SearchRecipe, {"alpha_learning_rate": -1.0}, "alpha_learning_rate must be positive, got -1.0."),
    "no number": (SearchRecipe, {"learning_rate": float("nan")}, "learning_rate must be a finite number, got nan."),
    "beta": (SearchRecipe, {"alpha_b2": 1.0}, "alpha_b2 must be at least 0 and below 1, got 1.0."),
    "unrolled steps": (SearchRecipe, {"unrolled_steps": 2}, "unrolled_steps=2 needs hypergradient=unrolled"),
    "frozen for good": (SearchRecipe, {"epochs": 5, "alphas_from_epoch": 5}, "with 5 epochs the alphas would never move"),
    "frozen before": (SearchRecipe, {"alphas_from_epoch": -1}, "alphas_from_epoch=-1"),
    "cosine": (TrainRecipe, {"cosine_every": "epochs"}, "Unknown cosine_every 'epochs'. Did you mean epoch?"),
    "schedule": (TrainRecipe, {"schedule": "linaer"}, "Unknown schedule 'linaer'. Did you mean linear?"),
    "short line": (TrainRecipe, {"schedule": "linear", "epochs": 5}, "schedule=linear needs more than 5 epochs, got 5."),
    "warm-up": (TrainRecipe, {"schedule": "exponential", "warmup_epochs": 5}, "needs schedule=cosine or linear"),
    "long warm-up": (TrainRecipe, {"epochs": 5, "warmup_epochs": 5}, "must be fewer than the 5 epochs"),
    "smoothing": (TrainRecipe, {"label_smoothing": 1.0}, "label_smoothing must be at least 0 and below 1, got 1.0."),
    "seed of a training": (Training, {"seed": -1}, "seed must be at least 0 and below"),
    "drop path": (TrainRecipe, {"drop_path": 1.0}, "drop_path must be at least 0 and below 1, got 1.0."),
    "auxiliary": (TrainRecipe, {"auxiliary_weight": -0.4}, "auxiliary_weight must not be negative, got -0.4."),
    "decay": (TrainRecipe, {"weight_decay": -1e-4}, "weight_decay must not be negative, got -0.0001."),
    "random cells": (Recipe, {"random_cells": -1}, "random_cells must not be negative, got -1."),
    "seed": (Recipe, {"seed": 2**32}, "seed must be at least 0 and below"),
    "colours": (Augmentation, {"hue": float("nan")}, "hue must not be negative or infinite, got nan."),
    "padding": (Augmentation, {"crop_padding": -1}, "crop_padding is a number of pixels, got -1."),
}


@pytest.mark.quick
@pytest.mark.parametrize("case", REFUSED)
def test_refused_values(case: str) -> None:
    kind, values, message = REFUSED[case]
    with pytest.raises(UserError) as refusal:
        kind(**values)
    assert message in str(refusal.value)


def real_fields(kind: Any) -> list[str]:
    return [field.name for field in dataclasses.fields(kind) if isinstance(field.default, float)]


@pytest.mark.quick
@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind in (SearchRecipe, TrainRecipe) for name in real_fields(kind)])
def test_every_real_number_is_finite(kind: Any, name: str) -> None:
    for value in (math.nan, math.inf, -math.inf):
        with pytest.raises(UserError, match=f"^{name} must be a finite number, got {value}"):
            kind(**{name: value})


@pytest.mark.quick
@pytest.mark.parametrize("name", real_fields(Augmentation))
def test_every_strength_of_an_augmentation_is_finite(name: str) -> None:
    for value in (math.nan, math.inf):
        with pytest.raises(UserError, match=f"^{name} must not be negative or infinite, got {value}"):
            dataclasses.replace(Augmentation(), **{name: value})


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

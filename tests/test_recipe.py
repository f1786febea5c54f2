"""What a search, a training and an augmentation refuse to be made of."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest

from jaxnas.data import Augmentation
from jaxnas.errors import UserError
from jaxnas.recipe import NextStage, Recipe, SearchRecipe
from jaxnas.train_recipe import Training, TrainRecipe

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

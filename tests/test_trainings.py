"""The papers' trainings against the values in their code."""

from __future__ import annotations

import json
from typing import Any

import pytest

from jaxnas.errors import UserError
from jaxnas.recipes import RECIPES, from_config
from jaxnas.run_folder import plain
from jaxnas.trainings import TRAININGS, find

PLAIN = {"brightness": 0.0, "contrast": 0.0, "saturation": 0.0, "hue": 0.0, "resized_crop": 0}
DARTS = {
    "template": "cifar",
    "channels": 36,
    "cells": 20,
    "epochs": 600,
    "batch": 96,
    "schedule": "cosine",
    "learning_rate": 0.025,
    "learning_rate_end": 0.0,
    "cosine_every": "epoch",
    "warmup_epochs": 0,
    "momentum": 0.9,
    "nesterov": False,
    "weight_decay": 3e-4,
    "clip": 5.0,
    "label_smoothing": 0.0,
    "auxiliary_weight": 0.4,
    "drop_path": 0.2,
    "dropout": 0.0,
    "augmentation": {**PLAIN, "crop_padding": 4, "flip": True, "cutout": 16},
}
GDAS = {**DARTS, "epochs": 300, "warmup_epochs": 5, "nesterov": True, "weight_decay": 5e-4, "clip": 0.0}
IMAGENET = {
    **DARTS,
    "template": "imagenet",
    "channels": 48,
    "cells": 14,
    "epochs": 250,
    "batch": 128,
    "schedule": "exponential",
    "learning_rate": 0.1,
    "learning_rate_factor": 0.97,
    "weight_decay": 3e-5,
    "label_smoothing": 0.1,
    "drop_path": 0.0,
    "augmentation": {
        "crop_padding": 0,
        "flip": True,
        "cutout": 0,
        "resized_crop": 224,
        "brightness": 0.4,
        "contrast": 0.4,
        "saturation": 0.4,
        "hue": 0.2,
    },
}
LINEAR = {**IMAGENET, "schedule": "linear", "batch": 1024, "learning_rate": 0.5, "warmup_epochs": 5}
NB201 = {
    **DARTS,
    "channels": 16,
    "cells": 5,
    "epochs": 200,
    "batch": 256,
    "learning_rate": 0.1,
    "cosine_every": "step",
    "nesterov": True,
    "weight_decay": 5e-4,
    "clip": 0.0,
    "auxiliary_weight": 0.0,
    "drop_path": 0.0,
    "augmentation": {**PLAIN, "crop_padding": 4, "flip": True, "cutout": 0},
}
PROXYLESS = {
    **NB201,
    "epochs": 300,
    "learning_rate": 0.05,
    "weight_decay": 4e-5,
    "label_smoothing": 0.1,
    "dropout": 0.1,
    "augmentation": {**IMAGENET["augmentation"], "hue": 0.1},
}
SIZES = {"channels", "cells"}
PUBLISHED: dict[str, tuple[str, dict[str, Any]]] = {
    "darts-cifar10": ("cifar10", DARTS),
    "darts-cifar100": ("cifar100", DARTS),
    "pc-darts-cifar10": ("cifar10", {**DARTS, "drop_path": 0.3}),
    "p-darts-cifar10": ("cifar10", {**DARTS, "drop_path": 0.3, "batch": 128}),
    "drnas-cifar10": ("cifar10", {**DARTS, "drop_path": 0.3, "batch": 64}),
    "gdas-cifar10": ("cifar10", GDAS),
    "gdas-cifar10-600": ("cifar10", {**GDAS, "epochs": 600, "weight_decay": 3e-4}),
    "darts-imagenet": ("imagenet", IMAGENET),
    "pc-darts-imagenet": ("imagenet", LINEAR),
    "p-darts-imagenet": ("imagenet", {**LINEAR, "batch": 256, "learning_rate": 0.1, "warmup_epochs": 0}),
    "drnas-imagenet": ("imagenet", {**LINEAR, "batch": 768}),
    "gdas-imagenet": (
        "imagenet",
        {
            **IMAGENET,
            "channels": 50,
            "batch": 256,
            "schedule": "cosine",
            "warmup_epochs": 5,
            "nesterov": True,
            "clip": 0.0,
        },
    ),
    "nb201-cifar10": ("cifar10", NB201),
    "nb201-cifar100": ("cifar100", NB201),
    "nb201-imagenet16-120": (
        "imagenet16-120.npz",
        {**NB201, "augmentation": {**PLAIN, "crop_padding": 2, "flip": True, "cutout": 0}},
    ),
    # A genotype of blocks has its sizes itself.
    "proxyless-imagenet": ("imagenet", {key: value for key, value in PROXYLESS.items() if key not in SIZES}),
}
FAMILIES = {"nb201": "nb201", "proxyless": "blocks"}


@pytest.mark.quick
@pytest.mark.parametrize("name", PUBLISHED)
def test_published_values(name: str) -> None:
    dataset, values = PUBLISHED[name]
    training = plain(find(name))
    assert training["dataset"] == dataset
    assert training["family"] == FAMILIES.get(name.split("-")[0], "darts")
    found = training["train"]
    assert {key: found[key] for key in values} == values
    assert found["steps_per_epoch"] == 0 and not found["teacher"]  # Epochs are passes, labels all that is learned from.
    # What is not compared is not read: a factor where the schedule has none.
    unread = {"teacher", "distillation_weight", "distillation_temperature"}
    unread |= {"learning_rate_factor"} if found["schedule"] != "exponential" else set()
    assert set(found) - set(values) - {"steps_per_epoch"} <= unread | (SIZES if training["family"] == "blocks" else set())


def test_a_recipes_second_stage_is_a_training() -> None:
    for name, recipe in RECIPES.items():
        training = find(name)
        assert (training.dataset, training.train, training.seed) == (recipe.dataset, recipe.train, recipe.seed)
        blocks = recipe.search.space.startswith(("proxyless", "fbnet"))
        assert training.family == ("nb201" if recipe.search.space == "nb201" else "blocks" if blocks else "darts")


@pytest.mark.parametrize("name", TRAININGS)
def test_a_training_comes_back_from_its_json(name: str) -> None:
    config = json.loads(json.dumps({"recipe": name, **plain(TRAININGS[name])}))
    assert from_config(config) == TRAININGS[name]


def test_unknown_training() -> None:
    with pytest.raises(UserError, match="Unknown recipe 'dart-cifar10'. Did you mean darts-cifar10?"):
        find("dart-cifar10")

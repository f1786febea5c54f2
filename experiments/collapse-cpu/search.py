"""Searches of a small supernet of NAS-Bench-201 on real images of CIFAR-10: DARTS of both orders and GDAS, several seeds.

    python experiments/collapse-cpu/search.py --runs RUNS --data-dir DATA

A folder for each search, as ``jaxnas search --only-search`` leaves it. What has a result is left alone and what was ended goes
on, so the same command continues. ``tell.py`` makes the record and the figures.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Literal

import numpy as np
import tyro

from jaxnas import recipes, run
from jaxnas.console import Console
from jaxnas.data import Augmentation, load
from jaxnas.run_folder import CONFIG, RESULT, RunFolder

PIXELS, BATCH, STEPS, EPOCHS = 16, 32, 40, 50
Hypergradient = Literal["first_order", "unrolled", "finite_difference"]

KINDS: dict[str, tuple[str, Hypergradient, int]] = {
    "first order": ("nb201-darts-v1", "first_order", 10),
    "GDAS": ("nb201-gdas", "first_order", 10),
    "second order, exact": ("nb201-darts-v2", "unrolled", 10),
    "first order, fast alphas": ("nb201-darts-v1", "first_order", 100),
    "second order, finite difference": ("nb201-darts-v2", "finite_difference", 10),
}
"""What is searched with: a recipe, its hypergradient, and by what the alphas' rate is multiplied."""


ENDED = "first-order-ended-early-0"
"""The search of the first kind, seed 0, once more, and ended by RobustDARTS's rule when it calls."""


def folder_of(runs: Path, kind: str, seed: int) -> Path:
    """Of a search."""
    name, hypergradient, factor = KINDS[kind]
    return runs / f"{name}-{hypergradient}-x{factor}-{seed}"


def recipe_of(kind: str, seed: int, images: Path) -> recipes.Recipe:
    """The recipe of a kind, made small: C=4, a cell a stage, 1,280 images in each half, 50 epochs of 40 steps of 32 images.

    The paper's 19,500 steps are 2,000 here, so the alphas' rate is ten times the recipe's, for alphas that can go as far, or a
    hundred times. The crop is moved by as much of the image as the recipe's. The curvature is measured every second epoch, as
    RobustDARTS does.
    """
    name, hypergradient, factor = KINDS[kind]
    recipe = recipes.find(name)
    share = BATCH * STEPS / 50_000
    search = dataclasses.replace(
        recipe.search,
        channels=4,
        cells=1,
        batch=BATCH,
        epochs=EPOCHS,
        train_share=share,
        valid_share=share,
        hypergradient=hypergradient,
        alpha_learning_rate=factor * recipe.search.alpha_learning_rate,
        augmentation=Augmentation(crop_padding=2, flip=True),
        instruments_every=0 if kind == "GDAS" else 2,
    )
    return dataclasses.replace(recipe, dataset=str(images), search=search, seed=seed, random_cells=0, only_search=True)


def write_small_images(path: Path, data_dir: Path | None) -> None:
    """CIFAR-10 at half its size: means of 2x2 pixels."""
    dataset, arrays = load("cifar10", data_dir), {}
    for name, split in {"train": dataset.train, "test": dataset.test}.items():
        x = split.images.reshape(-1, PIXELS, 2, PIXELS, 2, 3).mean((2, 4))
        arrays |= {f"x_{name}": x.round().astype(np.uint8), f"y_{name}": split.labels}
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, **arrays)


def main(runs: Path, data_dir: Path | None = None, seeds: int = 4) -> None:
    """Searches whatever has no result yet."""
    images = runs.resolve() / f"cifar10-{PIXELS}.npz"
    if not images.exists():
        write_small_images(images, data_dir)
    for kind in KINDS:
        for seed in range(seeds):
            search(kind, recipe_of(kind, seed, images), folder_of(runs, kind, seed))
    recipe = recipe_of("first order", 0, images)
    ended = dataclasses.replace(recipe.search, early_stop="end")
    search("first order", dataclasses.replace(recipe, search=ended), runs / ENDED)


def search(kind: str, recipe: recipes.Recipe, path: Path) -> None:
    """Searches, or goes on, unless there is a result."""
    if (path / RESULT).exists():
        return
    print(f"{kind}, seed {recipe.seed}: {path}", flush=True)
    folder = RunFolder(path, resume=(path / CONFIG).exists())
    with Console() as console:
        run.run(KINDS[kind][0], recipe, load(recipe.dataset), folder, console, import_seconds=0.0)


if __name__ == "__main__":
    tyro.cli(main)

"""Searches of a small supernet of NAS-Bench-201 on real images of CIFAR-10: DARTS of both orders and GDAS, several seeds.

    python experiments/collapse-cpu/search.py --runs RUNS --data-dir DATA

A folder for each search, as ``jaxnas search`` leaves it, but without the training of what was found. What has a result is left
alone and what was ended goes on, so the same command continues. ``tell.py`` makes the record and the figures.
"""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path

import numpy as np
import tyro

from jaxnas import recipes, searching
from jaxnas.console import Console
from jaxnas.data import Augmentation, load
from jaxnas.derive import derive
from jaxnas.reports import Seconds
from jaxnas.run_folder import CONFIG, RESULT, RunFolder, plain
from jaxnas.saves import saving
from jaxnas.spaces import to_text

PIXELS, BATCH, STEPS, EPOCHS = 16, 32, 40, 50
KINDS = {
    "first order": ("nb201-darts-v1", "first_order"),
    "second order, exact": ("nb201-darts-v2", "unrolled"),
    "second order, finite difference": ("nb201-darts-v2", "finite_difference"),
    "GDAS": ("nb201-gdas", "first_order"),
}
"""What is searched with: a recipe and its hypergradient."""


def recipe_of(kind: str, seed: int, images: Path) -> recipes.Recipe:
    """The recipe of a kind, made small: C=4, a cell a stage, 1,280 images in each half, 50 epochs of 40 steps of 32 images.

    The paper's 19,500 steps are 2,000 here, so the alphas' rate is ten times the recipe's, for alphas that can go as far. The
    crop is moved by as much of the image as the recipe's. The curvature is measured every second epoch, as RobustDARTS does.
    """
    name, hypergradient = KINDS[kind]
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
        alpha_learning_rate=10 * recipe.search.alpha_learning_rate,
        augmentation=Augmentation(crop_padding=2, flip=True),
        instruments_every=0 if kind == "GDAS" else 2,
    )
    return dataclasses.replace(recipe, dataset=str(images), search=search, seed=seed, random_cells=0)


def write_small_images(path: Path, data_dir: Path | None) -> None:
    """CIFAR-10 at half its size: means of 2x2 pixels."""
    dataset, arrays = load("cifar10", data_dir), {}
    for name, split in {"train": dataset.train, "test": dataset.test}.items():
        x = split.images.reshape(-1, PIXELS, 2, PIXELS, 2, 3).mean((2, 4))
        arrays |= {f"x_{name}": x.round().astype(np.uint8), f"y_{name}": split.labels}
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, **arrays)


def search(recipe: recipes.Recipe, name: str, path: Path) -> None:
    """Searches, or goes on, in a folder; its ``result.json`` says that it is finished."""
    began = time.perf_counter()
    dataset = searching.search_data(recipe, load(recipe.dataset))
    folder = RunFolder(path, resume=(path / CONFIG).exists())
    config = {"recipe": name, **plain(recipe)}
    folder.settle(CONFIG, config)
    folder.write_environment()
    network, seconds = searching.search_network(recipe.search, dataset), Seconds()
    with Console() as console, saving(folder, {CONFIG: config}, console.note) as saves:
        searched, state = searching.search_parts(recipe, dataset, network, console, saves, seconds)
    genotype = derive(searched[-1][0].space, state.alphas)
    seconds.total = time.perf_counter() - began
    folder.write_json(RESULT, {"genotype": to_text(genotype), "seconds": dataclasses.asdict(seconds)})


def main(runs: Path, data_dir: Path | None = None, seeds: int = 4) -> None:
    """Searches whatever has no result yet, seed after seed."""
    images = runs.resolve() / f"cifar10-{PIXELS}.npz"
    if not images.exists():
        write_small_images(images, data_dir)
    for seed in range(seeds):
        for kind, (name, hypergradient) in KINDS.items():
            path = runs / f"{name}-{hypergradient}-{seed}"
            if not (path / RESULT).exists():
                print(f"{kind}, seed {seed}: {path}", flush=True)
                search(recipe_of(kind, seed, images), name, path)


if __name__ == "__main__":
    tyro.cli(main)

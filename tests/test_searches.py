"""The searches on ImageNet against the values that the references' code and papers hold, and small ones run."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnas import cli, run, searching
from jaxnas.bilevel import SearchState
from jaxnas.compiling import Compiled
from jaxnas.console import Console
from jaxnas.data import Augmentation, from_arrays, load
from jaxnas.errors import UserError
from jaxnas.estimators import start, temperature
from jaxnas.recipes import Recipe, find
from jaxnas.run_folder import RunFolder, plain
from jaxnas.spaces import check_fits, read
from jaxnas.training import Trained

# mit-han-lab/proxylessnas, search/imagenet_arch_search.py, nas_manager.py (warm_up) and data_providers/imagenet.py.
PROXYLESS_SEARCH = {
    "space": "proxyless",
    "width": 1.0,
    "estimator": "proxyless",
    "gates": "full_v2",
    "hypergradient": "first_order",
    "order": "weights_first",
    "epochs": 120,
    "batch": 256,
    "train_share": (1_281_167 - 50_000) / 1_281_167,
    "valid_share": 50_000 / 1_281_167,
    "warmup_epochs": 40,
    "warmup_learning_rate": 0.05,
    "learning_rate": 0.025,
    "learning_rate_end": 0.0,
    "cosine_every": "step",
    "momentum": 0.9,
    "nesterov": True,
    "weight_decay": 4e-5,
    "clip": 0.0,
    "label_smoothing": 0.1,
    "weight_steps_per_alpha_step": 5,
    "alphas_from_epoch": 1,
    "alpha_mean": 0.0,
    "alpha_deviation": 1e-3,
    "alpha_learning_rate": 1e-3,
    "alpha_b1": 0.0,
    "alpha_b2": 0.999,
    "alpha_weight_decay": 0.0,
    "alpha_clip": 0.0,
    "augmentation": {
        "crop_padding": 0,
        "flip": True,
        "cutout": 0,
        "resized_crop": 224,
        "brightness": 32 / 255,
        "contrast": 0.0,
        "saturation": 0.5,
        "hue": 0.0,
    },
}
PUBLISHED_BLOCKS: dict[str, dict[str, Any]] = {
    "proxyless": PROXYLESS_SEARCH,
    # --arch_algo rl: ten networks an update, and 300 updates in the 4,810 batches of 1,281,167 - 50,000 images.
    "proxyless-reinforce": {
        **PROXYLESS_SEARCH,
        "estimator": "reinforce",
        "paths": 10,
        "weight_steps_per_alpha_step": (1_281_167 - 50_000) // 256 // 300,
    },
    # Wu et al., 2019; of the alphas' start and Adam AnnaAraslanova/FBNet.
    "fbnet": {
        "space": "fbnet",
        "width": 1.0,
        "estimator": "snas",
        "temperature": 5.0,
        "temperature_decay": "exponential",
        "epochs": 90,
        "alphas_from_epoch": 10,
        "weight_steps_per_alpha_step": 80 // 20,
        "train_share": 0.8,
        "valid_share": 0.2,
        "batch": 192,
        "learning_rate": 0.1,
        "momentum": 0.9,
        "weight_decay": 1e-4,
        "alpha_mean": 1 / 9,
        "alpha_learning_rate": 0.01,
        "alpha_b1": 0.9,
        "alpha_weight_decay": 5e-4,
    },
}


# yuhuixu1993/PC-DARTS, train_search_imagenet.py and, of the augmentation and the split, its data preparation there.
PC_DARTS_IMAGENET = {
    "space": "darts",
    "estimator": "pc_darts",
    "share": 2,
    "template": "imagenet",
    "hypergradient": "first_order",
    "order": "alphas_first",
    "weight_steps_per_alpha_step": 1,
    "channels": 16,
    "cells": 8,
    "epochs": 50,
    "batch": 1024,
    "train_share": 0.1,
    "valid_share": 0.025,
    "valid_order": "fresh",
    "learning_rate": 0.5,
    "learning_rate_end": 0.0,
    "rising_epochs": 5,
    "cosine_every": "epoch",
    "momentum": 0.9,
    "nesterov": False,
    "weight_decay": 3e-4,
    "clip": 5.0,
    "label_smoothing": 0.0,
    "alpha_mean": 0.0,
    "alpha_deviation": 1e-3,
    "alpha_learning_rate": 6e-3,
    "alpha_b1": 0.5,
    "alpha_b2": 0.999,
    "alpha_weight_decay": 1e-3,
    "alpha_clip": 5.0,
    "alphas_from_epoch": 35,
    "warmup_epochs": 0,
    "skip_dropout": 0.0,
    "augmentation": {
        "crop_padding": 0,
        "flip": True,
        "cutout": 0,
        "resized_crop": 224,
        "brightness": 0.0,
        "contrast": 0.0,
        "saturation": 0.0,
        "hue": 0.0,
    },
}


@pytest.mark.quick
def test_published_values_of_pc_darts_on_imagenet() -> None:
    name = "pc-darts-imagenet"
    recipe = find(name)
    assert recipe.dataset == "imagenet"
    assert {key: plain(recipe)["search"][key] for key in PC_DARTS_IMAGENET} == PC_DARTS_IMAGENET
    assert (recipe.train.template, recipe.train.batch, recipe.train.learning_rate) == ("imagenet", 1024, 0.5)


def tiny_imagenet() -> Any:
    """Of four classes 40, 80, 40 and 44 images of noise, and a few of the test split."""
    rng, labels = np.random.default_rng(0), np.repeat(np.arange(4), (40, 80, 40, 44))
    images = [rng.integers(0, 256, (count, 32, 32, 3), dtype=np.uint8) for count in (len(labels), 8)]
    return from_arrays("tiny", images[0], labels, images[1], np.arange(8) % 4)


def test_a_search_has_the_shares_of_its_recipe() -> None:
    """A tenth and a fortieth of each class, in the stage that is compiled; its epochs have the steps of the tenth."""
    recipe, dataset = changed("pc-darts-imagenet", batch=4, channels=4, cells=3, augmentation=Augmentation()), tiny_imagenet()
    shared = searching.search_data(recipe, dataset)
    stage = searching.search_stage(recipe, shared, searching.search_network(recipe.search, shared))
    assert np.bincount(stage.data["train"]["labels"]).tolist() == [4, 8, 4, 4]
    assert np.bincount(stage.data["valid"]["labels"]).tolist() == [1, 2, 1, 2]  # 44 / 8 = 5.5: 6 together.
    assert (stage.steps_per_epoch, stage.epochs) == (5, 50)
    assert shared.train is dataset.train
    halved = changed("darts-first-order")
    assert searching.search_data(halved, dataset) is dataset


@pytest.mark.slow
def test_a_dry_run_for_imagenet(tmp_path: Path) -> None:
    """The supernet with the stems for ImageNet, its shares and its rate, in two steps of tiny images."""
    dataset = tiny_imagenet()
    splits = {"x_train": dataset.train.images, "y_train": dataset.train.labels}
    np.savez(tmp_path / "tiny.npz", **splits, x_test=dataset.test.images, y_test=dataset.test.labels)
    sizes = ("--search.channels", "4", "--search.cells", "3", "--train.channels", "4", "--train.cells", "3")
    crops = ("--search.augmentation.resized-crop", "32", "--train.augmentation.resized-crop", "32")
    batches = ("--search.batch", "4", "--train.batch", "4", "--train.auxiliary-weight", "0")
    printed = call(
        "search", "pc-darts-imagenet", "--dry-run", "--dataset", str(tmp_path / "tiny.npz"), *sizes, *crops, *batches
    )
    assert "20 train (weights), 6 valid (alphas)" in printed
    assert "Dry run: two steps done" in printed


@pytest.mark.quick
@pytest.mark.parametrize("name", PUBLISHED_BLOCKS)
def test_published_values_of_blocks(name: str) -> None:
    recipe, search = plain(find(name)), PUBLISHED_BLOCKS[name]
    assert recipe["dataset"] == "imagenet"
    assert {key: recipe["search"][key] for key in search} == search
    assert find(name).training.family == "blocks"


def test_the_temperature_of_fbnet() -> None:
    """5 exp(-0.045 epoch), in each of the 90 epochs."""
    search = find("fbnet").search
    temperatures = [float(temperature(search, 3)(jnp.array(3 * epoch + 2))["temperature"]) for epoch in range(90)]
    np.testing.assert_allclose(temperatures, 5 * np.exp(-0.045 * np.arange(90)), rtol=1e-5)


SMALL = ("proxyless-mobile-digits", "fbnet-digits")


def call(*arguments: str) -> str:
    """What a command prints that ends well."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), pytest.raises(SystemExit) as exit_:
        cli.main(list(arguments))
    assert exit_.value.code == 0
    return printed.getvalue()


def changed(name: str, **search: Any) -> Recipe:
    recipe = find(name)
    return dataclasses.replace(recipe, search=dataclasses.replace(recipe.search, **search))


@pytest.mark.parametrize("name", SMALL)
def test_a_run_on_blocks_but_for_its_steps(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is checked, said and written around the steps, and what other verbs read of it."""

    def search_without_steps(recipe: Recipe, dataset: Any, network: Any, report: Any, *_: Any, **__: Any) -> Any:
        alphas = start(recipe.search, recipe.search.build_space(), jax.random.key(3))
        state = SearchState(jnp.zeros((), jnp.int32), jax.random.key(0), {"stem": jnp.ones(2)}, alphas, None, None)
        report.epoch(0, 1, {"train_loss": 1.0}, state, 0.1)
        return state, Compiled(print, 0.0, 0.0)

    monkeypatch.setattr(searching, "search_cell", search_without_steps)
    monkeypatch.setattr(run, "train", lambda *_: Trained({"w": jnp.ones(2)}, {}, 7, 0.25, 0.0, 0.0))
    recipe, dataset, folder = changed(name, train_share=0.8, valid_share=0.2), load("digits"), tmp_path / "run"
    run.check(recipe, dataset)
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        result = run.run(name, recipe, dataset, RunFolder(folder), Console(), 0.0)
    space = recipe.search.build_space()
    assert f"supernet  width 0.5, {result['supernet_parameters']:,} parameters" in printed.getvalue()
    assert f"network   {recipe.train.epochs} epochs" in printed.getvalue()
    for told in ("1,036 train (weights), 261 valid", "with 3 random networks, trained", "the found network is +0.00%"):
        assert told in printed.getvalue()
    assert (result["space"], result["alphas"], len(result["random"])) == (space.name, space.alphas, 3)
    genotype = read(folder / "genotype.json")
    check_fits(genotype, space)
    assert call("derive", str(folder)) == (folder / "genotype.txt").read_text()
    call("train", str(folder), "--train.epochs", "3", "--out", str(tmp_path / "trained"))
    config = json.loads((tmp_path / "trained" / "config.json").read_text())
    assert (config["family"], config["train"]["epochs"]) == ("blocks", 3)
    assert read(tmp_path / "trained" / "genotype.json") == genotype


@pytest.mark.parametrize(
    ("estimator", "why"), [("pc_darts", "it needs a space of cells, not"), ("setn", "ranks the cells of family nb201")]
)
def test_an_estimator_that_cannot_serve_blocks(estimator: str, why: str) -> None:
    with pytest.raises(UserError, match=why):
        run.check(
            changed("fbnet-digits", estimator=estimator, temperature=1.0, temperature_end=1.0, temperature_decay="linear"),
            load("digits"),
        )


def test_the_dtype_of_blocks() -> None:
    """It is the supernet's: its blocks compute in it, so logits differ from float32's by its rounding and no more."""
    dataset, logits = load("digits"), []
    for dtype in ("float32", "bfloat16"):
        recipe = changed("proxyless-mobile-digits", dtype=dtype)
        network = searching.search_network(recipe.search, dataset)
        weights, _ = network.init(jax.random.key(0))
        mixture = {"blocks": jnp.zeros((5, 7)).at[:, 0].set(1.0)}
        images = jax.random.normal(jax.random.key(1), (4, 8, 8, 3))
        logits.append(np.asarray(network.forward(weights, mixture, images, jax.random.key(2), {})[0]))
    assert not np.array_equal(*logits)
    np.testing.assert_allclose(logits[1], logits[0], rtol=0.1, atol=0.1 * np.abs(logits[0]).max())


@pytest.mark.slow
@pytest.mark.parametrize("name", SMALL)
def test_a_small_search_of_blocks(name: str, tmp_path: Path) -> None:
    """To a genotype and its trained network: the supernet has learned, and every block's alphas have moved."""
    call("search", name, "--random-cells", "0", "--out", str(tmp_path / "run"))
    lines = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    searched = [line for line in lines if line["stage"] == "search"]
    assert max(line["valid_accuracy"] or 0.0 for line in searched) >= 0.8
    recipe, dataset = find(name), load("digits")
    stage = searching.search_stage(recipe, dataset, searching.search_network(recipe.search, dataset))
    before, after = np.asarray(stage.start().alphas["blocks"]), np.array(searched[-1]["alphas"]["blocks"])
    assert (np.abs(after - before).max(axis=1) > 1e-3).all()
    check_fits(read(tmp_path / "run" / "genotype.json"), recipe.search.build_space())
    assert json.loads((tmp_path / "run" / "result.json").read_text())["found"]["test_accuracy"] > 0.8

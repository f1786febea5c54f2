"""The searches of mobile networks against the values that the references' code and papers hold, and small ones run."""

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

from jaxnas import cli, run
from jaxnas.console import Console
from jaxnas.data import load
from jaxnas.errors import UserError
from jaxnas.estimators import start, temperature
from jaxnas.recipes import Recipe, find
from jaxnas.run_folder import RunFolder, plain
from jaxnas.search import SearchState
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
        return state, run.Compiled(print, 0.0, 0.0)

    monkeypatch.setattr(run, "search_cell", search_without_steps)
    monkeypatch.setattr(run, "train", lambda *_: Trained({"w": jnp.ones(2)}, {}, 7, 0.25, 0.0, 0.0))
    recipe, dataset, folder = find(name), load("digits"), tmp_path / "run"
    run.check(recipe, dataset)
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        result = run.run(name, recipe, dataset, RunFolder(folder), Console(), 0.0)
    space = recipe.search.build_space()
    assert f"supernet  width 0.5, {result['supernet_parameters']:,} parameters" in printed.getvalue()
    assert f"network   {recipe.train.epochs} epochs" in printed.getvalue()
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
        network = run.search_network(recipe.search, dataset)
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
    stage = run.search_stage(recipe, dataset, run.search_network(recipe.search, dataset))
    before, after = np.asarray(stage.start().alphas["blocks"]), np.array(searched[-1]["alphas"]["blocks"])
    assert (np.abs(after - before).max(axis=1) > 1e-3).all()
    check_fits(read(tmp_path / "run" / "genotype.json"), recipe.search.build_space())
    assert json.loads((tmp_path / "run" / "result.json").read_text())["found"]["test_accuracy"] > 0.8

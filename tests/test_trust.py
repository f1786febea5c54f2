"""Shared-weight accuracies against derived networks that carry the weights; the split of a regret worked by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnas.cli import main
from jaxnas.data import Augmentation, augment, load
from jaxnas.nets import Shape, derived, supernet
from jaxnas.recipes import find
from jaxnas.run_folder import plain
from jaxnas.spaces import from_text, nb201
from jaxnas.tabular import Table
from jaxnas.tabular import nb201 as codec
from jaxnas.trust import _drawn, _report, shared_accuracies

SHAPE = Shape(channels=2, cells=1, classes=10, image_size=8)


def carried(weights: Any, choices: np.ndarray, like: Any) -> Any:
    """The weights of a derived network: an edge's operation is the supernet's at that edge, scale 1 and shift 0 behind it.

    The bias of a supernet's convolution is left out: batch norm takes it away again.
    """
    cells = dict(weights["cells"])
    for at, mine in weights["cells"].items():
        if "edges" not in mine:
            continue
        if at not in like["cells"]:  # A cell without a convolution has no weights.
            del cells[at]
            continue
        layers = {}
        for edge in like["cells"][at]["layers"]:
            stack = mine["edges"]["stacks"][codec.OPERATIONS[choices[edge]]]["op"]
            width = stack[1]["weight"].shape[1]
            layers[edge] = {
                "op": {1: {"weight": stack[1]["weight"][edge]}, 2: {"bias": jnp.zeros(width), "weight": jnp.ones(width)}}
            }
        cells[at] = {"layers": layers}
    return {**weights, "cells": cells}


def check_against_derived_networks(number: int) -> None:
    dataset, rows = load("digits"), np.arange(64)
    network = supernet(nb201(), SHAPE)
    weights, _ = network.init(jax.random.key(0))
    chosen = codec.all_choices()[np.random.default_rng(0).permutation(codec.SIZE)[:number]]
    found = shared_accuracies(network, weights, chosen, dataset, rows)
    images = augment(
        jax.random.key(0), jnp.asarray(dataset.search_valid.images[rows]), Augmentation(), dataset.mean, dataset.std
    )
    for choices, accuracy in zip(chosen, found, strict=True):
        alone = derived(from_text(str(codec.strings(choices))), SHAPE)
        like = jax.eval_shape(alone.init, jax.random.key(0))[0]
        mine = carried(weights, choices, like)
        assert jax.tree.structure(mine) == jax.tree.structure(like)
        (logits, _), _ = jax.jit(alone.forward)(mine, None, images, jax.random.key(1), {})
        expected = 100 * np.mean(np.asarray(logits).argmax(-1) == dataset.search_valid.labels[rows])
        assert accuracy == pytest.approx(expected, abs=1e-4)
    assert len(set(found)) > 2  # What is compared differs between architectures.


def test_one_program_scores_every_architecture_as_its_derived_network() -> None:
    check_against_derived_networks(5)


@pytest.mark.slow
def test_fifty_architectures_score_as_their_derived_networks() -> None:
    check_against_derived_networks(50)


def test_a_regret_is_split_into_what_it_cost_to_believe_what() -> None:
    #                    0    1    2    3    4    5    6    7
    test = np.array([90.0, 94.0, 80.0, 93.0, 50.0, 70.0, 92.0, 60.0])
    shared = np.array([40.0, np.nan, 30.0, 45.0, 10.0, 20.0, 50.0, 15.0])
    choices = np.array([[a, b, c] for a in (0, 1) for b in (0, 1) for c in (0, 1)])
    table = Table(
        "toy", ("a", "b", "c"), (("x", "y"),) * 3, choices, np.array([1]), test[:, None], test, np.ones((8, 1)), "one run"
    )
    found = _report(table, shared, np.array([0, 2, 4, 5, 6, 7]), np.array([0, 2, 5]), 2, 16, "derived", "digits")
    assert (found.searched_on, found.table, found.scored, found.images) == ("digits", "toy", 7, 16)
    assert (found.best_accuracy, found.derived_accuracy, found.mean_accuracy) == (94.0, 80.0, test.mean())
    # The best is not scored; 6 has the highest shared accuracy, but 3 is better; of what the alphas draw 0 has the highest.
    assert (found.not_scored, found.ranking, found.search, found.discretization) == (1.0, 1.0, 2.0, 10.0)
    assert found.regret == 14.0 == found.not_scored + found.ranking + found.search + found.discretization
    # The six of the sample are in the table's order but for nothing: 4 7 5 2 0 6.
    assert found.kendall == pytest.approx(1) and found.spearman == pytest.approx(1)
    assert found.kendall_top == pytest.approx(1)


def test_architectures_are_drawn_by_the_alphas_probabilities() -> None:
    probabilities = np.array([[0.5, 0.25, 0.25], [0.0, 1.0, 0.0]])
    drawn = _drawn(probabilities, 20_000, np.random.Generator(np.random.PCG64(0)))
    for edge, expected in enumerate(probabilities):
        shares = np.bincount(drawn[:, edge], minlength=3) / len(drawn)
        np.testing.assert_allclose(shares, expected, atol=3 * np.sqrt(0.25 / len(drawn)))


def failure(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    return capsys.readouterr().err


@pytest.mark.parametrize(
    ("changes", "options", "said"),
    [
        ({"space": "darts"}, [], "tables know the cells of nb201"),
        ({}, [], "--dataset cifar10|cifar100|ImageNet16-120"),
        ({}, ["--dataset", "cifar10", "--sample", "3"], "--sample is 3"),
        ({}, ["--dataset", "cifar10", "--images", "3"], "--images is 3"),
        ({}, ["--dataset", "cifar10"], "has no supernet.npz, the shared weights"),
    ],
)
def test_bad_input(
    changes: dict[str, Any], options: list[str], said: str, tmp_path: Path, data_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name = "darts-digits" if changes else "nb201-digits"
    (tmp_path / "config.json").write_text(json.dumps({"recipe": name, **plain(find(name))}))
    table = data_dir / "nasbench201" / "nb201_main.npz"
    assert said in failure(["trust", str(tmp_path), "--table", str(table), *options], capsys)

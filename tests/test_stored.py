"""Where a genotype to train may come from."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from jaxnas.errors import UserError
from jaxnas.recipes import MAIN, RECIPES
from jaxnas.run_folder import plain
from jaxnas.spaces import PUBLISHED, to_json, to_text
from jaxnas.spaces.published import NETWORKS
from jaxnas.stored import recipe_of, source, training_of
from jaxnas.trainings import TRAININGS


def run_of(folder: Path, config: object) -> str:
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "genotype.json").write_text(json.dumps(to_json(PUBLISHED["PDARTS"], "darts")))
    return str(folder)


@pytest.fixture
def searched(tmp_path: Path) -> str:
    return run_of(tmp_path / "searched", {"recipe": "darts-second-order", **plain(RECIPES["darts-second-order"])})


@pytest.fixture
def trained(tmp_path: Path) -> str:
    training = dataclasses.replace(TRAININGS["darts-cifar100"], seed=7)
    return run_of(tmp_path / "trained", {"recipe": "darts-cifar100", **plain(training)})


@pytest.mark.quick
@pytest.mark.parametrize("name", PUBLISHED)
def test_a_published_genotype_by_its_name(name: str) -> None:
    genotype, recipe, training = source(name)
    assert genotype == PUBLISHED[name]
    assert recipe == ("blocks-digits" if name in NETWORKS else MAIN)
    assert training == TRAININGS[recipe]


def test_other_sources(searched: str, trained: str, tmp_path: Path) -> None:
    pdarts = PUBLISHED["PDARTS"]
    (tmp_path / "cell.txt").write_text(to_text(pdarts))
    assert source(to_text(pdarts)) == source(str(tmp_path / "cell.txt")) == (pdarts, MAIN, TRAININGS[MAIN])
    assert source(searched) == (pdarts, "darts-second-order", RECIPES["darts-second-order"].training)
    assert source(trained) == (pdarts, "darts-cifar100", dataclasses.replace(TRAININGS["darts-cifar100"], seed=7))


def test_a_name_that_is_nearly_one() -> None:
    with pytest.raises(UserError, match="'DARTS_V3' is no folder of a run, .* Did you mean DARTS_V") as refusal:
        source("DARTS_V3")
    assert all(name in str(refusal.value) for name in PUBLISHED)


def test_recipes_of_runs(searched: str, trained: str) -> None:
    assert recipe_of(Path(searched))[1] == RECIPES["darts-second-order"]
    assert training_of(Path(searched)) == ("darts-second-order", RECIPES["darts-second-order"].training)
    with pytest.raises(UserError, match="only trained a genotype"):
        recipe_of(Path(trained))

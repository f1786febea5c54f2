"""Every small recipe runs to a genotype, with a supernet that has learnt and alphas that have moved."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from jaxnas.recipes import RECIPES
from jaxnas.spaces import check_fits, from_text


def load() -> ModuleType:
    path = Path(__file__).parents[2] / "experiments" / "small_recipes.py"
    spec = importlib.util.spec_from_file_location("small_recipes", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


small_recipes = load()


@pytest.mark.slow
@pytest.mark.parametrize("name", small_recipes.NAMES)
def test_a_small_recipe(name: str) -> None:
    found = small_recipes.searched(name, seed=0)
    check_fits(from_text(found["genotype"]), RECIPES[name].search.build_space())
    assert found["valid_accuracy"] >= small_recipes.LEAST_ACCURACY
    assert (found["least_movement"] > 0) == small_recipes.moves(name)


def test_least_movement_is_of_the_row_that_moved_least() -> None:
    start = {"cell": np.array([[0.0, 0.0], [1.0, np.nan]]), "edges": np.array([1.0, 1.0])}
    end = {"cell": np.array([[0.0, -3.0], [0.5, np.nan]]), "edges": np.array([3.0, 2.0])}
    assert small_recipes.least_movement(start, end) == 0.5
    assert small_recipes.least_movement(start, {**end, "edges": np.array([3.0, 1.0])}) == 0.0

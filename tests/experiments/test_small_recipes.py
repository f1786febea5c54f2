"""Every small recipe runs to a genotype, with a supernet that has learnt and alphas that have moved."""

from __future__ import annotations

import numpy as np
import pytest

from experiments import small_recipes
from jaxnas.recipes import RECIPES
from jaxnas.spaces import check_fits, from_text


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

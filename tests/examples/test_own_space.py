"""The documented example of one's own space: it searches that space, by its candidates alone, in as few lines as promised."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import pytest

from jaxnas import run, searching
from jaxnas.data import load
from jaxnas.recipes import find
from jaxnas.spaces import Nb201Genotype, check_fits


def test_it_takes_fewer_than_40_lines(lines_of_code: int) -> None:
    assert 0 < lines_of_code < 40


def test_it_searches_its_own_space(example: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = find("nb201-digits")
    small = dataclasses.replace(recipe, search=dataclasses.replace(recipe.search, channels=2, batch=8))
    searched = []
    real = searching.search_cell

    def watched(*arguments: Any) -> Any:
        searched.append(real(*arguments))
        return searched[-1]

    monkeypatch.setattr(searching, "search_cell", watched)
    genotype = example.search(small, steps=2)
    state, _ = searched[0]
    # A row for each edge of its two nodes, a column for each of the most candidates.
    assert jax.tree.map(lambda alphas: alphas.shape, state.alphas) == {"cell": (3, 3)}
    assert isinstance(genotype, Nb201Genotype)
    check_fits(genotype, example.SPACE)
    with pytest.raises(ValueError):
        check_fits(genotype, recipe.search.build_space())


def test_what_it_finds_can_be_trained_and_compared(example: Any) -> None:
    """By the recipe's second stage: own cells are of a known family."""
    recipe = dataclasses.replace(find("nb201-digits"), search=example.OwnSearch(channels=2, cells=1, batch=8))
    assert recipe.search.build_space() == example.SPACE
    run.check(recipe, load("digits"))

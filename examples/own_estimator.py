"""One's own estimator: the alphas' share of an edge by ReLU instead of the softmax, searched with on digits.

    python examples/own_estimator.py

A relaxation turns alphas into a mixture and probabilities; everything else of the search stays the recipe's.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from jaxnas import methods, searching
from jaxnas.bilevel import Method
from jaxnas.console import Console
from jaxnas.data import load
from jaxnas.derive import derive
from jaxnas.recipes import Recipe, SearchRecipe, find
from jaxnas.relaxations import Relax
from jaxnas.reports import StageReport
from jaxnas.spaces import Genotype, Space


def rectified(space: Space) -> Relax:
    """Each candidate by its positive part over the edge's sum, after one is added so that all begin equal."""
    present = {kind: jnp.array(cell.present) for kind, cell in space.cells}

    def relax(alphas: Any, key: Any, scalars: Any, phase: Any) -> tuple[Any, Any]:
        shares = {kind: jnp.where(present[kind], jax.nn.relu(1 + alpha), 0) for kind, alpha in alphas.items()}
        mixture = {kind: share / (share.sum(-1, keepdims=True) + 1e-6) for kind, share in shares.items()}
        return mixture, mixture

    return relax


def build(recipe: SearchRecipe, space: Space, steps_per_epoch: int) -> Method:
    return dataclasses.replace(methods.build(recipe, space, steps_per_epoch), relax=rectified(space))


def search(recipe: Recipe, steps: int | None = None) -> Genotype:
    dataset = load(recipe.dataset)
    network, report = searching.search_network(recipe.search, dataset), StageReport("search", Console(), None)
    state, _ = searching.search_cell(recipe, dataset, network, report, steps, build)
    return derive(recipe.search.build_space(), state.alphas)


if __name__ == "__main__":
    print(search(find("nb201-digits")))

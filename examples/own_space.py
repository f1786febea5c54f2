"""One's own space: cells with their own nodes and candidates, other ones on each edge, searched on digits.

    python examples/own_space.py

A recipe says by name which space it searches; a subclass hands out one's own. Everything else stays the recipe's.
"""

import dataclasses

from jaxnas import run, searching
from jaxnas.console import Console
from jaxnas.data import load
from jaxnas.derive import derive
from jaxnas.recipes import Recipe, SearchRecipe, find
from jaxnas.reports import StageReport
from jaxnas.spaces import CellSpace, Genotype, nb201_family

# Edge by edge in the order of the nodes: input to first node; input and first node to the second, which is the output.
SPACE = nb201_family(
    "mine",
    (
        ("none", "nor_conv_3x3"),
        ("skip_connect", "avg_pool_3x3"),
        ("none", "skip_connect", "sep_conv_3x3"),
    ),
    nodes=2,
)


class OwnSearch(SearchRecipe):
    def build_space(self) -> CellSpace:
        return SPACE


def search(recipe: Recipe, steps: int | None = None) -> Genotype:
    own = dataclasses.replace(recipe, search=OwnSearch(**vars(recipe.search)))
    dataset = load(own.dataset)
    run.check(own, dataset)
    network, report = searching.search_network(own.search, dataset), StageReport("search", Console(), None)
    state, _ = searching.search_cell(own, dataset, network, report, steps)
    return derive(SPACE, state.alphas)


if __name__ == "__main__":
    print(search(find("nb201-digits")))

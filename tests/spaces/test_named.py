"""Spaces by the names that recipes call them."""

from __future__ import annotations

import math
from typing import Any, get_args

import pytest

from jaxnas.recipes import SearchRecipe
from jaxnas.spaces import BLOCK_SPACES, CELL_SPACES, SpaceName, darts, drnas, gdas, nb201, robust_darts

pytestmark = pytest.mark.quick


def test_spaces_by_name() -> None:
    built = {
        "darts": darts(),
        "drnas": drnas(),
        "nb201": nb201(),
        "gdas": gdas(),
        **{f"s{i}": robust_darts(i) for i in (1, 2, 3, 4)},
    }
    assert built.keys() == CELL_SPACES.keys()
    assert {*CELL_SPACES, *BLOCK_SPACES} == set(get_args(SpaceName))
    for name, space in built.items():
        recipe: Any = {"space": name}
        assert SearchRecipe(**recipe).build_space() == space


@pytest.mark.parametrize(
    ("name", "width", "alphas", "stride", "widest"),
    [
        ("proxyless", 1.0, 141, 32, 320),
        ("fbnet", 1.4, 198, 32, 496),
        ("proxyless_small", 0.25, 143, 8, 80),
        ("fbnet_small", 1.0, 198, 8, 352),
        ("proxyless_tiny", 1.0, 6 + 4 * 7, 2, 16),
        ("fbnet_tiny", 0.5, 5 * 9, 2, 8),
    ],
)
def test_block_spaces_by_name(name: Any, width: float, alphas: int, stride: int, widest: int) -> None:
    """The paper's alphas, and how far images are halved. 352 x 1.4 = 492.8 is 496 in eights; at a quarter of the width two more
    blocks, of 8 and of 24 channels, keep their shape and can be left out.
    """
    space: Any = SearchRecipe(space=name, width=width).build_space()
    assert (space.name, space.alphas, space.blocks[-1].channels) == (name, alphas, widest)
    assert math.prod([space.stem[1], *(block.stride for block in space.blocks)]) == stride

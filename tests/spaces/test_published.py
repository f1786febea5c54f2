"""Published genotypes: their texts in the papers' repositories, both notations, and which spaces hold them."""

from __future__ import annotations

import json

import pytest

from jaxnas.errors import UserError
from jaxnas.spaces import PUBLISHED, check_fits, darts, from_json, from_text, to_json, to_text
from jaxnas.spaces.published import CELLS

AMOEBANET = """
Genotype(
  normal = [
    ('avg_pool_3x3', 0), ('max_pool_3x3', 1),
    ('sep_conv_3x3', 0), ('sep_conv_5x5', 2),
    ('sep_conv_3x3', 0), ('avg_pool_3x3', 3),
    ('sep_conv_3x3', 1), ('skip_connect', 1),
    ('skip_connect', 0), ('avg_pool_3x3', 1),
  ],
  normal_concat = [4, 5, 6],
  reduce = [
    ('avg_pool_3x3', 0), ('sep_conv_3x3', 1),
    ('max_pool_3x3', 0), ('sep_conv_7x7', 2),
    ('sep_conv_7x7', 0), ('avg_pool_3x3', 1),
    ('max_pool_3x3', 0), ('max_pool_3x3', 1),
    ('conv_7x1_1x7', 0), ('sep_conv_3x3', 5),
  ],
  reduce_concat = [3, 4, 6],
)
"""
SDARTS_RS = (
    "Genotype(normal=[('sep_conv_3x3', 1), ('sep_conv_3x3', 0), ('sep_conv_5x5', 1), ('skip_connect', 0), ('sep_conv_3x3', 3), "
    "('skip_connect', 1), ('sep_conv_3x3', 1), ('dil_conv_3x3', 2)], normal_concat=range(2, 6), reduce=[('max_pool_3x3', 0), "
    "('sep_conv_3x3', 1), ('skip_connect', 2), ('max_pool_3x3', 0), ('dil_conv_5x5', 3), ('max_pool_3x3', 0), "
    "('sep_conv_3x3', 2), ('sep_conv_5x5', 3)], reduce_concat=range(2, 6))"
)
SETN_LAST_NODE = (("max_pool_3x3", 1), ("conv_3x1_1x3", 4))

NOT_DERIVED_FROM_DARTS = {
    "NASNet": "5 nodes",
    "AmoebaNet": "5 nodes",
    "SETN": "conv_3x1_1x3",
    "SNAS_moderate": "Edge 0 -> 5 of the reduce cell is used twice",
    "SNAS_aggressive": "'none'",
}
"""Why DARTS's own rule cannot end with them."""


def test_texts_of_the_repositories() -> None:
    assert from_text(AMOEBANET) == PUBLISHED["AmoebaNet"]
    assert to_text(PUBLISHED["SDARTS_RS"]) == SDARTS_RS
    assert CELLS["SETN"].normal[-2:] == SETN_LAST_NODE
    assert [edge for edge in CELLS["SNAS_aggressive"].reduce if edge[0] != "none"] == [("sep_conv_5x5", 0)] * 2


@pytest.mark.parametrize("name", PUBLISHED)
def test_both_notations_keep_every_genotype(name: str) -> None:
    genotype = PUBLISHED[name]
    assert from_text(to_text(genotype)) == genotype
    assert from_json(json.loads(json.dumps(to_json(genotype, "published")))) == genotype


@pytest.mark.parametrize("name", CELLS)
def test_which_of_them_a_search_of_darts_could_end_with(name: str) -> None:
    if name not in NOT_DERIVED_FROM_DARTS:
        check_fits(PUBLISHED[name], darts())
        return
    with pytest.raises(UserError, match=NOT_DERIVED_FROM_DARTS[name]):
        check_fits(PUBLISHED[name], darts())

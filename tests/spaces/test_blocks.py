"""Spaces of blocks: the published numbers, plain enumeration, genotypes in all notations, and what is refused."""

from __future__ import annotations

import itertools
import json
from typing import Any

import numpy as np
import pytest

from jaxnas.derive import derive, one_hot_mixture
from jaxnas.errors import UserError
from jaxnas.spaces import (
    FBNET_SMALL_STRIDES,
    PROXYLESS_SMALL_STRIDES,
    PUBLISHED,
    Block,
    BlockGenotype,
    BlockSpace,
    block_genotype,
    check_fits,
    darts,
    fbnet,
    from_json,
    from_text,
    proxyless,
    random_genotype,
    read,
    to_json,
    to_text,
)
from jaxnas.spaces.blocks import MBConv, divisible, mbconv
from jaxnas.spaces.published import NETWORKS

SMALL = BlockSpace(
    "small",
    "proxyless",
    (8, 1),
    (("3x3_MBConv1", 8, 1),),
    (Block(16, 2, ("3x3_MBConv3", "5x5_MBConv3")), Block(16, 1, ("3x3_MBConv3", "5x5_MBConv6", "none"))),
    32,
)


@pytest.mark.quick
def test_published_sizes_and_numbers_of_alphas() -> None:
    assert (proxyless().alphas, fbnet().alphas) == (141, 198)
    assert proxyless().size == 221_502_229_807_900_608 and fbnet().size == 9**22
    assert (len(proxyless().blocks), len(fbnet().blocks)) == (21, 22)
    # As many at other widths and strides.
    assert proxyless(1.4, PROXYLESS_SMALL_STRIDES).alphas == proxyless(0.5).alphas == 141
    assert fbnet(1.4, FBNET_SMALL_STRIDES, head=1504).alphas == 198


def test_shapes_of_the_published_spaces() -> None:
    space = proxyless()
    assert (space.stem, space.fixed, space.head) == ((32, 2), (("3x3_MBConv1", 16, 1),), 1280)
    assert [block.channels for block in space.blocks[::4]] == [24, 40, 80, 96, 192, 320]
    assert [block.stride for block in space.blocks[::4]] == [2, 2, 2, 1, 2, 1]
    assert all(block.stride == 1 and block.operations[-1] == "none" for i, block in enumerate(space.blocks) if i % 4)
    assert space.inputs[:6] == (16, 24, 24, 24, 24, 40)
    space = fbnet()
    assert (space.stem, space.fixed, space.head, space.inputs[0]) == ((16, 2), (), 1984, 16)
    assert [block.channels for block in space.blocks] == [16] + [24] * 4 + [32] * 4 + [64] * 4 + [112] * 4 + [184] * 4 + [352]
    assert [i for i, block in enumerate(space.blocks) if block.stride == 2] == [1, 5, 9, 17]
    small = fbnet(strides=FBNET_SMALL_STRIDES)
    assert small.stem == (16, 1) and [i for i, block in enumerate(small.blocks) if block.stride == 2] == [5, 9, 17]


def test_the_width_multiplies_all_channels_but_a_head_that_would_shrink() -> None:
    half, wide = proxyless(0.5), proxyless(1.4)
    assert (half.stem[0], half.fixed[0][1], half.blocks[0].channels, half.head) == (16, 8, 16, 1280)
    # 33.6, 44.8, 268.8 and 1792.
    assert (wide.blocks[0].channels, wide.stem[0], wide.blocks[-5].channels, wide.head) == (32, 48, 272, 1792)
    # Where widths become equal and the stride is 1, the first block of a stage can be left out too, as in the reference.
    narrow = proxyless(0.35, PROXYLESS_SMALL_STRIDES)
    assert narrow.inputs[:2] == (8, 8) and narrow.blocks[0].operations[-1] == "none"
    assert narrow.alphas == 141 + 2 and narrow.blocks[12].operations[-1] == "none"


def test_rounding_takes_the_nearest_multiple_of_eight_that_is_nine_tenths() -> None:
    for tenths in range(1, 4000):
        enough = [multiple for multiple in range(8, 420, 8) if 100 * multiple >= 9 * tenths]
        assert divisible(tenths / 10) == min(enough, key=lambda multiple: (abs(10 * multiple - tenths), -multiple))


def test_names_of_blocks() -> None:
    assert mbconv("7x7_MBConv6") == MBConv(7, 6) == mbconv("k7_e6")
    assert mbconv("k5_e1_g2") == MBConv(5, 1, 2)
    assert [mbconv(name) for name in ("3x5_MBConv3", "none", "k3", "k3_e1_g", "xk3_e1", "MBConv3")] == [None] * 6


def test_size_is_the_number_of_genotypes() -> None:
    choices = itertools.product(*(block.operations for block in SMALL.blocks))
    genotypes = {block_genotype(SMALL, names) for names in choices}
    assert SMALL.size == len(genotypes) == 6
    for genotype in genotypes:
        check_fits(genotype, SMALL)
    rng = np.random.default_rng(0)
    drawn = [random_genotype(SMALL, rng) for _ in range(600)]
    counts = [drawn.count(genotype) for genotype in genotypes]
    assert sum(counts) == 600 and min(counts) > 60


def test_derive_takes_the_strongest_candidate_of_each_block() -> None:
    alphas = [[0.1, 0.2, 9.0], [0.5, 0.5, 0.4]]
    genotype = derive(SMALL, {"blocks": alphas})
    assert isinstance(genotype, BlockGenotype)
    # The third column of the first block stands for nothing; of equal alphas the first is taken.
    assert genotype.blocks == (("3x3_MBConv1", 8, 1), ("5x5_MBConv3", 16, 2), ("3x3_MBConv3", 16, 1))
    assert (genotype.style, genotype.stem, genotype.head) == ("proxyless", (8, 1), 32)
    np.testing.assert_array_equal(one_hot_mixture(SMALL, genotype)["blocks"], [[0, 1, 0], [1, 0, 0]])
    for genotype in (random_genotype(fbnet(), np.random.default_rng(seed)) for seed in range(3)):
        assert derive(fbnet(), one_hot_mixture(fbnet(), genotype)) == genotype
    with pytest.raises(UserError, match="'5x5_MBConv6' on edge 1 -> 2 of the blocks cell is nan"):
        derive(SMALL, {"blocks": [[0, 0, 0], [0, np.nan, 0]]})


@pytest.mark.parametrize("name", NETWORKS)
def test_published_networks_survive_every_notation(name: str, tmp_path: Any) -> None:
    genotype = PUBLISHED[name]
    assert from_text(to_text(genotype)) == genotype
    document = json.loads(json.dumps(to_json(genotype, "any")))
    assert document["family"] == "blocks" and document["version"] == 1 and from_json(document) == genotype
    (tmp_path / "genotype.json").write_text(json.dumps(document))
    assert read(tmp_path / "genotype.json") == genotype


def test_published_networks_are_the_reference_s() -> None:
    mobile = NETWORKS["proxyless_mobile"]
    assert (mobile.stem, mobile.head) == ((32, 2), 1280)
    assert mobile.blocks[:5] == (
        ("3x3_MBConv1", 16, 1),
        ("5x5_MBConv3", 32, 2),
        ("3x3_MBConv3", 32, 1),
        ("none", 32, 1),
        ("none", 32, 1),
    )
    assert mobile.blocks[-1] == ("7x7_MBConv6", 320, 1)
    assert [sum(block[0] == "none" for block in NETWORKS[f"proxyless_{name}"].blocks) for name in ("cpu", "gpu")] == [2, 8]
    for name in "ABC":
        check_fits(NETWORKS[f"FBNet_{name}"], fbnet(head=1504 if name == "A" else 1984))
    assert NETWORKS["FBNet_A"].blocks[11] == ("k5_e1_g2", 64, 1)
    assert NETWORKS["FBNet_C"].blocks[2] == ("skip_connect", 24, 1)


FIRST = ("3x3_MBConv1", 8, 1)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: proxyless(0), "width multiplies channels and must be positive, got 0"),
        (lambda: proxyless(float("nan")), "got nan"),
        (lambda: proxyless(strides=(1, 1)), "of 6 stages, got 2"),
        (lambda: fbnet(strides=(3, 1, 1, 1, 1, 1, 1, 1)), "a stride is 1 or 2, got 3"),
        (lambda: BlockSpace("x", "mobilenet", (8, 1), (), (), 8), "style 'mobilenet'"),  # pyright: ignore[reportArgumentType]
        (lambda: BlockSpace("x", "fbnet", (8, 1), (), (), 8), "no block to search"),
        (lambda: BlockSpace("x", "fbnet", (8, 1), (), (Block(8, 1, ()),), 8), "Block 0 needs a tuple of candidates"),
        (lambda: BlockSpace("x", "fbnet", (8, 1), (), (Block(8, 1, ("k3_e1",) * 2),), 8), "lists an operation twice"),
        (lambda: BlockSpace("x", "fbnet", (8, 1), (), (Block(8, 1, ("k3e1",)),), 8), "Did you mean k3_e1"),
        (lambda: BlockSpace("x", "fbnet", (8, 1), (), (Block(8, 1, ("none",)),), 8), "unknown operation 'none'"),
        (lambda: BlockSpace("x", "fbnet", (9, 1), (), (Block(8, 1, ("k3_e1_g2",)),), 8), "2 groups .* 9 channels"),
        (lambda: BlockSpace("x", "fbnet", (8, 1), (), (Block(8, 1, ("k4_e1",)),), 8), "odd kernel"),
        (lambda: BlockSpace("x", "proxyless", (8, 1), (FIRST,), (Block(8, 2, ("none",)),), 8), "cannot be left out"),
        (lambda: BlockSpace("x", "proxyless", (0, 1), (FIRST,), (Block(8, 2, ("none",)),), 8), "stem: channels .* got 0"),
        (lambda: check_fits(PUBLISHED["FBNet_A"], fbnet()), "head=1504, those of space 'fbnet' have 1984"),
        (lambda: check_fits(PUBLISHED["proxyless_gpu"], proxyless()), "stem=\\(40, 2\\)"),
        (lambda: check_fits(PUBLISHED["FBNet_B"], proxyless()), "Block 0 has 'k3_e6', not a candidate"),
        (lambda: check_fits(block_genotype(SMALL, ["3x3_MBConv3", "none"]), fbnet()), "3 blocks, .* have 22"),
        (lambda: check_fits(PUBLISHED["FBNet_B"], darts()), "'blocks' does not fit space 'darts'"),
        (lambda: check_fits(PUBLISHED["DARTS_V2"], SMALL), "'darts' does not fit space 'small'"),
        (lambda: BlockGenotype("fbnet", (8, 1), (), 8), "at least one"),
        (lambda: BlockGenotype("fbnet", (8, 1), (("k3_e1", 8),), 8), "operation, channels, stride"),  # pyright: ignore[reportArgumentType]
        (lambda: BlockGenotype("fbnet", (8, 1), (("k3_e1", 8, True),), 8), "stride .* got True"),
        (lambda: BlockGenotype("proxyless", (8, 1), (("none", 16, 1),), 8), "cannot be left out"),
        (lambda: from_text("Blocks(style='fbnet')"), "lacks the fields stem, blocks, head"),
        (lambda: from_text("Blocks(1, 2)"), r"written Blocks\(style=\.\.\., stem"),
    ],
)
def test_what_is_no_space_or_genotype_is_refused(build: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        build()

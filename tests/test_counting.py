"""Counters of multiply-adds against hand-written closed forms."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import pytest
from flax import nnx

from jaxnas.counting import by_layer, count_function, multiply_adds
from jaxnas.errors import UserError
from jaxnas.nets import Shape, derived, supernet
from jaxnas.nets.ends import Linear
from jaxnas.nets.operations import Pass, Style, build_operation
from jaxnas.spaces import DartsGenotype, darts_family, from_text, nb201_family

AFFINE = Style(affine=True)
C, FULL, HALF = 6, 8 * 8, 4 * 4  # channels; pixels of an image and of one halved


def counts_of(module: nnx.Module) -> dict[str, int]:
    """What a module's layers count on rows of one 8x8 image."""
    graph, state = nnx.split(module)

    def call(state: Any, x: jax.Array, key: jax.Array) -> jax.Array:
        return nnx.merge(graph, state)(x, Pass(batch=1, training=False, key=key))

    return dict(count_function(call, state, jnp.zeros((8, C, 8)), jax.random.key(0)))


SEPARABLE = (9 + C) * C  # a 3x3 depthwise and a pointwise kernel, per pixel
LAYERS = [
    ("none", 2, AFFINE, {}),
    ("noise", 1, AFFINE, {}),
    ("skip_connect", 1, AFFINE, {}),
    ("skip_connect", 2, AFFINE, {"relu": C * FULL, "convolution": C * C * HALF, "batch_norm": 2 * C * HALF}),
    ("max_pool_3x3", 1, AFFINE, {"pooling": 9 * C * FULL}),
    ("max_pool_3x3", 2, AFFINE, {"pooling": 9 * C * HALF}),
    ("avg_pool_3x3", 1, AFFINE, {"pooling": 9 * C * FULL}),
    ("avg_pool_3x3", 2, Style(affine=False, pool_norm=True), {"pooling": 9 * C * HALF, "batch_norm": 2 * C * HALF}),
    (
        "sep_conv_3x3",
        2,
        AFFINE,
        {"relu": C * (FULL + HALF), "convolution": 2 * SEPARABLE * HALF, "batch_norm": 4 * C * HALF},
    ),
    ("dil_conv_5x5", 1, AFFINE, {"relu": C * FULL, "convolution": (25 + C) * C * FULL, "batch_norm": 2 * C * FULL}),
    # 1x7 with stride (1, 2), then 7x1 with stride (2, 1).
    (
        "conv_7x1_1x7",
        2,
        AFFINE,
        {"relu": C * FULL, "convolution": 7 * C * C * (FULL // 2 + HALF), "batch_norm": 2 * C * HALF},
    ),
    # The bias is not counted.
    (
        "nor_conv_3x3",
        1,
        Style(affine=False, conv_bias=True),
        {"relu": C * FULL, "convolution": 9 * C * C * FULL, "batch_norm": 2 * C * FULL},
    ),
]


@pytest.mark.parametrize(("name", "stride", "style", "expected"), LAYERS)
def test_a_layer_counts_its_closed_form(name: str, stride: int, style: Style, expected: dict[str, int]) -> None:
    assert counts_of(build_operation(name, C, stride, style)) == expected


def test_the_classifier_counts_its_weights_and_the_pooling_before_it() -> None:
    assert counts_of(Linear(C, 10)) == {"linear": 10 * C, "pooling": 9 * 9 * C}


@pytest.mark.parametrize(
    ("classes", "image_size", "base", "share"),
    [(10, 32, (7_783_040, 7_943_872), 1), (100, 32, (7_788_800, 7_949_632), 1), (120, 16, (1_953_280, 1_993_792), 4)],
)
def test_nb201_networks_follow_the_closed_forms(classes: int, image_size: int, base: tuple[int, int], share: int) -> None:
    cells = "|nor_conv_3x3~0|+|avg_pool_3x3~0|nor_conv_1x1~1|+|skip_connect~0|nor_conv_3x3~1|none~2|"
    net = derived(from_text(cells), Shape(16, 5, classes, image_size))
    assert multiply_adds(net, image_size) == base[0] + (2 * 35_389_440 + 3_932_160) // share
    in_benchmark = 2 * 35_819_520 + 4_362_240 + 1_290_240
    assert multiply_adds(net, image_size, "nasbench201") == base[1] + in_benchmark // share


def test_a_darts_supernet_counts_every_candidate_of_every_edge_once() -> None:
    # Edges of different candidates, whose program has all of them on each.
    edges = (("sep_conv_3x3", "max_pool_3x3"), ("skip_connect", "sep_conv_3x3"), ("none", "skip_connect"))
    edges += (("avg_pool_3x3",), ("dil_conv_3x3", "none", "skip_connect"))
    space = darts_family("mixed", edges, nodes=2)
    counts = by_layer(supernet(space, Shape(4, 3, 10, 8)), 8, space)

    def separable(c: int, pixels: int) -> int:
        return (9 + c) * c * pixels

    convolution = 3 * 9 * 12 * 64  # the stem
    for c, c0, c1, before, pixels, reduction in [(4, 12, 12, 64, 64, 0), (8, 12, 8, 64, 16, 1), (16, 8, 16, 16, 4, 1)]:
        # Edges from the inputs are 0, 1 and 2, 3; in a reduction cell a skip on them is a convolution.
        convolution += (c0 + c1) * c * before + 4 * separable(c, pixels) + separable(c, pixels)
        convolution += 2 * c * c * pixels if reduction else 0
    assert counts["convolution"] == convolution
    assert counts["linear"] == 32 * 10
    assert counts["pooling"] == 2 * 9 * (4 * 64 + 8 * 16 + 16 * 4) + 3 * 3 * 32


def test_an_nb201_supernet_is_the_sum_of_its_cells() -> None:
    space = nb201_family("uneven", (("nor_conv_3x3", "skip_connect"), ("none",), ("nor_conv_1x1", "nor_conv_3x3")), nodes=2)
    count = multiply_adds(supernet(space, Shape(4, 1, 10, 8)), 8, space=space)
    candidates = sum((2 * 9 + 1) * c * c * pixels for c, pixels in [(4, 64), (8, 16), (16, 4)])
    # From the first stage to the second, and from that to the third: two 3x3 convolutions and a 1x1.
    between = 16 * (9 * 4 * 8 + 9 * 8 * 8 + 4 * 8) + 4 * (9 * 8 * 16 + 9 * 16 * 16 + 8 * 16)
    assert count == 3 * 9 * 4 * 64 + candidates + between + 16 * 10


def test_the_auxiliary_head_does_not_count() -> None:
    cell = (("sep_conv_3x3", 0), ("skip_connect", 1))
    genotype, shape = DartsGenotype(cell, (2,), cell, (2,)), Shape(4, 3, 10)
    assert by_layer(derived(genotype, shape, auxiliary=True), 32) == by_layer(derived(genotype, shape), 32)


def test_what_only_the_values_decide_is_refused() -> None:
    def branch(x: jax.Array) -> jax.Array:
        return jax.lax.cond(x.sum() > 0, jnp.sin, jnp.cos, x)

    with pytest.raises(ValueError, match="depends on its inputs"):
        count_function(branch, jnp.zeros(3))


def test_an_unknown_counter_is_named() -> None:
    net = derived(from_text("|none~0|"), Shape(4, 1, 10, 8))
    with pytest.raises(UserError, match=r"'nasbench101'.* Did you mean nasbench201\?"):
        multiply_adds(net, 8, "nasbench101")

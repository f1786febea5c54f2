"""The layers of a space against the networks that are built: parameters and multiply-adds, layer by layer in closed form."""

from __future__ import annotations

import numpy as np
import pytest

from jaxnas.counting import multiply_adds
from jaxnas.derive import one_hot_mixture
from jaxnas.errors import UserError
from jaxnas.latency import Layer, Layers, layers
from jaxnas.nets import ChainShape, Shape, derived
from jaxnas.spaces import (
    FBNET_SMALL_STRIDES,
    Block,
    BlockSpace,
    Genotype,
    Space,
    darts,
    fbnet,
    gdas,
    mbconv,
    nb201,
    proxyless,
    random_genotype,
)


def parameters_and_multiply_adds(layer: Layer) -> tuple[int, int]:
    """By hand, of convolutions, batch norms with scale and shift, and linear layers."""
    c, out, name = layer.c_in, layer.c_out, layer.operation
    before, after = layer.height * layer.width, layer.output[0] * layer.output[1]
    block = mbconv(name)
    if block is not None:
        middle, g = c * block.expansion, block.groups
        expands = layer.style == "fbnet" or block.expansion > 1
        first, last, depth = c * middle // g * expands, middle * out // g, block.kernel**2 * middle
        norms = 2 * (middle * (1 + expands) + out)
        return first + last + depth + norms, first * before + (last + depth) * after
    kind, _, kernel = name.partition("_conv_")
    if kind in ("sep", "dil"):
        k, twice = int(kernel[0]) ** 2, 1 + (kind == "sep")
        return twice * (k * c + c * c + 2 * c), twice * (k * c + c * c) * after
    if kind == "nor":
        k = int(kernel[0]) ** 2
        return k * c * out + 2 * out, k * c * out * after
    if name == "classifier":
        return (c + 1) * out, c * out
    if name in ("stem", "stem1"):
        return 9 * c * out + 2 * out, 9 * c * out * after
    if name == "stem0":
        half = out // 2
        return 27 * half + 2 * half + 9 * half * out + 2 * out, 27 * half * 4 * after + 9 * half * out * after
    if name in ("preprocess", "head") or (name == "skip_connect" and (layer.stride > 1 or c != out)):
        return c * out + 2 * out, c * out * after
    if name == "residual_reduction":
        return 9 * c * out + 9 * out * out + c * out + 4 * out, (9 * c * out + 9 * out * out + c * out) * after
    if name == "norm_relu":
        return 2 * out, 0
    assert name in ("skip_connect", "avg_pool_3x3", "max_pool_3x3"), name
    return 0, 0


def of_genotype(found: Layers, space: Space, genotype: Genotype) -> list[Layer]:
    """The layers of one network."""
    chosen = list(found.fixed)
    for kind, mixture in one_hot_mixture(space, genotype).items():
        for edge, column in np.argwhere(mixture):
            candidate = found.candidates[kind][edge][column]
            assert candidate is not None
            chosen += candidate
    return chosen


CASES: dict[str, tuple[Space, Shape | ChainShape]] = {
    "nb201": (nb201(), Shape(4, 2, 10, 16)),
    "darts": (darts(), Shape(4, 5, 10, 16)),
    "gdas": (gdas(), Shape(4, 3, 100, 8)),
    "darts for ImageNet": (darts(), Shape(4, 3, 1000, 64, template="imagenet")),
    "proxyless": (proxyless(), ChainShape(1000, 224)),
    "fbnet": (fbnet(strides=FBNET_SMALL_STRIDES), ChainShape(100, 33)),
}


@pytest.mark.parametrize("case", CASES)
def test_layers_add_up_to_the_network(case: str) -> None:
    space, shape = CASES[case]
    found, rng = layers(space, shape), np.random.default_rng(1)
    for _ in range(2):
        genotype = random_genotype(space, rng)
        parts = [parameters_and_multiply_adds(layer) for layer in of_genotype(found, space, genotype)]
        network = derived(genotype, shape)
        assert sum(part[0] for part in parts) == network.parameters
        assert sum(part[1] for part in parts) == multiply_adds(network, shape.image_size)


@pytest.mark.parametrize("case", CASES)
def test_candidates_stand_where_the_alphas_do(case: str) -> None:
    space, shape = CASES[case]
    for kind, edges in layers(space, shape).candidates.items():
        cell = space.cell(kind)
        assert [[candidate is not None for candidate in edge] for edge in edges] == [list(row) for row in cell.present]
        for names, edge in zip(cell.operations, edges, strict=True):
            for name, candidate in zip(names, edge, strict=False):
                assert candidate is not None and {layer.operation for layer in candidate} <= {name}


def test_what_is_free() -> None:
    def costless(space: Space, shape: Shape | ChainShape) -> set[str]:
        found = layers(space, shape).candidates
        rows = ((cell.operations[i], edge) for kind, cell in space.cells for i, edge in enumerate(found[kind]))
        return {name for names, edge in rows for name, layers_ in zip(names, edge, strict=False) if layers_ == ()}

    assert costless(nb201(), CASES["nb201"][1]) == {"none"}
    assert costless(darts(), CASES["darts"][1]) == {"none"}
    assert costless(proxyless(), ChainShape(10)) == {"none"}
    assert costless(fbnet(), ChainShape(10)) == {"skip_connect"}
    shape_changing = layers(fbnet(), ChainShape(10)).candidates["blocks"][1][8]
    assert shape_changing and shape_changing[0].key == "fbnet:skip_connect-input:112x112x16-output:56x56x24-stride:2"


def test_a_fixed_block_that_is_left_out_has_no_layer() -> None:
    space = BlockSpace("two", "fbnet", (8, 2), (("skip_connect", 8, 1),), (Block(16, 2, ("k3_e1", "k5_e1")),), 32)
    assert [layer.operation for layer in layers(space, ChainShape(10, 32)).fixed] == ["stem", "head", "classifier"]


def test_keys_are_of_distinct_layers() -> None:
    for space, shape in CASES.values():
        distinct = layers(space, shape).distinct
        assert len({layer.key for layer in distinct}) == len(set(distinct)) == len(distinct)
    assert len(layers(nb201(), CASES["nb201"][1]).distinct) == 5 + 3 * 4  # Stem, two reductions, norm, classifier.


WRONG: list[tuple[Space, Shape | ChainShape, str]] = [
    (nb201(), ChainShape(10), "Networks of cells have a Shape"),
    (fbnet(), Shape(16, 5, 10), "Chains of blocks have a ChainShape"),
    (darts(), Shape(16, 2, 10), "at least 3 cells, got 2"),
    (nb201(), Shape(16, 5, 10, 32, template="imagenet"), "built in the template cifar"),
]


@pytest.mark.parametrize("wrong", WRONG, ids=lambda wrong: wrong[2])
def test_shapes_that_a_space_cannot_have(wrong: tuple[Space, Shape | ChainShape, str]) -> None:
    with pytest.raises(UserError, match=wrong[2].replace("(", r"\(")):
        layers(wrong[0], wrong[1])

"""Layers taken one by one against the derived networks that they are of."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnas.errors import UserError
from jaxnas.nets import ChainShape, Shape, deployed_layer, derived
from jaxnas.nets.rows import to_rows
from jaxnas.spaces import BlockGenotype, Genotype, Nb201Genotype

BATCH, SIZE = 2, 8


def compared(
    genotype: Genotype, shape: Shape | ChainShape, layers: list[tuple[tuple[str | int, ...], str, str, int, int, int]]
) -> None:
    """The layers, each with the variables at its path in the network, one after the other, and the network's own logits."""
    network = derived(genotype, shape)
    weights, statistics = network.init(jax.random.key(0))
    images = jax.random.normal(jax.random.key(1), (BATCH, SIZE, SIZE, 3))
    (wanted, _), _ = network.forward(weights, None, images, jax.random.key(2), {}, statistics)

    def at(tree: Any, path: tuple[str | int, ...]) -> Any:
        for name in path:
            tree = tree.get(name, {})  # What has no variables is left out.
        return {"layers": tree} if path == ("lastact",) else tree

    x = to_rows(images)
    for path, style, operation, c_in, c_out, stride in layers:
        _, apply = deployed_layer(style, operation, c_in, c_out, stride)
        x = apply(at(weights, path), at(statistics, path), x, BATCH)
    np.testing.assert_allclose(x, wanted, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("style", "operations"), [("proxyless", ("3x3_MBConv1", "5x5_MBConv3")), ("fbnet", ("k3_e1", "k5_e3"))]
)
def test_layers_of_a_chain(style: Any, operations: tuple[str, str]) -> None:
    first, second = operations
    genotype = BlockGenotype(style, (4, 1), ((first, 4, 1), (second, 8, 2), (second, 8, 1)), 16)
    layers = [
        (("first_conv",), style, "stem", 3, 4, 1),
        (("blocks", 0), style, first, 4, 4, 1),
        (("blocks", 1), style, second, 4, 8, 2),
        (("blocks", 2), style, second, 8, 8, 1),
        (("feature_mix_layer",), style, "head", 8, 16, 1),
        (("classifier",), style, "classifier", 16, 10, 1),
    ]
    compared(genotype, ChainShape(classes=10, image_size=SIZE), layers)


def test_layers_of_nas_bench_201() -> None:
    genotype = Nb201Genotype(
        ((("nor_conv_3x3", 0),), (("none", 0), ("nor_conv_1x1", 1)), (("none", 0), ("none", 1), ("avg_pool_3x3", 2)))
    )
    layers: list[Any] = [(("stem",), "cells", "stem", 3, 4, 1)]
    for stage, channels in enumerate((4, 8, 16)):
        if stage:
            layers.append((("cells", 2 * stage - 1), "cells", "residual_reduction", channels // 2, channels, 2))
        for edge, name in ((0, "nor_conv_3x3"), (2, "nor_conv_1x1"), (5, "avg_pool_3x3")):
            layers.append((("cells", 2 * stage, "layers", edge), "cells", name, channels, channels, 1))
    layers.append((("lastact",), "cells", "norm_relu", 16, 16, 1))
    layers.append((("classifier",), "cells", "classifier", 16, 10, 1))
    compared(genotype, Shape(channels=4, cells=1, classes=10, image_size=SIZE), layers)


@pytest.mark.parametrize(
    ("operation", "c_in", "c_out", "stride", "before", "after"),
    [
        ("stem0", 3, 8, 4, (32, 32), (8, 8)),
        ("stem1", 8, 8, 2, (8, 8), (4, 4)),
        ("preprocess", 12, 4, 2, (8, 8), (4, 4)),
        ("preprocess", 12, 4, 1, (8, 8), (8, 8)),
        ("sep_conv_5x5", 4, 4, 2, (8, 8), (4, 4)),
    ],
)
def test_sizes_of_the_layers_of_darts(
    operation: str, c_in: int, c_out: int, stride: int, before: tuple[int, int], after: tuple[int, int]
) -> None:
    init, apply = deployed_layer("cells", operation, c_in, c_out, stride)
    weights, statistics = jax.eval_shape(init, jax.random.key(0))
    x = jax.ShapeDtypeStruct((before[0], c_in, before[1] * BATCH), jnp.float32)
    assert jax.eval_shape(lambda *args: apply(*args, BATCH), weights, statistics, x).shape == (
        after[0],
        c_out,
        after[1] * BATCH,
    )


@pytest.mark.parametrize(
    ("style", "operation", "message"),
    [
        ("cells", "sep_conv3x3", "Unknown operation 'sep_conv3x3' of cells. Did you mean sep_conv_3x3"),
        ("fbnets", "k3_e1", "Unknown style 'fbnets' of layers. Did you mean fbnet"),
    ],
)
def test_unknown_layers_are_refused(style: str, operation: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        deployed_layer(style, operation, 4, 4, 1)

"""Counts of layers against those of whole networks."""

from __future__ import annotations

import numpy as np
import pytest

from jaxnas import counting
from jaxnas.latency import counted
from jaxnas.latency.constrained import total
from jaxnas.nets import ChainShape, Shape, derived
from jaxnas.spaces import FBNET_SMALL_STRIDES, PROXYLESS_SMALL_STRIDES, Space, darts, fbnet, nb201, proxyless, random_genotype

SPACES = [
    (nb201(), Shape(4, 2, 10, 8)),
    (darts(), Shape(4, 4, 10, 16)),
    (darts(), Shape(4, 4, 10, 64, template="imagenet")),
    (proxyless(0.25, PROXYLESS_SMALL_STRIDES), ChainShape(10, 16)),
    (fbnet(0.25, FBNET_SMALL_STRIDES), ChainShape(10, 16)),
]


@pytest.mark.parametrize(("space", "shape"), SPACES, ids=["nb201", "darts", "imagenet", "proxyless", "fbnet"])
def test_sums_of_layers_are_the_counts_of_whole_networks(space: Space, shape: Shape | ChainShape) -> None:
    parameters, multiply_adds = counted.parameters(space, shape), counted.multiply_adds(space, shape)
    rng = np.random.Generator(np.random.PCG64(0))
    for _ in range(2):
        genotype = random_genotype(space, rng)
        network = derived(genotype, shape)
        assert total(space, parameters, genotype) == network.parameters
        assert total(space, multiply_adds, genotype) == counting.multiply_adds(network, shape.image_size)

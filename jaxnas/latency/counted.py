"""Parameters and multiply-adds of candidates, counted: they can stand in for a latency where there is no table."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable

import jax
import numpy as np

from jaxnas.counting import COUNTERS, count_function
from jaxnas.latency.layers import Layer, layers
from jaxnas.latency.terms import Cost
from jaxnas.nets import ChainShape, Shape, deployed_layer
from jaxnas.spaces import Space


def parameters(space: Space, shape: Shape | ChainShape) -> Cost:
    """Weights of the derived networks of a space; a dead edge has its weights all the same.

    >>> from jaxnas.spaces import nb201_family
    >>> space = nb201_family("one edge", ("skip_connect", "nor_conv_1x1"), nodes=1)
    >>> parameters(space, Shape(channels=16, cells=1, classes=10)).candidates["cell"]  # In three stages.
    array([[   0., 5600.]])
    """
    return _counted("parameters", "weights", _parameters, space, shape)


def multiply_adds(space: Space, shape: Shape | ChainShape) -> Cost:
    """Multiply-adds for one image as :func:`jaxnas.counting.multiply_adds` counts them, those of dead edges included."""
    return _counted("multiply_adds", "multiply-adds", _multiply_adds, space, shape)


def _counted(name: str, unit: str, count: Callable[[Layer], float], space: Space, shape: Shape | ChainShape) -> Cost:
    needed = layers(space, shape)
    by_kind = {
        kind: np.array([[sum(map(count, candidate or ())) for candidate in edge] for edge in edges], np.float64)
        for kind, edges in needed.candidates.items()
    }
    return Cost(name, unit, by_kind, float(sum(map(count, needed.fixed))))


@functools.cache
def _parameters(layer: Layer) -> int:
    weights, _ = jax.eval_shape(_built(layer)[0], jax.random.key(0))
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(weights))


@functools.cache
def _multiply_adds(layer: Layer) -> int:
    init, apply = _built(layer)
    weights, statistics = jax.eval_shape(init, jax.random.key(0))
    x = jax.ShapeDtypeStruct((layer.height, layer.c_in, layer.width), np.float32)
    counts = count_function(functools.partial(apply, batch=1), weights, statistics, x)
    return sum(counts[kind] for kind in COUNTERS["conv_linear"])


def _built(layer: Layer) -> tuple[Callable, Callable]:
    return deployed_layer(layer.style, layer.operation, layer.c_in, layer.c_out, layer.stride)

"""Single layers of derived networks, as pure functions: what is measured one by one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
from jax import Array

from jaxnas.errors import UserError, did_you_mean
from jaxnas.nets.derived import STYLE
from jaxnas.nets.ends import Linear, cifar_stem, imagenet_stems
from jaxnas.nets.mobile import STYLES, DiscreteBlock, DropoutLinear, conv_norm
from jaxnas.nets.network import Statistics, Weights, pure
from jaxnas.nets.operations import BUILDERS, BatchNorm, Layers, Pass, Relu, build_operation
from jaxnas.nets.supernet import ResidualReduction, preprocess

CELL_PARTS: dict[str, Callable[[int, int, int], Any]] = {
    "stem": lambda c_in, c_out, stride: cifar_stem(c_out),
    "stem0": lambda c_in, c_out, stride: imagenet_stems(c_out)[0],
    "stem1": lambda c_in, c_out, stride: imagenet_stems(c_out)[1],
    "preprocess": lambda c_in, c_out, stride: preprocess(c_in, c_out, stride == 2, STYLE),
    "residual_reduction": lambda c_in, c_out, stride: ResidualReduction(c_in, c_out),
    "norm_relu": lambda c_in, c_out, stride: Layers(BatchNorm(c_out, affine=True), Relu()),
    "classifier": lambda c_in, c_out, stride: Linear(c_in, c_out),
}
"""What derived networks of cells have beside the candidates, by the names of :class:`jaxnas.latency.Layer`."""


def deployed_layer(
    style: str, operation: str, c_in: int, c_out: int, stride: int
) -> tuple[Callable[[Array], tuple[Weights, Statistics]], Callable[..., Array]]:
    """A layer of a derived network in evaluation mode.

    Args:
      style: ``cells`` or a style of blocks; with the other arguments as of a :class:`jaxnas.latency.Layer`.

    Returns:
      ``init(key) -> (weights, statistics)`` and ``apply(weights, statistics, x, batch) -> y``, from rows ``[H, C, W * N]`` to
      rows; a classifier gives ``[N, labels]``.

    Raises:
      UserError: an unknown style or operation.

    >>> init, apply = deployed_layer("cells", "nor_conv_3x3", 4, 4, 1)
    >>> apply(*init(jax.random.key(0)), jax.numpy.zeros((8, 4, 8 * 2)), batch=2).shape
    (8, 4, 16)
    """
    module = pure(lambda: _module(style, operation, c_in, c_out, stride))

    def apply(weights: Weights, statistics: Statistics, x: Array, batch: int) -> Array:
        return module.apply(weights, statistics, Pass(batch, False, jax.random.key(0)), x)[0]

    return module.init, apply


def _module(style: str, operation: str, c_in: int, c_out: int, stride: int) -> Any:
    if style == "cells":
        if operation in CELL_PARTS:
            return CELL_PARTS[operation](c_in, c_out, stride)
        if operation not in BUILDERS:
            raise UserError(f"Unknown operation {operation!r} of cells. {did_you_mean(operation, [*CELL_PARTS, *BUILDERS])}")
        return build_operation(operation, c_in, stride, STYLE)
    if style not in STYLES:
        raise UserError(f"Unknown style {style!r} of layers. {did_you_mean(style, ['cells', *STYLES])}")
    mobile = STYLES[style]
    if operation == "classifier":
        return DropoutLinear(c_in, c_out)
    if operation in ("stem", "head"):
        return conv_norm(c_in, c_out, 3 if operation == "stem" else 1, mobile, stride)
    return DiscreteBlock(operation, c_in, c_out, stride, mobile)

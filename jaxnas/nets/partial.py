"""Partial channels (PC-DARTS): candidates see a share of the channels, the others pass by."""

from __future__ import annotations

import functools
from typing import Any

import jax.numpy as jnp
from flax import nnx
from jax import Array

from jaxnas.nets.operations import Pass
from jaxnas.nets.rows import windows

BYPASS = "bypass"
"""What a mixed edge with partial channels has before its candidates: the channels that pass by."""


class PartialOperation(nnx.Module):
    """An operation on the first ``1 / share`` of the channels.

    Its channels are every ``share``-th of the result, where the reference's channel shuffle puts them
    (yuhuixu1993/PC-DARTS, model_search.py, ``channel_shuffle``); the others are 0.
    """

    def __init__(self, operation: Any, share: int) -> None:
        self.operation, self.share = operation, share

    def __call__(self, x: Array, context: Pass) -> Array:
        y = self.operation(x[:, : x.shape[1] // self.share], context)
        h, c, wn = y.shape
        return jnp.pad(y[:, :, None], ((0, 0), (0, 0), (0, self.share - 1), (0, 0))).reshape(h, c * self.share, wn)


class Bypass(nnx.Module):
    """The other channels, unchanged or halved by a 2x2 max pool, in their places; the candidates' are 0."""

    def __init__(self, share: int, stride: int) -> None:
        self.share, self.stride = share, stride

    def __call__(self, x: Array, context: Pass) -> Array:
        c = x.shape[1] // self.share
        rest = x[:, c:]
        if self.stride == 2:
            # Of equal values the first, as the reference's max pool: it alone has a gradient.
            rest = functools.reduce(lambda a, b: jnp.where(b > a, b, a), windows(rest, (2, 2), context.batch, stride=(2, 2)))
        h, _, wn = rest.shape
        apart = rest.reshape(h, self.share - 1, c, wn).swapaxes(1, 2)
        return jnp.pad(apart, ((0, 0), (0, 0), (1, 0), (0, 0))).reshape(h, c * self.share, wn)

"""Networks of block spaces: the supernet with a mixture in every searched block, and the network of a genotype."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax.numpy as jnp
from flax import nnx
from jax import Array

from jaxnas.errors import UserError
from jaxnas.nets.mixed import MixedEdge, MixedEdges
from jaxnas.nets.mobile import (
    STYLES,
    DiscreteBlock,
    DropoutLinear,
    MobileStyle,
    adds_input,
    build_candidate,
    conv_norm,
    same_shape,
)
from jaxnas.nets.network import Dtype, Network, network
from jaxnas.nets.operations import Pass
from jaxnas.nets.repeated import equal_runs
from jaxnas.spaces import BlockGenotype, BlockSpace


@dataclasses.dataclass(frozen=True)
class ChainShape:
    """What a block space or genotype leaves open.

    Attributes:
      classes: number of labels.
      image_size: height and width of the images, in pixels; odd maps are halved upwards.

    Raises:
      UserError: fewer than 2 classes or 4 pixels.
    """

    classes: int
    image_size: int = 224

    def __post_init__(self) -> None:
        for name, least in (("classes", 2), ("image_size", 4)):
            if getattr(self, name) < least:
                raise UserError(f"{name} must be at least {least}, got {getattr(self, name)}.")


class MixedBlocks(nnx.Module):
    """Searched blocks of one shape, one after the other through one body."""

    def __init__(
        self, rows: range, operations: tuple[str, ...], c_in: int, c_out: int, stride: int, style: MobileStyle
    ) -> None:
        self.c_out, self.stride, self.count = c_out, stride, len(rows)
        self.chained = same_shape(c_in, c_out, stride)
        edges = tuple(MixedEdge(i, i + 1 if self.chained else 0, row, operations) for i, row in enumerate(rows))
        self.edges = MixedEdges(
            edges,
            lambda name: build_candidate(name, c_in, c_out, stride, style),
            self.chained,
            adds_input(c_in, c_out, stride, style),
        )

    def __call__(self, x: Array, mixture: Any, context: Pass) -> Array:
        h, c, wn = x.shape
        if self.chained:
            states = jnp.concatenate([x[None], jnp.zeros((self.count, h, c, wn), x.dtype)])
            return self.edges(states[:1], states, mixture, context)[-1]
        height, width = -(-h // self.stride), -(-wn // context.batch // self.stride)
        nodes = jnp.zeros((1, height, self.c_out, width * context.batch), x.dtype)
        return self.edges(x[None], nodes, mixture, context)[0]


def equal_blocks(space: BlockSpace) -> list[range]:
    """Rows of searched blocks that follow each other and can share one body.

    >>> from jaxnas.spaces import fbnet
    >>> equal_blocks(fbnet())[:4]
    [range(0, 1), range(1, 2), range(2, 5), range(5, 6)]
    """
    # A block that changes its image's shape shares with none.
    return equal_runs(
        [
            (c_in, block, None if same_shape(c_in, block.channels, block.stride) else row)
            for row, (c_in, block) in enumerate(zip(space.inputs, space.blocks, strict=True))
        ]
    )


class ChainSupernet(nnx.Module):
    """First convolution, fixed blocks, mixed blocks, last convolution, classifier (SuperProxylessNASNets)."""

    def __init__(self, space: BlockSpace, shape: ChainShape) -> None:
        style, (stem, stride) = STYLES[space.style], space.stem
        self.first_conv = conv_norm(3, stem, 3, style, stride)
        self.fixed = _discrete_blocks(space.fixed, stem, style)
        self.stages = nnx.List(
            [
                MixedBlocks(rows, block.operations, space.inputs[rows.start], block.channels, block.stride, style)
                for rows in equal_blocks(space)
                for block in (space.blocks[rows.start],)
            ]
        )
        self.feature_mix_layer = conv_norm(space.blocks[-1].channels, space.head, 1, style)
        self.classifier = DropoutLinear(space.head, shape.classes)

    def __call__(self, mixture: dict[str, Any], x: Array, context: Pass) -> Array:
        x = self.first_conv(x, context)
        for block in self.fixed:
            x = block(x, context)
        for stage in self.stages:
            x = stage(x, mixture["blocks"], context)
        return self.classifier(self.feature_mix_layer(x, context), context)


class ChainNetwork(nnx.Module):
    """The network of a genotype (ProxylessNASNets)."""

    def __init__(self, genotype: BlockGenotype, shape: ChainShape) -> None:
        style, (stem, stride) = STYLES[genotype.style], genotype.stem
        self.first_conv = conv_norm(3, stem, 3, style, stride)
        self.blocks = _discrete_blocks(genotype.blocks, stem, style)
        self.feature_mix_layer = conv_norm(genotype.blocks[-1][1], genotype.head, 1, style)
        self.classifier = DropoutLinear(genotype.head, shape.classes)

    def __call__(self, mixture: None, x: Array, context: Pass) -> tuple[Array, None]:
        x = self.first_conv(x, context)
        for block in self.blocks:
            x = block(x, context)
        return self.classifier(self.feature_mix_layer(x, context), context), None


def _discrete_blocks(blocks: tuple[tuple[str, int, int], ...], c_in: int, style: MobileStyle) -> nnx.List:
    inputs = (c_in, *(channels for _, channels, _ in blocks[:-1]))
    return nnx.List(
        [
            DiscreteBlock(name, before, channels, stride, style)
            for before, (name, channels, stride) in zip(inputs, blocks, strict=False)
        ]
    )


def chain_supernet(space: BlockSpace, shape: Any, dtype: Dtype = "float32") -> Network:
    """The supernet of a block space, see :func:`jaxnas.nets.supernet`.

    >>> from jaxnas.spaces import fbnet
    >>> chain_supernet(fbnet(), ChainShape(classes=1000)).parameters
    13286008
    """
    checked = _checked(shape)
    return network(lambda: ChainSupernet(space, checked), dtype)


def chain_network(genotype: BlockGenotype, shape: Any) -> Network:
    """The network of a genotype, see :func:`jaxnas.nets.derived`.

    >>> from jaxnas.spaces import PUBLISHED
    >>> chain_network(PUBLISHED["proxyless_mobile"], ChainShape(classes=1000)).parameters
    4080512
    """
    checked = _checked(shape)
    return network(lambda: ChainNetwork(genotype, checked))


def _checked(shape: Any) -> ChainShape:
    if not isinstance(shape, ChainShape):
        raise UserError(
            f"Chains of blocks have a ChainShape(classes, image_size), as their genotype has the rest; got {shape}."
        )
    return shape

"""Where networks begin and end: stems, classifiers, auxiliary heads."""

from __future__ import annotations

import functools

import jax.numpy as jnp
from flax import nnx
from jax import Array

from jaxnas.nets.network import Template
from jaxnas.nets.operations import BatchNorm, Convolution, Layers, Pass, Relu, weight
from jaxnas.nets.rows import at_least_float32, windows


def cifar_stem(channels: int) -> Layers:
    """3x3 convolution and an affine batch norm, no ReLU: the stem of DARTS for CIFAR and of NAS-Bench-201."""
    return Layers(Convolution(3, channels, (3, 3)), BatchNorm(channels, affine=True))


def imagenet_stems(channels: int) -> tuple[Layers, Layers]:
    """DARTS's two stems for ImageNet: the first gives out a quarter of the image's size, the second half of that."""

    def halved(c_in: int, c_out: int) -> tuple[nnx.Module, nnx.Module]:
        return Convolution(c_in, c_out, (3, 3), stride=(2, 2)), BatchNorm(c_out, affine=True)

    first = Layers(*halved(3, channels // 2), Relu(), *halved(channels // 2, channels))
    return first, Layers(Relu(), *halved(channels, channels))


class Linear(nnx.Module):
    """Global average pooling of rows and a linear layer: ``[H, C, W * N]`` to logits ``[N, classes]``."""

    def __init__(self, channels: int, classes: int) -> None:
        self.weight = weight((classes, channels), channels)
        self.bias = weight((classes,), channels)

    def __call__(self, x: Array, context: Pass) -> Array:
        return (self.weight[...] @ self.pooled(x, context)).T + self.bias[...]

    def pooled(self, x: Array, context: Pass) -> Array:
        """The mean of each image's channels, ``[C, N]``."""
        h, c, _ = x.shape
        return x.astype(at_least_float32(x.dtype)).reshape(h, c, -1, context.batch).mean((0, 2))


def whole_windows(x: Array, batch: int, window: int) -> Array:
    """The upper left part of rows that pooling by unpadded windows reads; all of a map that is smaller than one window.

    >>> whole_windows(jnp.zeros((8, 2, 8 * 3)), batch=3, window=7).shape
    (7, 2, 21)
    """
    height, width = (size - size % window if size > window else size for size in (x.shape[0], x.shape[2] // batch))
    return x[:height, :, : width * batch]


class UnpaddedPool(nnx.Module):
    """Mean of 5x5 pixels."""

    def __init__(self, stride: int) -> None:
        self.stride = stride

    def __call__(self, x: Array, context: Pass) -> Array:
        views = windows(x, (5, 5), context.batch, stride=(self.stride, self.stride))
        return functools.reduce(jnp.add, views) / 25


AUXILIARY_STRIDE: dict[Template, int] = {"cifar": 3, "imagenet": 2}
"""Stride of the auxiliary head's pooling."""


def least_auxiliary_map(template: Template) -> int:
    """Pixels that a map must have for the auxiliary head: pooling 5x5 must leave 2x2 pixels for the 2x2 convolution."""
    return 5 + AUXILIARY_STRIDE[template]


class AuxiliaryHead(nnx.Module):
    """DARTS's auxiliary classifier (cnn/model.py, AuxiliaryHeadCIFAR and AuxiliaryHeadImageNet).

    The last map, one pixel there, is averaged: on larger images, which the reference's linear layer refuses, this head works.
    """

    def __init__(self, channels: int, classes: int, template: Template) -> None:
        # For ImageNet the reference leaves out the second batch norm, as the paper's experiments did by mistake.
        second_norm = [BatchNorm(768, affine=True)] if template == "cifar" else []
        self.features = nnx.List(
            [
                Relu(),
                UnpaddedPool(AUXILIARY_STRIDE[template]),
                Convolution(channels, 128, (1, 1)),
                BatchNorm(128, affine=True),
                Relu(),
                Convolution(128, 768, (2, 2), padding=(0, 0)),
                *second_norm,
                Relu(),
            ]
        )
        self.classifier = Linear(768, classes)

    def __call__(self, x: Array, context: Pass) -> Array:
        for layer in self.features:
            x = layer(x, context)
        return self.classifier(x, context)

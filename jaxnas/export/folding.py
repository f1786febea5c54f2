"""Batch norms of a plain Flax network folded into the convolutions before them: what is left is what is deployed."""

from __future__ import annotations

import itertools
from typing import Any

import jax
import numpy as np
from flax import nnx


class Passed(nnx.Module):
    """In the place of a batch norm that was folded."""

    def __call__(self, x: jax.Array) -> jax.Array:
        return x


class Affine(nnx.Module):
    """In the place of a batch norm that follows no convolution: ``x * scale + shift``."""

    def __init__(self, scale: np.ndarray, shift: np.ndarray) -> None:
        self.scale, self.shift = nnx.Param(jax.numpy.asarray(scale)), nnx.Param(jax.numpy.asarray(shift))

    def __call__(self, x: jax.Array) -> jax.Array:
        return x * self.scale[...] + self.shift[...]


def fold(network: Any) -> None:
    """Replaces every batch norm of a network in evaluation mode, in place.

    A batch norm behind a convolution, ``scale * (k * x) + shift``, is the convolution by ``scale * k`` with a bias. Computed in
    float64 and rounded once.

    >>> net = nnx.List([nnx.Conv(2, 2, (1, 1), use_bias=False, rngs=nnx.Rngs(0)), nnx.BatchNorm(2, rngs=nnx.Rngs(0))])
    >>> fold(nnx.List([net]))
    >>> [type(layer).__name__ for layer in net]
    ['Conv', 'Passed']
    """
    modules: list[Any] = [module for _, module in nnx.iter_modules(network)]
    for module in modules:
        if isinstance(module, nnx.List):
            for i, layer in enumerate(list(module)):
                before = module[i - 1] if i else None
                if isinstance(layer, nnx.BatchNorm):
                    scale, shift = _affine(layer)
                    if isinstance(before, nnx.Conv):
                        module[i - 1], module[i] = _with_bias(before, scale, shift), Passed()
                    else:
                        module[i] = Affine(scale, shift)
        elif hasattr(module, "bn"):
            names = ["conv"] if hasattr(module, "conv") else ["conv_1", "conv_2"]  # Concatenated, in this order.
            scale, shift = _affine(module.bn)
            ends = itertools.accumulate((getattr(module, name).out_features for name in names), initial=0)
            for name, (start, end) in zip(names, itertools.pairwise(ends), strict=True):
                setattr(module, name, _with_bias(getattr(module, name), scale[start:end], shift[start:end]))
            module.bn = Passed()


def _affine(norm: nnx.BatchNorm) -> tuple[np.ndarray, np.ndarray]:
    """A batch norm as ``x * scale + shift``, in float64."""
    assert norm.scale is not None and norm.bias is not None
    mean, var, weight, bias = (np.asarray(v[...], np.float64) for v in (norm.mean, norm.var, norm.scale, norm.bias))
    scale = weight / np.sqrt(var + norm.epsilon)
    return scale, bias - mean * scale


def _with_bias(conv: nnx.Conv, scale: np.ndarray, shift: np.ndarray) -> nnx.Conv:
    kernel = np.asarray(conv.kernel[...])
    folded = nnx.eval_shape(
        lambda: nnx.Conv(
            conv.in_features,
            conv.out_features,
            conv.kernel_size,
            conv.strides,
            padding=conv.padding,
            kernel_dilation=conv.kernel_dilation,
            feature_group_count=conv.feature_group_count,
            rngs=nnx.Rngs(0),
        )
    )
    assert folded.bias is not None
    folded.kernel.set_value(jax.numpy.asarray((kernel * scale).astype(kernel.dtype)))
    folded.bias.set_value(jax.numpy.asarray(shift.astype(kernel.dtype)))
    return folded

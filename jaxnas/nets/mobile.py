"""Operations of mobile networks as Flax modules: rows in and rows out.

Convolutions start as in both references, normal with a variance of 2 / (kernel area x channels out), whatever their groups
(ProxylessNAS, init_model, he_fout; FBNet's ConvBNRelu, kaiming_normal_ with fan_out).
"""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array

from jaxnas.nets import primitives
from jaxnas.nets.ends import Linear
from jaxnas.nets.operations import BatchNorm, Depthwise, Identity, Pass, Zero, constant
from jaxnas.spaces import NONE, BlockStyle, MBConv, mbconv


@dataclasses.dataclass(frozen=True)
class MobileStyle:
    """In what the references build blocks differently.

    Attributes:
      relu6: activations end at 6.
      epsilon: of batch norm.
      always_expand: there is a first 1x1 convolution even where the expansion is 1.
      inner_shortcut: a candidate adds its input itself; otherwise the block adds it to whatever its candidates give.
    """

    relu6: bool
    epsilon: float
    always_expand: bool
    inner_shortcut: bool


STYLES: dict[BlockStyle, MobileStyle] = {
    "proxyless": MobileStyle(relu6=True, epsilon=1e-3, always_expand=False, inner_shortcut=False),
    "fbnet": MobileStyle(relu6=False, epsilon=1e-5, always_expand=True, inner_shortcut=True),
}


def _he_weight(shape: tuple[int, ...], kernel: int, c_out: int) -> nnx.Param:
    return nnx.Param(jnp.zeros(shape), deviation=(2 / (kernel**2 * c_out)) ** 0.5)


class GroupedConvolution(nnx.Module):
    """A convolution without bias, dense in each of its groups of channels."""

    def __init__(self, c_in: int, c_out: int, kernel: int, stride: int, groups: int) -> None:
        self.stride, self.groups = stride, groups
        self.weight = _he_weight((c_out, c_in // groups, kernel, kernel), kernel, c_out)

    def __call__(self, x: Array, context: Pass) -> Array:
        pairs = zip(jnp.split(x, self.groups, 1), jnp.split(self.weight[...], self.groups), strict=True)
        parts = [primitives.convolution(part, kernel, context.batch, (self.stride, self.stride)) for part, kernel in pairs]
        return parts[0] if self.groups == 1 else jnp.concatenate(parts, axis=1)


class HeDepthwise(Depthwise):
    """A depthwise convolution with the start of mobile networks."""

    def __init__(self, channels: int, kernel: int, stride: int) -> None:
        super().__init__(channels, kernel, stride=stride, dilation=1)
        self.weight = _he_weight((channels, kernel, kernel), kernel, channels)


class NormalisedConvolution(nnx.Module):
    """Convolution, batch norm and, but for the last layer of a block, the style's activation."""

    def __init__(self, conv: nnx.Module, channels: int, style: MobileStyle, activate: bool = True) -> None:
        self.conv, self.bn = conv, BatchNorm(channels, affine=True, epsilon=style.epsilon)
        self.activate, self.relu6 = activate, style.relu6

    def __call__(self, x: Array, context: Pass) -> Array:
        y = self.bn(self.conv(x, context), context)
        if not self.activate:
            return y
        return jnp.minimum(jax.nn.relu(y), 6) if self.relu6 else jax.nn.relu(y)


def conv_norm(
    c_in: int, c_out: int, kernel: int, style: MobileStyle, stride: int = 1, groups: int = 1, activate: bool = True
) -> NormalisedConvolution:
    """A dense or grouped convolution with its batch norm and activation."""
    return NormalisedConvolution(GroupedConvolution(c_in, c_out, kernel, stride, groups), c_out, style, activate)


def shuffle(x: Array, groups: int) -> Array:
    """Channels taken in turn from each group.

    >>> shuffle(jnp.arange(6.0).reshape(1, 6, 1), 2).ravel().tolist()
    [0.0, 3.0, 1.0, 4.0, 2.0, 5.0]
    """
    h, c, wn = x.shape
    return x.reshape(h, groups, c // groups, wn).swapaxes(1, 2).reshape(x.shape)


class InvertedResidual(nnx.Module):
    """An inverted residual block; its parts are named as in ProxylessNAS (MBInvertedConvLayer)."""

    def __init__(self, operation: MBConv, c_in: int, c_out: int, stride: int, style: MobileStyle) -> None:
        middle, groups = c_in * operation.expansion, operation.groups
        expands = style.always_expand or operation.expansion > 1
        self.groups, self.shortcut = groups, style.inner_shortcut and same_shape(c_in, c_out, stride)
        self.inverted_bottleneck = conv_norm(c_in, middle, 1, style, groups=groups) if expands else None
        self.depth_conv = NormalisedConvolution(HeDepthwise(middle, operation.kernel, stride), middle, style)
        self.point_linear = conv_norm(middle, c_out, 1, style, groups=groups, activate=False)

    def __call__(self, x: Array, context: Pass) -> Array:
        y = x
        if self.inverted_bottleneck is not None:
            y = self.inverted_bottleneck(y, context)
            if self.groups > 1:
                y = shuffle(y, self.groups)
        y = self.point_linear(self.depth_conv(y, context), context)
        return x + y if self.shortcut else y


def build_candidate(name: str, c_in: int, c_out: int, stride: int, style: MobileStyle) -> Any:
    """The module of a block's candidate; calling it maps rows and a :class:`Pass` to rows."""
    operation = mbconv(name)
    if operation is not None:
        return InvertedResidual(operation, c_in, c_out, stride, style)
    if name == NONE:
        return Zero(1)
    return Identity() if same_shape(c_in, c_out, stride) else conv_norm(c_in, c_out, 1, style, stride)


def same_shape(c_in: int, c_out: int, stride: int) -> bool:
    """Whether a block gives out what it is given, in shape."""
    return stride == 1 and c_in == c_out


def adds_input(c_in: int, c_out: int, stride: int, style: MobileStyle) -> bool:
    """Whether a block adds its input to what its candidates give."""
    return not style.inner_shortcut and same_shape(c_in, c_out, stride)


class DiscreteBlock(nnx.Module):
    """A block that has one operation, with the input added where the style's blocks do so."""

    def __init__(self, name: str, c_in: int, c_out: int, stride: int, style: MobileStyle) -> None:
        self.mobile_inverted_conv = build_candidate(name, c_in, c_out, stride, style)
        self.shortcut = adds_input(c_in, c_out, stride, style)

    def __call__(self, x: Array, context: Pass) -> Array:
        y = self.mobile_inverted_conv(x, context)
        return x + y if self.shortcut else y


class DropoutLinear(Linear):
    """Pooling, dropout with probability ``scalars["dropout"]`` in training, and a linear layer whose bias starts at 0."""

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__(channels, classes)
        self.bias = constant(nnx.Param, (classes,), 0.0)

    def pooled(self, x: Array, context: Pass) -> Array:
        means_CxN = super().pooled(x, context)
        if not context.training or "dropout" not in context.scalars:
            return means_CxN
        keep = 1 - jnp.asarray(context.scalars["dropout"], x.dtype)
        kept_CxN = context.drawn(lambda count: jax.random.bernoulli(context.key, keep, (len(means_CxN), count)))
        return means_CxN * kept_CxN / keep

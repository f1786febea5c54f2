"""Derived networks in plain Flax: images ``[N, H, W, 3]`` through layers of ``nnx``, without a supernet's machinery.

Nothing of jaxnas is imported here, since an exported file is made of these definitions, of those that its network uses.
Attributes are named and numbered as in the PyTorch references, so that a ``state_dict`` loads by name.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx


class Layers(nnx.List):
    """Layers in order."""

    def __call__(self, x: jax.Array) -> jax.Array:
        for layer in self:
            x = layer(x)
        return x


class Operation(nnx.Module):
    """Layers in order, by the name ``op``."""

    def __init__(self, *layers: Any) -> None:
        self.op = Layers(layers)

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.op(x)


class Relu(nnx.Module):
    def __call__(self, x: jax.Array) -> jax.Array:
        return nnx.relu(x)


class Identity(nnx.Module):
    def __call__(self, x: jax.Array) -> jax.Array:
        return x


def pixels(x: jax.Array, first: int = 0, stride: int = 1) -> jax.Array:
    """Every stride-th pixel, from row and column ``first`` on."""
    return jax.lax.slice(x, (0, first, first, 0), x.shape, (1, stride, stride, 1))


class Zero(nnx.Module):
    def __init__(self, stride: int) -> None:
        self.stride = stride

    def __call__(self, x: jax.Array) -> jax.Array:
        return 0 * pixels(x, stride=self.stride)


BORDER: Any = ((1, 1), (1, 1))
"""The padding of 3x3 windows."""


class MaxPool(nnx.Module):
    def __init__(self, stride: int) -> None:
        self.stride = stride

    def __call__(self, x: jax.Array) -> jax.Array:
        return nnx.max_pool(x, (3, 3), (self.stride, self.stride), BORDER)


class MeanPool(nnx.Module):
    """3x3; what lies beyond the border is not counted."""

    def __init__(self, stride: int) -> None:
        self.stride = stride

    def __call__(self, x: jax.Array) -> jax.Array:
        return nnx.avg_pool(x, (3, 3), (self.stride, self.stride), BORDER, count_include_pad=False)


class MeanOf2x2(nnx.Module):
    def __call__(self, x: jax.Array) -> jax.Array:
        return nnx.avg_pool(x, (2, 2), (2, 2))


def convolution(
    c_in: int,
    c_out: int,
    kernel: tuple[int, int],
    rngs: nnx.Rngs,
    stride: tuple[int, int] = (1, 1),
    dilation: int = 1,
    groups: int = 1,
) -> nnx.Conv:
    """Padded by half the kernel, without bias."""
    reach = [dilation * (size // 2) for size in kernel]
    return nnx.Conv(
        c_in,
        c_out,
        kernel,
        stride,
        padding=[(pixels, pixels) for pixels in reach],
        kernel_dilation=dilation,
        feature_group_count=groups,
        use_bias=False,
        rngs=rngs,
    )


def batch_norm(channels: int, rngs: nnx.Rngs, epsilon: float = 1e-5) -> nnx.BatchNorm:
    """With PyTorch's momentum."""
    return nnx.BatchNorm(channels, momentum=0.9, epsilon=epsilon, rngs=rngs)


def relu_conv_norm(c_in: int, c_out: int, kernel: int, stride: int, rngs: nnx.Rngs) -> Operation:
    convolved = convolution(c_in, c_out, (kernel, kernel), rngs, (stride, stride))
    return Operation(Relu(), convolved, batch_norm(c_out, rngs))


class FactorizedReduce(nnx.Module):
    """Halves the image: two 1x1 convolutions of stride 2, the second one pixel further, concatenated, then batch norm."""

    def __init__(self, c_in: int, c_out: int, rngs: nnx.Rngs) -> None:
        self.conv_1 = convolution(c_in, c_out // 2, (1, 1), rngs, (2, 2))
        self.conv_2 = convolution(c_in, c_out - c_out // 2, (1, 1), rngs, (2, 2))
        self.bn = batch_norm(c_out, rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        x = nnx.relu(x)
        return self.bn(jnp.concatenate([self.conv_1(x), self.conv_2(pixels(x, first=1))], axis=-1))


def separable(channels: int, kernel: int, stride: int, dilation: int, rngs: nnx.Rngs) -> list[Any]:
    """ReLU, a depthwise and a pointwise convolution, batch norm."""
    depthwise = convolution(channels, channels, (kernel, kernel), rngs, (stride, stride), dilation, channels)
    return [Relu(), depthwise, convolution(channels, channels, (1, 1), rngs), batch_norm(channels, rngs)]


# The operations of cells, (channels, stride, rngs) -> layer.


def none(channels: int, stride: int, rngs: nnx.Rngs) -> Zero:
    return Zero(stride)


def skip_connect(channels: int, stride: int, rngs: nnx.Rngs) -> Identity | FactorizedReduce:
    return Identity() if stride == 1 else FactorizedReduce(channels, channels, rngs)


def max_pool_3x3(channels: int, stride: int, rngs: nnx.Rngs) -> MaxPool:
    return MaxPool(stride)


def avg_pool_3x3(channels: int, stride: int, rngs: nnx.Rngs) -> MeanPool:
    return MeanPool(stride)


def sep_conv_3x3(channels: int, stride: int, rngs: nnx.Rngs) -> Operation:
    return Operation(*separable(channels, 3, stride, 1, rngs), *separable(channels, 3, 1, 1, rngs))


def sep_conv_5x5(channels: int, stride: int, rngs: nnx.Rngs) -> Operation:
    return Operation(*separable(channels, 5, stride, 1, rngs), *separable(channels, 5, 1, 1, rngs))


def sep_conv_7x7(channels: int, stride: int, rngs: nnx.Rngs) -> Operation:
    return Operation(*separable(channels, 7, stride, 1, rngs), *separable(channels, 7, 1, 1, rngs))


def dil_conv_3x3(channels: int, stride: int, rngs: nnx.Rngs) -> Operation:
    return Operation(*separable(channels, 3, stride, 2, rngs))


def dil_conv_5x5(channels: int, stride: int, rngs: nnx.Rngs) -> Operation:
    return Operation(*separable(channels, 5, stride, 2, rngs))


def pair(channels: int, kernel: int, stride: int, rngs: nnx.Rngs) -> list[Any]:
    """ReLU, a kernel one pixel high, one that is one pixel wide, batch norm."""
    wide = convolution(channels, channels, (1, kernel), rngs, (1, stride))
    high = convolution(channels, channels, (kernel, 1), rngs, (stride, 1))
    return [Relu(), wide, high, batch_norm(channels, rngs)]


def conv_7x1_1x7(channels: int, stride: int, rngs: nnx.Rngs) -> Layers:
    return Layers(pair(channels, 7, stride, rngs))


def conv_3x1_1x3(channels: int, stride: int, rngs: nnx.Rngs) -> Operation:
    return Operation(*pair(channels, 3, stride, rngs))


def nor_conv_1x1(channels: int, stride: int, rngs: nnx.Rngs) -> Operation:
    return relu_conv_norm(channels, channels, 1, stride, rngs)


def nor_conv_3x3(channels: int, stride: int, rngs: nnx.Rngs) -> Operation:
    return relu_conv_norm(channels, channels, 3, stride, rngs)


Edges = tuple[tuple[Callable[..., Any], int], ...]
"""(operation, state that it is applied to) of each edge."""


class CellPlan(NamedTuple):
    """Two operations a node, node by node, and the states whose concatenation the cell gives out."""

    edges: Edges
    concat: tuple[int, ...]


class Cell(nnx.Module):
    """Two operations a node, which are summed, and the nodes concatenated; ``halve``: the first input is twice as large."""

    def __init__(self, plan: CellPlan, c_0: int, c_1: int, channels: int, reduction: bool, halve: bool, rngs: nnx.Rngs) -> None:
        self.sources, self.concat = tuple(source for _, source in plan.edges), plan.concat
        self.preprocess0 = FactorizedReduce(c_0, channels, rngs) if halve else relu_conv_norm(c_0, channels, 1, 1, rngs)
        self.preprocess1 = relu_conv_norm(c_1, channels, 1, 1, rngs)
        self._ops = nnx.List([build(channels, 2 if reduction and source < 2 else 1, rngs) for build, source in plan.edges])

    def __call__(self, s0: jax.Array, s1: jax.Array) -> jax.Array:
        states = [self.preprocess0(s0), self.preprocess1(s1)]
        for i in range(0, len(self.sources), 2):
            states.append(self._ops[i](states[self.sources[i]]) + self._ops[i + 1](states[self.sources[i + 1]]))
        return jnp.concatenate([states[i] for i in self.concat], axis=-1)


def cells_of(
    normal: CellPlan, reduction: CellPlan, channels: int, cells: int, stem: int, halve: bool, rngs: nnx.Rngs
) -> tuple[nnx.List, int]:
    """DARTS's cells, of which those at one and at two thirds are reduction cells, and the channels that the last gives out."""
    c_0 = c_1 = stem
    built = []
    for i in range(cells):
        reduces = i in (cells // 3, 2 * cells // 3)
        channels *= 2 if reduces else 1
        plan = reduction if reduces else normal
        built.append(Cell(plan, c_0, c_1, channels, reduces, halve, rngs))
        c_0, c_1, halve = c_1, len(plan.concat) * channels, reduces
    return nnx.List(built), c_1


class DartsCifar(nnx.Module):
    """DARTS's network for CIFAR: a stem at full size, cells, the mean of all pixels, a linear layer."""

    def __init__(self, normal: CellPlan, reduction: CellPlan, channels: int, cells: int, classes: int, rngs: nnx.Rngs) -> None:
        stem = 3 * channels
        self.stem = Layers([convolution(3, stem, (3, 3), rngs), batch_norm(stem, rngs)])
        self.cells, last = cells_of(normal, reduction, channels, cells, stem, False, rngs)
        self.classifier = nnx.Linear(last, classes, rngs=rngs)

    def __call__(self, images: jax.Array) -> jax.Array:
        s0 = s1 = self.stem(images)
        for cell in self.cells:
            s0, s1 = s1, cell(s0, s1)
        return self.classifier(s1.mean((1, 2)))


def halved(c_in: int, c_out: int, rngs: nnx.Rngs) -> list[Any]:
    return [convolution(c_in, c_out, (3, 3), rngs, (2, 2)), batch_norm(c_out, rngs)]


class DartsImageNet(nnx.Module):
    """DARTS's network for ImageNet: two stems that halve the image thrice, cells, the mean of a window, a linear layer."""

    def __init__(self, normal: CellPlan, reduction: CellPlan, channels: int, cells: int, classes: int, rngs: nnx.Rngs) -> None:
        half = channels // 2
        self.stem0 = Layers([*halved(3, half, rngs), Relu(), *halved(half, channels, rngs)])
        self.stem1 = Layers([Relu(), *halved(channels, channels, rngs)])
        self.cells, last = cells_of(normal, reduction, channels, cells, channels, True, rngs)
        self.classifier = nnx.Linear(last, classes, rngs=rngs)

    def __call__(self, images: jax.Array) -> jax.Array:
        s0 = self.stem0(images)
        s1 = self.stem1(s0)
        for cell in self.cells:
            s0, s1 = s1, cell(s0, s1)
        # What AvgPool2d(7) of the reference reads of the last map; of a smaller one, everything.
        n, height, width, c = s1.shape
        height, width = (size - size % 7 if size > 7 else size for size in (height, width))
        return self.classifier(jax.lax.slice(s1, (0, 0, 0, 0), (n, height, width, c)).mean((1, 2)))


class ResidualReduction(nnx.Module):
    """NAS-Bench-201's residual block of stride 2 between stages."""

    def __init__(self, c_in: int, c_out: int, rngs: nnx.Rngs) -> None:
        self.conv_a = relu_conv_norm(c_in, c_out, 3, 2, rngs)
        self.conv_b = relu_conv_norm(c_out, c_out, 3, 1, rngs)
        self.downsample = Layers([MeanOf2x2(), convolution(c_in, c_out, (1, 1), rngs)])

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.downsample(x) + self.conv_b(self.conv_a(x))


class NasBench201Cell(nnx.Module):
    """Every node sums one operation of each state before it; the last node is given out."""

    def __init__(self, nodes: tuple[Edges, ...], channels: int, rngs: nnx.Rngs) -> None:
        self.sources = tuple(tuple(source for _, source in node) for node in nodes)
        self.layers = nnx.List([build(channels, 1, rngs) for node in nodes for build, _ in node])

    def __call__(self, x: jax.Array) -> jax.Array:
        layers = iter(self.layers)
        states: list[Any] = [x]
        for sources in self.sources:
            first, *others = [next(layers)(states[source]) for source in sources]
            states.append(sum(others, first))
        return states[-1]


class NasBench201(nnx.Module):
    """NAS-Bench-201's network: three stages of cells, residual reductions between them."""

    def __init__(self, nodes: tuple[Edges, ...], channels: int, cells: int, classes: int, rngs: nnx.Rngs) -> None:
        self.stem = Layers([convolution(3, channels, (3, 3), rngs), batch_norm(channels, rngs)])
        built: list[Any] = []
        for stage in range(3):
            if stage:
                channels *= 2
                built.append(ResidualReduction(channels // 2, channels, rngs))
            built.extend(NasBench201Cell(nodes, channels, rngs) for _ in range(cells))
        self.cells = Layers(built)
        self.lastact = Layers([batch_norm(channels, rngs), Relu()])
        self.classifier = nnx.Linear(channels, classes, rngs=rngs)

    def __call__(self, images: jax.Array) -> jax.Array:
        return self.classifier(self.lastact(self.cells(self.stem(images))).mean((1, 2)))


class MobileStyle(NamedTuple):
    """In what ProxylessNAS's and FBNet's blocks differ; ``expands``: also by a factor of 1."""

    activation: Callable[[jax.Array], jax.Array]
    epsilon: float
    expands: bool


class ConvolutionNorm(nnx.Module):
    """Convolution, batch norm and, but for the last layer of a block, the style's activation."""

    def __init__(self, conv: nnx.Conv, style: MobileStyle, rngs: nnx.Rngs, activate: bool = True) -> None:
        self.conv, self.bn = conv, batch_norm(conv.out_features, rngs, style.epsilon)
        self.activation = style.activation if activate else None

    def __call__(self, x: jax.Array) -> jax.Array:
        y = self.bn(self.conv(x))
        return y if self.activation is None else self.activation(y)


class InvertedResidual(nnx.Module):
    """A pointwise, a depthwise and a pointwise convolution."""

    def __init__(
        self, c_in: int, c_out: int, kernel: int, expansion: int, groups: int, stride: int, style: MobileStyle, rngs: nnx.Rngs
    ) -> None:
        middle, self.groups = c_in * expansion, groups
        expand = convolution(c_in, middle, (1, 1), rngs, groups=groups)
        depthwise = convolution(middle, middle, (kernel, kernel), rngs, (stride, stride), groups=middle)
        shrink = convolution(middle, c_out, (1, 1), rngs, groups=groups)
        self.inverted_bottleneck = ConvolutionNorm(expand, style, rngs) if style.expands or expansion > 1 else None
        self.depth_conv = ConvolutionNorm(depthwise, style, rngs)
        self.point_linear = ConvolutionNorm(shrink, style, rngs, activate=False)

    def __call__(self, x: jax.Array) -> jax.Array:
        if self.inverted_bottleneck is not None:
            x = self.inverted_bottleneck(x)
            if self.groups > 1:  # Channels taken in turn from each group.
                n, h, w, c = x.shape
                x = x.reshape(n, h, w, self.groups, c // self.groups).swapaxes(3, 4).reshape(n, h, w, c)
        return self.point_linear(self.depth_conv(x))


class Block(nnx.Module):
    """An operation, with the input added where it has the output's shape."""

    def __init__(self, operation: nnx.Module, shortcut: bool) -> None:
        self.mobile_inverted_conv, self.shortcut = operation, shortcut

    def __call__(self, x: jax.Array) -> jax.Array:
        y = self.mobile_inverted_conv(x)
        return x + y if self.shortcut else y


def mbconv(kernel: int, expansion: int, groups: int = 1) -> Callable[..., Block]:
    """The operation (c_in, c_out, stride, style, rngs) -> block, an inverted residual."""

    def build(c_in: int, c_out: int, stride: int, style: MobileStyle, rngs: nnx.Rngs) -> Block:
        operation = InvertedResidual(c_in, c_out, kernel, expansion, groups, stride, style, rngs)
        return Block(operation, stride == 1 and c_in == c_out)

    return build


def skip(c_in: int, c_out: int, stride: int, style: MobileStyle, rngs: nnx.Rngs) -> Block:
    """A block that is left out; where it changes the shape, a pointwise convolution."""
    if stride == 1 and c_in == c_out:
        return Block(Identity(), False)
    return Block(ConvolutionNorm(convolution(c_in, c_out, (1, 1), rngs, (stride, stride)), style, rngs), False)


class MobileNetwork(nnx.Module):
    """A convolution, blocks of (operation, channels, stride), a pointwise convolution, the mean, a linear layer."""

    def __init__(
        self,
        style: MobileStyle,
        stem: tuple[int, int],
        blocks: tuple[tuple[Callable[..., Block], int, int], ...],
        head: int,
        classes: int,
        rngs: nnx.Rngs,
    ) -> None:
        c_in, stride = stem
        self.first_conv = ConvolutionNorm(convolution(3, c_in, (3, 3), rngs, (stride, stride)), style, rngs)
        built = []
        for build, channels, stride in blocks:
            built.append(build(c_in, channels, stride, style, rngs))
            c_in = channels
        self.blocks = Layers(built)
        self.feature_mix_layer = ConvolutionNorm(convolution(c_in, head, (1, 1), rngs), style, rngs)
        self.classifier = nnx.Linear(head, classes, rngs=rngs)

    def __call__(self, images: jax.Array) -> jax.Array:
        return self.classifier(self.feature_mix_layer(self.blocks(self.first_conv(images))).mean((1, 2)))


def load_weights(network: nnx.Module, arrays: Mapping[str, np.ndarray]) -> None:
    """Puts the arrays of a PyTorch ``state_dict`` into a network; those of an auxiliary head are not read."""
    names = {"kernel": "weight", "scale": "weight", "mean": "running_mean", "var": "running_var"}
    for path, variable in nnx.to_flat_state(nnx.state(network)):
        *parents, leaf = map(str, path)
        array = arrays[".".join([*parents, names.get(leaf, leaf)])]
        if leaf == "kernel":  # PyTorch: [out, in, height, width] or [out, in].
            array = array.transpose(2, 3, 1, 0) if array.ndim == 4 else array.T
        variable.set_value(jnp.asarray(array))

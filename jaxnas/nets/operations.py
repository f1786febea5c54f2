"""The candidate operations as Flax modules: one edge, one input, rows in and rows out.

Attributes are named as in the PyTorch references (``op.1.weight`` is the second layer of an operation), so that their
``state_dict`` loads by name. Convolutions start as PyTorch's default: uniform within ``1 / sqrt(fan_in)``.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array, lax

from jaxnas.errors import UserError
from jaxnas.named_axis import drawn, size_of
from jaxnas.nets import primitives, rows
from jaxnas.nets.batch_norm import EPSILON, normalise_batch, normalise_by
from jaxnas.spaces import NONE, OPERATIONS, SKIP


@dataclasses.dataclass(frozen=True)
class Pass:
    """What a forward pass needs beside the rows.

    Attributes:
      batch: N, the number of images.
      training: normalise by the batch's moments and leave them in the module; otherwise by the running averages.
      key: randomness of the operations that draw some.
      scalars: the forward pass's traced values by name, such as the probability of drop path.
      axis: name of the mapped axis that the batch is split over, of which these images are one device's share; None for none.
    """

    batch: int
    training: bool
    key: Array
    scalars: dict[str, Array] = dataclasses.field(default_factory=dict)
    axis: str | None = None

    def drawn(self, draw: Callable[[int], Array]) -> Array:
        """The part of these images of what is drawn for N images of the whole batch, ``[..., N]``."""
        return drawn(self.axis, draw, self.batch, along=-1)

    def drawn_rows(self, draw: Callable[[tuple[int, ...]], Array], like: Array) -> Array:
        """The same of values for every element, in the form of the rows ``[H, C, W * N]``."""
        h, c, wn = like.shape
        return self.drawn(lambda count: draw((h, c, wn // self.batch, count))).reshape(like.shape)


@dataclasses.dataclass(frozen=True)
class Style:
    """In what the references build one operation differently.

    Attributes:
      affine: batch norm has scale and shift.
      pool_norm: pooling is followed by a batch norm without scale and shift (DARTS, search only).
      conv_bias: convolutions of ``nor_conv`` carry a bias (NAS-Bench-201 where batch norm is not affine).
    """

    affine: bool
    pool_norm: bool = False
    conv_bias: bool = False


def weight(shape: tuple[int, ...], fan_in: int) -> nnx.Param:
    """A parameter that starts uniform within ``1 / sqrt(fan_in)``: PyTorch's default, kaiming_uniform with a = sqrt(5).

    Modules only describe their variables; ``network`` draws all values at once, which compiles in no time.
    """
    return nnx.Param(jnp.zeros(shape), bound=fan_in**-0.5)


def constant(kind: type[nnx.Variable], shape: tuple[int, ...], value: float) -> Any:
    """A variable that starts at one value."""
    return kind(jnp.zeros(shape), start=value)


class Relu(nnx.Module):
    def __call__(self, x: Array, context: Pass) -> Array:
        return jax.nn.relu(x)


SKIP_DROPOUT = "skip_dropout"
"""The scalar that drops out elements behind the identities of a supernet (P-DARTS)."""


class Identity(nnx.Module):
    """The input. Where a training pass has the scalar ``skip_dropout``, it is the probability of dropout of each element.

    P-DARTS (model_search.py, MixedOp): behind the identity alone, not behind the skip connection of stride 2.
    """

    def __call__(self, x: Array, context: Pass) -> Array:
        if SKIP_DROPOUT not in context.scalars or not context.training:
            return x
        keep = 1 - context.scalars[SKIP_DROPOUT]
        # Folded: the key itself is Noise's, which the same edge may have.
        key = jax.random.fold_in(context.key, 1)
        kept = context.drawn_rows(lambda shape: jax.random.bernoulli(key, keep, shape), x)
        return jnp.where(kept, x / keep.astype(x.dtype), 0)


class Zero(nnx.Module):
    def __init__(self, stride: int) -> None:
        self.stride = stride

    def __call__(self, x: Array, context: Pass) -> Array:
        return jnp.zeros_like(rows.subsample(x, context.batch, self.stride) if self.stride > 1 else x)


class Noise(nnx.Module):
    """Standard normal values of the output's shape (RobustDARTS S4)."""

    def __init__(self, stride: int) -> None:
        self.stride = stride

    def __call__(self, x: Array, context: Pass) -> Array:
        like = rows.subsample(x, context.batch, self.stride) if self.stride > 1 else x
        return context.drawn_rows(lambda shape: jax.random.normal(context.key, shape, like.dtype), like)


class Convolution(nnx.Module):
    def __init__(
        self,
        c_in: int,
        c_out: int,
        kernel: tuple[int, int],
        *,
        stride: tuple[int, int] = (1, 1),
        padding: tuple[int, int] | None = None,
        bias: bool = False,
    ) -> None:
        fan_in = c_in * kernel[0] * kernel[1]
        self.stride, self.padding = stride, padding
        self.weight = weight((c_out, c_in, *kernel), fan_in)
        self.bias = weight((c_out,), fan_in) if bias else None

    def __call__(self, x: Array, context: Pass) -> Array:
        y = primitives.convolution(x, self.weight[...].astype(x.dtype), context.batch, self.stride, self.padding)
        return y if self.bias is None else y + self.bias[...].astype(x.dtype)[None, :, None]


class Depthwise(nnx.Module):
    def __init__(self, channels: int, kernel: int, *, stride: int, dilation: int) -> None:
        self.stride, self.dilation = stride, dilation
        self.weight = weight((channels, kernel, kernel), kernel**2)

    def __call__(self, x: Array, context: Pass) -> Array:
        return primitives.depthwise(x, self.weight[...].astype(x.dtype), context.batch, self.stride, self.dilation)


class BatchNorm(nnx.Module):
    """Batch normalisation with PyTorch's conventions.

    In training it normalises by the batch's biased variance and leaves the batch's mean and **unbiased** variance in its
    statistics: they are the moments that a network returns, from which a caller keeps running averages if it wants them.
    Where the batch is split over devices, its moments are those of the whole batch.
    """

    def __init__(self, channels: int, affine: bool, epsilon: float = EPSILON) -> None:
        self.epsilon = epsilon
        self.mean = constant(nnx.BatchStat, (channels,), 0.0)
        self.var = constant(nnx.BatchStat, (channels,), 1.0)
        self.weight = constant(nnx.Param, (channels,), 1.0) if affine else None
        self.bias = constant(nnx.Param, (channels,), 0.0) if affine else None

    def __call__(self, x: Array, context: Pass) -> Array:
        scale, shift = (None if parameter is None else parameter[...] for parameter in (self.weight, self.bias))
        if not context.training:
            return normalise_by(x, self.mean[...], self.var[...], scale, shift, self.epsilon)
        y, mean, var = normalise_batch(x, scale, shift, self.epsilon, context.axis)
        n = x.shape[0] * x.shape[2] * size_of(context.axis)
        # set_value: an assignment to mean[...] compares shardings, and that a tracer has none takes long to find out.
        self.mean.set_value(lax.stop_gradient(mean))
        self.var.set_value(lax.stop_gradient(var) * (n / max(n - 1, 1)))
        return y


class Pool(nnx.Module):
    def __init__(self, kind: str, stride: int) -> None:
        self.kind, self.stride = kind, stride

    def __call__(self, x: Array, context: Pass) -> Array:
        pool = primitives.max_pool if self.kind == "max" else primitives.avg_pool
        return pool(x, context.batch, self.stride)


class Layers(nnx.Module):
    """Layers in order, which the references' names only number: a bare ``nn.Sequential``."""

    def __init__(self, *layers: nnx.Module) -> None:
        self.layers = nnx.List(layers)

    def __call__(self, x: Array, context: Pass) -> Array:
        for layer in self.layers:
            x = layer(x, context)
        return x


class Sequence(nnx.Module):
    """Layers in order; the references call the list ``op``.

    ``costly`` says how many of them, from the first on, end in a result that is worth keeping for the backward pass: a dense
    kernel of more than one pixel takes longer to apply again than its result takes to write and read. Nothing else does.
    """

    def __init__(self, *layers: nnx.Module) -> None:
        self.op = nnx.List(layers)
        kernels = [math.prod(layer.weight.shape[2:]) if isinstance(layer, Convolution) else 1 for layer in layers]
        self.costly = max((i + 1 for i, size in enumerate(kernels) if size > 1), default=0)

    def __call__(self, x: Array, context: Pass) -> Array:
        return self.rest(self.first(x, context), context)

    def first(self, x: Array, context: Pass) -> Array:
        """The layers up to the last costly one."""
        for layer in self.op[: self.costly]:
            x = layer(x, context)
        return x

    def rest(self, x: Array, context: Pass) -> Array:
        """The layers after that."""
        for layer in self.op[self.costly :]:
            x = layer(x, context)
        return x


def relu_conv_norm(
    c_in: int, c_out: int, kernel: tuple[int, int], style: Style, stride: int = 1, bias: bool = False
) -> Sequence:
    """ReLU, convolution, batch norm: the references' ReLUConvBN."""
    convolution = Convolution(c_in, c_out, kernel, stride=(stride, stride), bias=bias)
    return Sequence(Relu(), convolution, BatchNorm(c_out, style.affine))


class FactorizedReduce(nnx.Module):
    """Halves the image: two 1x1 convolutions of stride 2, the second one pixel further, concatenated, then batch norm."""

    def __init__(self, c_in: int, c_out: int, style: Style) -> None:
        self.conv_1 = Convolution(c_in, c_out // 2, (1, 1))
        self.conv_2 = Convolution(c_in, c_out - c_out // 2, (1, 1))
        self.bn = BatchNorm(c_out, style.affine)

    def __call__(self, x: Array, context: Pass) -> Array:
        x = jax.nn.relu(x)
        halves = [
            conv(rows.subsample(x, context.batch, 2, offset), context) for offset, conv in enumerate((self.conv_1, self.conv_2))
        ]
        return self.bn(jnp.concatenate(halves, axis=1), context)


def _separable_stack(channels: int, kernel: int, stride: int, dilation: int, style: Style) -> list[nnx.Module]:
    return [
        Relu(),
        Depthwise(channels, kernel, stride=stride, dilation=dilation),
        Convolution(channels, channels, (1, 1)),
        BatchNorm(channels, style.affine),
    ]


def _sep_conv(kernel: int) -> Callable[..., nnx.Module]:
    def build(channels: int, stride: int, style: Style) -> nnx.Module:
        first = _separable_stack(channels, kernel, stride, 1, style)
        return Sequence(*first, *_separable_stack(channels, kernel, 1, 1, style))

    return build


def _dil_conv(kernel: int) -> Callable[..., nnx.Module]:
    def build(channels: int, stride: int, style: Style) -> nnx.Module:
        return Sequence(*_separable_stack(channels, kernel, stride, 2, style))

    return build


def _pair_conv(kernel: int, container: Callable[..., nnx.Module]) -> Callable[..., nnx.Module]:
    """A dense kernel one pixel high, then one that is one pixel wide; each strides along its own length."""

    def build(channels: int, stride: int, style: Style) -> nnx.Module:
        return container(
            Relu(),
            Convolution(channels, channels, (1, kernel), stride=(1, stride)),
            Convolution(channels, channels, (kernel, 1), stride=(stride, 1)),
            BatchNorm(channels, style.affine),
        )

    return build


def _nor_conv(kernel: int) -> Callable[..., nnx.Module]:
    def build(channels: int, stride: int, style: Style) -> nnx.Module:
        return relu_conv_norm(channels, channels, (kernel, kernel), style, stride, bias=style.conv_bias)

    return build


def _pool(kind: str) -> Callable[..., nnx.Module]:
    def build(channels: int, stride: int, style: Style) -> nnx.Module:
        pool = Pool(kind, stride)
        return Sequence(pool, BatchNorm(channels, affine=False)) if style.pool_norm else pool

    return build


def _skip(channels: int, stride: int, style: Style) -> nnx.Module:
    return Identity() if stride == 1 else FactorizedReduce(channels, channels, style)


BUILDERS: dict[str, Callable[..., nnx.Module]] = {
    NONE: lambda channels, stride, style: Zero(stride),
    SKIP: _skip,
    "max_pool_3x3": _pool("max"),
    "avg_pool_3x3": _pool("avg"),
    "sep_conv_3x3": _sep_conv(3),
    "sep_conv_5x5": _sep_conv(5),
    "sep_conv_7x7": _sep_conv(7),
    "dil_conv_3x3": _dil_conv(3),
    "dil_conv_5x5": _dil_conv(5),
    "conv_7x1_1x7": _pair_conv(7, Layers),
    "conv_3x1_1x3": _pair_conv(3, Sequence),
    "nor_conv_1x1": _nor_conv(1),
    "nor_conv_3x3": _nor_conv(3),
    "noise": lambda channels, stride, style: Noise(stride),
}


def build_operation(name: str, channels: int, stride: int, style: Style) -> Any:
    """The module of an operation on ``channels`` channels; calling it maps rows and a :class:`Pass` to rows."""
    return BUILDERS[name](channels, stride, style)


def add_operation(name: str, build: Callable[[int, int, Style], nnx.Module]) -> None:
    """Makes an operation of one's own a candidate that spaces of cells may name, in this process.

    Everything else follows from the name: supernet, derivation, training, latency of a table that has it. It has to be added
    before a space or a genotype names it, so also before a run with it is read back.

    Args:
      name: a word of letters, digits and ``_``, as it stands in genotypes.
      build: ``build(channels, stride, style)`` is the module, which maps rows ``[H, C, W*N]`` and a :class:`Pass` to rows with
        as many channels, of H / stride and W / stride. Made of :class:`Convolution`, :class:`Depthwise`, :class:`Pool` and
        :class:`BatchNorm` in a :class:`Sequence` it runs as fast as the others, and its multiply-adds are counted.
        ``style.affine`` says whether its batch norms have parameters.

    Raises:
      UserError: the name is taken, or no word.

    >>> from jaxnas.spaces import nb201_family
    >>> add_operation("conv_5x5", lambda channels, stride, style: relu_conv_norm(channels, channels, (5, 5), style, stride))
    >>> nb201_family("mine", ("none", "conv_5x5"), nodes=2).size
    8
    """
    if not re.fullmatch(r"\w+", name):
        raise UserError(f"An operation's name is a word of letters, digits and _, got {name!r}.")
    if name in BUILDERS:
        raise UserError(f"There is an operation {name!r} already. Choose another name.")
    BUILDERS[name] = build
    OPERATIONS.append(name)

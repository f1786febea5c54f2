"""Supernets: the networks of the references with a mixed operation on every edge."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array

from jaxnas.errors import UserError
from jaxnas.nets.chains import ChainShape, chain_supernet
from jaxnas.nets.ends import Linear, cifar_stem, imagenet_stems
from jaxnas.nets.mixed import MixedEdge, MixedEdges
from jaxnas.nets.network import Dtype, Network, Shape, network
from jaxnas.nets.operations import BatchNorm, Convolution, FactorizedReduce, Pass, Relu, Style, build_operation, relu_conv_norm
from jaxnas.nets.partial import BYPASS, Bypass, PartialOperation
from jaxnas.nets.repeated import equal_runs, run_cells
from jaxnas.nets.rows import windows
from jaxnas.spaces import BlockSpace, Cell, CellSpace, Space


def preprocess(c_in: int, c_out: int, halve: bool, style: Style) -> nnx.Module:
    """What brings an input of a DARTS cell to the cell's width, and to its size after a reduction cell."""
    if halve:
        return FactorizedReduce(c_in, c_out, style)
    return relu_conv_norm(c_in, c_out, (1, 1), style)


def candidates(names: tuple[str, ...], share: int) -> tuple[str, ...]:
    """What an edge mixes: its candidates, and before them, with partial channels, the channels that pass by."""
    return names if share == 1 else (BYPASS, *names)


def build_candidate(name: str, channels: int, stride: int, style: Style, share: int) -> Any:
    """The module of a candidate on its share of the channels."""
    if share == 1:
        return build_operation(name, channels, stride, style)
    if name == BYPASS:
        return Bypass(share, stride)
    return PartialOperation(build_operation(name, channels // share, stride, style), share)


class DartsCell(nnx.Module):
    """A cell of family darts with mixed edges; in a reduction cell the edges that leave an input have stride 2."""

    def __init__(
        self,
        cell: Cell,
        c_previous_previous: int,
        c_previous: int,
        channels: int,
        reduction: bool,
        after_reduction: bool,
        pool_norm: bool = True,
        share: int = 1,
    ) -> None:
        style = Style(affine=False, pool_norm=pool_norm)
        self.nodes, self.reduction = cell.nodes, reduction
        self.preprocess0 = preprocess(c_previous_previous, channels, after_reduction, style)
        self.preprocess1 = preprocess(c_previous, channels, False, style)
        rows = [
            (source, target, row, candidates(names, share))
            for row, ((source, target), names) in enumerate(zip(cell.edges, cell.operations, strict=True))
        ]
        if reduction:
            # The nodes' buffer does not hold the inputs, which are larger.
            outer = tuple(MixedEdge(s, t - 2, row, names) for s, t, row, names in rows if s < 2)
            inner = tuple(MixedEdge(s - 2, t - 2, row, names) for s, t, row, names in rows if s >= 2)
            self.from_inputs = MixedEdges(outer, lambda name: build_candidate(name, channels, 2, style, share), False)
        else:
            inner = tuple(MixedEdge(*edge) for edge in rows)
        self.between_nodes = MixedEdges(inner, lambda name: build_candidate(name, channels, 1, style, share), True)

    def __call__(self, s0: Array, s1: Array, mixture: Any, context: Pass) -> Array:
        inputs = jnp.stack([self.preprocess0(s0, context), self.preprocess1(s1, context)])
        if self.reduction:
            _, h, c, wn = inputs.shape
            nodes = jnp.zeros((self.nodes, (h + 1) // 2, c, (wn // context.batch + 1) // 2 * context.batch), inputs.dtype)
            nodes = self.from_inputs(inputs, nodes, mixture, context)
            nodes = self.between_nodes(nodes[:1], nodes, mixture, context)
        else:
            states = jnp.concatenate([inputs, jnp.zeros((self.nodes, *inputs.shape[1:]), inputs.dtype)])
            nodes = self.between_nodes(inputs[:1], states, mixture, context)[2:]
        return jnp.concatenate(list(nodes), axis=1)


class DartsSupernet(nnx.Module):
    """The search network of DARTS (cnn/model_search.py): reduction cells at one and two thirds of the depth.

    In the template imagenet that of PC-DARTS (model_search_imagenet.py): the stems are wider than the first cells.
    By GDAS's conventions AutoDL-Projects' NASNetworkGDAS, whose N cells a stage are 3 N cells here.
    """

    def __init__(self, space: CellSpace, shape: Shape, share: int, rematerialise: bool) -> None:
        self.rematerialise = rematerialise
        width = 3 * shape.channels
        self.imagenet = shape.template == "imagenet"
        if self.imagenet:
            self.stem0, self.stem1 = imagenet_stems(width)
        else:
            self.stem = cifar_stem(width)
        c_previous_previous = c_previous = width
        # The second stem halves what the first gives out.
        channels, after_reduction = shape.channels, self.imagenet
        cells, configurations, by_gdas = [], [], space.conventions == "gdas"
        for reduction in reductions(shape.cells):
            channels *= 2 if reduction else 1
            configuration = (c_previous_previous, c_previous, channels, reduction, after_reduction)
            cell = space.cell("reduce" if reduction else "normal")
            cells.append(DartsCell(cell, *configuration, pool_norm=not by_gdas, share=share))
            configurations.append(configuration)
            c_previous_previous, c_previous, after_reduction = c_previous, cell.nodes * channels, reduction
        self.cells = nnx.List(cells)
        self.runs = tuple(equal_runs(configurations))
        self.lastact = nnx.List([BatchNorm(c_previous, affine=True), Relu()] if by_gdas else [])
        self.classifier = Linear(c_previous, shape.classes)

    def __call__(self, mixture: dict[str, Any], x: Array, context: Pass) -> Array:
        def mixed(cell: DartsCell, states: tuple[Array, Array], index: Array) -> tuple[Array, Array]:
            inside = dataclasses.replace(context, key=jax.random.fold_in(context.key, index))
            return states[1], cell(*states, mixture["reduce" if cell.reduction else "normal"], inside)

        if self.imagenet:
            s0 = self.stem0(x, context)
            states = (s0, self.stem1(s0, context))
        else:
            states = (self.stem(x, context),) * 2
        for run in self.runs:
            states = run_cells([self.cells[i] for i in run], run.start, mixed, states, self.rematerialise)
        x = states[1]
        for layer in self.lastact:
            x = layer(x, context)
        return self.classifier(x, context)


def reductions(cells: int) -> tuple[bool, ...]:
    """Which cells of a DARTS network are reduction cells.

    >>> [i for i, reduction in enumerate(reductions(20)) if reduction]
    [6, 13]
    """
    return tuple(i in (cells // 3, 2 * cells // 3) for i in range(cells))


@functools.partial(jax.jit, static_argnums=1)  # A named equation of a trace, by which the counters of multiply-adds know it.
def mean_of_2x2(x: Array, batch: int) -> Array:
    """AvgPool 2x2, stride 2: the mean of the four phases."""
    return functools.reduce(jnp.add, windows(x, (2, 2), batch, stride=(2, 2))) / 4


class ResidualReduction(nnx.Module):
    """NAS-Bench-201's ResNetBasicblock of stride 2 between stages."""

    def __init__(self, c_in: int, c_out: int) -> None:
        style = Style(affine=True)
        self.conv_a = relu_conv_norm(c_in, c_out, (3, 3), style, stride=2)
        self.conv_b = relu_conv_norm(c_out, c_out, (3, 3), style)
        self.downsample = Convolution(c_in, c_out, (1, 1))

    def __call__(self, x: Array, context: Pass) -> Array:
        return self.downsample(mean_of_2x2(x, context.batch), context) + self.conv_b(self.conv_a(x, context), context)


class Nb201Cell(nnx.Module):
    """A cell of family nb201 with mixed edges; its output is the last node."""

    def __init__(self, cell: Cell, channels: int, style: Style, share: int = 1) -> None:
        self.nodes = cell.nodes
        edges = tuple(
            MixedEdge(source, target, row, candidates(names, share))
            for row, ((source, target), names) in enumerate(zip(cell.edges, cell.operations, strict=True))
        )
        self.edges = MixedEdges(edges, lambda name: build_candidate(name, channels, 1, style, share), True)

    def __call__(self, x: Array, mixture: Any, context: Pass) -> Array:
        states = jnp.concatenate([x[None], jnp.zeros((self.nodes, *x.shape), x.dtype)])
        return self.edges(states[:1], states, mixture, context)[-1]


class Nb201Supernet(nnx.Module):
    """The search network of NAS-Bench-201 (search_model_darts.py): three stages of N cells, residual reductions between."""

    def __init__(self, space: CellSpace, shape: Shape, share: int, rematerialise: bool) -> None:
        self.rematerialise = rematerialise
        # The reference's convolutions carry a bias exactly where batch norm has none.
        style = Style(affine=shape.affine, conv_bias=not shape.affine)
        self.stem = cifar_stem(shape.channels)
        cells = []
        for stage in range(3):
            channels = shape.channels * 2**stage
            if stage:
                cells.append(ResidualReduction(channels // 2, channels))
            cells.extend(Nb201Cell(space.cell("cell"), channels, style, share) for _ in range(shape.cells))
        self.cells = nnx.List(cells)
        self.lastact = nnx.List([BatchNorm(channels, affine=True)])
        self.classifier = Linear(channels, shape.classes)

    def __call__(self, mixture: dict[str, Any], x: Array, context: Pass) -> Array:
        def mixed(cell: Nb201Cell, x: Array, index: Array) -> Array:
            return cell(x, mixture["cell"], dataclasses.replace(context, key=jax.random.fold_in(context.key, index)))

        x = self.stem(x, context)
        for run in equal_runs([type(cell) for cell in self.cells]):
            cells = [self.cells[i] for i in run]
            if isinstance(cells[0], Nb201Cell):
                x = run_cells(cells, run.start, mixed, x, self.rematerialise)
            else:
                x = cells[0](x, context)
        return self.classifier(jax.nn.relu(self.lastact[0](x, context)), context)


def supernet(
    space: Space, shape: Shape | ChainShape, share: int = 1, dtype: Dtype = "float32", rematerialise: bool = False
) -> Network:
    """The supernet of a space.

    Its ``forward`` normalises by the batch (statistics ``None``) or by running averages, and returns logits
    ``[N, classes]`` and the batch's moments, in the form of the statistics.

    Args:
      space: of cells or of blocks.
      shape: a ``Shape`` for cells, a ``ChainShape`` for blocks.
      share: K of partial channels (PC-DARTS): one channel of K goes through the candidates of a cell; mixtures then have one
        column more, the first, for the channels that pass by.
      dtype: ``bfloat16`` computes the cells in it; weights, moments, logits and all gradients of weights and mixture stay as
        they are.
      rematerialise: for gradients keep only what goes from cell to cell: less memory, one more forward pass.

    Raises:
      UserError: a size, share or template that the network cannot have.

    >>> from jaxnas.spaces import darts
    >>> shape = Shape(channels=16, cells=8, classes=10)
    >>> supernet(darts(), shape).parameters, supernet(darts(), shape, share=4).parameters
    (1930618, 299578)
    """
    if isinstance(space, BlockSpace):
        if share != 1:
            raise UserError(f"Partial channels are of cells, not of blocks: share must be 1, got {share}.")
        if rematerialise:
            raise UserError("A chain of blocks keeps no more than what goes from block to block: leave rematerialise out.")
        return chain_supernet(space, shape, dtype)
    if not isinstance(shape, Shape):
        raise UserError(f"Networks of cells have a Shape(channels, cells, classes, ...), got {shape}.")
    if share < 1 or shape.channels % share:
        raise UserError(f"One channel of {share} cannot be chosen of {shape.channels}: the share must divide the channels.")
    if space.family == "darts":
        if shape.cells < 3:
            raise UserError(
                f"A DARTS network has two reduction cells, at one and two thirds: at least 3 cells, got {shape.cells}."
            )
        if shape.channels % 2:
            raise UserError(f"A DARTS network needs an even number of channels, got {shape.channels}.")
        return network(lambda: DartsSupernet(space, shape, share, rematerialise), dtype)
    if shape.template != "cifar":
        raise UserError(f"NAS-Bench-201's supernet is built in the template cifar, got template={shape.template!r}.")
    return network(lambda: Nb201Supernet(space, shape, share, rematerialise), dtype)

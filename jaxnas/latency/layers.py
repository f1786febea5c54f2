"""Which layers the networks of a space are deployed with: the rows that a table of latencies needs."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator, Mapping
from typing import Literal

from jaxnas.errors import UserError
from jaxnas.nets import ChainShape, Shape, reductions
from jaxnas.spaces import NONE, SKIP, BlockSpace, BlockStyle, CellSpace, Space

LayerStyle = Literal["cells", "mobilenet_v3"] | BlockStyle
"""By whose conventions a layer is built: the derived networks of cells have one, blocks have two.

``mobilenet_v3`` is of published tables alone: jaxnas has no such space.
"""


@dataclasses.dataclass(frozen=True)
class Layer:
    """One layer of a derived network in evaluation mode; what decides its latency, but for the batch and the precision.

    Attributes:
      style: conventions that it is built by.
      operation: a candidate's name, or of what every network has: ``stem``, ``stem0`` and ``stem1`` (both of the template
        imagenet), ``preprocess`` (inputs of a DARTS cell), ``residual_reduction``, ``norm_relu`` (both of NAS-Bench-201),
        ``head`` (the last 1x1 convolution of a chain), ``classifier`` (pooling included).
      c_in: channels of the input.
      c_out: channels of the output; of a classifier the labels.
      height: of the input, in pixels.
      width: of the input, in pixels.
      stride: of a preprocess, 2 means that it halves the image by a factorized reduction. In blocks, the input is added where
        a block keeps its shape: no attribute of its own.
    """

    style: LayerStyle
    operation: str
    c_in: int
    c_out: int
    height: int
    width: int
    stride: int = 1

    @property
    def output(self) -> tuple[int, int]:
        """Height and width of the output."""
        if self.operation == "classifier":
            return 1, 1
        return -(-self.height // self.stride), -(-self.width // self.stride)

    @property
    def key(self) -> str:
        """The name of its row in a table: stable, and readable.

        >>> Layer("cells", "sep_conv_3x3", 16, 16, 32, 32, stride=2).key
        'cells:sep_conv_3x3-input:32x32x16-output:16x16x16-stride:2'
        """
        height, width = self.output
        shapes = f"input:{self.height}x{self.width}x{self.c_in}-output:{height}x{width}x{self.c_out}"
        return f"{self.style}:{self.operation}-{shapes}-stride:{self.stride}"


Candidate = tuple[Layer, ...] | None
"""The layers that a candidate puts into a network: none where it is free; ``None`` where there is no candidate."""


@dataclasses.dataclass(frozen=True)
class Layers:
    """The layers of a space's networks.

    Attributes:
      fixed: those that every network has, with repeats.
      candidates: by kind of cell ``[edges][columns]``, as the alphas. An edge occurs in every cell of its kind, so its
        candidates have a layer for each of them. Columns that pad a shorter row are None.
    """

    fixed: tuple[Layer, ...]
    candidates: Mapping[str, tuple[tuple[Candidate, ...], ...]]

    @property
    def distinct(self) -> tuple[Layer, ...]:
        """Every layer once, the fixed ones first: the rows of a table of this space."""
        edges = itertools.chain.from_iterable(self.candidates.values())
        searched = (layer for edge in edges for candidate in edge for layer in candidate or ())
        return tuple(dict.fromkeys(itertools.chain(self.fixed, searched)))


def layers(space: Space, shape: Shape | ChainShape) -> Layers:
    """The layers that the derived networks of a space are made of.

    What is free by definition has no layer: ``none`` everywhere (in ProxylessNAS's blocks it leaves its input, as that paper's
    table has it), and in FBNet's blocks the ``skip_connect`` that keeps the shape, since both are a block that is not there. In
    a cell the ``skip_connect`` that keeps the shape has a layer: what it passes on is read and summed with the other edges.
    Sums and concatenations have no layers of their own.

    Args:
      space: of cells or of blocks.
      shape: of the derived network, which may be in another template and of another size than the supernet.

    Raises:
      UserError: a shape that the space's networks cannot have.

    >>> from jaxnas.spaces import nb201
    >>> found = layers(nb201(), Shape(channels=16, cells=5, classes=10))
    >>> [layer.key for layer in found.candidates["cell"][0][3][::5]]  # The first edge's 3x3 convolution, once a stage.
    ['cells:nor_conv_3x3-input:32x32x16-output:32x32x16-stride:1', \
'cells:nor_conv_3x3-input:16x16x32-output:16x16x32-stride:1', 'cells:nor_conv_3x3-input:8x8x64-output:8x8x64-stride:1']
    """
    if isinstance(space, BlockSpace):
        if not isinstance(shape, ChainShape):
            raise UserError(f"Chains of blocks have a ChainShape(classes, image_size), got {shape}.")
        return _of_blocks(space, shape)
    if not isinstance(shape, Shape):
        raise UserError(f"Networks of cells have a Shape(channels, cells, classes, ...), got {shape}.")
    if space.family == "darts":
        if shape.cells < 3:
            raise UserError(f"A DARTS network has two reduction cells: at least 3 cells, got {shape.cells}.")
        return _of_darts(space, shape)
    if shape.template != "cifar":
        raise UserError(f"NAS-Bench-201's network is built in the template cifar, got template={shape.template!r}.")
    return _of_nb201(space, shape)


def _of_blocks(space: BlockSpace, shape: ChainShape) -> Layers:
    stem, stride = space.stem
    fixed = [Layer(space.style, "stem", 3, stem, shape.image_size, shape.image_size, stride)]

    def behind(layer: Layer, operation: str, channels: int, stride: int) -> Layer:
        return Layer(space.style, operation, layer.c_out, channels, *layer.output, stride)

    for name, channels, stride in space.fixed:
        fixed.append(behind(fixed[-1], name, channels, stride))
    last, rows = fixed[-1], []
    for block in space.blocks:
        found = [behind(last, name, block.channels, block.stride) for name in block.operations]
        kept = block.stride == 1 and last.c_out == block.channels
        candidates = [() if layer.operation == NONE or (layer.operation == SKIP and kept) else (layer,) for layer in found]
        rows.append(candidates)
        last = found[0]
    # A fixed block that is left out has no layer either, but its shape was needed until here.
    fixed = [layer for layer in fixed if layer.operation not in (NONE, SKIP) or layer.c_in != layer.c_out or layer.stride > 1]
    head = behind(last, "head", space.head, 1)
    return Layers((*fixed, head, behind(head, "classifier", shape.classes, 1)), {"blocks": _padded(rows)})


def _of_darts(space: CellSpace, shape: Shape) -> Layers:
    channels, size, imagenet = shape.channels, shape.image_size, shape.template == "imagenet"
    if imagenet:
        fixed = [
            Layer("cells", "stem0", 3, channels, size, size, 4),
            Layer("cells", "stem1", channels, channels, size // 4, size // 4, 2),
        ]
    else:
        fixed = [Layer("cells", "stem", 3, 3 * channels, size, size)]
    previous = (fixed[0].c_out, *fixed[0].output), (fixed[-1].c_out, *fixed[-1].output)
    rows = {kind: [[[] for _ in names] for names in cell.operations] for kind, cell in space.cells}
    for reduction in reductions(shape.cells):
        channels *= 2 if reduction else 1
        (c_before, h_before, w_before), (c, h, w) = previous
        fixed.append(Layer("cells", "preprocess", c_before, channels, h_before, w_before, h_before // h))
        fixed.append(Layer("cells", "preprocess", c, channels, h, w))
        kind = "reduce" if reduction else "normal"
        cell, stride = space.cell(kind), 2 if reduction else 1
        for row, ((source, _), names) in enumerate(zip(cell.edges, cell.operations, strict=True)):
            outer = source < cell.inputs
            for column, name in enumerate(names):
                at = (h, w, stride) if outer else (h // stride, w // stride, 1)
                rows[kind][row][column] += [] if name == NONE else [Layer("cells", name, channels, channels, *at)]
        previous = previous[1], (cell.nodes * channels, h // stride, w // stride)
    c, h, w = previous[1]
    fixed.append(Layer("cells", "classifier", c, shape.classes, h, w))
    return Layers(tuple(fixed), {kind: _padded(edges) for kind, edges in rows.items()})


def _of_nb201(space: CellSpace, shape: Shape) -> Layers:
    channels, size, cell = shape.channels, shape.image_size, space.cell("cell")
    fixed = [Layer("cells", "stem", 3, channels, size, size)]
    rows = [[[] for _ in names] for names in cell.operations]
    for stage in range(3):
        if stage:
            fixed.append(Layer("cells", "residual_reduction", channels, 2 * channels, size, size, 2))
            channels, size = 2 * channels, size // 2
        for names, edge in zip(cell.operations, rows, strict=True):
            for name, found in zip(names, edge, strict=True):
                found += [] if name == NONE else [Layer("cells", name, channels, channels, size, size)] * shape.cells
    fixed.append(Layer("cells", "norm_relu", channels, channels, size, size))
    fixed.append(Layer("cells", "classifier", channels, shape.classes, size, size))
    return Layers(tuple(fixed), {"cell": _padded(rows)})


def _padded(rows: list) -> tuple[tuple[Candidate, ...], ...]:
    columns = max(len(edge) for edge in rows)

    def padded(edge: list) -> Iterator[Candidate]:
        yield from map(tuple, edge)
        yield from [None] * (columns - len(edge))

    return tuple(tuple(padded(edge)) for edge in rows)

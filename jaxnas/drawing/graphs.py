"""Genotypes as graphs: every state and every operation a vertex of its own, so that a label is never on an edge."""

from __future__ import annotations

import dataclasses
from typing import Literal

from jaxnas.spaces import NONE, SKIP, BlockGenotype, DartsGenotype, Genotype, mbconv

Kind = Literal["state", "conv", "dilated", "pool", "skip", "none", "other", "kernel3", "kernel5", "kernel7"]


@dataclasses.dataclass(frozen=True)
class Vertex:
    """A state or an operation.

    Attributes:
      label: its name, an operation's as genotypes spell it.
      kind: which of the looks it has.
      stage: of a chain, what its row is called: vertices of one stage are neighbours; empty in a cell.
    """

    label: str
    kind: Kind
    stage: str = ""


@dataclasses.dataclass(frozen=True)
class Graph:
    """Vertices and the edges between them, as pairs of their numbers; a chain where its vertices have stages."""

    vertices: tuple[Vertex, ...]
    edges: tuple[tuple[int, int], ...]

    @property
    def chain(self) -> bool:
        """Whether it is drawn as rows, one a stage."""
        return bool(self.vertices[0].stage)


def graphs(genotype: Genotype) -> dict[str, Graph]:
    """The graphs of a genotype by name: the kinds of cell, or ``network``.

    >>> from jaxnas.spaces import from_text
    >>> cell = graphs(from_text("|skip_connect~0|+|none~0|nor_conv_3x3~1|"))["cell"]
    >>> [vertex.label for vertex in cell.vertices], cell.edges[:2]
    (['input', '1', 'output', 'skip_connect', 'none', 'nor_conv_3x3'], ((0, 3), (3, 1)))
    """
    if isinstance(genotype, BlockGenotype):
        return {"network": _chain(genotype)}
    if isinstance(genotype, DartsGenotype):
        concats = {"normal": genotype.normal_concat, "reduce": genotype.reduce_concat}
        return {kind: _darts(edges, concats[kind]) for kind, edges in genotype.cells.items()}
    nodes = len(genotype.nodes)
    states = ["input", *(str(node) for node in range(1, nodes)), "output"]
    return {kind: _cell(states, edges, ()) for kind, edges in genotype.cells.items()}


def _darts(edges: tuple[tuple[str, int, int], ...], concat: tuple[int, ...]) -> Graph:
    nodes = max(target for _, _, target in edges) - 1
    output = nodes + 2
    states = ["c_{k-2}", "c_{k-1}", *(str(node) for node in range(nodes)), "c_{k}"]
    return _cell(states, edges, tuple((state, output) for state in sorted(concat)))


def _cell(states: list[str], edges: tuple[tuple[str, int, int], ...], passed: tuple[tuple[int, int], ...]) -> Graph:
    vertices, lines = [Vertex(name, "state") for name in states], []
    for operation, source, target in edges:
        lines += [(source, len(vertices)), (len(vertices), target)]
        vertices.append(Vertex(operation, kind_of(operation)))
    return Graph(tuple(vertices), (*lines, *passed))


def _chain(genotype: BlockGenotype) -> Graph:
    channels, stride = genotype.stem
    vertices = [Vertex("conv_3x3", "other", _stage("stem", channels, stride))]
    name, before = "", 0
    for operation, channels, stride in genotype.blocks:
        if channels != before or stride > 1:  # A block that keeps the shape goes on with its stage.
            name, before = _stage(f"stage {1 + len({vertex.stage for vertex in vertices[1:]})}", channels, stride), channels
        vertices.append(Vertex(operation, kind_of(operation), name))
    head = _stage("head", genotype.head, 1)
    vertices += [Vertex("conv_1x1", "other", head), Vertex("pool", "pool", head), Vertex("linear", "other", head)]
    return Graph(tuple(vertices), tuple((i, i + 1) for i in range(len(vertices) - 1)))


def _stage(name: str, channels: int, stride: int) -> str:
    return f"{name}: {channels} ch" + (f", /{stride}" if stride > 1 else "")


def kind_of(operation: str) -> Kind:
    """The look of an operation.

    >>> [kind_of(name) for name in ("none", "max_pool_3x3", "dil_conv_5x5", "sep_conv_3x3", "k5_e6", "noise")]
    ['none', 'pool', 'dilated', 'conv', 'kernel5', 'other']
    """
    if operation in (NONE, SKIP):
        return "none" if operation == NONE else "skip"
    if "pool" in operation:
        return "pool"
    if operation.startswith("dil_"):
        return "dilated"
    if "conv_" in operation:
        return "conv"
    block = mbconv(operation)
    if block is None:
        return "other"
    return "kernel3" if block.kernel <= 3 else "kernel5" if block.kernel == 5 else "kernel7"

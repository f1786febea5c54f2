"""Cell search spaces as plain data: which operations each edge of a cell may have, and how cells form a network."""

from __future__ import annotations

import dataclasses
import itertools
import math
from typing import Literal, get_args

from jaxnas.errors import UserError, did_you_mean
from jaxnas.spaces.operations import DARTS_OPERATIONS, GDAS_OPERATIONS, NB201_OPERATIONS, NONE, OPERATIONS

Family = Literal["darts", "nb201", "blocks"]
Conventions = Literal["darts", "gdas"]


class Candidates:
    """What every graph of mixed operations has in common: candidates for each edge, a row of the alphas for each."""

    operations: tuple[tuple[str, ...], ...]

    @property
    def columns(self) -> int:
        """Columns of the alphas: the most candidates that an edge has. Shorter rows are padded with a probability of 0."""
        return max(len(names) for names in self.operations)

    @property
    def alphas(self) -> int:
        """Number of architecture parameters, padding not counted."""
        return sum(len(names) for names in self.operations)

    @property
    def present(self) -> tuple[tuple[bool, ...], ...]:
        """``[edges, columns]``: whether the alpha there stands for a candidate."""
        return tuple(tuple(j < len(names) for j in range(self.columns)) for names in self.operations)


@dataclasses.dataclass(frozen=True)
class Cell(Candidates):
    """One kind of cell: a directed acyclic graph in which every state feeds all later nodes.

    Edges are numbered node by node, predecessor by predecessor, as the rows of the references' alphas.

    Attributes:
      inputs: states that the cell is given (2 in DARTS: the outputs of the two cells before; 1 in NAS-Bench-201).
      nodes: states that it computes, each the sum of its incoming edges.
      operations: for each edge its candidates, in the order of the columns of the alphas.
    """

    inputs: int
    nodes: int
    operations: tuple[tuple[str, ...], ...]

    def __post_init__(self) -> None:
        if self.nodes < 1:
            raise UserError(f"A cell needs at least one node, got nodes={self.nodes}.")
        if len(self.operations) != len(self.edges):
            raise UserError(
                f"A cell of {self.inputs} inputs and {self.nodes} nodes has {len(self.edges)} edges, but candidates are given "
                f"for {len(self.operations)}."
            )
        for (source, target), names in zip(self.edges, self.operations, strict=True):
            if not names:
                raise UserError(f"Edge {source} -> {target} has no candidate operation.")
            for name in names:
                if name not in OPERATIONS:
                    hint = did_you_mean(name, OPERATIONS)
                    raise UserError(f"Unknown operation {name!r} on edge {source} -> {target}. {hint}")
            if len(set(names)) < len(names):
                raise UserError(f"Edge {source} -> {target} lists an operation twice: {', '.join(names)}.")

    @property
    def edges(self) -> tuple[tuple[int, int], ...]:
        """``(source, target)`` of each edge, states counted from the first input."""
        return cell_edges(self.inputs, self.nodes)

    def incoming(self, node: int) -> list[int]:
        """Rows of the edges that end at the ``node``-th node."""
        return [row for row, (_, target) in enumerate(self.edges) if target == self.inputs + node]


def cell_edges(inputs: int, nodes: int) -> tuple[tuple[int, int], ...]:
    """Edges of a fully connected cell, node by node.

    >>> cell_edges(1, 3)
    ((0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3))
    """
    return tuple((source, target) for target in range(inputs, inputs + nodes) for source in range(target))


@dataclasses.dataclass(frozen=True)
class CellSpace:
    """A search space of cells that are repeated to a network.

    Attributes:
      name: for reports.
      family: which reference's network the cells form, and which genotypes they have. ``darts``: normal and reduction
        cells of two inputs, two edges kept per node, the nodes concatenated. ``nb201``: one kind of cell of one input,
        every edge kept, the last node is the output.
      cells: the kinds of cell by name, ``normal`` and ``reduce`` in family darts, ``cell`` in family nb201.
      conventions: family darts: whose supernet and derivation. ``darts`` (quark0/darts): pooling is followed by a batch norm
        in the search; a node keeps its two strongest edges. ``gdas`` (AutoDL-Projects' NASNet-like search): pooling is bare,
        batch norm and ReLU follow the last cell; a node keeps the two strongest of all its pairs of an edge and an
        operation, which may both be of one edge.

    Raises:
      UserError: an unknown family or conventions, kinds of cell or numbers of inputs that the family does not have, an edge
        with nothing to derive.

    >>> darts().size
    1076746950455072400
    >>> nb201().size
    15625
    """

    name: str
    family: Family
    cells: tuple[tuple[str, Cell], ...]
    conventions: Conventions = "darts"

    def __post_init__(self) -> None:
        kinds = {"darts": ("normal", "reduce"), "nb201": ("cell",)}
        if self.family not in kinds:
            raise UserError(f"Unknown family {self.family!r} of cells. {did_you_mean(self.family, kinds)}")
        known = get_args(Conventions) if self.family == "darts" else ("darts",)
        if self.conventions not in known:
            raise UserError(
                f"Unknown conventions {self.conventions!r} in family {self.family!r}. {did_you_mean(self.conventions, known)}"
            )
        if tuple(name for name, _ in self.cells) != kinds[self.family]:
            got = [name for name, _ in self.cells]
            raise UserError(f"A space of family {self.family!r} has the cells {kinds[self.family]}, got {got}.")
        inputs = 2 if self.family == "darts" else 1
        for name, cell in self.cells:
            if cell.inputs != inputs:
                raise UserError(f"Cells of family {self.family!r} have {inputs} inputs, the {name} cell has {cell.inputs}.")
            for (source, target), names in zip(cell.edges, cell.operations, strict=True):
                if self.family == "darts" and set(names) == {NONE}:
                    raise UserError(f"Edge {source} -> {target} of the {name} cell has only {NONE!r}: nothing to derive.")

    def cell(self, kind: str) -> Cell:
        """The cell of a kind."""
        return dict(self.cells)[kind]

    @property
    def alphas(self) -> int:
        """Number of architecture parameters (DARTS: 224; NAS-Bench-201: 30)."""
        return sum(cell.alphas for _, cell in self.cells)

    @property
    def size(self) -> int:
        """Number of genotypes, exactly.

        Family darts: per node, two of its edges and an operation other than none for each (1,037,664,180 per DARTS cell);
        by GDAS's conventions two of its pairs of an edge and such an operation. Family nb201: an operation for each edge,
        none included.
        """
        return math.prod(self.cell_size(kind) for kind, _ in self.cells)

    def cell_size(self, kind: str) -> int:
        """Number of genotypes of one kind of cell.

        >>> darts().cell_size("normal")
        1037664180
        """
        cell = self.cell(kind)
        if self.family == "nb201":
            return math.prod(len(names) for names in cell.operations)
        choices = [sum(name != NONE for name in names) for names in cell.operations]
        if self.conventions == "gdas":
            return math.prod(math.comb(sum(choices[row] for row in cell.incoming(node)), 2) for node in range(cell.nodes))
        return math.prod(
            sum(choices[a] * choices[b] for a, b in itertools.combinations(cell.incoming(node), 2))
            for node in range(cell.nodes)
        )


def darts_family(
    name: str,
    normal: tuple[str, ...] | tuple[tuple[str, ...], ...] = DARTS_OPERATIONS,
    reduce: tuple[str, ...] | tuple[tuple[str, ...], ...] | None = None,
    nodes: int = 4,
    conventions: Conventions = "darts",
) -> CellSpace:
    """A space of DARTS's topology with one's own operations.

    Args:
      name: for reports.
      normal: candidates of every edge of the normal cell, or one tuple of candidates for each edge.
      reduce: the same for the reduction cell; as the normal cell's by default.
      nodes: intermediate nodes of a cell.
      conventions: see :class:`CellSpace`.

    Raises:
      UserError: an unknown operation, a wrong number of edges.

    >>> darts_family("two choices", ("skip_connect", "sep_conv_3x3")).alphas
    56
    """
    reduce = normal if reduce is None else reduce
    cells = (("normal", _cell(2, nodes, normal)), ("reduce", _cell(2, nodes, reduce)))
    return CellSpace(name, "darts", cells, conventions)


def nb201_family(
    name: str, operations: tuple[str, ...] | tuple[tuple[str, ...], ...] = NB201_OPERATIONS, nodes: int = 3
) -> CellSpace:
    """A space of NAS-Bench-201's topology with one's own operations; ``nodes`` does not count the input.

    >>> nb201_family("three", ("none", "skip_connect", "nor_conv_3x3")).size
    729
    """
    return CellSpace(name, "nb201", (("cell", _cell(1, nodes, operations)),))


def _cell(inputs: int, nodes: int, operations: tuple[str, ...] | tuple[tuple[str, ...], ...]) -> Cell:
    if isinstance(operations, str):
        raise UserError(f"Operations are a tuple of names, got the single string {operations!r}.")
    names = tuple(item for item in operations if isinstance(item, str))
    if len(names) == len(operations):
        return Cell(inputs, nodes, (names,) * len(cell_edges(inputs, nodes)))
    return Cell(inputs, nodes, tuple(tuple(edge) for edge in operations))


def darts() -> CellSpace:
    """The DARTS CNN space (Liu et al., 2019): 14 edges, 8 operations, 224 alphas."""
    return darts_family("darts")


def drnas() -> CellSpace:
    """DrNAS's space (Chen et al., 2021; DARTS-space/genotypes.py): DARTS's without none.

    >>> drnas().alphas
    196
    """
    return darts_family("drnas", tuple(name for name in DARTS_OPERATIONS if name != NONE))


def gdas() -> CellSpace:
    """GDAS's NASNet-like space (Dong and Yang, 2019; AutoDL-Projects, search_model_gdas_nasnet.py): DARTS's operations.

    Their columns are in another order, and the conventions are GDAS's.

    >>> gdas().alphas
    224
    """
    return darts_family("gdas", GDAS_OPERATIONS, conventions="gdas")


def nb201() -> CellSpace:
    """The NAS-Bench-201 space (Dong and Yang, 2020): 6 edges, 5 operations, 30 alphas."""
    return nb201_family("nb201")


_SHORT = {
    "sk": "skip_connect",
    "mp": "max_pool_3x3",
    "ap": "avg_pool_3x3",
    "s3": "sep_conv_3x3",
    "d3": "dil_conv_3x3",
    "d5": "dil_conv_5x5",
}
_S1_NORMAL = "sk/d3 sk/d5 sk/d5 sk/s3 sk/d3 mp/sk sk/s3 sk/s3 sk/d3 sk/s3 mp/sk sk/d3 d3/d5 d3/d5"
_S1_REDUCE = "mp/ap mp/d3 mp/ap mp/ap sk/d5 mp/ap mp/s3 sk/d3 sk/d5 mp/ap mp/ap sk/d5 sk/d5 sk/d5"


def robust_darts(number: int) -> CellSpace:
    """RobustDARTS's reduced spaces S1 to S4 (Zela et al., 2020; src/spaces.py).

    S1 has two operations per edge, chosen edge by edge; S2 {skip, sep 3x3}; S3 adds none; S4 {noise, sep 3x3}.

    >>> robust_darts(1).alphas, robust_darts(3).alphas
    (56, 84)
    """
    if number == 1:
        normal, reduce = (
            tuple(tuple(_SHORT[short] for short in edge.split("/")) for edge in table.split())
            for table in (_S1_NORMAL, _S1_REDUCE)
        )
        return darts_family("s1", normal, reduce)
    subsets = {2: ("skip_connect", "sep_conv_3x3"), 3: (NONE, "skip_connect", "sep_conv_3x3"), 4: ("noise", "sep_conv_3x3")}
    if number not in subsets:
        raise UserError(f"RobustDARTS has the spaces S1 to S4, got S{number}.")
    return darts_family(f"s{number}", subsets[number])

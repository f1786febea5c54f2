"""Architectures as numbers, for what is fitted to their latencies."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence

import numpy as np

from jaxnas.derive import one_hot_mixture
from jaxnas.latency.graphs import Graph, kept
from jaxnas.latency.table import edge_key
from jaxnas.spaces import NONE, CellSpace, Genotype, Nb201Genotype, Space


def candidate_keys(space: Space) -> tuple[str, ...]:
    """The candidates of all edges, in the order of an encoding's columns, by their keys in a table of kind ``edges``.

    >>> from jaxnas.spaces import nb201_family
    >>> candidate_keys(nb201_family("one edge", ("none", "skip_connect"), nodes=1))
    ('cell/0/none', 'cell/0/skip_connect')
    """
    return tuple(
        edge_key(kind, edge, name) for kind, cell in space.cells for edge, names in enumerate(cell.operations) for name in names
    )


def exclusive(space: Space) -> tuple[range, ...]:
    """Columns of which every genotype has the same number: those of an edge; of a node in family darts, which keeps two.

    >>> from jaxnas.spaces import darts, nb201
    >>> exclusive(nb201())[:2], exclusive(darts())[:3]
    ((range(0, 5), range(5, 10)), (range(0, 8), range(8, 16), range(16, 40)))
    """
    sizes: list[int] = []
    for _, cell in space.cells:
        columns = [len(names) for names in cell.operations]
        for rows in (cell.incoming(node) for node in range(cell.nodes)):
            # A node of two edges keeps both; by GDAS's conventions it may keep one of them twice.
            whole = isinstance(space, CellSpace) and space.family == "darts" and (len(rows) > 2 or space.conventions == "gdas")
            sizes += [sum(columns[row] for row in rows)] if whole else [columns[row] for row in rows]
    ends = list(itertools.accumulate(sizes))
    return tuple(range(end - size, end) for size, end in zip(sizes, ends, strict=True))


@dataclasses.dataclass(frozen=True)
class Encoded:
    """Architectures of a space.

    Attributes:
      space: theirs.
      chosen: one-hot choices, float64 ``[networks, candidates]``, columns as ``candidate_keys``.
      kept: the same of what runs (``jaxnas.latency.graphs.kept``); an edge that is left out and has no ``none`` is a row of
        zeros.
    """

    space: Space
    chosen: np.ndarray
    kept: np.ndarray

    def at(self, rows: np.ndarray) -> Encoded:
        """Some of the networks, by number or by a mask."""
        return Encoded(self.space, self.chosen[rows], self.kept[rows])

    @property
    def described(self) -> np.ndarray:
        """Both, and of both how often each operation occurs: where an operation stands often makes no difference."""
        names = [key.rsplit("/", 1)[1] for key in candidate_keys(self.space)]
        operations = np.array([[name == operation for operation in dict.fromkeys(names)] for name in names], np.float64)
        # Halved, so that an operation more is as far as an edge's change of operation.
        return np.concatenate([self.chosen, self.kept, self.chosen @ operations / 2, self.kept @ operations / 2], axis=1)


def encode(space: Space, genotypes: Sequence[Genotype], graph: Graph = "reaching") -> Encoded:
    """Genotypes as one-hot choices.

    Args:
      graph: what of them runs.

    Raises:
      UserError: a genotype that is not one of the space's.

    >>> from jaxnas.spaces import nb201_family
    >>> space = nb201_family("one edge", ("none", "skip_connect"), nodes=1)
    >>> encode(space, [Nb201Genotype(((("skip_connect", 0),),))]).chosen
    array([[0., 1.]])
    """
    present = {kind: np.array(cell.present) for kind, cell in space.cells}

    def flat(genotype: Genotype) -> np.ndarray:
        mixture = one_hot_mixture(space, genotype)
        return np.concatenate([mixture[kind][present[kind]] for kind in present]).astype(np.float64)

    chosen = np.stack([flat(genotype) for genotype in genotypes])
    if space.family != "nb201" or graph == "whole":
        return Encoded(space, chosen, chosen)
    return Encoded(space, chosen, _kept(space, genotypes, chosen, graph))


def _kept(space: Space, genotypes: Sequence[Genotype], chosen: np.ndarray, graph: Graph) -> np.ndarray:
    """The choices without those that do not run, ``none`` in their place where it is a candidate."""
    (_, cell), rows = space.cells[0], chosen.copy()
    columns = exclusive(space)
    for row, genotype in zip(rows, genotypes, strict=True):
        left = kept(genotype, graph)
        assert isinstance(genotype, Nb201Genotype) and isinstance(left, Nb201Genotype)  # What is encoded fits the space.
        edges = zip(genotype.cells["cell"], left.cells["cell"], cell.operations, columns, strict=True)
        for (name, *_), (kept_name, *_), names, edge in edges:
            if name != kept_name:
                row[edge] = [float(candidate == NONE) for candidate in names]
    return rows

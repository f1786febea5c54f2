"""The cells of NAS-Bench-101 (Ying et al., 2019): directed acyclic graphs of at most seven vertices and nine edges.

The first vertex is the input, the last the output, those between have an operation each. A graph is two integers and a row:
its number of vertices, its edges as bits, the edge from ``x`` to ``y > x`` being bit ``x + y (y - 1) / 2`` (as in
google-research/nasbench, ``graph_util.py``), and its operations by their places in :data:`OPERATIONS`. Graphs that differ in
the order of their vertices alone are one architecture: :func:`key` is equal for them, and for them only.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Sequence

import numpy as np

from jaxnas.errors import UserError

OPERATIONS = ("conv3x3-bn-relu", "conv1x1-bn-relu", "maxpool3x3")
VERTICES = 7
EDGES = 9
"""The most that an architecture has."""

SIZE = 423_624
"""Architectures in all."""


@dataclasses.dataclass(frozen=True, eq=False)
class Graphs:
    """Architectures, each in one of its forms.

    Attributes:
      vertices: ``[N]`` int8.
      edges: ``[N]`` int32, bits.
      operations: ``[N, 5]`` int8, -1 after the last vertex that has one.
      keys: ``[N]`` int64, see :func:`key`.
    """

    vertices: np.ndarray
    edges: np.ndarray
    operations: np.ndarray
    keys: np.ndarray

    def matrix(self, number: int) -> np.ndarray:
        """``[V, V]`` int8: the upper triangular matrix of one, 1 where an edge goes from the row to the column."""
        return _matrices(self.edges[[number]], int(self.vertices[number]))[0].astype(np.int8)

    def names(self, number: int) -> list[str]:
        """What one's vertices do, as the benchmark says it.

        >>> graphs = enumerated(most_vertices=3)
        >>> graphs.names(1), graphs.matrix(1).tolist()
        (['input', 'conv3x3-bn-relu', 'output'], [[0, 1, 0], [0, 0, 1], [0, 0, 0]])
        """
        inner = [OPERATIONS[operation] for operation in self.operations[number] if operation >= 0]
        return ["input", *inner, "output"]

    def number(self, key: int) -> int:
        """Which of these architectures has a key.

        Raises:
          UserError: none.

        >>> graphs = enumerated(most_vertices=4)
        >>> graphs.number(key(graphs.matrix(50), graphs.names(50)))
        50
        """
        found = np.flatnonzero(self.keys == key)
        if not len(found):
            raise UserError(f"None of these {len(self.keys):,} graphs has the key {key}.")
        return int(found[0])


def pruned(matrix: np.ndarray, names: Sequence[str]) -> tuple[np.ndarray, list[str]]:
    """A graph without what is on no way from the input to the output: what the benchmark looks up.

    Args:
      matrix: ``[V, V]`` of 0 and 1, upper triangular.
      names: of its vertices: ``input``, of :data:`OPERATIONS`, ``output``.

    Raises:
      UserError: another form, no way from the input to the output, or too many vertices or edges that are on one.

    >>> pruned(np.array([[0, 1, 1], [0, 0, 0], [0, 0, 0]]), ["input", "maxpool3x3", "output"])
    (array([[0, 1],
           [0, 0]], dtype=int8), ['input', 'output'])
    """
    matrix = np.asarray(matrix)
    size = len(names)
    if matrix.shape != (size, size) or size < 2:
        raise UserError(
            f"A graph of NAS-Bench-101 has a square matrix with a row for each vertex, got {matrix.shape} and {size}."
        )
    if not np.isin(matrix, (0, 1)).all() or np.tril(matrix).any():
        raise UserError("The matrix of a graph of NAS-Bench-101 has 1 above its diagonal where there is an edge, and else 0.")
    if (names[0], names[-1]) != ("input", "output"):
        raise UserError(f"A graph of NAS-Bench-101 begins with input and ends with output, got {names[0]!r} and {names[-1]!r}.")
    for name in names[1:-1]:
        if name not in OPERATIONS:
            raise UserError(f"Operations of NAS-Bench-101 are {', '.join(OPERATIONS)}, got {name!r}.")
    reach = np.linalg.matrix_power(np.eye(size, dtype=np.int64) + matrix.astype(np.int64), size) > 0
    kept = np.flatnonzero(reach[0] & reach[:, -1])
    if not reach[0, -1]:
        raise UserError("No way leads from the input of the graph to its output.")
    found = matrix[np.ix_(kept, kept)].astype(np.int8)
    if len(kept) > VERTICES or found.sum() > EDGES:
        raise UserError(
            f"A graph of NAS-Bench-101 has at most {VERTICES} vertices and {EDGES} edges that are on a way from its input to "
            f"its output, this one has {len(kept)} and {found.sum()}."
        )
    return found, [names[vertex] for vertex in kept.tolist()]


def key(matrix: np.ndarray, names: Sequence[str]) -> int:
    """A number that all graphs of an architecture have, and no other. The graph is :func:`pruned` before.

    >>> one = np.array([[0, 1, 1, 0], [0, 0, 0, 1], [0, 0, 0, 1], [0, 0, 0, 0]])
    >>> convolutions = ["conv1x1-bn-relu", "conv3x3-bn-relu"]
    >>> key(one, ["input", *convolutions, "output"]) == key(one, ["input", *convolutions[::-1], "output"])
    True
    """
    matrix, names = pruned(matrix, names)
    operations = np.array([[OPERATIONS.index(name) for name in names[1:-1]]], np.int64)
    return int(_keys(matrix[None].astype(bool), operations)[0, 0])


def enumerated(most_vertices: int = VERTICES, most_edges: int = EDGES) -> Graphs:
    """Every architecture once, in the order in which the benchmark's own enumeration meets them.

    That is: by vertices, by bits of edges, by operations; of isomorphic graphs the first. All of it takes seconds.

    >>> len(enumerated(most_vertices=4).keys)
    91
    """
    parts = [_of_size(vertices, most_edges) for vertices in range(2, most_vertices + 1)]
    return Graphs(*(np.concatenate([getattr(part, field.name) for part in parts]) for field in dataclasses.fields(Graphs)))


def _of_size(vertices: int, most_edges: int) -> Graphs:
    edges = _connected(vertices, most_edges)
    operations = np.array(list(itertools.product(range(len(OPERATIONS)), repeat=vertices - 2)), np.int64)
    keys = _keys(_matrices(edges, vertices), operations)
    _, first = np.unique(keys, return_index=True)
    first.sort()
    graph, labels = np.divmod(first, len(operations))
    padded = np.full((len(first), VERTICES - 2), -1, np.int8)
    padded[:, : vertices - 2] = operations[labels]
    return Graphs(np.full(len(first), vertices, np.int8), edges[graph], padded, keys.ravel()[first])


def _connected(vertices: int, most_edges: int) -> np.ndarray:
    """``[M]`` int32: the graphs in which every vertex is on a way from the input to the output, as bits, rising.

    As the edges rise, every vertex but the output having an edge out and every vertex but the input one in is enough.
    """
    pairs = _pairs(vertices)
    bits = np.arange(1 << len(pairs), dtype=np.int32)
    kept = sum((bits >> place) & 1 for place in range(len(pairs))) <= most_edges
    for vertex in range(vertices):
        for end, other in ((0, vertices - 1), (1, 0)):
            mask = sum(1 << place for place, pair in enumerate(pairs) if pair[end] == vertex)
            kept &= (vertex == other) | ((bits & mask) != 0)
    return bits[kept]


def _pairs(vertices: int) -> list[tuple[int, int]]:
    """The edges that there can be, in the order of their bits."""
    return [(x, y) for y in range(vertices) for x in range(y)]


def _matrices(edges: np.ndarray, vertices: int) -> np.ndarray:
    """``[M, V, V]`` bool."""
    found = np.zeros((len(edges), vertices, vertices), bool)
    for place, (x, y) in enumerate(_pairs(vertices)):
        found[:, x, y] = (edges >> place) & 1
    return found


@functools.cache
def _orders(vertices: int) -> np.ndarray:
    """``[(V - 2)!, V]``: the orders of the vertices in which input and output stay where they are."""
    inner = itertools.permutations(range(1, vertices - 1))
    return np.array([(0, *order, vertices - 1) for order in inner])


def _keys(matrices: np.ndarray, operations: np.ndarray) -> np.ndarray:
    """``[M, L]`` int64: of every matrix with every row of operations the least code that an order of its vertices gives.

    The code of an order has the matrix's bits without the diagonal, which are at most 42, then the operations to the base 3,
    then the number of vertices.
    """
    vertices = matrices.shape[-1]
    apart = ~np.eye(vertices, dtype=bool)
    powers = 1 << np.arange(vertices * (vertices - 1), dtype=np.int64)
    radix = len(OPERATIONS) ** np.arange(vertices - 2, dtype=np.int64)
    labels = len(OPERATIONS) ** (VERTICES - 2)
    orders = _orders(vertices)
    of_matrix = np.stack([matrices[:, order][:, :, order][:, apart] @ powers for order in orders]) * labels
    of_operations = np.stack([operations[:, order[1:-1] - 1] @ radix for order in orders])
    least = np.empty((len(matrices), len(operations)), np.int64)
    for begin in range(0, len(matrices), 8):  # Few at a time: all orders of them stay in the processor's cache.
        few = slice(begin, begin + 8)
        least[few] = (of_matrix[:, few, None] + of_operations[:, None]).min(0)
    return least * (VERTICES + 1) + vertices

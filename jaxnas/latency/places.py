"""The choices that an architecture is made of, laid out for an exact search: what each costs and scores, and what they need.

Whether an edge of family nb201 runs depends on other edges: on those before it, which must lead from the input to it, and on
those behind it, which must lead on to the output. A layout settles this first: it says of every node between input and output
what becomes of it, so that the edges' costs add up, and which edges must be there for it to be true. The layouts of a space
together have every architecture, each once.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np

from jaxnas.latency.graphs import Graph
from jaxnas.latency.terms import Cost
from jaxnas.spaces import NONE, CellSpace, Space

Rest = Literal["best", "none", "every"]
"""Which candidate an edge has that does not run: the best by its score; the same, but it scores as ``none`` does; every one,
where something counts it that does not run."""

Picks = tuple[tuple[int, int], ...]
"""The ``(row, column)`` pairs of the alphas that an option takes."""

_ACTIVE, _UNREACHED, _DEAD = "active", "unreached", "dead"
"""What becomes of a node: it leads to the output (graph folded: and the images reach it); they do not reach it (graph folded
alone); it does not lead to the output."""


@dataclasses.dataclass(frozen=True)
class Place:
    """A node of a DARTS cell, an edge of a cell of family nb201, or a block: one option is taken.

    Attributes:
      kind: of the cell.
      picks: ``[options]``.
      scores: ``[options]``.
      costs: ``[options, costs]``.
      meets: ``[options]``, the needs that each meets, as bits.
    """

    kind: str
    picks: list[Picks]
    scores: np.ndarray
    costs: np.ndarray
    meets: np.ndarray


@dataclasses.dataclass(frozen=True)
class Layout:
    """Places of which every choice that meets all needs is an architecture in which something leads to the output.

    Attributes:
      places: at least one.
      needs: bits that the options together must meet.
    """

    places: list[Place]
    needs: int = 0


def layouts(space: Space, scores: Mapping[str, np.ndarray], costs: Sequence[Cost], graph: Graph, rest: Rest) -> list[Layout]:
    """The layouts of a space.

    Args:
      scores: of the candidates, by kind of cell ``[edges, columns]``.
      costs: each of this graph or ``whole``.
      graph: what runs of an architecture.
      rest: which candidates of edges that do not run are told apart; ``every`` where a cost is of graph ``whole``.

    >>> from jaxnas.spaces import nb201
    >>> [len(layouts(nb201(), {"cell": np.zeros((6, 5))}, [], graph, "every")) for graph in ("whole", "reaching", "folded")]
    [4, 4, 9]
    """
    if space.family == "nb201":
        return _of_nb201(space, scores, costs, graph, rest)
    places = []
    for kind, cell in space.cells:
        if space.family == "darts":
            picks = [_pairs(space, kind, cell.incoming(node)) for node in range(cell.nodes)]
        else:
            picks = [[((row, column),) for column in range(len(names))] for row, names in enumerate(cell.operations)]
        places += [_place(kind, options, scores, [(cost, None) for cost in costs]) for options in picks]
    return [Layout(places)]


def _of_nb201(space: Space, scores: Mapping[str, np.ndarray], costs: Sequence[Cost], graph: Graph, rest: Rest) -> list[Layout]:
    ((kind, cell),) = space.cells
    roles = (_ACTIVE, _UNREACHED, _DEAD) if graph == "folded" else (_ACTIVE, _DEAD)
    best: dict[tuple[bool, ...], tuple[float, Layout]] = {}
    found = []
    for between in itertools.product(roles, repeat=cell.nodes - 1):
        role = (_ACTIVE, *between, _ACTIVE)
        laid = _laid(space, kind, role, graph, scores, costs, rest)
        if laid is None:
            continue
        layout, points = laid
        found.append(layout)
        # The same edges run wherever the same nodes are active: of what does not run only the best counts, or nothing.
        active = tuple(one == _ACTIVE for one in role)
        if active not in best or points > best[active][0]:
            best[active] = points, layout
    return found if rest == "every" else [layout for _, layout in best.values()]


def _laid(
    space: Space,
    kind: str,
    role: Sequence[str],
    graph: Graph,
    scores: Mapping[str, np.ndarray],
    costs: Sequence[Cost],
    rest: Rest,
) -> tuple[Layout, float] | None:
    """The layout of nodes with these roles, and the score of the edges that do not run; None where an edge lacks the ``none``
    that it would need."""
    cell, last, folded = space.cell(kind), len(role) - 1, graph == "folded"
    opens, fed = [1 << node for node in range(last)], [1 << last + node for node in range(last + 1)]
    needs = sum(opens[node] for node in range(last) if role[node] == _ACTIVE)
    if folded:
        # Whether what is dead is fed must be known only where layouts may not share an architecture.
        reached = (_ACTIVE, _DEAD) if rest == "every" else (_ACTIVE,)
        needs |= sum(fed[node] for node in range(1, last + 1) if role[node] in reached)
    places, points = [], 0.0
    for row in reversed(range(len(cell.edges))):
        (source, target), names = cell.edges[row], cell.operations[row]
        runs = role[source] == role[target] == _ACTIVE
        # What is dead leads to nothing else, and nothing that the images reach leads to what they do not.
        closed = role[source] != role[target] and (role[source] == _DEAD or role[target] == _UNREACHED)
        options: list[Picks] = [((row, column),) for column in range(len(names))]
        unpaid = ((row, names.index(NONE)),) if NONE in names else ()
        if closed:
            if not unpaid:
                return None
            options = [unpaid]
        elif not runs and rest != "every":
            options = [max(options, key=lambda pick: scores[kind][pick[0]])]
        paid = [(cost, None if runs or cost.graph == "whole" else unpaid) for cost in costs]
        place = _place(kind, options, scores, paid)
        if not runs and rest == "none":
            place = dataclasses.replace(place, scores=np.array([sum(scores[kind][at] for at in unpaid)], np.float64))
        points += 0.0 if runs else float(place.scores.max())
        if not closed:
            bits = opens[source] * runs | fed[target] * (role[source] != _UNREACHED)
            something = np.array([names[pick[0][1]] != NONE for pick in options])
            place = dataclasses.replace(place, meets=np.where(something, bits & needs, 0))
        places.append(place)
    return Layout(places, needs), points


def _place(
    kind: str, picks: list[Picks], scores: Mapping[str, np.ndarray], costs: Sequence[tuple[Cost, Picks | None]]
) -> Place:
    """A place that needs nothing; beside a cost what is paid in the place of what is picked."""

    def added(numbers: np.ndarray, pick: Picks) -> float:
        return sum(float(numbers[at]) for at in pick)

    points = np.array([added(scores[kind], pick) for pick in picks])
    paid = [[added(cost.candidates[kind], pick if other is None else other) for cost, other in costs] for pick in picks]
    numbers = np.array(paid, np.float64).reshape(len(picks), len(costs))
    return Place(kind, picks, points, numbers, np.zeros(len(picks), np.int64))


def _pairs(space: Space, kind: str, rows: list[int]) -> list[Picks]:
    """What a node of a DARTS cell may keep: two edges with a candidate other than none each; by GDAS's rule two such pairs."""
    assert isinstance(space, CellSpace)
    names = space.cell(kind).operations
    edges = [[(row, column) for column, name in enumerate(names[row]) if name != NONE] for row in rows]
    if space.conventions == "gdas":
        edges = [[pick] for edge in edges for pick in edge]
    return [pair for a, b in itertools.combinations(edges, 2) for pair in itertools.product(a, b)]

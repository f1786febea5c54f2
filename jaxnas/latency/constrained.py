"""Derivation under constraints: the best architectures of a space whose costs are within their targets, exactly."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jaxnas.derive import one_hot_mixture, strengths
from jaxnas.errors import UserError
from jaxnas.latency.encodings import encode
from jaxnas.latency.terms import Cost
from jaxnas.spaces import NONE, BlockSpace, CellSpace, Genotype, Nb201Genotype, Space, block_genotype, darts_genotype

ROUNDING = 1e-9
"""Relative: sums of the same costs in another order are the same cost."""

_BEAM, _MOST = 500, 5_000_000
"""Partial architectures that the first pass keeps, and that the exact pass may hold at once."""

Limit = tuple[Cost, float]
"""A cost, and what it must not exceed."""


@dataclasses.dataclass(frozen=True)
class Ranked:
    """An architecture within its limits.

    Attributes:
      genotype: the architecture.
      score: sum of the logarithms of its candidates' shares of the softmax, as :func:`jaxnas.derive.derive` weighs them.
      costs: by name of the cost.
    """

    genotype: Genotype
    score: float
    costs: dict[str, float]


@dataclasses.dataclass(frozen=True)
class _Options:
    """What can be chosen at one place of a cell.

    Attributes:
      picks: for each option the ``(row, column)`` pairs of the alphas that it takes.
      scores: ``[options]``.
      costs: ``[options, limits]``.
      opens: ``[options]``: whether the source of the edge then leads to the output.
    """

    picks: list[tuple[tuple[int, int], ...]]
    scores: np.ndarray
    costs: np.ndarray
    opens: np.ndarray


@dataclasses.dataclass(frozen=True)
class _Place:
    """A node of a DARTS cell, an edge of a cell of family nb201, or a block.

    Attributes:
      kind: of the cell.
      source, target: bits of the states; a place that always counts has state 0 for both.
      live: the options where the target leads to the output.
      dead: those where it does not; None where it always does.
    """

    kind: str
    source: int
    target: int
    live: _Options
    dead: _Options | None = None

    @property
    def options(self) -> list[_Options]:
        """Live and dead, in the order in which they are counted."""
        return [self.live] if self.dead is None else [self.live, self.dead]


def within(value: float, limit: float) -> bool:
    """Whether a cost meets its limit, but for rounding."""
    return value <= limit + ROUNDING * abs(limit)


def total(space: Space, cost: Cost, genotype: Genotype) -> float:
    """The cost of an architecture, of what the compiler keeps of it.

    Where dead edges are free, an edge from whose node no path of operations other than none leads to the output costs what its
    none costs, as in what tables are fitted to (:func:`jaxnas.latency.encodings.reaching_output`). An edge whose source is zero
    costs what it costs otherwise: it runs all the same.

    Raises:
      UserError: the genotype is not one of the space's.

    >>> from jaxnas.spaces import from_text, nb201_family
    >>> space = nb201_family("small", ("none", "skip_connect"), nodes=2)
    >>> cost = Cost("latency", "ms", {"cell": np.array([[0.0, 1.0], [0.0, 2.0], [0.0, 4.0]])}, 0.5, dead_edges_are_free=True)
    >>> total(space, cost, from_text("|skip_connect~0|+|skip_connect~0|none~1|"))  # Nothing reads the first node.
    2.5
    """
    kept = encode(space, [genotype])
    columns = (kept.kept if cost.dead_edges_are_free else kept.chosen)[0]
    paid = np.concatenate([cost.candidates[kind][np.array(cell.present)] for kind, cell in space.cells])
    return cost.fixed + float(columns @ paid)


def extremes(space: Space, cost: Cost) -> tuple[tuple[float, Genotype], tuple[float, Genotype]]:
    """The least and the greatest cost of an architecture in which something goes from the input to the output."""
    found = []
    for sign in (-1.0, 1.0):
        scores = {kind: sign * numbers for kind, numbers in cost.candidates.items()}
        places = _places(space, scores, [], "none" if cost.dead_edges_are_free else None)
        (picks,) = _search(places, np.zeros(0), 1)
        genotype = _genotype(space, scores, picks)
        found.append((total(space, cost, genotype), genotype))
    return found[0], found[1]


def check_reachable(space: Space, cost: Cost, target: float) -> None:
    """Refuses a target that no architecture meets, or that all of them meet.

    Raises:
      UserError: so it is; both ends are said.
    """
    (least, _), (greatest, _) = extremes(space, cost)
    if within(least, target) and target < greatest:
        return
    wrong = "below the least" if target < least else "not below the greatest"
    raise UserError(
        f"The target of {target:g} {cost.unit} for {cost.name} is {wrong} of space {space.name!r}, whose architectures cost "
        f"{least:.6g} to {greatest:.6g} {cost.unit}. Choose a target between them."
    )


def best_within(space: Space, alphas: Mapping[str, Any], limits: Sequence[Limit], count: int = 1) -> list[Ranked]:
    """The architectures of the highest scores within all limits, the best first; fewer than ``count`` where there are no more.

    The score is the derivation's own: the sum over the edges that the architecture keeps of the logarithm of what
    :func:`jaxnas.derive.derive` compares, so that without a limit that binds its first is what that derives. Two restrictions:
    an architecture of family nb201 in which nothing goes from the input to the output is left out, and of those that differ
    only in edges that the compiler leaves out, where these are free, only the one of the highest score counts.

    Exact: partial architectures are dropped only where they cannot be completed within the limits, where an upper bound by
    Lagrange multipliers says that they cannot be among the best, and where ``count`` others are as good and as cheap.

    Raises:
      UserError: alphas that :func:`jaxnas.derive.derive` refuses, a problem too large to be solved exactly.

    >>> from jaxnas.spaces import nb201_family
    >>> space = nb201_family("one edge", ("none", "skip_connect", "nor_conv_3x3"), nodes=1)
    >>> cost = Cost("latency", "ms", {"cell": np.array([[0.0, 1.0, 9.0]])})
    >>> [found.genotype.nodes[0][0][0] for found in best_within(space, {"cell": [[0.0, 0.1, 0.2]]}, [(cost, 5.0)], 3)]
    ['skip_connect']
    """
    weights = strengths(space, alphas)
    with np.errstate(divide="ignore"):
        scores = {kind: np.maximum(np.log(shares), -700.0) for kind, shares in weights.items()}
    costs = [cost for cost, _ in limits]
    # Where something counts in dead edges, too, their choice is one like any other.
    free = all(cost.dead_edges_are_free for cost in costs)
    places = _places(space, scores, costs, "best" if free else None)
    left = np.array([limit + ROUNDING * abs(limit) - cost.fixed for cost, limit in limits])
    found = [_genotype(space, weights, picks) for picks in _search(places, left, count)]
    ranked = []
    for genotype in found:
        chosen = one_hot_mixture(space, genotype)
        score = sum(float(scores[kind][chosen[kind] > 0].sum()) for kind in scores)
        ranked.append(Ranked(genotype, score, {cost.name: total(space, cost, genotype) for cost in costs}))
    return ranked


def _places(space: Space, scores: Mapping[str, np.ndarray], costs: Sequence[Cost], rest: str | None) -> list[_Place]:
    """The places of a space, in an order in which it is known of each whether its target leads to the output.

    Args:
      rest: whose score a dead edge has: its ``best`` candidate's, or its ``none``'s; None where its candidate is chosen as that
        of any other edge.
    """
    places: list[_Place] = []
    for kind, cell in space.cells:

        def options(picks: list[tuple[tuple[int, int], ...]], kind: str = kind, opens: Any = None) -> _Options:
            points = np.array([sum(scores[kind][at] for at in pick) for pick in picks])
            paid = np.array([[sum(cost.candidates[kind][at] for at in pick) for cost in costs] for pick in picks])
            opens = np.zeros(len(picks), bool) if opens is None else opens
            return _Options(picks, points, paid.reshape(len(picks), len(costs)), opens)

        def singles(row: int, names: tuple[str, ...]) -> list[tuple[tuple[int, int], ...]]:
            return [((row, column),) for column in range(len(names))]

        if space.family == "darts":
            for node in range(cell.nodes):
                places.append(_Place(kind, 0, 0, options(_pairs(space, kind, cell.incoming(node)))))
        elif space.family == "blocks":
            places += [_Place(kind, 0, 0, options(singles(row, names))) for row, names in enumerate(cell.operations)]
        else:
            for row in reversed(range(len(cell.edges))):
                (source, target), names = cell.edges[row], cell.operations[row]
                live = options(singles(row, names), opens=np.array([name != NONE for name in names]))
                # A dead edge costs what none costs on it.
                unpaid = np.array([cost.dead_edges_are_free for cost in costs], bool)
                none = live.costs[names.index(NONE)] if NONE in names else np.zeros(len(costs))
                dead = _Options(live.picks, live.scores, np.where(unpaid, none, live.costs), np.zeros(len(names), bool))
                if rest is not None:
                    best = int(live.scores.argmax())
                    without = live.scores[names.index(NONE)] if NONE in names else 0.0
                    score = live.scores[best] if rest == "best" else without
                    dead = _Options([live.picks[best]], np.array([score]), dead.costs[best : best + 1], dead.opens[:1])
                places.append(_Place(kind, source, target, live, dead))
    return places


def _pairs(space: Space, kind: str, rows: list[int]) -> list[tuple[tuple[int, int], ...]]:
    """What a node of a DARTS cell may keep: two edges with a candidate other than none each; by GDAS's rule two such pairs."""
    assert isinstance(space, CellSpace)
    names = space.cell(kind).operations
    edges = [[(row, column) for column, name in enumerate(names[row]) if name != NONE] for row in rows]
    if space.conventions == "gdas":
        edges = [[pick] for edge in edges for pick in edge]
    return [pair for a, b in itertools.combinations(edges, 2) for pair in itertools.product(a, b)]


def _search(places: list[_Place], limits: np.ndarray, count: int) -> list[dict[str, list[tuple[int, int]]]]:
    """The picks of the ``count`` best complete choices, by kind of cell, the best first."""
    multipliers = _multipliers(places, limits)
    # What a pass that keeps only the most promising finds is a lower bound for the one that keeps all that may be best.
    scores, _ = _pass(places, limits, multipliers, count, -np.inf, _BEAM)
    lower = scores[count - 1] if len(scores) >= count else -np.inf
    scores, choices = _pass(places, limits, multipliers, count, lower, None)
    found = []
    for choice in choices[:count]:
        picks: dict[str, list[tuple[int, int]]] = {}
        for place, at in zip(places, choice, strict=True):
            known = [pick for options in place.options for pick in options.picks]
            picks.setdefault(place.kind, []).extend(known[at])
        found.append(picks)
    return found


def _multipliers(places: list[_Place], limits: np.ndarray) -> np.ndarray:
    """Multipliers of a low upper bound, by subgradient descent; any that are not negative bound rightly."""
    best_bound, best, found = np.inf, np.zeros(len(limits)), np.zeros(len(limits))
    if not len(limits):
        return best
    spans = [np.ptp(place.live.scores) for place in places], [np.ptp(place.live.costs, axis=0) for place in places]
    scale = (np.sum(spans[0]) + 1e-12) / (np.sum(spans[1], axis=0) + 1e-12)
    for step in range(300):
        bound, slope = float(limits @ found), limits.copy()
        for place in places:
            values = np.concatenate([options.scores - options.costs @ found for options in place.options])
            at = int(values.argmax())
            bound += values[at]
            slope -= np.concatenate([options.costs for options in place.options])[at]
        if bound < best_bound:
            best_bound, best = bound, found
        size = np.abs(slope * scale).sum() + 1e-12
        found = np.maximum(0.0, found - scale * (slope * scale) / size * (4.0 / (1 + step)))
    return best


def _pass(
    places: list[_Place], limits: np.ndarray, multipliers: np.ndarray, count: int, lower: float, beam: int | None
) -> tuple[np.ndarray, np.ndarray]:
    """Scores and choices ``[found, places]`` of complete architectures, the best first; with a beam not all of the best."""
    tails = [[options.scores - options.costs @ multipliers for options in place.options] for place in places]
    best_left = np.cumsum([0.0] + [max(float(part.max()) for part in tail) for tail in reversed(tails)])[::-1]
    cheapest = [np.min([options.costs.min(0) for options in place.options], axis=0) for place in places]
    least_left = np.cumsum([np.zeros(len(limits)), *reversed(cheapest)], axis=0)[::-1]
    last = max(place.target for place in places)
    score, cost, live = np.zeros(1), np.zeros((1, len(limits))), np.full(1, 1 << last, np.int64)
    choices = np.zeros((1, 0), np.int16)
    for i, place in enumerate(places):
        reaches, grown, first = (live >> place.target & 1).astype(bool), [], 0
        for options, rows in zip(place.options, (np.flatnonzero(reaches), np.flatnonzero(~reaches)), strict=False):
            size = len(options.scores)
            at, option = np.repeat(rows, size), np.tile(np.arange(size), len(rows))
            opened = np.where(options.opens[option], 1 << place.source, 0)
            grown.append((at, option + first, score[at] + options.scores[option], cost[at] + options.costs[option], opened))
            first += size
        at, option, score, cost, opened = (np.concatenate(parts) for parts in zip(*grown, strict=True))
        bound = score + (limits - cost) @ multipliers + best_left[i + 1]
        kept = (bound >= lower - ROUNDING * max(1.0, abs(lower))) if np.isfinite(lower) else np.ones(len(bound), bool)
        kept &= (cost + least_left[i + 1] <= limits + 1e-12 * np.abs(limits)).all(1)
        kept = np.flatnonzero(kept)
        if len(kept) > _MOST:
            raise UserError(
                f"More than {_MOST:,} partial architectures may be among the best: exact derivation under "
                f"{len(limits)} limits at once is too large here. Give fewer limits, or fewer candidates to compare."
            )
        live_now = live[at[kept]] | opened[kept]
        if len(limits) < 2:
            order = _fronts(score[kept], cost[kept].sum(1), live_now, count)
            kept, live_now = kept[order], live_now[order]
        if beam is not None and len(kept) > beam:
            order = np.argsort(-bound[kept], kind="stable")[:beam]
            kept, live_now = kept[order], live_now[order]
        choices = np.concatenate([choices[at[kept]], option[kept, None].astype(np.int16)], axis=1)
        score, cost, live = score[kept], cost[kept], live_now
    complete = np.flatnonzero(live & 1)  # Something goes from the input to the output.
    order = complete[np.argsort(-score[complete], kind="stable")]
    return score[order], choices[order]


def _fronts(score: np.ndarray, cost: np.ndarray, group: np.ndarray, count: int) -> np.ndarray:
    """Indices of the first ``count`` non-dominated fronts of each group: all others have as many that are as good and cheap."""
    found = []
    for value in np.unique(group):
        left = np.flatnonzero(group == value)
        left = left[np.lexsort((-score[left], cost[left]))]
        for _ in range(count):
            if not len(left):
                break
            before = np.concatenate([[-np.inf], np.maximum.accumulate(score[left])[:-1]])
            front = score[left] > before
            found.append(left[front])
            left = left[~front]
    return np.sort(np.concatenate(found)) if found else np.zeros(0, np.int64)


def _genotype(space: Space, weights: Mapping[str, np.ndarray], picks: Mapping[str, list[tuple[int, int]]]) -> Genotype:
    """The genotype of what was picked; a DARTS node lists its stronger edge first, as :func:`jaxnas.derive.derive` does."""
    if isinstance(space, BlockSpace):
        chosen = dict(picks["blocks"])
        return block_genotype(space, [names[chosen[row]] for row, names in enumerate(space.cell("blocks").operations)])
    nodes: dict[str, list[tuple[tuple[str, int], ...]]] = {}
    for kind, cell in space.cells:
        nodes[kind] = []
        for node in range(cell.nodes):
            at = sorted(pick for pick in picks[kind] if pick[0] in cell.incoming(node))
            if space.family == "darts":
                at.sort(key=lambda pick: -weights[kind][pick])
            nodes[kind].append(tuple((cell.operations[row][column], cell.edges[row][0]) for row, column in at))
    return Nb201Genotype(tuple(nodes["cell"])) if space.family == "nb201" else darts_genotype(nodes["normal"], nodes["reduce"])

"""Derivation under constraints: the best architectures of a space whose costs are within their targets, exactly."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jaxnas.derive import one_hot_mixture, strengths
from jaxnas.errors import UserError
from jaxnas.latency.encodings import encode
from jaxnas.latency.graphs import GRAPHS, Graph
from jaxnas.latency.places import Layout, Place, layouts
from jaxnas.latency.terms import Cost
from jaxnas.spaces import BlockSpace, Genotype, Nb201Genotype, Space, block_genotype, darts_genotype

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


def within(value: float, limit: float) -> bool:
    """Whether a cost meets its limit, but for rounding."""
    return value <= limit + ROUNDING * abs(limit)


def total(space: Space, cost: Cost, genotype: Genotype) -> float:
    """The cost of an architecture: of what runs of it.

    What does not run, by the cost's graph, costs what ``none`` costs there, as in the encodings that tables are fitted to.

    Raises:
      UserError: the genotype is not one of the space's.

    >>> from jaxnas.spaces import from_text, nb201_family
    >>> space = nb201_family("small", ("none", "skip_connect"), nodes=2)
    >>> cost = Cost("latency", "ms", {"cell": np.array([[0.0, 1.0], [0.0, 2.0], [0.0, 4.0]])}, 0.5, "reaching")
    >>> total(space, cost, from_text("|skip_connect~0|+|skip_connect~0|none~1|"))  # Nothing reads the first node.
    2.5
    """
    (columns,) = encode(space, [genotype], cost.graph).kept
    paid = np.concatenate([cost.candidates[kind][np.array(cell.present)] for kind, cell in space.cells])
    return cost.fixed + float(columns @ paid)


def extremes(space: Space, cost: Cost) -> tuple[tuple[float, Genotype], tuple[float, Genotype]]:
    """The least and the greatest cost of an architecture in which something goes from the input to the output."""
    found = []
    for sign in (-1.0, 1.0):
        scores = {kind: sign * numbers for kind, numbers in cost.candidates.items()}
        laid = layouts(space, scores, [], cost.graph, "every" if cost.graph == "whole" else "none")
        (picks,) = _search(laid, np.zeros(0), 1)
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


def best_within(
    space: Space, alphas: Mapping[str, Any], limits: Sequence[Limit], count: int = 1, least: float | None = None
) -> list[Ranked]:
    """The architectures of the highest scores within all limits, the best first; fewer than ``count`` where there are no more.

    The score is the derivation's own: the sum over the edges that the architecture keeps of the logarithm of what
    :func:`jaxnas.derive.derive` compares, so that without a limit that binds its first is what that derives. Two restrictions:
    an architecture of family nb201 in which nothing goes from the input to the output is left out, and of those that differ
    only in edges that do not run, where no limit counts these, only the one of the highest score counts.

    Exact: partial architectures are dropped only where they cannot be completed within the limits, where an upper bound by
    Lagrange multipliers says that they cannot be among the best, and where ``count`` others are as good and as cheap.

    Args:
      least: of the first limit's cost, what an architecture must cost at least.

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
    graphs: list[Graph] = [cost.graph for cost in costs] or ["whole"]
    bounds = list(limits) if least is None else [*limits, (_negated(costs[0]), -least)]
    # Where something counts what does not run, too, its choice is one like any other.
    rest = "every" if "whole" in graphs else "best"
    laid = layouts(space, scores, [cost for cost, _ in bounds], max(graphs, key=GRAPHS.index), rest)
    left = np.array([limit + ROUNDING * abs(limit) - cost.fixed for cost, limit in bounds])
    found = [_genotype(space, weights, picks) for picks in _search(laid, left, count)]
    ranked = []
    for genotype in found:
        chosen = one_hot_mixture(space, genotype)
        score = sum(float(scores[kind][chosen[kind] > 0].sum()) for kind in scores)
        ranked.append(Ranked(genotype, score, {cost.name: total(space, cost, genotype) for cost in costs}))
    return ranked


def _negated(cost: Cost) -> Cost:
    candidates = {kind: -numbers for kind, numbers in cost.candidates.items()}
    return dataclasses.replace(cost, candidates=candidates, fixed=-cost.fixed)


def _search(laid: list[Layout], limits: np.ndarray, count: int) -> list[dict[str, list[tuple[int, int]]]]:
    """The picks of the ``count`` best complete choices of all layouts, by kind of cell, the best first."""
    multipliers = [_multipliers(layout.places, limits) for layout in laid]
    pairs = list(zip(laid, multipliers, strict=True))
    # What a pass that keeps only the most promising finds is a lower bound for the one that keeps all that may be best.
    first = np.concatenate([_pass(layout, limits, found, count, -np.inf, _BEAM)[0][:count] for layout, found in pairs])
    lower = np.sort(first)[-count] if len(first) >= count else -np.inf
    complete = []
    for layout, found in pairs:
        scores, choices = _pass(layout, limits, found, count, float(lower), None)
        complete += [(score, layout, choice) for score, choice in zip(scores[:count], choices, strict=False)]
    complete.sort(key=lambda one: -one[0])
    picks: list[dict[str, list[tuple[int, int]]]] = []
    for _, layout, choice in complete[:count]:
        picks.append({})
        for place, at in zip(layout.places, choice, strict=True):
            picks[-1].setdefault(place.kind, []).extend(place.picks[at])
    return picks


def _multipliers(places: list[Place], limits: np.ndarray) -> np.ndarray:
    """Multipliers of a low upper bound, by subgradient descent; any that are not negative bound rightly."""
    best_bound, best, found = np.inf, np.zeros(len(limits)), np.zeros(len(limits))
    if not len(limits):
        return best
    spans = [np.ptp(place.scores) for place in places], [np.ptp(place.costs, axis=0) for place in places]
    scale = (np.sum(spans[0]) + 1e-12) / (np.sum(spans[1], axis=0) + 1e-12)
    for step in range(300):
        bound, slope = float(limits @ found), limits.copy()
        for place in places:
            values = place.scores - place.costs @ found
            at = int(values.argmax())
            bound += values[at]
            slope -= place.costs[at]
        if bound < best_bound:
            best_bound, best = bound, found
        size = np.abs(slope * scale).sum() + 1e-12
        found = np.maximum(0.0, found - scale * (slope * scale) / size * (4.0 / (1 + step)))
    return best


def _pass(
    layout: Layout, limits: np.ndarray, multipliers: np.ndarray, count: int, lower: float, beam: int | None
) -> tuple[np.ndarray, np.ndarray]:
    """Scores and choices ``[found, places]`` of complete architectures, the best first; with a beam not all of the best."""
    places = layout.places
    best_left = np.cumsum([0.0] + [float((place.scores - place.costs @ multipliers).max()) for place in reversed(places)])[::-1]
    least_left = np.cumsum([np.zeros(len(limits)), *(place.costs.min(axis=0) for place in reversed(places))], axis=0)[::-1]
    score, cost, met = np.zeros(1), np.zeros((1, len(limits))), np.zeros(1, np.int64)
    choices = np.zeros((1, 0), np.int16)
    for i, place in enumerate(places):
        size = len(place.scores)
        at, option = np.repeat(np.arange(len(score)), size), np.tile(np.arange(size), len(score))
        score, cost, met = score[at] + place.scores[option], cost[at] + place.costs[option], met[at] | place.meets[option]
        bound = score + (limits - cost) @ multipliers + best_left[i + 1]
        left = (bound >= lower - ROUNDING * max(1.0, abs(lower))) if np.isfinite(lower) else np.ones(len(bound), bool)
        left &= (cost + least_left[i + 1] <= limits + 1e-12 * np.abs(limits)).all(1)
        left = np.flatnonzero(left)
        if len(left) > _MOST:
            raise UserError(
                f"More than {_MOST:,} partial architectures may be among the best: exact derivation under "
                f"{len(limits)} limits at once is too large here. Give fewer limits, or fewer candidates to compare."
            )
        if len(limits) < 2:
            left = left[_fronts(score[left], cost[left].sum(1), met[left], count)]
        if beam is not None and len(left) > beam:
            left = left[np.argsort(-bound[left], kind="stable")[:beam]]
        choices = np.concatenate([choices[at[left]], option[left, None].astype(np.int16)], axis=1)
        score, cost, met = score[left], cost[left], met[left]
    complete = np.flatnonzero(met == layout.needs)
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

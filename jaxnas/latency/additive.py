"""Additive costs fitted to the latencies of whole networks, by least squares."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike
from scipy import optimize

from jaxnas.errors import UserError
from jaxnas.latency.encodings import candidate_keys, exclusive
from jaxnas.latency.graphs import Graph
from jaxnas.latency.scores import scores
from jaxnas.latency.table import Checks, Row, Table, shape_fields
from jaxnas.nets import ChainShape, Shape
from jaxnas.spaces import Space


@dataclasses.dataclass(frozen=True)
class Additive:
    """``intercept + encoding @ costs``.

    Attributes:
      space: of the networks that it is fitted to.
      intercept: what every network takes, in the unit of the latencies; not negative.
      costs: of each candidate, ``[candidates]``, not negative; NaN where no network had it.
      spreads: standard errors of the costs beyond the cheapest candidate of the same edge (family darts: node); NaN where there
        were no more networks than costs.
      counts: how many networks had it, ``[candidates]``.
    """

    space: Space
    intercept: float
    costs: np.ndarray
    spreads: np.ndarray
    counts: np.ndarray

    def predict(self, encoding: np.ndarray) -> np.ndarray:
        """Latencies ``[networks]`` of encoded networks ``[networks, candidates]``.

        Raises:
          UserError: a candidate that no network of the fit had.
        """
        unknown = np.flatnonzero((np.asarray(encoding) != 0).any(axis=0) & np.isnan(self.costs))
        if len(unknown):
            keys = candidate_keys(self.space)
            raise UserError(
                f"No measured network had {keys[unknown[0]]}, and {len(unknown)} candidate(s) in all: their cost is not known. "
                "Measure networks that have them."
            )
        return self.intercept + encoding @ np.nan_to_num(self.costs)


def fit(space: Space, encoding: np.ndarray, latencies: ArrayLike) -> Additive:
    """The costs of least squared error among those that let no network's fixed part or candidate take a negative time.

    An edge has one candidate in every network, so only sums are determined: a constant may go from all its candidates to the
    intercept. Predictions are the same for all these solutions; this is the one in which the cheapest candidate costs 0. It is
    the solution of plain least squares wherever that one's intercept is not negative.

    Args:
      encoding: ``chosen`` or ``kept`` of :class:`jaxnas.latency.encodings.Encoded`, ``[networks, candidates]``.
      latencies: ``[networks]``.

    Raises:
      UserError: latencies that are negative, not finite, or not one for each network; networks that do not determine the costs.

    >>> from jaxnas.spaces import nb201_family
    >>> space = nb201_family("one edge", ("none", "skip_connect"), nodes=1)
    >>> found = fit(space, np.array([[1.0, 0.0], [0.0, 1.0], [0.0, 1.0]]), [2.0, 5.0, 5.0])
    >>> round(found.intercept, 9), found.costs.round(9).tolist()
    (2.0, [0.0, 3.0])
    """
    encoding, latencies = np.asarray(encoding, np.float64), np.asarray(latencies, np.float64)
    if latencies.shape != encoding.shape[:1] or not (np.isfinite(latencies) & (latencies >= 0)).all():
        raise UserError("The additive costs are fitted to one latency for each network, finite and not negative.")
    seen = (encoding != 0).any(axis=0)
    groups = [group for group in map(np.array, exclusive(space)) if np.ptp(encoding[:, group].sum(axis=1)) == 0]
    design = np.concatenate([np.ones((len(encoding), 1)), encoding[:, seen]], axis=1)
    _, triangular = np.linalg.qr(design, mode="reduced")
    needed = design.shape[1] - len(groups)
    if np.linalg.matrix_rank(triangular) < needed:
        raise UserError(
            f"{len(encoding)} networks do not determine the {int(seen.sum())} costs of space {space.name!r}: at least {needed} "
            "that differ enough are needed. Measure more networks."
        )
    (solution, *_), costs = np.linalg.lstsq(design, latencies, rcond=None), np.full(len(seen), np.nan)
    costs[seen] = solution[1:]
    intercept = _shifted(float(solution[0]), costs, groups, encoding)
    if intercept < 0 or np.nanmin(costs) < 0:
        solution, _ = optimize.nnls(design, latencies, maxiter=100 * design.shape[1])
        costs[seen] = solution[1:]
        intercept = _shifted(float(solution[0]), costs, groups, encoding)
    residuals = latencies - intercept - encoding @ np.nan_to_num(costs)
    return Additive(space, intercept, costs, _spreads(design, residuals, needed, costs, groups), (encoding != 0).sum(axis=0))


def _shifted(intercept: float, costs: np.ndarray, groups: list[np.ndarray], encoding: np.ndarray) -> float:
    """Makes the cheapest candidate of each group cost 0, in place; returns the intercept that goes with it."""
    for group in groups:
        cheapest = np.nanmin(costs[group])
        costs[group] -= cheapest
        intercept += float(cheapest * encoding[0, group].sum())
    return intercept


def _spreads(design: np.ndarray, residuals: np.ndarray, rank: int, costs: np.ndarray, groups: list[np.ndarray]) -> np.ndarray:
    spreads = np.full(len(costs), np.nan)
    if len(design) <= rank:
        return spreads
    variance = (residuals**2).sum() / (len(design) - rank)
    seen = ~np.isnan(costs)
    inverse = np.zeros((len(costs), len(costs)))
    inverse[np.ix_(seen, seen)] = np.linalg.pinv(design.T @ design)[1:, 1:]
    for group in groups:
        base = group[np.nanargmin(costs[group])]
        for column in group[seen[group]]:
            squared = inverse[column, column] + inverse[base, base] - 2 * inverse[column, base]
            spreads[column] = np.sqrt(variance * max(squared, 0.0))
    return spreads


def fitted_table(
    found: Additive,
    shape: Shape | ChainShape,
    held_out: tuple[np.ndarray, ArrayLike, str] | None,
    device: str,
    batch: int | None = None,
    precision: str | None = None,
    software: Mapping[str, str] | None = None,
    source: str = "",
    graph: Graph = "whole",
) -> Table:
    """The table of kind ``edges`` of costs that were fitted to milliseconds. Candidates that no network had get no row.

    Args:
      shape: of the networks.
      held_out: encoding, milliseconds and a description in words of the networks that the table is checked on, which should be
        others than those of the fit.
      graph: what the encodings have of the networks.
    """
    rows = {
        key: Row(float(cost), float(spread) if np.isfinite(spread) else None, int(count))
        for key, cost, spread, count in zip(candidate_keys(found.space), found.costs, found.spreads, found.counts, strict=True)
        if np.isfinite(cost)
    }
    checks = held_out and Checks(scores(held_out[1], found.predict(held_out[0])), held_out[2])
    return Table(
        "edges",
        found.space.name,
        device,
        batch,
        precision,
        rows,
        intercept=found.intercept,
        shape=shape_fields(found.space, shape),
        software=dict(software or {}),
        source=source,
        checks=checks,
        graph=graph,
    )

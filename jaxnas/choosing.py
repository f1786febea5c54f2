"""Which architecture a search ends with: the strongest alphas', the weights' choice, or the best that meets its targets."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxnas import methods, selection
from jaxnas.bilevel import SearchState
from jaxnas.data import Dataset
from jaxnas.errors import TargetMissed
from jaxnas.estimators import ESTIMATORS
from jaxnas.latency import Table, constrained
from jaxnas.nets import ChainShape, Network, Shape
from jaxnas.pricing import Prices, prices
from jaxnas.recipe import Recipe, SearchRecipe, TrainRecipe
from jaxnas.spaces import Genotype, Space, random_genotype, to_text
from jaxnas.stages import Part

Measure = Callable[[Sequence[Genotype]], Sequence[float]]
"""Milliseconds of the networks of some genotypes, each measured on this device."""

NEAR = 0.95
"""A network that is derived within a target costs at least this share of what the alphas expect; where none does, the share is
twice as far from 1, and so on."""

DRAWS = 10_000
"""Of random architectures, until as many as are wanted meet the targets."""


@dataclasses.dataclass(frozen=True)
class Chosen:
    """What a search ends with.

    Attributes:
      genotype: the architecture.
      report: for ``result.json``: of each cost the target, the expectation of the alphas, the architecture's by table or count,
        and measured; and the candidates that were compared. Empty where the alphas paid for nothing.
      accuracies: of all that were compared where the estimator leaves the choice to the weights, else None.
    """

    genotype: Genotype
    report: dict[str, Any]
    accuracies: np.ndarray | None = None


def choose(recipe: Recipe, part: Part, network: Network, dataset: Dataset, state: SearchState) -> Chosen:
    """The architecture that a search ends with.

    Where the recipe has targets, the best that meets all of them (:func:`best_measured`); where the estimator leaves the
    choice to the weights, the one of the highest accuracy (:mod:`jaxnas.selection`); else that of the strongest alphas.

    Raises:
      TargetMissed: no architecture meets the targets.
    """
    estimator = recipe.search.estimator
    priced = prices(part.search, recipe.train, dataset, part.space)
    expected = {} if priced is None else expected_costs(part, priced, state.alphas, recipe.seed)
    if priced is not None and priced.limits:
        measured = recipe.search.latency.measured if "latency" in priced.wanted else 0
        measure = measuring(priced.table, priced.shape) if measured and priced.wanted["latency"].form == "target" else None
        return best_measured(part.space, state.alphas, priced, expected, max(1, measured), measure)
    accuracies = None
    if ESTIMATORS[estimator].selects:
        compared = selection.candidates(estimator, part.space, state.alphas, recipe.seed)
        key = jax.random.fold_in(jax.random.key(recipe.seed), 5)  # The search draws by 0 to 4, stages by 6.
        genotype, accuracies = selection.best(compared, part.space, network, state.weights, dataset, key)
    else:
        genotype = part.genotype(state.alphas)
    report = {} if priced is None else _report(part.space, priced, expected, genotype)
    return Chosen(genotype, report, accuracies)


def expected_costs(part: Part, priced: Prices, alphas: Any, seed: int) -> dict[str, float]:
    """The expected costs of a search's last alphas, by the probabilities that the method has in its last epoch."""
    method = methods.build(part.search, part.space, 1)
    key = jax.random.fold_in(jax.random.key(seed), 7)
    return priced.expected(part.space, method, alphas, key, jnp.asarray(part.end_epoch - 1))


def best_measured(
    space: Space, alphas: Any, priced: Prices, expected: dict[str, float], count: int, measure: Measure | None
) -> Chosen:
    """The best architecture within the targets, by the table or, of the ``count`` best by the table, by measurement.

    Alphas that are far from one-hot can expect the target while their best architecture costs a fraction of it. So the best
    of those that cost nearly what the alphas expect, or the target, come first (:data:`NEAR`; of several targets the first
    one's cost counts); where there are none, or none of them meets the targets when measured, the best of all that are within.

    Args:
      expected: of the alphas, by name of the cost; empty: the best of all that are within the targets.

    Raises:
      TargetMissed: none is left that meets the targets, or none of the measured ones does.
    """
    targets = ", ".join(f"{cost.name} {limit:g} {cost.unit}" for cost, limit in priced.limits)
    limit = dict((cost.name, limit) for cost, limit in priced.limits).get("latency", 0.0)
    candidates: list[dict[str, Any]] = []
    for least, ranked in _ranked(space, alphas, priced.limits, expected, count):
        known = {candidate["genotype"] for candidate in candidates}
        ranked = [one for one in ranked if to_text(one.genotype) not in known]
        found = [{"genotype": to_text(one.genotype), "score": one.score, **one.costs} for one in ranked]
        if measure is not None and ranked:
            for candidate, milliseconds in zip(found, measure([one.genotype for one in ranked]), strict=True):
                candidate["measured"] = float(milliseconds)
        candidates += found
        meeting = [i for i, one in enumerate(found) if measure is None or constrained.within(one["measured"], limit)]
        if meeting:
            # By rank, but what only the table says to be near goes behind what was measured to be, the nearest first.
            short = [max(0.0, least - one.get("measured", math.inf)) for one in found]
            at = min(meeting, key=lambda i: (short[i], i))
            report = _report(space, priced, expected, ranked[at].genotype)
            if measure is not None:
                report["costs"]["latency"]["measured"] = found[at]["measured"]
            return Chosen(ranked[at].genotype, {**report, "candidates": candidates})
    if not candidates:
        raise TargetMissed(f"No architecture of space {space.name!r} meets the target of {targets}.", {})
    fastest = min(candidate["measured"] for candidate in candidates)
    raise TargetMissed(
        f"None of the {len(candidates)} best architectures by the table meets the target of {targets}: measured, the "
        f"fastest takes {fastest:.4g} ms. Search with a lower target, measure more candidates, or make a better table.",
        {"candidates": candidates},
    )


def _ranked(
    space: Space, alphas: Any, limits: Sequence[constrained.Limit], expected: dict[str, float], count: int
) -> Iterator[tuple[float, list[constrained.Ranked]]]:
    """The best that cost nearly what is expected, with the least of that; then the best of all that are within the limits."""
    (first, most), far = limits[0], 1 - NEAR
    wanted = min(expected.get(first.name, 0.0), most)
    while wanted and far < 1:
        least = (1 - far) * wanted
        if found := constrained.best_within(space, alphas, limits, count, least):
            yield least, found
            break
        far *= 2  # Costs may be few numbers, none of them so near.
    yield 0.0, constrained.best_within(space, alphas, limits, count)


def measuring(table: Table | None, shape: Shape | ChainShape) -> Measure:
    """Measures as the table was made: at its batch and precision."""
    assert table is not None

    def measure(genotypes: Sequence[Genotype]) -> list[float]:
        from jaxnas.latency import deployed, timing  # Not above: only for those who measure.

        deployment = deployed.deployment_of(table)
        runs = {to_text(genotype): deployed.network_run(genotype, shape, deployment) for genotype in genotypes}
        timings = timing.time_all(runs)
        return [timings[to_text(genotype)].seconds * 1e3 for genotype in genotypes]

    return measure


def within_targets(
    search: SearchRecipe, train: TrainRecipe, dataset: Dataset, space: Space, rng: np.random.Generator, count: int
) -> list[Genotype]:
    """Random architectures that meet a recipe's targets; fewer where :data:`DRAWS` draws have not as many."""
    priced = prices(search, train, dataset, space)
    limits = [] if priced is None else priced.limits
    found: list[Genotype] = []
    for _ in range(DRAWS):
        if len(found) == count:
            break
        genotype = random_genotype(space, rng)
        if all(constrained.within(constrained.total(space, cost, genotype), limit) for cost, limit in limits):
            found.append(genotype)
    return found


def known_costs(
    search: SearchRecipe, train: TrainRecipe, dataset: Dataset, space: Space, genotype: Genotype
) -> dict[str, float]:
    """By table or count, what an architecture costs of all that the alphas pay for."""
    priced = prices(search, train, dataset, space)
    return {} if priced is None else {name: constrained.total(space, priced.costs[name], genotype) for name in priced.wanted}


def described(search: SearchRecipe, train: TrainRecipe, dataset: Dataset, space: Space) -> list[str]:
    """What the first screen says of the costs that the alphas pay for, and of a table that should not be believed."""
    priced = prices(search, train, dataset, space)
    if priced is None:
        return []
    lines = []
    for name, term in priced.wanted.items():
        cost = priced.costs[name]
        (least, _), (greatest, _) = constrained.extremes(space, cost)
        held = f"target {term.target:g}" if term.form == "target" else term.form
        source = f", by {Path(search.latency.table).name}" if name == "latency" else ""
        lines.append(f"{name}: {held}; architectures cost {least:.6g} to {greatest:.6g} {cost.unit}{source}")
    return lines + ([f"warning: {priced.warning}"] if priced.warning else [])


def extremes_of(recipe: Recipe, dataset: Dataset, name: str) -> tuple[float, float, str]:
    """What the cheapest and the dearest architecture of a recipe's space cost, and the unit."""
    space = recipe.search.build_space()
    priced = prices(recipe.search, recipe.train, dataset, space)
    assert priced is not None
    (least, _), (greatest, _) = constrained.extremes(space, priced.costs[name])
    return least, greatest, priced.costs[name].unit


def _report(space: Space, priced: Prices, expected: dict[str, float], genotype: Genotype) -> dict[str, Any]:
    costs = {}
    for name, term in priced.wanted.items():
        cost = priced.costs[name]
        costs[name] = {"unit": cost.unit, "form": term.form}
        costs[name] |= {"target": term.target} if term.form == "target" else {}
        costs[name] |= {"expected": expected[name]} if name in expected else {}
        costs[name]["derived"] = constrained.total(space, cost, genotype)
    if priced.warning:
        costs["latency"]["warning"] = priced.warning
    return {"costs": costs}

"""What the alphas minimise besides the task's loss: expected costs, such as a latency, in every form that papers give them."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from jaxnas.latency.graphs import Graph
from jaxnas.spaces import NONE, Space

MOST_VIOLATION = 0.1
"""A constraint's violation counts as at most so much: where the search starts at a multiple of its target, the multiplier would
grow far beyond what holds the target, and the alphas would overshoot it for as long as it takes to shrink."""


@dataclasses.dataclass(frozen=True)
class Cost:
    """What an architecture costs: the sum of its candidates' costs and of what every architecture has.

    Attributes:
      name: in logs and results.
      unit: of all numbers.
      candidates: by kind of cell ``[edges, columns]``, over all cells that have the edge; 0 where there is no candidate.
      fixed: of the layers that are not searched.
      graph: what runs of an architecture, see ``jaxnas.latency.graphs.Graph``: what does not costs as much as ``none``.
    """

    name: str
    unit: str
    candidates: Mapping[str, np.ndarray]
    fixed: float = 0.0
    graph: Graph = "whole"


def expected(space: Space, cost: Cost) -> Callable[[Any], Array]:
    """The expected cost of what a relaxation's probabilities stand for; its derivative in the alphas is theirs.

    The probabilities times the costs, summed, plus what is fixed. In family darts an architecture keeps two edges of each node
    and never none: there the probabilities are those among an edge's other candidates, and each of a node's n edges counts
    2 / n. Otherwise the cost of 14 edges would be held at the target of 8, and none, which is not derived, would meet it.

    >>> from jaxnas.spaces import nb201_family
    >>> space = nb201_family("one edge", ("none", "skip_connect"), nodes=1)
    >>> cost = Cost("latency", "ms", {"cell": np.array([[1.0, 3.0]])}, fixed=0.5)
    >>> float(expected(space, cost)({"cell": jnp.array([[0.25, 0.75]])}))
    3.0
    """

    def of(probabilities: Any) -> Array:
        total = jnp.asarray(cost.fixed)
        for kind, cell in space.cells:
            shares, numbers = probabilities[kind], jnp.asarray(cost.candidates[kind])
            if space.family == "darts":
                derived = np.array(
                    [
                        [name != NONE for name in names]
                        for names in (row + (NONE,) * (cell.columns - len(row)) for row in cell.operations)
                    ]
                )
                shares = jnp.where(derived, shares, 0.0)
                numbers = numbers * np.array([[2 / len(cell.incoming(target - 2))] for _, target in cell.edges])
                # Where none has all the probability, a sampled one, there is nothing to divide by.
                shares = shares / jnp.maximum(shares.sum(-1, keepdims=True), jnp.finfo(shares.dtype).tiny)
            total = total + (shares * numbers).sum()
        return total

    return of


@dataclasses.dataclass(frozen=True)
class Term:
    """How a cost enters what the alphas minimise.

    Attributes:
      cost: of which the expectation is taken.
      value: ``(value so far, expected cost, duals of this term) -> value``.
      scales: it multiplies what is there, and so comes before the terms that add to it.
      duals: at the start, or None.
      update_duals: ``(duals, expected cost) -> duals``.
    """

    cost: Cost
    value: Callable[[Array, Array, Any], Array]
    scales: bool = False
    duals: dict[str, float] | None = None
    update_duals: Callable[[Any, Array], Any] = lambda duals, cost: duals


def multiplicative(cost: Cost, reference: float, factor: float = 0.2, power: float = 0.3) -> Term:
    """ProxylessNAS's ``mul#log``: ``loss factor (log latency / log reference)^power``, both latencies in the same unit.

    The values are those of its command line (search/imagenet_arch_search.py); the class has others.
    """
    log_reference = np.log(reference)
    return Term(cost, lambda value, found, duals: value * factor * (jnp.log(found) / log_reference) ** power, scales=True)


def fbnet(cost: Cost, factor: float = 0.2, power: float = 0.6, per_unit: float = 1.0) -> Term:
    """FBNet's ``loss factor log(latency)^power`` (Wu et al., 2019, eq. 2).

    Args:
      per_unit: microseconds, in which the paper takes the logarithm, of the cost's unit.
    """
    return Term(cost, lambda value, found, duals: value * factor * jnp.log(per_unit * found) ** power, scales=True)


def additive(cost: Cost, reference: float, factor: float = 0.1) -> Term:
    """ProxylessNAS's ``add#linear``: ``loss + factor (latency - reference) / reference``."""
    return Term(cost, lambda value, found, duals: value + factor * (found - reference) / reference)


def weighted(cost: Cost, factor: float) -> Term:
    """``loss + factor cost``, in the cost's unit."""
    return Term(cost, lambda value, found, duals: value + factor * found)


def held(cost: Cost, target: float, ascent: float = 0.02, damping: float = 4.0) -> Term:
    """The constraint ``cost <= target``, held by a multiplier that moves with every update of the alphas.

    With the relative violation ``g = cost / target - 1`` the alphas minimise ``loss + m g`` at the multiplier
    ``m = max(0, dual + damping g)``, the gradient of the augmented Lagrangian; then the dual ascends,
    ``dual <- max(0, dual + ascent g)``. In both g is bounded, see :data:`MOST_VIOLATION`. Proportional and integral control of
    the multiplier: Stooke et al., 2020. At a rest point the cost is the target and the dual the multiplier of Kuhn and Tucker,
    or the dual is 0 and the cost below the target.

    The target is one of the duals, not a constant of the program: searches at several targets share one compiled step.

    Args:
      target: in the cost's unit.
      ascent, damping: in units of the task's loss; their values are ours.
    """

    def bounded(found: Array, duals: Any) -> Array:
        return jnp.clip(found / duals["target"] - 1, -MOST_VIOLATION, MOST_VIOLATION)

    def value(value: Array, found: Array, duals: Any) -> Array:
        multiplier = lax.stop_gradient(jnp.maximum(0.0, duals["multiplier"] + damping * bounded(found, duals)))
        return value + multiplier * (found / duals["target"] - 1)

    def update(duals: Any, found: Array) -> Any:
        return {**duals, "multiplier": jnp.maximum(0.0, duals["multiplier"] + ascent * bounded(found, duals))}

    return Term(cost, value, duals={"multiplier": 0.0, "target": target}, update_duals=update)


def reported(cost: Cost) -> Term:
    """Nothing is added: the expectation is only logged."""
    return Term(cost, lambda value, found, duals: value)


def fields(space: Space, terms: Sequence[Term]) -> dict[str, Any]:
    """The fields of a :class:`jaxnas.bilevel.Method` that make the alphas minimise these terms, one of each name of a cost.

    >>> from jaxnas.spaces import nb201_family
    >>> space = nb201_family("one edge", ("none", "skip_connect"), nodes=1)
    >>> latency = Cost("latency", "ms", {"cell": np.array([[1.0, 3.0]])})
    >>> size = Cost("parameters", "weights", {"cell": np.array([[0.0, 10.0]])})
    >>> found = fields(space, [additive(latency, reference=1.0, factor=0.5), fbnet(size, factor=1.0, power=1.0)])
    >>> costs = found["costs"]({"cell": jnp.array([[0.5, 0.5]])})
    >>> float(costs["latency"]), round(float(found["objective"](jnp.array(2.0), costs, {})), 4)  # 2 log 5 + 0.5 (2 - 1)
    (2.0, 3.7189)
    """
    ordered = sorted(terms, key=lambda term: not term.scales)

    expectations = {term.cost.name: expected(space, term.cost) for term in terms}

    def costs(probabilities: Any) -> dict[str, Array]:
        return {name: of(probabilities) for name, of in expectations.items()}

    def objective(task_loss: Array, costs: Any, duals: Any) -> Array:
        def with_term(value: Array, term: Term) -> Array:
            return term.value(value, costs[term.cost.name], duals.get(term.cost.name))

        return functools.reduce(with_term, ordered, task_loss)

    def update_duals(duals: Any, costs: Any) -> Any:
        by_name = {term.cost.name: term for term in terms}
        return {name: by_name[name].update_duals(dual, costs[name]) for name, dual in duals.items()}

    return {"costs": costs, "objective": objective, "update_duals": update_duals}


def initial_duals(terms: Sequence[Term]) -> dict[str, dict[str, Array]]:
    """The duals that a search with these terms starts at, by the name of the cost."""
    return {
        term.cost.name: {name: jnp.asarray(number, jnp.result_type(float)) for name, number in term.duals.items()}
        for term in terms
        if term.duals is not None
    }

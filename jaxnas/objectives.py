"""What the alphas minimise besides the task's loss: an expected latency, or any other cost that a table gives."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

Costs = Callable[[Any], dict[str, Array]]
Objective = Callable[[Array, Any, Any], Array]
"""``objective(task_loss, costs, duals) -> value``, see :class:`jaxnas.search.Method`."""


def expected(table: Mapping[str, ArrayLike], fixed: float = 0.0) -> Costs:
    """The expected latency: the probabilities times a table of each candidate's, summed, plus what every network has.

    Args:
      table: by kind of cell ``[edges, columns]``; 0 where there is no candidate.
      fixed: of the layers that are not searched.

    >>> costs = expected({"cell": [[1.0, 3.0]]}, fixed=0.5)
    >>> float(costs({"cell": jnp.array([[0.25, 0.75]])})["latency"])
    3.0
    """

    def costs(probabilities: Any) -> dict[str, Array]:
        parts = [(probabilities[kind] * jnp.asarray(numbers)).sum() for kind, numbers in table.items()]
        return {"latency": sum(parts, jnp.asarray(fixed))}

    return costs


def multiplicative(reference: float, factor: float = 0.2, power: float = 0.3) -> Objective:
    """ProxylessNAS's ``mul#log``: ``loss factor (log latency / log reference)^power``, both latencies in the same unit.

    The values are those of its command line (search/imagenet_arch_search.py); the class has others.
    """
    log_reference = jnp.log(jnp.asarray(reference))
    return lambda loss, costs, duals: loss * factor * (jnp.log(costs["latency"]) / log_reference) ** power


def additive(reference: float, factor: float = 0.1) -> Objective:
    """ProxylessNAS's ``add#linear``: ``loss + factor (latency - reference) / reference``."""
    return lambda loss, costs, duals: loss + factor * (costs["latency"] - reference) / reference


def fbnet(factor: float = 0.2, power: float = 0.6) -> Objective:
    """FBNet's ``loss factor log(latency)^power`` (Wu et al., 2019, eq. 2), the latency in microseconds."""
    return lambda loss, costs, duals: loss * factor * jnp.log(costs["latency"]) ** power

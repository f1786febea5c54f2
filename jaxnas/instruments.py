"""Instruments of a search: the curvature of the validation loss in the alphas, what the mixture has become, and when to stop.

DARTS fails in a known way: towards the end of a search skip connections take over, and what is derived is far worse than the
supernet was (Zela et al., 2020). The largest eigenvalue of the Hessian of the validation loss in the alphas rises before that.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.flatten_util import ravel_pytree

from jaxnas.derive import strengths
from jaxnas.errors import UserError
from jaxnas.spaces import SKIP, Space

WINDOW, DELTA, FACTOR, EARLIEST = 5, 4, 1.3, 10
"""Of RobustDARTS's early stop: measurements averaged, and compared over; the ratio that is too much; the first epoch kept."""


def hessian(loss: Callable[[Any], Array], alphas: Any) -> Array:
    """All second derivatives of a loss in its alphas, one column after the other, each a forward derivative of the gradient.

    Alphas are few (30 in NAS-Bench-201, 224 in DARTS), so that this is exact and takes as many products as there are alphas;
    one column is in memory at a time.

    Args:
      loss: a scalar of the alphas, twice differentiable.
      alphas: a pytree of ``n`` floating numbers.

    Returns:
      ``[n, n]``, in the order of :func:`jax.flatten_util.ravel_pytree`.

    >>> matrix = jnp.array([[2.0, 1.0], [1.0, 4.0]])
    >>> hessian(lambda a: a["x"] @ matrix @ a["x"] / 2, {"x": jnp.ones(2)}).tolist()
    [[2.0, 1.0], [1.0, 4.0]]
    """
    flat, back = ravel_pytree(alphas)
    gradient = jax.grad(lambda flat: loss(back(flat)))
    return lax.map(lambda along: jax.jvp(gradient, (flat,), (along,))[1], jnp.eye(len(flat), dtype=flat.dtype))


def spectrum(hessian_nxn: Array) -> Array:
    """The eigenvalues ``[n]`` of a Hessian, ascending; it is made symmetric first, as rounding leaves it not quite so.

    >>> spectrum(jnp.array([[2.0, 1.0], [1.0, 2.0]])).round(4).tolist()
    [1.0, 3.0]
    """
    return jnp.linalg.eigvalsh((hessian_nxn + hessian_nxn.T) / 2)


def agreement(used: Any, exact: Any) -> dict[str, Array]:
    """How a hypergradient compares with the exact one: ``cosine`` of the angle between them, ``norm_ratio`` used / exact.

    Both are NaN where the exact one is 0, the cosine also where the used one is.

    >>> {name: round(float(value), 4) for name, value in agreement(jnp.array([3.0, 0.0]), jnp.array([1.0, 1.0])).items()}
    {'cosine': 0.7071, 'norm_ratio': 2.1213}
    """
    u, e = ravel_pytree(used)[0], ravel_pytree(exact)[0]
    norms = jnp.linalg.norm(u), jnp.linalg.norm(e)
    return {"cosine": u @ e / (norms[0] * norms[1]), "norm_ratio": norms[0] / jnp.where(norms[1] > 0, norms[1], jnp.nan)}


def skip_share(space: Space, alphas: Mapping[str, Any]) -> float:
    """Mean over all edges that have a skip connection of its share of the softmax among the edge's candidates.

    >>> from jaxnas.spaces import nb201_family
    >>> space = nb201_family("one edge", ("none", "skip_connect"), nodes=1)
    >>> skip_share(space, {"cell": [[0.0, math.log(3.0)]]})
    0.75

    Raises:
      UserError: as :func:`jaxnas.derive.derive`; no edge has a skip connection.
    """
    rows = _rows(space, alphas)
    shares = [float(row[names.index(SKIP)]) for names, row in rows if SKIP in names]
    if not shares:
        raise UserError(f"No edge of space {space.name!r} has a {SKIP}: there is no share of it.")
    return float(np.mean(shares))


def entropy(space: Space, alphas: Mapping[str, Any]) -> float:
    """Mean over the edges of the entropy of the softmax, in units of that of the uniform one: 1 undecided, 0 decided.

    Edges of one candidate are left out.

    >>> from jaxnas.spaces import nb201_family
    >>> entropy(nb201_family("one edge", ("none", "skip_connect"), nodes=1), {"cell": [[0.5, 0.5]]})
    1.0
    """
    found = []
    for names, row in _rows(space, alphas):
        if len(names) > 1:
            known = row[row > 0]
            found.append(float(-(known * np.log(known)).sum() / math.log(len(names))))
    return float(np.mean(found)) if found else 0.0


def _rows(space: Space, alphas: Mapping[str, Any]) -> list[tuple[tuple[str, ...], np.ndarray]]:
    """Of every edge its candidates and the softmax of its alphas."""
    kinds = {kind: alphas[kind] for kind, _ in space.cells if kind in alphas}
    weights = strengths(space, kinds)
    return [
        (tuple(names), row[: len(names)])
        for kind, cell in space.cells
        for names, row in zip(cell.operations, weights[kind], strict=True)
    ]


@dataclasses.dataclass(frozen=True)
class EarlyStop:
    """When RobustDARTS's rule would have a search end.

    Attributes:
      seen_at: the epoch after whose measurement it says so.
      epoch: the one whose genotype is kept, before the rise.
      ratio: the local average of the largest eigenvalues over that of ``DELTA`` measurements before.
    """

    seen_at: int
    epoch: int
    ratio: float


def early_stop(epochs: Sequence[int], eigenvalues: Sequence[float], every: int) -> EarlyStop | None:
    """RobustDARTS's early stop (automl/RobustDARTS, src/utils.py, ``EVLocalAvg``; DARTS-ES), at the first epoch that calls it.

    The largest eigenvalues are averaged over windows of five measurements, at the beginning over the three or four there are,
    and the average belongs to the epoch two measurements back. The search ends when it is more than 1.3 times the average of
    four measurements earlier, if that one's epoch is at least the tenth; that epoch's genotype is kept. The reference does not
    ask after the last epoch, where this does: the search has ended by then.

    Args:
      epochs: at which was measured, ascending, ``every`` apart.
      eigenvalues: the largest of each.
      every: epochs from one measurement to the next.

    Raises:
      UserError: the epochs are not ``every`` apart, or an eigenvalue is not finite.

    >>> rising = [1.0] * 10 + [2.0, 3.0, 4.0]
    >>> early_stop(range(0, 26, 2), rising, every=2)
    EarlyStop(seen_at=22, epoch=10, ratio=1.6)
    >>> early_stop(range(0, 26, 2), [1.0] * 13, every=2) is None
    True
    """
    if len(epochs) != len(eigenvalues):
        raise UserError(f"Every epoch has one eigenvalue: got {len(epochs)} epochs and {len(eigenvalues)} eigenvalues.")
    for before, after in zip(epochs, epochs[1:], strict=False):
        if after - before != every:
            raise UserError(f"The eigenvalues are to be {every} epochs apart, got epochs {before} and {after}.")
    for epoch, value in zip(epochs, eigenvalues, strict=True):
        if not math.isfinite(value):
            raise UserError(f"The largest eigenvalue of epoch {epoch} is {value}: the search diverged.")
    averages: list[float] = []
    for i, seen_at in enumerate(epochs):
        if i + 1 < math.ceil(WINDOW / 2):
            continue
        averages.append(float(np.mean(eigenvalues[max(0, i + 1 - WINDOW) : i + 1])))
        kept = seen_at - every * (WINDOW // 2) - every * DELTA
        if kept >= EARLIEST and len(averages) > DELTA:
            before = averages[-1 - DELTA]
            ratio = averages[-1] / before if before else math.inf
            if ratio > FACTOR:
                return EarlyStop(seen_at, kept, ratio)
    return None

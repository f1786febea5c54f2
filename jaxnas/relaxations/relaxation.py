"""What a relaxation is, and what all of them share: which alphas stand for candidates, and where alphas start."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jax import Array, lax

from jaxnas.spaces import Space

Alphas = Any
Mixture = Any  # What MixedEdges takes, by kind of cell.
Phase = Literal["weights", "alphas"]

Relax = Callable[[Alphas, Array, dict[str, Array], Phase], tuple[Mixture, Any]]
"""``relax(alphas, key, scalars, phase) -> mixture, probabilities``.

``phase`` says whose update the mixture is for, as some methods draw another sample, or relax differently, in each. The
mixture is what the supernet understands (see :class:`jaxnas.nets.mixed.MixedEdges`); the probabilities are what expected
costs are taken over. Both are dictionaries from kind of cell; alphas, weights and probabilities are ``[edges, columns]``,
and columns that stand for no candidate, on edges with fewer than the others, have weight and probability 0.
"""


def candidates(space: Space) -> dict[str, Array]:
    """By kind of cell, bool ``[edges, columns]``: whether the alpha there stands for a candidate."""
    return {kind: jnp.array(cell.present) for kind, cell in space.cells}


def masked(alpha_ExO: Array, present_ExO: Array) -> Array:
    """The alphas with minus infinity where there is no candidate: its share of any softmax is 0."""
    return jnp.where(present_ExO, alpha_ExO, -jnp.inf)


def keys_by_kind(space: Space, key: Array) -> dict[str, Array]:
    """A key for each kind of cell: all cells of a kind share one sample, different kinds draw their own."""
    return {kind: jax.random.fold_in(key, i) for i, (kind, _) in enumerate(space.cells)}


def one_hot(column_E: Array, like_ExO: Array) -> Array:
    """Bool ``[edges, columns]``, true in each edge's column."""
    return jax.nn.one_hot(column_E, like_ExO.shape[-1], dtype=bool)


def gates(active_ExO: Array, soft_ExO: Array) -> Array:
    """Exactly 1 where active and 0 elsewhere, with the gradient of ``soft_ExO``: the straight-through estimator."""
    return active_ExO + (soft_ExO - lax.stop_gradient(soft_ExO))


def initial_alphas(space: Space, key: Array, scale: float = 1e-3) -> Alphas:
    """Architecture parameters at the start: ``scale`` times standard normal draws, 1e-3 in all of the DARTS family.

    >>> from jaxnas.spaces import darts
    >>> {kind: alpha.shape for kind, alpha in initial_alphas(darts(), jax.random.key(0)).items()}
    {'normal': (14, 8), 'reduce': (14, 8)}
    """
    return {
        kind: scale
        * jax.random.normal(jax.random.fold_in(key, i), (len(cell.edges), cell.columns))
        * jnp.array(cell.present, jnp.float32)
        for i, (kind, cell) in enumerate(space.cells)
    }

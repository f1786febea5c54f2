"""PC-DARTS: only a share of the channels runs through the candidates, and edges have weights (Xu et al., 2020)."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from jaxnas.derive import EDGES
from jaxnas.errors import UserError
from jaxnas.relaxations.relaxation import Alphas, Mixture, Phase, Relax, candidates, initial_alphas
from jaxnas.relaxations.softmax import probabilities
from jaxnas.spaces import CellSpace


def partial_channels(space: CellSpace) -> Relax:
    """The softmax of each edge's alphas times the edge's own weight, a softmax over the edges of its node.

    For a supernet with partial channels: its mixed operations have one more candidate, in the first column, the channels that
    pass by, which the weight of the edge alone multiplies. Alphas: see :func:`initial_partial_alphas`.

    Raises:
      UserError: a space without nodes, such as a chain of blocks.
    """
    present, targets = candidates(space), _targets(space)

    def relax(alphas: Alphas, key: Array, scalars: dict[str, Array], phase: Phase) -> tuple[Mixture, Any]:
        weights = probabilities(alphas, present)
        mixture = {}
        for kind in present:
            beta = edge_weights(alphas[kind + EDGES], targets[kind])[:, None]
            mixture[kind] = beta * jnp.concatenate([jnp.ones_like(beta), weights[kind]], axis=1)
        return mixture, weights

    return relax


def with_bypass(relax: Relax) -> Relax:
    """A dense relaxation for a supernet with partial channels whose edges have no weights (DrNAS): what passes by counts 1."""

    def with_first_column(alphas: Alphas, key: Array, scalars: dict[str, Array], phase: Phase) -> tuple[Mixture, Any]:
        mixture, found = relax(alphas, key, scalars, phase)
        return {kind: jnp.pad(rows, ((0, 0), (1, 0)), constant_values=1.0) for kind, rows in mixture.items()}, found

    return with_first_column


def edge_weights(beta_E: Array, target_E: Array) -> Array:
    """The softmax over the edges that end at the same node, ``[edges]``.

    >>> edge_weights(jnp.zeros(5), jnp.array([2, 2, 3, 3, 3])).round(3)
    Array([0.5  , 0.5  , 0.333, 0.333, 0.333], dtype=float32)
    """
    same = target_E[:, None] == target_E[None, :]
    return jnp.exp(beta_E - jax.nn.logsumexp(jnp.where(same, beta_E[None, :], -jnp.inf), axis=1))


def initial_partial_alphas(space: CellSpace, key: Array, scale: float = 1e-3) -> Alphas:
    """Alphas of the candidates and, under ``KIND_edges``, of the edges; all ``scale`` times standard normal draws.

    >>> from jaxnas.spaces import darts
    >>> sum(alpha.size for alpha in initial_partial_alphas(darts(), jax.random.key(0)).values())
    252
    """
    edges = {
        kind + EDGES: scale * jax.random.normal(jax.random.fold_in(key, 1000 + i), (len(cell.edges),))
        for i, (kind, cell) in enumerate(space.cells)
    }
    return {**initial_alphas(space, key, scale), **edges}


def _targets(space: CellSpace) -> dict[str, Array]:
    if not isinstance(space, CellSpace):
        raise UserError("Partial channels weigh the edges of each node: they need a space of cells, darts or nb201.")
    return {kind: jnp.array([target for _, target in cell.edges]) for kind, cell in space.cells}

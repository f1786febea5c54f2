"""Uniformly drawn paths: random search with weight sharing, and SETN's training of the weights."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from jaxnas.relaxations.relaxation import Alphas, Mixture, Phase, Relax, candidates, keys_by_kind, masked, one_hot
from jaxnas.relaxations.softmax import probabilities
from jaxnas.spaces import Space


def uniform_path(space: Space) -> Relax:
    """A path drawn uniformly for the weights' update; for the alphas' the expectation, every candidate by its softmax.

    RSPS of NAS-Bench-201 draws so and has no alphas to move; SETN (Dong and Yang, 2019) moves them at the expectation.
    Every candidate may be drawn, none included. In spaces of family darts two edges of each node are drawn, too, and the
    others contribute nothing (Li and Talwalkar, 2019; searchers/random_weight_share.py).
    """
    present = candidates(space)

    def relax(alphas: Alphas, key: Array, scalars: dict[str, Array], phase: Phase) -> tuple[Mixture, Any]:
        expected = probabilities(alphas, present)
        if phase == "alphas":
            return expected, expected
        mixture = {}
        for kind, k in keys_by_kind(space, key).items():
            level = masked(jnp.zeros_like(alphas[kind]), present[kind])
            active = one_hot(jax.random.categorical(jax.random.fold_in(k, 0), level), level)
            active &= _edges(space, kind, jax.random.fold_in(k, 1))[:, None]
            mixture[kind] = {"weights": active.astype(alphas[kind].dtype), "active": active}
        return mixture, expected

    return relax


def _edges(space: Space, kind: str, key: Array) -> Array:
    """Bool ``[edges]``: those that a random genotype keeps."""
    cell = dict(space.cells)[kind]
    if space.family != "darts":
        return jnp.ones(len(cell.operations), bool)
    order = jax.random.uniform(key, (len(cell.edges),))
    kept = [order[jnp.array(rows)] >= jnp.sort(order[jnp.array(rows)])[-2] for rows in map(cell.incoming, range(cell.nodes))]
    return jnp.concatenate(kept)

"""DrNAS: mixtures drawn from a Dirichlet distribution whose concentration is learnt (Chen et al., 2021)."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jax.scipy.special import digamma, gammaln

from jaxnas.relaxations.relaxation import Alphas, Mixture, Phase, Relax, candidates, keys_by_kind, masked
from jaxnas.spaces import Space


def dirichlet(space: Space) -> Relax:
    """Every candidate, weighted by a draw from Dirichlet(ELU(alpha) + 1) for each edge, differentiated through the draw.

    All cells of a kind share the draw. The probabilities are the distribution's mean. (xiangning-chen/DrNAS,
    DARTS-space/model_search.py.)
    """
    present = candidates(space)

    def relax(alphas: Alphas, key: Array, scalars: dict[str, Array], phase: Phase) -> tuple[Mixture, Any]:
        mixture, mean = {}, {}
        for kind, k in keys_by_kind(space, key).items():
            concentration = _concentration(alphas[kind])
            # A Dirichlet draw is gamma draws over their sum; by logarithms, since a small concentration underflows.
            mixture[kind] = jax.nn.softmax(masked(jax.random.loggamma(k, concentration), present[kind]))
            known = jnp.where(present[kind], concentration, 0.0)
            mean[kind] = known / known.sum(-1, keepdims=True)
        return mixture, mean

    return relax


def divergence(space: Space, alphas: Alphas) -> Array:
    """DrNAS's regulariser: the sum over edges of KL(Dirichlet(ELU(alpha) + 1) || Dirichlet(1)).

    ``ln G(C) - ln G(n) - sum ln G(c) + sum (c - 1) (psi(c) - psi(C))`` with C = sum c over the n candidates of an edge, G the
    gamma function and psi its logarithmic derivative.

    >>> from jaxnas.spaces import nb201_family
    >>> space = nb201_family("one edge", ("none", "skip_connect"), nodes=1)
    >>> abs(round(float(divergence(space, {"cell": jnp.zeros((1, 2))})), 4))
    0.0
    """
    total = jnp.zeros(())
    for kind, present in candidates(space).items():
        c = jnp.where(present, _concentration(alphas[kind]), 1.0)
        whole = jnp.where(present, c, 0.0).sum(-1, keepdims=True)
        each = (c - 1) * (digamma(c) - digamma(whole)) - gammaln(c)  # 0 where there is no candidate
        total += each.sum() + (gammaln(whole[:, 0]) - gammaln(present.sum(-1).astype(whole.dtype))).sum()
    return total


def _concentration(alpha_ExO: Array) -> Array:
    return jax.nn.elu(alpha_ExO) + 1

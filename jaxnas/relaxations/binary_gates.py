"""ProxylessNAS: one path runs, and the gradient in its binary gates stands for that in the probabilities (Cai et al., 2019)."""

from __future__ import annotations

from typing import Any, Literal

import jax
import jax.numpy as jnp
from jax import Array

from jaxnas.relaxations.relaxation import (
    Alphas,
    Mixture,
    Phase,
    Relax,
    candidates,
    gates,
    keys_by_kind,
    masked,
    one_hot,
)
from jaxnas.relaxations.softmax import probabilities
from jaxnas.spaces import NONE, Space

Gates = Literal["full", "full_v2", "two"]


def binary_gates(space: Space, mode: Gates = "full_v2") -> Relax:
    """One candidate of each edge, drawn by the softmax of the alphas, with the gradient of ProxylessNAS in its gate.

    The gradient in the alphas is ``d L / d alpha_i = sum_j d L / d g_j p_j (delta_ij - p_i)`` (its eq. 4), where
    ``d L / d g_j`` is the inner product of candidate j's output with the gradient in the edge's output.

    For the weights' update one path is drawn and nothing else runs. For the alphas' update, by ``mode`` (the reference's
    ``grad_binary_mode``; search/modules/mix_op.py):

    - ``full``: every candidate runs; the sums go over all of them.
    - ``full_v2``: the same gradients, but the others run only on the way back, without derivatives of their own: the default.
    - ``two``: two candidates are drawn by the softmax without replacement, one of them active by the softmax of the pair, and
      the sums go over the pair with the probabilities that it has among itself. Rescale afterwards: :func:`rescaled`.

    The probabilities, over which a latency is expected, are the softmax, in ``two`` that of the pair.
    """
    present = candidates(space)

    def relax(alphas: Alphas, key: Array, scalars: dict[str, Array], phase: Phase) -> tuple[Mixture, Any]:
        everything = probabilities(alphas, present)
        if phase == "weights":
            return sampled_path(space, alphas, key), everything
        pairs: dict[str, Array] = {}
        mixture: dict[str, Any] = {}
        for kind, k in keys_by_kind(space, key).items():
            alpha = masked(alphas[kind], present[kind])
            if mode == "two":
                pairs[kind] = among = _pair(jax.random.fold_in(k, 0), alpha) & present[kind]
                k = jax.random.fold_in(k, 1)
            else:
                among = present[kind]
            alpha = masked(alphas[kind], among)
            active = one_hot(jax.random.categorical(k, alpha), alpha)
            soft = jax.nn.softmax(alpha)
            mixture[kind] = {"weights": gates(active, soft), "active": active, "probed": among & ~active}
        if mode == "full":
            return {kind: parts["weights"] for kind, parts in mixture.items()}, everything
        return mixture, probabilities(alphas, pairs) if mode == "two" else everything

    return relax


def sampled_path(space: Space, alphas: Alphas, key: Array) -> Mixture:
    """One candidate of each edge, drawn by the softmax of the alphas, which alone runs; without a gradient in the alphas."""
    present, mixture = candidates(space), {}
    for kind, k in keys_by_kind(space, key).items():
        active = one_hot(jax.random.categorical(k, masked(alphas[kind], present[kind])), alphas[kind])
        mixture[kind] = {"weights": active.astype(alphas[kind].dtype), "active": active}
    return mixture


def rescaled(before: Alphas, after: Alphas, mixture: Any) -> Alphas:
    """``two``: after the update both alphas of each pair are shifted, so that no other candidate's probability changes.

    By ``log(sum e^after / sum e^before)`` over the pair (search/modules/mix_op.py, ``rescale_updated_arch_param``).
    """
    shifted = {}
    for kind in after:
        pair = mixture[kind]["active"] | mixture[kind]["probed"]
        shift = jax.nn.logsumexp(masked(after[kind], pair), axis=-1) - jax.nn.logsumexp(masked(before[kind], pair), axis=-1)
        shifted[kind] = jnp.where(pair, after[kind] - shift[:, None], after[kind])
    return shifted


def learns(space: Space, mixture: Any) -> dict[str, Array]:
    """By kind of cell bool ``[edges, 1]``: the alphas of an edge whose active candidate is none do not move in that step.

    The reference sets their gradient to None (``set_arch_param_grad``): what a latency would add is dropped, too, and an edge
    so left out is not rescaled either.
    """
    found = {}
    for kind, cell in space.cells:
        none = jnp.array(
            [[name == NONE for name in names] + [False] * (cell.columns - len(names)) for names in cell.operations]
        )
        weights = mixture[kind]["weights"] if isinstance(mixture[kind], dict) else mixture[kind]
        found[kind] = ~(none & (weights > 0)).any(-1, keepdims=True)
    return found


def _pair(key: Array, alpha_ExO: Array) -> Array:
    """Two candidates of each edge without replacement: the two largest after Gumbel noise."""
    noisy = alpha_ExO + jax.random.gumbel(key, alpha_ExO.shape, alpha_ExO.dtype)
    _, two = jax.lax.top_k(noisy, min(2, alpha_ExO.shape[-1]))
    return jax.nn.one_hot(two, alpha_ExO.shape[-1], dtype=bool).any(-2)

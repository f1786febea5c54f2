"""Gumbel noise on the alphas: GDAS's hard sample with a straight-through gradient, the soft sample of SNAS and FBNet."""

from __future__ import annotations

from typing import Any, Literal

import jax
import jax.numpy as jnp
from jax import Array

from jaxnas.relaxations.relaxation import Alphas, Mixture, Phase, Relax, candidates, gates, keys_by_kind, masked, one_hot
from jaxnas.relaxations.softmax import probabilities
from jaxnas.spaces import Space

Unsampled = Literal["offset", "nothing"]


def hard_gumbel(space: Space, unsampled: Unsampled = "offset") -> Relax:
    """One candidate of each edge, the arg max of a Gumbel softmax, with the gradient of the soft sample (GDAS).

    Only what is sampled runs. All cells of a kind share the sample; the weights' update and the alphas' draw their own.

    Args:
      space: whose candidates the columns are.
      unsampled: what the other candidates contribute. ``offset``: each its hard weight, a number of value 0, added to every
        element of the edge's output, which gives the alphas a gradient as if the candidate computed ones
        (AutoDL-Projects, search_cells.py, ``forward_gdas``, as it searches NAS-Bench-201). ``nothing``: no gradient of
        their own (its ``forward_gdas_v1`` and its NASNet-like space).

    The temperature is ``scalars["temperature"]``.

    >>> from jaxnas.spaces import nb201_family
    >>> space = nb201_family("one edge", ("skip_connect", "nor_conv_1x1"), nodes=1)
    >>> relax = hard_gumbel(space)
    >>> sample, _ = relax({"cell": jnp.array([[9.0, -9.0]])}, jax.random.key(0), {"temperature": jnp.array(1.0)}, "weights")
    >>> sample["cell"]["active"], sample["cell"]["offset"]
    (Array([[ True, False]], dtype=bool), Array([0.], dtype=float32))
    """
    present = candidates(space)

    def relax(alphas: Alphas, key: Array, scalars: dict[str, Array], phase: Phase) -> tuple[Mixture, Any]:
        soft = _soft_sample(space, alphas, present, key, scalars["temperature"])
        return {kind: straight_through(soft_ExO, unsampled) for kind, soft_ExO in soft.items()}, probabilities(alphas, present)

    return relax


def soft_gumbel(space: Space) -> Relax:
    """Every candidate, weighted by the Gumbel softmax of its edge's alphas: SNAS (Xie et al., 2019), FBNet (Wu et al., 2019).

    Their log alphas are our alphas: the noise is added before the softmax. The expected costs of FBNet are taken over the
    sampled weights, hence they are the probabilities here. The temperature is ``scalars["temperature"]``.
    """
    present = candidates(space)

    def relax(alphas: Alphas, key: Array, scalars: dict[str, Array], phase: Phase) -> tuple[Mixture, Any]:
        soft = _soft_sample(space, alphas, present, key, scalars["temperature"])
        return soft, soft

    return relax


def gumbel_softmax(alpha_ExO: Array, present_ExO: Array, noise_ExO: Array, temperature: Array) -> Array:
    """``softmax((alpha + noise) / temperature)`` over each edge's candidates.

    GDAS takes the log-softmax of the alphas first, which shifts a whole row and changes nothing.
    """
    return jax.nn.softmax((masked(alpha_ExO, present_ExO) + noise_ExO) / temperature, axis=-1)


def straight_through(soft_ExO: Array, unsampled: Unsampled) -> Mixture:
    """The hard sample of a soft one, ``one_hot + soft - stop_gradient(soft)``, as a mixture in which it alone runs."""
    active = one_hot(soft_ExO.argmax(-1), soft_ExO)
    weights = gates(active, soft_ExO)
    mixture = {"weights": weights, "active": active}
    if unsampled == "offset":
        mixture["offset"] = jnp.where(active, 0.0, weights).sum(-1)
    return mixture


def _soft_sample(space: Space, alphas: Alphas, present: dict[str, Array], key: Array, temperature: Array) -> dict[str, Array]:
    # jax.random draws Gumbel noise from the open interval: it is finite, and nothing need be drawn anew as GDAS does.
    return {
        kind: gumbel_softmax(
            alphas[kind], present[kind], jax.random.gumbel(k, alphas[kind].shape, alphas[kind].dtype), temperature
        )
        for kind, k in keys_by_kind(space, key).items()
    }

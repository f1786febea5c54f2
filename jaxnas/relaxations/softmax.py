"""The relaxation of DARTS."""

from __future__ import annotations

from typing import Any

import jax
from jax import Array

from jaxnas.relaxations.relaxation import Alphas, Mixture, Phase, Relax, candidates, masked
from jaxnas.spaces import Space


def softmax(space: Space) -> Relax:
    """Every candidate, weighted by the softmax of its edge's alphas (Liu et al., 2019, eq. 2).

    >>> import jax.numpy as jnp
    >>> from jaxnas.spaces import darts_family
    >>> space = darts_family("two", ("skip_connect", "sep_conv_3x3"), nodes=1)
    >>> alphas = {"normal": jnp.zeros((2, 2)), "reduce": jnp.zeros((2, 2))}
    >>> softmax(space)(alphas, jax.random.key(0), {}, "weights")[0]["normal"][0]
    Array([0.5, 0.5], dtype=float32)
    """
    present = candidates(space)

    def relax(alphas: Alphas, key: Array, scalars: dict[str, Array], phase: Phase) -> tuple[Mixture, Any]:
        mixture = probabilities(alphas, present)
        return mixture, mixture

    return relax


def probabilities(alphas: Alphas, present: dict[str, Array]) -> dict[str, Array]:
    """The softmax of each edge's alphas, by kind of cell."""
    return {kind: jax.nn.softmax(masked(alphas[kind], present[kind]), axis=-1) for kind in present}

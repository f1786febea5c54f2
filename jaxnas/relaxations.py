"""From architecture parameters to the mixture that a supernet computes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jax import Array

from jaxnas.spaces import CellSpace

Alphas = Any
Mixture = Any
Phase = Literal["weights", "alphas"]

Relax = Callable[[Alphas, Array, dict[str, Array], Phase], tuple[Mixture, Any]]
"""``relax(alphas, key, scalars, phase) -> mixture, probabilities``.

``phase`` says whose update the mixture is for, as some methods draw another sample, or relax differently, in each. The
mixture is what the supernet understands; the probabilities are what expected costs are taken over.
"""


def softmax(space: CellSpace) -> Relax:
    """The relaxation of DARTS: every candidate, weighted by the softmax of its edge's alphas (Liu et al., 2019, eq. 2).

    Alphas, mixture and probabilities are dictionaries from kind of cell to ``[edges, columns]``. Columns that stand for no
    candidate, on edges with fewer than the others, have probability 0.

    >>> from jaxnas.spaces import darts_family
    >>> space = darts_family("two", ("skip_connect", "sep_conv_3x3"), nodes=1)
    >>> alphas = {"normal": jnp.zeros((2, 2)), "reduce": jnp.zeros((2, 2))}
    >>> softmax(space)(alphas, jax.random.key(0), {}, "weights")[0]["normal"][0]
    Array([0.5, 0.5], dtype=float32)
    """
    present = {kind: jnp.array(cell.present) for kind, cell in space.cells}

    def relax(alphas: Alphas, key: Array, scalars: dict[str, Array], phase: Phase) -> tuple[Mixture, Any]:
        mixture = {
            kind: jax.nn.softmax(jnp.where(present[kind], alpha_ExO, -jnp.inf), axis=-1) for kind, alpha_ExO in alphas.items()
        }
        return mixture, mixture

    return relax


def initial_alphas(space: CellSpace, key: Array, scale: float = 1e-3) -> Alphas:
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

"""SmoothDARTS: the weights learn at perturbed mixtures, so that the validation loss is flat around the alphas (2020)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax

from jaxnas.relaxations.relaxation import Alphas, Mixture, Phase, Relax, candidates, keys_by_kind
from jaxnas.relaxations.softmax import probabilities
from jaxnas.spaces import Space

STEPS = 7
"""Of the attack: attacker/perturb.py."""


def random_perturbation(space: Space) -> Relax:
    """SDARTS-RS: for the weights' update uniform noise within ``scalars["radius"]`` is added to the softmax.

    Then every row is clipped to [0, 1] and divided by its sum. The alphas' update sees no noise. The noise is data: there is no
    derivative of the training loss in the alphas.
    """
    present = candidates(space)

    def relax(alphas: Alphas, key: Array, scalars: dict[str, Array], phase: Phase) -> tuple[Mixture, Any]:
        clean = probabilities(alphas, present)
        if phase == "alphas":
            return clean, clean
        noisy = _uniform_noise(space, clean, present, key, scalars["radius"])
        return lax.stop_gradient(noisy), clean

    return relax


def attack(
    space: Space, loss: Callable[[Mixture], Array], mixture: Mixture, key: Array, radius: Array, steps: int = STEPS
) -> Mixture:
    """SDARTS-ADV: the mixture within ``radius`` (largest change of an entry) at which ascent finds the largest loss.

    From a random start, ``steps`` steps of size ``2 radius / steps`` along the sign of the gradient, each followed by the
    projection onto the ball around the clean mixture and by the clipping of :func:`random_perturbation`. Where the loss did
    not grow, the clean mixture is kept (attacker/perturb.py, ``Linf_PGD_alpha``).
    """
    present = candidates(space)

    def ascend(_: Any, now: Mixture) -> Mixture:
        gradient = jax.grad(loss)(now)
        moved = jax.tree.map(lambda m, g: m + 2 * radius / steps * jnp.sign(g), now, gradient)
        near = jax.tree.map(lambda m, clean: clean + jnp.clip(m - clean, -radius, radius), moved, mixture)
        return {kind: _clipped(near[kind], present[kind]) for kind in near}

    found = lax.fori_loop(0, steps, ascend, _uniform_noise(space, mixture, present, key, radius))
    worse = loss(found) > loss(mixture)
    return jax.tree.map(lambda a, b: jnp.where(worse, a, b), found, mixture)


def _uniform_noise(space: Space, mixture: Mixture, present: dict[str, Array], key: Array, radius: Array) -> Mixture:
    noisy = {}
    for kind, k in keys_by_kind(space, key).items():
        clean = mixture[kind]
        noise = radius * jax.random.uniform(k, clean.shape, clean.dtype, -1.0, 1.0)
        noisy[kind] = _clipped(clean + noise, present[kind])
    return noisy


def _clipped(mixture_ExO: Array, present_ExO: Array) -> Array:
    """Rows within [0, 1] that add up to 1; a row of which nothing is left becomes the one-hot of its largest entry."""
    within = jnp.where(present_ExO, jnp.clip(mixture_ExO, 0.0, 1.0), 0.0)
    largest = jnp.where(present_ExO, mixture_ExO, -jnp.inf).argmax(-1)
    within = jnp.where(within.sum(-1, keepdims=True) > 0, within, jax.nn.one_hot(largest, within.shape[-1], dtype=within.dtype))
    return within / within.sum(-1, keepdims=True)

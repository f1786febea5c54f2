"""Optimizers that equal the references' in PyTorch, as optax transformations."""

from __future__ import annotations

from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array
from jax.typing import ArrayLike


def clip_by_torch_norm(limit: float) -> optax.GradientTransformation:
    """Scales by ``min(1, limit / (norm + 1e-6))``, the global norm clipping of ``torch.nn.utils.clip_grad_norm_``.

    optax's own divides by the norm alone and differs by 1e-7 relative.

    >>> clip = clip_by_torch_norm(5.0)
    >>> clip.update({"w": jnp.array([30.0, 40.0])}, clip.init({}))[0]["w"]
    Array([3., 4.], dtype=float32)
    """

    def update(
        updates: optax.Updates, state: optax.OptState, params: optax.Params | None = None
    ) -> tuple[optax.Updates, optax.OptState]:
        scale = jnp.minimum(1.0, limit / (optax.tree.norm(updates) + 1e-6))
        return jax.tree.map(lambda g: g * scale, updates), state

    return optax.GradientTransformation(lambda params: optax.EmptyState(), update)


def sgd(
    learning_rate: optax.ScalarOrSchedule, momentum: float, weight_decay: float, nesterov: bool = False
) -> optax.GradientTransformation:
    """SGD as PyTorch's: ``g + decay * w`` enters the momentum buffer (coupled), dampening 0.

    Nesterov steps by ``g + momentum * buffer``. Without clipping this is also the virtual step of DARTS's unrolled gradient.
    """
    return optax.chain(
        optax.add_decayed_weights(weight_decay),
        optax.trace(momentum, nesterov),
        optax.scale_by_learning_rate(learning_rate),
    )


def clipped(limit: float, optimizer: optax.GradientTransformation) -> optax.GradientTransformation:
    """``optimizer`` after :func:`clip_by_torch_norm`; the state is ``(clip's, optimizer's)``."""
    return optax.chain(clip_by_torch_norm(limit), optimizer)


def adam(learning_rate: float, b1: float, b2: float, weight_decay: float) -> optax.GradientTransformation:
    """Adam with PyTorch's coupled weight decay: ``decay * w`` is added to the gradient before the moments (not AdamW)."""
    return optax.chain(optax.add_decayed_weights(weight_decay), optax.adam(learning_rate, b1=b1, b2=b2))


def cosine(
    start: float, end: float, epochs: int, steps_per_epoch: int, every: Literal["epoch", "step"] = "epoch"
) -> optax.Schedule:
    """Cosine annealing, in each epoch or in each step: the first runs at ``start``, the last just above ``end``.

    By epoch this is CosineAnnealingLR stepped at the beginning of each epoch, as DARTS does in PyTorch 0.3; by step, as
    AutoDL-Projects does.

    >>> rate = cosine(0.025, 0.001, epochs=50, steps_per_epoch=10)
    >>> float(rate(9)) == float(rate(0)), round(float(rate(250)), 6)
    (True, 0.013)
    """
    period, periods = (steps_per_epoch, epochs) if every == "epoch" else (1, epochs * steps_per_epoch)
    # A table, not a formula: XLA would compile the cosine anew into the update of every single weight.
    rates = end + (start - end) * (1 + np.cos(np.pi * np.arange(periods + 1) / periods)) / 2

    def rate(step: ArrayLike) -> Array:
        return jnp.asarray(rates, jnp.result_type(float))[jnp.minimum(jnp.asarray(step) // period, periods)]

    return rate

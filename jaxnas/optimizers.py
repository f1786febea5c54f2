"""Optimizers that equal the references' in PyTorch, as optax transformations."""

from __future__ import annotations

from typing import Any, Literal

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


def adam_by_entry(learning_rate: float, b1: float, b2: float, weight_decay: float) -> optax.GradientTransformation:
    """:func:`adam` with a step count of its own for every entry.

    Where a mask holds back what the optimizer keeps, the count is held back, too: so PyTorch's Adam treats parameters that
    have no gradient in a step (ProxylessNAS's blocks whose active candidate is Zero).
    """

    def init(params: optax.Params) -> optax.OptState:
        return {name: jax.tree.map(jnp.zeros_like, params) for name in ("count", "mu", "nu")}

    def update(
        updates: optax.Updates, state: optax.OptState, params: optax.Params | None = None
    ) -> tuple[optax.Updates, optax.OptState]:
        kept: Any = state
        count = jax.tree.map(lambda c: c + 1, kept["count"])
        mu = jax.tree.map(lambda m, g: b1 * m + (1 - b1) * g, kept["mu"], updates)
        nu = jax.tree.map(lambda n, g: b2 * n + (1 - b2) * g**2, kept["nu"], updates)

        def step(c: Array, m: Array, n: Array) -> Array:
            return -learning_rate * m / (1 - b1**c) / (jnp.sqrt(n / (1 - b2**c)) + 1e-8)

        return jax.tree.map(step, count, mu, nu), {"count": count, "mu": mu, "nu": nu}

    return optax.chain(optax.add_decayed_weights(weight_decay), optax.GradientTransformation(init, update))


def cosine(
    start: float,
    end: float,
    epochs: int,
    steps_per_epoch: int,
    every: Literal["epoch", "step"] = "epoch",
    warmup_epochs: int = 0,
) -> optax.Schedule:
    """Cosine annealing, in each epoch or in each step: the first runs at ``start``, the last just above ``end``.

    By epoch this is CosineAnnealingLR stepped at the beginning of each epoch, as DARTS does in PyTorch 0.3.

    A warm-up is AutoDL-Projects': the rate grows from 0 to ``start`` step by step, then anneals with a period of
    ``epochs - warmup_epochs``. Its scheduler counts the warm-up against that period, too: the last ``warmup_epochs`` epochs
    run at ``end``, and the ones before stop short of it. (Source: xautodl/procedures/optimizers.py.)

    >>> rate = cosine(0.025, 0.001, epochs=50, steps_per_epoch=10)
    >>> float(rate(9)) == float(rate(0)), round(float(rate(250)), 6)
    (True, 0.013)
    """
    period, steps = (steps_per_epoch, 1) if every == "epoch" else (1, steps_per_epoch)
    periods = (epochs - warmup_epochs) * steps
    phases = np.arange(-warmup_epochs * steps, periods - warmup_epochs * steps)
    rates = np.append(end + (start - end) * (1 + np.cos(np.pi * phases / periods)) / 2, end)
    annealed = _by_table(rates, period)
    if not warmup_epochs:
        return annealed
    warmup_steps = warmup_epochs * steps_per_epoch
    return lambda step: jnp.where(jnp.less(step, warmup_steps), start * jnp.divide(step, warmup_steps), annealed(step))


def rising(rate: optax.Schedule, start: float, epochs: int, steps_per_epoch: int) -> optax.Schedule:
    """``rate``, but the e-th of the first epochs, from 0, runs at ``(e + 1) / epochs`` of ``start``.

    The annealing is not put off: the epoch after the last of them runs at its own rate. Source: yuhuixu1993/PC-DARTS,
    train_search_imagenet.py.

    >>> rate = rising(cosine(0.5, 0.0, epochs=50, steps_per_epoch=1), 0.5, epochs=5, steps_per_epoch=1)
    >>> [round(float(rate(epoch)), 6) for epoch in (0, 4, 5, 49)]
    [0.1, 0.5, 0.487764, 0.000493]
    """
    rises = _by_table(start * np.arange(1, epochs + 1) / epochs, steps_per_epoch)
    return lambda step: jnp.where(jnp.less(step, epochs * steps_per_epoch), rises(step), rate(step))


LINEAR_TAIL = 5  # Epochs.


def linear(start: float, epochs: int, steps_per_epoch: int, warmup_epochs: int = 0) -> optax.Schedule:
    """PC-DARTS's schedule for ImageNet: down in a straight line, epoch by epoch, and in a flatter one in the last five epochs.

    During a warm-up of w epochs the e-th, from 0, runs at ``(e + 1) / w`` of this rate.

    Source: yuhuixu1993/PC-DARTS, train_imagenet.py, ``adjust_lr``.

    >>> rate = linear(0.5, epochs=250, steps_per_epoch=1, warmup_epochs=5)
    >>> [round(float(rate(epoch)), 6) for epoch in (0, 4, 5, 244, 245, 249)]
    [0.1, 0.491837, 0.489796, 0.002041, 0.002041, 0.000408]
    """
    left, slope = epochs - np.arange(epochs), start / (epochs - LINEAR_TAIL)
    rates = slope * np.where(left > LINEAR_TAIL, left - LINEAR_TAIL, left / LINEAR_TAIL)
    growth = np.minimum(1, np.arange(1, epochs + 1) / max(warmup_epochs, 1))
    return _by_table(rates * growth, steps_per_epoch)


def exponential(start: float, factor: float, epochs: int, steps_per_epoch: int) -> optax.Schedule:
    """``start * factor ** epoch``, as DARTS trains on ImageNet.

    >>> round(float(exponential(0.1, 0.5, epochs=3, steps_per_epoch=10)(25)), 6)
    0.025
    """
    return _by_table(start * factor ** np.arange(epochs), steps_per_epoch)


def _by_table(rates: np.ndarray, steps: int) -> optax.Schedule:
    """The rate of each period of so many steps; the last one from then on."""

    # A table, not a formula: XLA would compile a cosine anew into the update of every single weight.
    def rate(step: ArrayLike) -> Array:
        return jnp.asarray(rates, jnp.result_type(float))[jnp.minimum(jnp.asarray(step) // steps, len(rates) - 1)]

    return rate

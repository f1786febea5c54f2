"""REINFORCE on the supernet: paths are drawn, and only the value of each comes back (Cai et al., 2019, ProxylessNAS-R)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jax import Array, lax

from jaxnas.relaxations.binary_gates import sampled_path
from jaxnas.relaxations.relaxation import Alphas, Mixture, Phase, Relax, candidates, masked
from jaxnas.relaxations.softmax import probabilities
from jaxnas.spaces import Space

Baseline = Literal["others", "running"]
Value = Callable[[Array, dict[str, Any], Mixture], Array]
"""``value(task loss, aux of the loss, path) -> number`` that a path is to make small."""

BASELINE_STEP = 0.99
"""Of ProxylessNAS: how far its baseline moves to the present mean before it is used (search/nas_manager.py)."""


def sampled_paths(space: Space, samples: int = 10) -> Relax:
    """``samples`` paths for the alphas' update, each drawn by the softmax, with their log-probabilities; one for the weights'.

    The mixture of the alphas' update is ``{"paths": [samples, ...], "log_probability": [samples]}``, for a loss made by
    :func:`over_paths`.
    """
    present = candidates(space)

    def relax(alphas: Alphas, key: Array, scalars: dict[str, Array], phase: Phase) -> tuple[Mixture, Any]:
        everything = probabilities(alphas, present)
        if phase == "weights":
            return sampled_path(space, alphas, key), everything
        paths = lax.stop_gradient(jax.vmap(lambda k: sampled_path(space, alphas, k))(jax.random.split(key, samples)))
        log_probability = jnp.zeros(samples)
        for kind in present:
            logs = jax.nn.log_softmax(masked(alphas[kind], present[kind]))
            chosen = jnp.where(paths[kind]["active"], logs, 0.0)
            log_probability = log_probability + chosen.sum((-1, -2))
        return {"paths": paths, "log_probability": log_probability}, everything

    return relax


def over_paths(loss: Any, value: Value | None = None, baseline: Baseline = "others") -> Any:
    """The loss of several paths, one after the other: its value is their mean, its gradient in the alphas REINFORCE's.

    The gradient is the mean of ``(value - baseline) d log probability``, no derivative of the network is taken. The weights get
    none.

    Args:
      loss: of one path.
      value: what to make small, the task's loss by default; it may be anything, such as a latency that is measured
        (:func:`accuracy_over_latency`).
      baseline: ``others``: for each path the mean of the others, hence the gradient is unbiased; needs two paths.
        ``running``: the reference's, which has moved 99 % of the way to the present mean already: on average it yields
        ``1 - 0.99 / samples`` of the gradient. It is kept in ``batch["carry"]``, NaN at the start.
    """

    def mean(weights: Any, mixture: Any, batch: Any, key: Array, scalars: Any) -> tuple[Array, dict[str, Any]]:
        def one(path: Mixture) -> tuple[Array, dict[str, Any]]:
            task_loss, aux = loss(lax.stop_gradient(weights), path, batch, key, scalars)
            number = task_loss if value is None else value(task_loss, aux, path)
            return number, {"metrics": {**aux.get("metrics", {}), "path_loss": task_loss}}

        values, aux = lax.map(one, mixture["paths"])
        average, others = values.mean(), {}
        if baseline == "others":
            level = (values.sum() - values) / (len(values) - 1)
        else:
            before = batch["carry"]
            level = jnp.where(jnp.isnan(before), average, before + BASELINE_STEP * (average - before))
            others["carry"] = level
        score = mixture["log_probability"]
        surrogate = (lax.stop_gradient(values - level) * (score - lax.stop_gradient(score))).mean()
        return lax.stop_gradient(average) + surrogate, {**jax.tree.map(jnp.mean, aux), **others}

    return mean


def accuracy_over_latency(latency: Callable[[Mixture], Array], reference: float, power: float = 0.1) -> Value:
    """ProxylessNAS-R's reward ``accuracy (reference / latency)^power``, with its sign changed: it is made small.

    Args:
      latency: of a path, in the reference's unit: a table's sum, or a measurement through ``jax.pure_callback``.
      reference: the latency at which the reward is the accuracy.
      power: 0.1 in the reference.
    """
    return lambda task_loss, aux, path: -aux["metrics"]["accuracy"] * (reference / latency(path)) ** power

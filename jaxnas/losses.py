"""The task of every image search and training: cross-entropy over classes."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax import Array, lax

from jaxnas.bilevel import Loss, Scalars
from jaxnas.named_axis import mean_over, replicated
from jaxnas.nets import Network


def cross_entropy(network: Network, smoothing: float = 0.0, axis: str | None = None, micro_batches: int = 1) -> Loss:
    """Mean cross-entropy of a supernet, with accuracy as a metric.

    The batch is ``{"images": [N, H, W, 3] float, "labels": [N] int}``, with ``statistics`` where running averages are to be
    used.

    Args:
      network: the supernet.
      smoothing: of the labels.
      axis: name of the mapped axis that the batch is split over, see :func:`over_devices`.
      micro_batches: of how many parts the mean is formed one after the other, see :func:`accumulated`.
    """

    # A network of one's own need not know of axes, where there are none.
    forward: Any = network.forward if axis is None else functools.partial(network.forward, axis=axis)

    def loss(weights: Any, mixture: Any, batch: Any, key: Array, scalars: Scalars) -> tuple[Array, dict[str, Any]]:
        logits, moments = forward(weights, mixture, batch["images"], key, scalars, batch.get("statistics"))
        return mean_cross_entropy(logits, batch["labels"], smoothing), {
            "moments": moments,
            "metrics": {"accuracy": accuracy(logits, batch["labels"])},
        }

    return over_devices(accumulated(loss, micro_batches), axis)


def over_devices(loss: Loss, axis: str | None) -> Loss:
    """The mean over all devices of a loss of each device's share of the batch, a number that is equal on all of them.

    It is a mean before it is differentiated: gradients of it, of any order, are those of the loss of the whole batch.

    Args:
      loss: a mean over images, with metrics that are means over images; its moments are those of the whole batch already.
      axis: name of the mapped axis that the batch is split over; None where it is not.
    """

    def mean(weights: Any, mixture: Any, batch: Any, key: Array, scalars: Scalars) -> tuple[Array, dict[str, Any]]:
        weights, mixture = replicated(axis, (weights, mixture))
        value, aux = loss(weights, mixture, batch, key, scalars)
        value, metrics = mean_over(axis, (value, aux["metrics"]))
        return value, {**aux, "metrics": metrics}

    return loss if axis is None else mean


def accumulated(loss: Loss, micro_batches: int) -> Loss:
    """A loss whose batch is gone through in parts, one after the other: gradients take the memory of one part.

    The j-th image of a batch is in part ``j % micro_batches``: so the parts are the same on any number of devices. The backward
    pass runs every part once more. Batch norms normalise by a part's moments, those that are returned are the parts' means.

    Args:
      loss: a mean over images, with metrics that are means over images; of the batch, ``images`` and ``labels`` are split.
      micro_batches: number of parts, which divides the batch; 1 leaves the loss as it is.
    """

    def parts_of(array: Array) -> Array:
        return jnp.moveaxis(array.reshape(-1, micro_batches, *array.shape[1:]), 1, 0)

    def mean(weights: Any, mixture: Any, batch: Any, key: Array, scalars: Scalars) -> tuple[Array, dict[str, Any]]:
        parts = {name: parts_of(batch[name]) for name in ("images", "labels")}

        @jax.checkpoint
        def of_part(weights: Any, mixture: Any, part: Any, i: Array) -> tuple[Array, dict[str, Any]]:
            return loss(weights, mixture, {**batch, **part}, jax.random.fold_in(key, i), scalars)

        def add(total: Any, part_and_number: Any) -> tuple[Any, None]:
            return jax.tree.map(jnp.add, total, of_part(weights, mixture, *part_and_number)), None

        numbered = (parts, jnp.arange(micro_batches, dtype=jnp.int32))
        shapes = jax.eval_shape(of_part, weights, mixture, *jax.tree.map(lambda array: array[0], numbered))
        zeros = jax.tree.map(lambda shape: jnp.zeros(shape.shape, shape.dtype), shapes)
        total, _ = lax.scan(add, zeros, numbered)
        return jax.tree.map(lambda value: value / micro_batches, total)

    return loss if micro_batches == 1 else mean


def mean_cross_entropy(logits_NxK: Array, labels_N: Array, smoothing: float = 0.0) -> Array:
    """Mean over the batch of ``-log softmax(logits)[label]``; with smoothing, of the cross-entropy with a softened target.

    The target is then ``smoothing / K`` for every class and ``1 - smoothing`` more for the label's, as in the references'
    ``CrossEntropyLabelSmooth`` and in PyTorch.

    >>> round(float(mean_cross_entropy(jnp.zeros((2, 4)), jnp.array([0, 3]))), 4)
    1.3863
    """
    value = optax.losses.softmax_cross_entropy_with_integer_labels(logits_NxK, labels_N).mean()
    if not smoothing:
        return value
    return (1 - smoothing) * value - smoothing * jax.nn.log_softmax(logits_NxK).mean()


def distillation(logits_NxK: Array, teacher_NxK: Array, temperature: float) -> Array:
    """``T^2 KL(softmax(teacher / T) || softmax(logits / T))``, mean over the batch (Hinton et al., 2015, section 2).

    The paper's cross-entropy is larger by the teacher's entropy, which has no gradient. The gradient in the logits is
    ``T (softmax(logits / T) - softmax(teacher / T)) / N``: the factor T^2 keeps its size, whatever the temperature.

    Args:
      logits_NxK, teacher_NxK: of the network that learns, and of the one that it learns from.
      temperature: T.

    >>> float(distillation(jnp.ones((2, 3)), jnp.ones((2, 3)), 4.0))
    0.0
    """
    log_soft, log_target = (jax.nn.log_softmax(values / temperature) for values in (logits_NxK, teacher_NxK))
    return temperature**2 * (jnp.exp(log_target) * (log_target - log_soft)).sum(-1).mean()


def accuracy(logits_NxK: Array, labels_N: Array) -> Array:
    """Share of labels that have the largest logit."""
    return (logits_NxK.argmax(-1) == labels_N).mean()

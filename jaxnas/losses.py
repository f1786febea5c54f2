"""The task of every image search and training: cross-entropy over classes."""

from __future__ import annotations

from typing import Any

import jax
import optax
from jax import Array

from jaxnas.nets import Network
from jaxnas.search import Loss, Scalars


def cross_entropy(network: Network, smoothing: float = 0.0) -> Loss:
    """Mean cross-entropy of a supernet, with accuracy as a metric.

    The batch is ``{"images": [N, H, W, 3] float, "labels": [N] int}``, with ``statistics`` where running averages are to be
    used.
    """

    def loss(weights: Any, mixture: Any, batch: Any, key: Array, scalars: Scalars) -> tuple[Array, dict[str, Any]]:
        logits, moments = network.forward(weights, mixture, batch["images"], key, scalars, batch.get("statistics"))
        return mean_cross_entropy(logits, batch["labels"], smoothing), {
            "moments": moments,
            "metrics": {"accuracy": accuracy(logits, batch["labels"])},
        }

    return loss


def mean_cross_entropy(logits_NxK: Array, labels_N: Array, smoothing: float = 0.0) -> Array:
    """Mean over the batch of ``-log softmax(logits)[label]``; with smoothing, of the cross-entropy with a softened target.

    The target is then ``smoothing / K`` for every class and ``1 - smoothing`` more for the label's, as in the references'
    ``CrossEntropyLabelSmooth`` and in PyTorch.

    >>> import jax.numpy as jnp
    >>> round(float(mean_cross_entropy(jnp.zeros((2, 4)), jnp.array([0, 3]))), 4)
    1.3863
    """
    value = optax.losses.softmax_cross_entropy_with_integer_labels(logits_NxK, labels_N).mean()
    if not smoothing:
        return value
    return (1 - smoothing) * value - smoothing * jax.nn.log_softmax(logits_NxK).mean()


def accuracy(logits_NxK: Array, labels_N: Array) -> Array:
    """Share of labels that have the largest logit."""
    return (logits_NxK.argmax(-1) == labels_N).mean()

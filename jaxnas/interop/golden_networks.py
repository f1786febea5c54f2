"""Records of derived networks: training mode, running statistics, evaluation, drop path."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from jaxnas.errors import UserError
from jaxnas.interop.golden_record import Comparison, Record
from jaxnas.interop.torch_names import from_state_dict, to_state_dict
from jaxnas.losses import mean_cross_entropy
from jaxnas.nets import Shape, derived
from jaxnas.spaces import PUBLISHED
from jaxnas.training import running_average


def compare(record: Record, precision: str) -> Iterator[Comparison]:
    """A derived DARTS network for CIFAR with its auxiliary head."""
    meta = record.meta
    if meta["genotype"] not in PUBLISHED:
        raise UserError(f"{record.name} is of the genotype {meta['genotype']!r}; known are {', '.join(PUBLISHED)}.")
    network = derived(
        PUBLISHED[meta["genotype"]], Shape(meta["C"], meta["layers"], meta["classes"], meta["size"]), auxiliary=True
    )
    like, _ = jax.eval_shape(network.init, jax.random.key(0))
    weights = from_state_dict(record.cast(record.under("weight/"), precision), like)
    batch = record.batch("x_nchw", "y", precision)

    def loss(weights: Any) -> tuple[Array, Any]:
        (logits, auxiliary), moments = network.forward(weights, None, batch["images"], jax.random.key(0), {})
        value = mean_cross_entropy(logits, batch["labels"])
        value = value + meta["auxiliary_weight"] * mean_cross_entropy(auxiliary, batch["labels"])
        return value, (logits, auxiliary, moments)

    (value, (logits, auxiliary, moments)), gradient = jax.jit(jax.value_and_grad(loss, has_aux=True))(weights)
    yield Comparison("logits", "value", "train/logits", logits, record["train/logits"])
    yield Comparison("logits", "value", "train/aux_logits", auxiliary, record["train/aux_logits"])
    yield Comparison("losses", "value", "train/loss", value, record["train/loss"])
    ours = to_state_dict(gradient)
    for name, reference in record.under("train/grad_weight/").items():
        yield Comparison("weight gradients", "weight_gradient", f"train/grad_weight/{name}", ours[name], reference)

    _, fresh = network.init(jax.random.key(0))
    running = running_average(jax.tree.map(lambda a: a.astype(precision), fresh), moments)
    ours = to_state_dict(running)
    for name, reference in record.under("after_one_forward/").items():
        yield Comparison("running statistics", "value", f"after_one_forward/{name}", ours[name], reference)

    (logits, _), _ = jax.jit(lambda w, s: network.forward(w, None, batch["images"], jax.random.key(0), {}, s))(weights, running)
    yield Comparison("evaluation", "value", "eval/logits", logits, record["eval/logits"])

    gates = jnp.asarray(record["drop_path/masks"] / (1 - float(record["drop_path/probability"])), precision)
    (logits, auxiliary), _ = jax.jit(lambda w: network.forward(w, gates, batch["images"], jax.random.key(0), {}))(weights)
    yield Comparison("drop path", "value", "drop_path/logits", logits, record["drop_path/logits"])
    yield Comparison("drop path", "value", "drop_path/aux_logits", auxiliary, record["drop_path/aux_logits"])
    count = "parameters_without_auxiliary_head"
    yield Comparison("parameters", "equal", count, network.parameters, int(record[count]))

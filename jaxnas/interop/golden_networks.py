"""Records of derived networks: training mode, running statistics, evaluation, drop path."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from jaxnas.errors import UserError, did_you_mean
from jaxnas.interop.golden_record import Comparison, Record, by_name
from jaxnas.interop.torch_names import from_state_dict
from jaxnas.losses import mean_cross_entropy
from jaxnas.nets import Network, Shape, derived
from jaxnas.spaces import PUBLISHED, Genotype, from_text
from jaxnas.training import running_average


def compare(record: Record, precision: str) -> Iterator[Comparison]:
    """A derived network; its auxiliary head and drop path where the record has them."""
    network = _network(record)
    like, fresh = network.init(jax.random.key(0))
    weights = from_state_dict(record.cast(record.under("weight/"), precision), like)
    batch = record.batch("x_nchw", "y", precision)

    def forward(weights: Any, gates: Array | None = None, statistics: Any = None) -> Any:
        return network.forward(weights, gates, batch["images"], jax.random.key(0), {}, statistics)

    def loss(weights: Any) -> tuple[Array, Any]:
        (logits, auxiliary), moments = forward(weights)
        value = mean_cross_entropy(logits, batch["labels"])
        if auxiliary is not None:
            value = value + record.meta["auxiliary_weight"] * mean_cross_entropy(auxiliary, batch["labels"])
        return value, (logits, auxiliary, moments)

    (value, (logits, auxiliary, moments)), gradient = jax.jit(jax.value_and_grad(loss, has_aux=True))(weights)
    yield from _outputs("logits", record, "train/", logits, auxiliary)
    yield Comparison("losses", "value", "train/loss", value, record["train/loss"])
    yield from by_name("weight gradients", "weight_gradient", record, "train/grad_weight/", gradient)

    running = running_average(jax.tree.map(lambda a: a.astype(precision), fresh), moments)
    yield from by_name("running statistics", "value", record, "after_one_forward/", running)

    (logits, _), _ = jax.jit(lambda w, s: forward(w, statistics=s))(weights, running)
    yield from _outputs("evaluation", record, "eval/", logits, None)

    if record.under("drop_path/"):
        gates = jnp.asarray(record["drop_path/masks"] / (1 - float(record["drop_path/probability"])), precision)
        (logits, auxiliary), _ = jax.jit(forward)(weights, gates)
        yield from _outputs("drop path", record, "drop_path/", logits, auxiliary)

    for count in record.arrays.keys() & {"parameters", "parameters_without_auxiliary_head"}:
        yield Comparison("parameters", "equal", count, network.parameters, int(record[count]))


def _network(record: Record) -> Network:
    meta = record.meta
    darts = meta["space"] == "darts"
    needed = ("genotype", "C", "layers" if darts else "N", "classes", "size")
    auxiliary = any(name.startswith("auxiliary_head.") for name in record.under("weight/"))
    missing = [name for name in (*needed, *(["auxiliary_weight"] if auxiliary else [])) if name not in meta]
    if missing:
        raise UserError(f"{record.name}: its configuration lacks {', '.join(missing)}.")
    genotype, channels, cells, classes, size = (meta[name] for name in needed)
    shape = Shape(channels, cells, classes, size, template=meta["network"] if darts else "cifar")
    return derived(_genotype(record.name, genotype), shape, auxiliary)


def _genotype(file: str, text: str) -> Genotype:
    """A published genotype by its name, or one that is written out."""
    if text in PUBLISHED:
        return PUBLISHED[text]
    if not text.startswith(("Genotype", "|")):
        raise UserError(f"{file} is of the unknown genotype {text!r}. {did_you_mean(text, PUBLISHED)}")
    return from_text(text)


def _outputs(quantity: str, record: Record, prefix: str, logits: Array, auxiliary: Array | None) -> Iterator[Comparison]:
    yield Comparison(quantity, "value", f"{prefix}logits", logits, record[f"{prefix}logits"])
    if auxiliary is not None:
        yield Comparison(quantity, "value", f"{prefix}aux_logits", auxiliary, record[f"{prefix}aux_logits"])

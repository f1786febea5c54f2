"""Layers and networks as they will run where they are deployed: evaluation mode, weights fixed, one program."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import os
import platform
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast, get_args

import jax
import jax.numpy as jnp
from jax import Array

from jaxnas.errors import UserError, did_you_mean
from jaxnas.latency.layers import Layer
from jaxnas.latency.table import Table
from jaxnas.latency.timing import Run, repeated, runner
from jaxnas.nets import ChainShape, Dtype, Shape, deployed_layer, derived
from jaxnas.spaces import Genotype


@dataclasses.dataclass(frozen=True)
class Deployment:
    """How a network will run.

    Attributes:
      batch: images at a time.
      precision: type of the images, and so of what goes through the network; weights are kept in float32.

    Raises:
      UserError: a batch below 1, an unknown precision.
    """

    batch: int = 1
    precision: Dtype = "float32"

    def __post_init__(self) -> None:
        if self.batch < 1:
            raise UserError(f"batch must be at least 1, got {self.batch}.")
        if self.precision not in get_args(Dtype):
            raise UserError(f"Unknown precision {self.precision!r}. {did_you_mean(self.precision, get_args(Dtype))}")


def deployment_of(table: Table) -> Deployment:
    """How a table's networks ran.

    Raises:
      UserError: the table does not say its batch or precision, or has a precision that is not computed in here.

    >>> from jaxnas.latency import Row
    >>> deployment_of(Table("layers", "nb201", "a phone", 8, "bfloat16", {"a": Row(1.0)}))
    Deployment(batch=8, precision='bfloat16')
    """
    for field in ("batch", "precision"):
        if getattr(table, field) is None:
            raise UserError(f"The latency table does not say its {field}, in which candidates would be measured.")
    if table.precision not in get_args(Dtype):
        known = ", ".join(get_args(Dtype))
        raise UserError(
            f"The latency table is of precision {table.precision!r}, in which nothing can be measured here: {known} can."
        )
    return Deployment(cast(int, table.batch), cast(Dtype, table.precision))


def layer_run(layer: Layer, deployment: Deployment) -> Run:
    """Compiles a layer, with drawn weights, to be timed: from rows to rows, as its neighbours hand them on.

    Raises:
      UserError: an operation that its style does not have.
    """
    init, apply = deployed_layer(layer.style, layer.operation, layer.c_in, layer.c_out, layer.stride)
    x = _drawn((layer.height, layer.c_in, layer.width * deployment.batch), deployment)

    def evaluate(variables: Any, x: Array) -> Array:
        return apply(*variables, x, deployment.batch)

    return _compiled(evaluate, init(jax.random.key(0)), x)


def network_run(genotype: Genotype, shape: Shape | ChainShape, deployment: Deployment) -> Run:
    """Compiles the network of a genotype, with drawn weights, to be timed: from images to logits.

    Raises:
      UserError: a shape that it cannot have.
    """
    return _compiled(*network_call(genotype, shape, deployment))


def network_call(
    genotype: Genotype, shape: Shape | ChainShape, deployment: Deployment
) -> tuple[Callable[[Any, Array], Array], Any, Array]:
    """What is timed of a network: ``evaluate(variables, images) -> logits``, drawn variables, and images."""
    network = derived(genotype, shape)
    images = _drawn((deployment.batch, shape.image_size, shape.image_size, 3), deployment)

    def evaluate(variables: Any, images: Array) -> Array:
        weights, statistics = variables
        return network.logits(weights, statistics, images)

    return evaluate, network.init(jax.random.key(0)), images


def device_name() -> str:
    """JAX's first device in words; of a CPU the model, and the cores that this process may use."""
    device = jax.devices()[0]
    if device.platform != "cpu":
        return f"{device.device_kind} ({device.platform})"
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{_processor()} (cpu, {cores} cores)"


def _processor() -> str:
    facts = Path("/proc/cpuinfo")
    lines = facts.read_text().splitlines() if facts.exists() else []
    models = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(models, "") or platform.processor() or platform.machine()


def compiling_versions() -> dict[str, str]:
    """Versions that decide what a network is compiled to."""
    versions = {name: importlib.metadata.version(name) for name in ("jax", "jaxlib", "flax")}
    return {**versions, "xla_flags": os.environ.get("XLA_FLAGS", "")}


def software_versions() -> dict[str, str]:
    """What a table says that it was measured with."""
    return {**compiling_versions(), "python": platform.python_version()}


def _compiled(evaluate: Any, variables: Any, x: Array) -> Run:
    return runner(repeated(evaluate, variables, x), variables, x)


def _drawn(shape: tuple[int, ...], deployment: Deployment) -> Array:
    return jax.random.normal(jax.random.key(1), shape, jnp.dtype(deployment.precision))

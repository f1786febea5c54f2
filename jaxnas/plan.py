"""What a search would need, before it runs: sizes, steps, seconds of compilation, memory, and whether it fits the device."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import psutil
from jax.sharding import Mesh

from jaxnas.counting import COUNTERS, by_layer
from jaxnas.data import Dataset
from jaxnas.doctor import device_facts
from jaxnas.feeding import compile_stage
from jaxnas.recipes import Recipe, SearchRecipe
from jaxnas.searching import search_data, search_network, search_stage
from jaxnas.spaces import BLOCK_SPACES
from jaxnas.stages import Part, first_part
from jaxnas.training import network_image_size

SAVING = {"rematerialise": True, "dtype": "bfloat16"}
"""Values of a search recipe that need less memory for the same batch."""


@dataclasses.dataclass(frozen=True)
class Memory:
    """Bytes of a compiled program, as XLA assigned them.

    Attributes:
      arguments: the state, the images, and the rows of a dispatch.
      outputs: the state and the metrics.
      temporary: what lives while it runs.
      aliased: of the outputs, what takes the arguments' place.
      data: of the arguments, the images and labels.
    """

    arguments: int
    outputs: int
    temporary: int
    aliased: int
    data: int

    @property
    def total(self) -> int:
        """What there must be room for.

        >>> Memory(arguments=100, outputs=40, temporary=500, aliased=30, data=60).total
        610
        """
        return self.arguments + self.outputs + self.temporary - self.aliased


@dataclasses.dataclass(frozen=True)
class Plan:
    """A search that has not run.

    Attributes:
      parameters, alphas: of the supernet.
      multiply_adds: of its forward pass, all candidates of every edge, for one image, by :data:`jaxnas.counting.COUNTERS`.
      epochs, steps_per_epoch, batch: length.
      trace_seconds, compile_seconds, from_cache: as of :class:`jaxnas.compiling.Compiled`.
      memory: of the compiled step.
      platform, kind: of the device.
      devices: how many share every batch; memory is that of each.
      free: bytes that it has left for the search; None where it does not say.
      advice: what would need less memory; empty where it fits.
    """

    parameters: int
    alphas: int
    multiply_adds: dict[str, int]
    epochs: int
    steps_per_epoch: int
    batch: int
    trace_seconds: float
    compile_seconds: float
    from_cache: bool
    memory: Memory
    platform: str
    kind: str
    devices: int
    free: int | None
    advice: tuple[str, ...]

    @property
    def fits(self) -> bool | None:
        """Whether the device has room for it; None where it does not say."""
        return None if self.free is None else self.memory.total <= self.free


def plan(recipe: Recipe, dataset: Dataset, part: Part | None = None, mesh: Mesh | None = None) -> Plan:
    """Compiles the very step that the search would run, and runs nothing.

    Args:
      recipe: as :func:`jaxnas.run.check` lets it through.
      dataset: only its shapes, its normalisation and, where the recipe has shares, its labels count.
      part: the stage; the first by default.
      mesh: the devices that would share every batch; one by default.

    Raises:
      UserError: a size that the supernet cannot have.
    """
    part = first_part(recipe.search) if part is None else part
    search, space, dataset = part.search, part.space, search_data(recipe, dataset)
    network = search_network(search, dataset, space)
    layers = by_layer(network, network_image_size(search.augmentation, dataset), space)
    stage = search_stage(recipe, dataset, network, part=part, mesh=mesh)
    compiled = compile_stage(stage)
    memory = _memory(compiled.call.memory_analysis(), sum(array.nbytes for array in jax.tree.leaves(stage.data)))
    device = jax.devices()[0]
    free = free_memory(device)
    return Plan(
        parameters=network.parameters,
        alphas=space.alphas,
        multiply_adds={counter: sum(layers[kind] for kind in kinds) for counter, kinds in COUNTERS.items()},
        epochs=stage.epochs - stage.first_epoch,
        steps_per_epoch=stage.steps_per_epoch,
        batch=search.batch,
        trace_seconds=compiled.trace_seconds,
        compile_seconds=compiled.compile_seconds,
        from_cache=compiled.from_cache,
        memory=memory,
        platform=device.platform,
        kind=device.device_kind,
        devices=1 if mesh is None else mesh.size,
        free=free,
        advice=() if free is None or memory.total <= free else advice(search, memory, free),
    )


def free_memory(device: Any) -> int | None:
    """Bytes that a program may take on a device, on a CPU of the machine's memory; None where the device does not say."""
    facts = device_facts(device)
    if facts["memory"] is not None:
        return facts["memory"] - (facts["memory_in_use"] or 0)
    return psutil.virtual_memory().available if device.platform == "cpu" else None


def advice(search: SearchRecipe, memory: Memory, free: int) -> tuple[str, ...]:
    """Options that would need less memory; what they come to is only estimated, for a batch, or left open.

    >>> needed = Memory(arguments=100, outputs=40, temporary=600, aliased=40, data=60)
    >>> advice(SearchRecipe(batch=64), needed, free=400)[0]
    '--search.batch 32 (an estimate: temporary memory by the batch)'
    """
    found = []
    fixed = memory.total - memory.temporary
    batch = max(0, free - fixed) * search.batch // max(1, memory.temporary)
    if batch:
        found.append(f"--search.batch {batch} (an estimate: temporary memory by the batch)")
    if search.batch % (2 * search.micro_batches) == 0:
        found.append(f"--search.micro-batches {2 * search.micro_batches}")
    # A recipe that has such a field, at another value; blocks keep nothing to compute again.
    kept = {"rematerialise"} if search.space in BLOCK_SPACES else set()
    unused = {name: value for name, value in SAVING.items() if name not in kept and getattr(search, name, value) != value}
    for name, value in unused.items():
        found.append(f"--search.{name}" if value is True else f"--search.{name} {value}")
    if memory.data > free:
        found.append("a smaller data set: its images alone do not fit")
    return tuple(found)


def _memory(analysis: Any, data: int) -> Memory:
    return Memory(
        arguments=analysis.argument_size_in_bytes,
        outputs=analysis.output_size_in_bytes,
        temporary=analysis.temp_size_in_bytes,
        aliased=analysis.alias_size_in_bytes,
        data=data,
    )

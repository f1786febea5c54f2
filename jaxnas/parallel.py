"""One stage on many devices: the batch split over a mesh, and all that a step carries, and all its data, on every device.

The step is one program for each device (``jaxnas.named_axis``), under ``jax.shard_map`` inside ``jax.jit``, or under
``jax.pmap``: :func:`on_mesh` and :func:`by_pmap` are all that tells the two apart.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jax import Array
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jaxnas.errors import UserError

AXIS = "batch"
"""The name of the axis that the batch is split over."""

Program = Callable[[Any, Any, tuple[Array, ...], Array], Any]
"""``(state, data, rows of batch indices [steps, batch], count) -> (state, metrics)``, as :func:`jaxnas.bilevel.many_steps`."""

WHOLE = PartitionSpec()
SPLIT = PartitionSpec(None, AXIS)


def mesh_for(batch: int, devices: int | None = None, micro_batches: int = 1) -> Mesh | None:
    """The devices that a batch is split over; None for one alone, on which nothing need be split.

    Args:
      batch: images of a step, on all devices together.
      devices: how many to use; by default all of all processes.
      micro_batches: parts that each device goes through its share in.

    Raises:
      UserError: more devices than there are, or than there are equal shares for; with several processes, others than all.

    >>> mesh_for(batch=64, devices=1) is None
    True
    """
    found = jax.devices()
    count = len(found) if devices is None else devices
    if not 1 <= count <= len(found):
        raise UserError(f"--devices {count}: there are {len(found)} {found[0].platform} devices. Give 1 to {len(found)}.")
    if jax.process_count() > 1 and count != len(found):
        raise UserError(f"--devices {count}: {jax.process_count()} processes use all their {len(found)} devices. Leave it out.")
    if batch % (count * micro_batches):
        parts = f"{micro_batches} micro-batches on " if micro_batches > 1 else ""
        least = batch - batch % (count * micro_batches) or count * micro_batches
        fits = max(n for n in range(1, count + 1) if batch % (n * micro_batches) == 0) if batch % micro_batches == 0 else None
        fewer = f", or --devices {fits}" if fits and jax.process_count() == 1 else ""
        raise UserError(
            f"A batch of {batch} cannot be shared equally by {parts}{count} devices. Give a batch that can be, such as "
            f"--search.batch {least}{fewer}."
        )
    return None if count == 1 else Mesh(np.array(found[:count]), (AXIS,))


def on_mesh(program: Program, mesh: Mesh) -> Program:
    """The program of one device as that of a mesh, to be compiled by ``jax.jit``.

    Args:
      program: made of a step that knows the axis :data:`AXIS`; what it returns is equal on all devices.
      mesh: of the one axis :data:`AXIS`.
    """
    return jax.shard_map(program, mesh=mesh, in_specs=(WHOLE, WHOLE, SPLIT, WHOLE), out_specs=(WHOLE, WHOLE), check_vma=False)


def by_pmap(program: Program, mesh: Mesh) -> Program:
    """The same by ``jax.pmap``, which compiles it at its first call."""
    devices = list(mesh.devices.flat)
    mapped = jax.pmap(program, AXIS, in_axes=(None, None, 0, None), out_axes=None, devices=devices)

    def run(state: Any, data: Any, rows: tuple[Array, ...], count: Array) -> Any:
        shares = tuple(jax.numpy.stack(jax.numpy.split(row, len(devices), axis=1)) for row in rows)
        return mapped(state, data, shares, count)

    return run


def shapes_on(mesh: Mesh | None, shapes: Any, split: bool = False) -> Any:
    """Shapes that say where on a mesh their arrays are: whole on every device, or split along the second axis."""
    if mesh is None:
        return shapes
    sharding = NamedSharding(mesh, SPLIT if split else WHOLE)
    return jax.tree.map(lambda shape: jax.ShapeDtypeStruct(shape.shape, shape.dtype, sharding=sharding), shapes)


def put(mesh: Mesh | None, tree: Any, split: bool = False) -> Any:
    """Arrays of this process, equal in all processes, on the devices of a mesh; on the default device where there is none."""
    if mesh is None:
        return jax.tree.map(jax.numpy.asarray, tree)
    sharding = NamedSharding(mesh, SPLIT if split else WHOLE)

    def place(leaf: Any) -> Array:
        if jax.numpy.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            return jax.random.wrap_key_data(place(jax.random.key_data(leaf)), impl=jax.random.key_impl(leaf))
        host = np.asarray(leaf)
        return jax.make_array_from_callback(host.shape, sharding, host.__getitem__)

    return jax.tree.map(place, tree)


def places_of(owners: Sequence[int], batch: int, process: int) -> np.ndarray:
    """The places in a batch that a process's devices have: equal shares, in the order of the devices.

    Args:
      owners: the process of each device of the mesh.
      batch: images of a step, on all devices together.
      process: which one.

    >>> places_of([0, 1, 0, 1], batch=8, process=1).tolist()
    [2, 3, 6, 7]
    """
    return np.flatnonzero(np.repeat(np.array(owners) == process, batch // len(owners)))


def share_of(mesh: Mesh | None, batch: int) -> np.ndarray:
    """The places in a batch that this process reads, int ``[share]``; all of them where there is no mesh."""
    if mesh is None:
        return np.arange(batch)
    return places_of([device.process_index for device in mesh.devices.flat], batch, jax.process_index())


def put_shares(mesh: Mesh | None, tree: Any, places: np.ndarray, batch: int) -> Any:
    """Arrays ``[steps, share, ...]`` of this process's share of each batch, as arrays ``[steps, batch, ...]`` on all devices.

    Args:
      places: int ``[share]``, as of :func:`share_of`.
    """
    if mesh is None:
        return put(None, tree)
    sharding = NamedSharding(mesh, SPLIT)

    def place(share: np.ndarray) -> Array:
        def of_device(index: Any) -> np.ndarray:
            return share[:, np.isin(places, np.arange(batch)[index[1]])]

        return jax.make_array_from_callback((share.shape[0], batch, *share.shape[2:]), sharding, of_device)

    return jax.tree.map(place, tree)


def local(mesh: Mesh | None, tree: Any) -> Any:
    """Arrays that are whole on every device of a mesh, on one device of this process."""
    return tree if mesh is None else jax.tree.map(lambda array: array.addressable_data(0), tree)

"""The names that PyTorch's reference implementations give to weights, and ours: conversion of whole trees, both ways.

Our trees follow the references' modules, with four differences: a supernet's operations of one kind are stacked along a
leading axis, one entry for each edge that has them, where the references number edges and candidates; some lists have
another name; depthwise kernels lack the axis of length 1 (``[C, K, L]`` for ``[C, 1, K, L]``); and batch statistics are
trees of their own (``mean``, ``var`` for ``running_mean``, ``running_var``).

Everything that has the form of the weights has their names: gradients, updates, momentum buffers.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from jaxnas.errors import UserError
from jaxnas.nets import stack_rows
from jaxnas.spaces import CellSpace

Tree = Any
Path = tuple[str | int, ...]


@dataclasses.dataclass(frozen=True)
class Leaf:
    """One array of a tree, in the references' terms.

    Attributes:
      path: keys that lead to it.
      names: what it holds: one name, or one for each entry of a stack, in order.
      shape: of each in PyTorch.
    """

    path: Path
    names: tuple[str, ...]
    shape: tuple[int, ...]


def torch_names(tree: Tree, space: CellSpace | None = None) -> tuple[Leaf, ...]:
    """The names of every array of a tree, in the order of ``jax.tree.leaves``.

    Args:
      tree: weights or statistics of a supernet or a derived network, or what has their form; shapes suffice.
      space: of a supernet; ``None`` for derived networks.

    Raises:
      UserError: a supernet's tree without a space, or with another space than its own.

    >>> from jaxnas.nets import Shape, supernet
    >>> from jaxnas.spaces import nb201
    >>> weights, _ = jax.eval_shape(supernet(nb201(), Shape(channels=4, cells=1, classes=10)).init, jax.random.key(0))
    >>> torch_names(weights, nb201())[3].names[2]
    'cells.0.edges.2<-1.3.op.1.weight'
    """
    leaves = []
    for keys, array in jax.tree_util.tree_flatten_with_path(tree)[0]:
        path = tuple(key.key for key in keys)
        if "stacks" in path:
            names, shape = _stacked(path, space, tree), array.shape[1:]
            if array.shape[0] != len(names):
                raise UserError(
                    f"{'.'.join(map(str, path))} holds {array.shape[0]} operations, the space given has {len(names)} there. "
                    "Give the space that the supernet was built of."
                )
        else:
            names, shape = (_join(path),), array.shape
        # Depthwise kernels are the only ones of three axes.
        leaves.append(Leaf(path, names, (shape[0], 1, *shape[1:]) if len(shape) == 3 else shape))
    return tuple(leaves)


def from_state_dict(arrays: Mapping[str, Any], like: Tree, space: CellSpace | None = None) -> Tree:
    """A tree of ours from a reference's ``state_dict``, or from gradients or buffers by its names.

    A whole ``state_dict`` may be given for the weights, and again for the statistics: each takes what concerns it.
    ``num_batches_tracked`` is not read.

    Args:
      arrays: NumPy arrays or tensors on the CPU by name.
      like: the tree wanted: weights or statistics of a network, for their form and shapes.
      space: of a supernet; ``None`` for derived networks.

    Returns:
      A tree of JAX arrays of the dtypes given (float64 only where JAX has it enabled).

    Raises:
      UserError: names that are missing or unknown, arrays of another shape.

    >>> like = {"stem": {"layers": {1: {"weight": jnp.ones(2)}}}}
    >>> from_state_dict({"stem.1.weight": np.array([3.0, 4.0]), "stem.1.num_batches_tracked": np.array(5)}, like)
    {'stem': {'layers': {1: {'weight': Array([3., 4.], dtype=float32)}}}}
    """
    leaves = torch_names(like, space)
    wanted = {name for leaf in leaves for name in leaf.names}
    statistics = any(_is_statistic(name) for name in wanted)
    given = {name for name in arrays if _is_statistic(name) == statistics and not name.endswith(".num_batches_tracked")}
    problems = [
        f"{what}: {_some(names)}"
        for what, names in (
            ("missing", sorted(wanted - given)),
            ("unknown", sorted(given - wanted)),
            (
                "of another shape",
                [
                    f"{name} {tuple(np.shape(arrays[name]))} instead of {leaf.shape}"
                    for leaf in leaves
                    for name in leaf.names
                    if name in given and tuple(np.shape(arrays[name])) != leaf.shape
                ],
            ),
        )
        if names
    ]
    if problems:
        raise UserError(
            f"The names do not fit the network. {'; '.join(problems)}. Build the network of the same space or genotype, size "
            "and auxiliary head as the one that the names come from."
        )

    def load(leaf: Leaf, shape: tuple[int, ...]) -> Array:
        return jnp.asarray(np.stack([np.asarray(arrays[name]) for name in leaf.names]).reshape(shape))

    values, form = jax.tree.flatten(like)
    return form.unflatten(load(leaf, value.shape) for leaf, value in zip(leaves, values, strict=True))


def to_state_dict(tree: Tree, space: CellSpace | None = None) -> dict[str, np.ndarray]:
    """The arrays of a tree by the references' names and in their shapes; the inverse of :func:`from_state_dict`.

    Raises:
      UserError: as :func:`torch_names`.

    >>> to_state_dict({"stem": {"layers": {0: {"weight": jnp.ones((4, 3, 3, 3))}}}})["stem.0.weight"].shape
    (4, 3, 3, 3)
    """
    arrays: dict[str, np.ndarray] = {}
    for leaf, value in zip(torch_names(tree, space), jax.tree.leaves(tree), strict=True):
        arrays.update(zip(leaf.names, np.asarray(value).reshape(len(leaf.names), *leaf.shape), strict=True))
    return arrays


def _is_statistic(name: str) -> bool:
    return name.endswith((".running_mean", ".running_var"))


def _some(names: Iterable[str], most: int = 8) -> str:
    names = list(names)
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


_STATISTICS = {"mean": "running_mean", "var": "running_var"}


def _join(path: Path) -> str:
    """The name of an array that is not stacked."""
    # "layers" is a name in the reference only where NAS-Bench-201's cells list their operations; elsewhere it is our name for
    # what the reference only numbers.
    parts = [str(part) for i, part in enumerate(path) if part != "layers" or (path[0], i) == ("cells", 2)]
    parts[-1] = _STATISTICS.get(parts[-1], parts[-1])
    if "ops" in parts:
        parts[parts.index("ops")] = "_ops"
    if "downsample" in parts:
        # The reference's shortcut is a list, of which the first is the pooling.
        parts.insert(parts.index("downsample") + 1, "1")
    return ".".join(parts)


def _stacked(path: Path, space: CellSpace | None, tree: Tree) -> tuple[str, ...]:
    """The names in a stack of a supernet: ``cells, I, GROUP, stacks, OPERATION, ...``."""
    if space is None:
        raise UserError("These are the arrays of a supernet: give its space, which numbers the edges and their operations.")
    _, index, _, _, operation, *rest = path
    # DARTS's search follows a pooling by a batch norm in a plain list; every other operation calls its list ``op``.
    inner = _join(tuple(rest[1:] if "pool" in str(operation) else rest))
    kind, rows = stack_rows(space, tree, path)
    cell = space.cell(kind)
    names = []
    for row in rows:
        if operation in cell.operations[row]:
            source, target = cell.edges[row]
            edge = f"edges.{target}<-{source}" if space.family == "nb201" else f"_ops.{row}._ops"
            names.append(f"cells.{index}.{edge}.{cell.operations[row].index(str(operation))}.{inner}")
    return tuple(names)

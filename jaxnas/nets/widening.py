"""Weights of a supernet carried into one of fewer candidates and wider ones (DrNAS's progressive widening)."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import numpy as np

from jaxnas.nets.active import stack_rows
from jaxnas.spaces import CellSpace

Path = tuple[Any, ...]


@dataclasses.dataclass(frozen=True)
class Take:
    """Where the entries of an array come from in the one before: ``new = old[index]``, all of it where the index is empty."""

    index: tuple[np.ndarray, ...] = ()


def takes(before: CellSpace, after: CellSpace, old: Any, new: Any, rng: np.random.Generator) -> Any:
    """What each weight of a supernet is taken from, for :func:`taken`.

    A candidate that survives on an edge keeps its weights there. Where it has more channels than before, its first ones are
    the old ones, and each further one repeats a random old one, by the rule of xiangning-chen/DrNAS, net2wider.py and
    operations.py: a depthwise kernel and a pointwise one behind it repeat the same channels; outputs, and inputs of a
    candidate's first convolution, are drawn anew. Inputs that are repeated are not divided by how often, as Net2Net would: the
    function changes, but where only candidates of weight 0 are left out and nothing is widened.

    Args:
      before, after: the spaces; every candidate of an edge of the second is one of the first.
      old, new: weights of the two supernets, of equal depth and width, or their shapes.
      rng: of the repeated channels, edge by edge.

    Returns:
      :class:`Take` in the form of ``new``.
    """
    was = {_plain(path): leaf.shape for path, leaf in jax.tree.leaves_with_path(old)}
    now = {_plain(path): leaf.shape for path, leaf in jax.tree.leaves_with_path(new)}
    found: dict[Path, Take] = {}
    outputs: dict[Path, np.ndarray] = {}  # By candidate, of its last convolution so far: [edges, channels].
    between: dict[Path, np.ndarray] = {}  # The same of a depthwise convolution, until the pointwise one reads it.

    def drawn(edges: int, old_channels: int, channels: int) -> np.ndarray:
        first = np.tile(np.arange(old_channels), (edges, 1))
        return np.concatenate([first, rng.integers(old_channels, size=(edges, channels - old_channels))], axis=1)

    mixed = [path for path in now if _STACKS in path]
    # Layer by layer, and of a layer the kernel first: its bias or scale follows the kernel's outputs.
    for path in sorted(mixed, key=lambda path: (path[:-1], path[-1] != "weight")):
        candidate, slots = path[:5], _slots(before, after, new, path)
        edges, *sizes = now[path]
        if len(sizes) == 1:
            index = (slots[:, None], outputs[candidate])
        elif len(sizes) == 3:
            outputs[candidate] = between[candidate] = drawn(edges, was[path][1], sizes[0])
            index = (slots[:, None], outputs[candidate])
        else:
            inputs = between.pop(candidate) if candidate in between else drawn(edges, was[path][2], sizes[1])
            outputs[candidate] = drawn(edges, was[path][1], sizes[0])
            index = (slots[:, None, None], outputs[candidate][:, :, None], inputs[:, None, :])
        found[path] = Take(index)
    return jax.tree.map_with_path(lambda path, _: found.get(_plain(path), Take()), new)


def taken(takes: Any, old: Any) -> Any:
    """A tree in the form of the takes, made of the arrays at the same places of another one."""
    arrays = {_plain(path): leaf for path, leaf in jax.tree.leaves_with_path(old)}

    def one(path: Path, take: Take) -> Any:
        array = arrays[_plain(path)]
        return jax.device_put(np.asarray(array)[take.index]) if take.index else array

    return jax.tree.map_with_path(one, takes)


_STACKS, _INNER = "stacks", "operation"
"""What holds the candidates of a mixed operation, and what a candidate on a share of the channels holds in turn."""


def _plain(path: Path) -> Path:
    """The keys of a path, the same whether a candidate has all channels or a share of them."""
    keys = (getattr(entry, "key", getattr(entry, "idx", getattr(entry, "name", None))) for entry in path)
    return tuple(key for key in keys if key != _INNER)


def _slots(before: CellSpace, after: CellSpace, weights: Any, path: Path) -> np.ndarray:
    """Of the edges that keep a stack's candidate, the places in the stack of all edges that had it."""
    kind, rows = stack_rows(before, weights, path)
    had = [row for row in rows if path[4] in before.cell(kind).operations[row]]
    return np.array([at for at, row in enumerate(had) if path[4] in after.cell(kind).operations[row]])

"""The batch as a named axis: each device has a share of the images, and all devices run the same program by that name.

The name is that of an axis which ``jax.shard_map`` or ``jax.pmap`` maps (:mod:`jaxnas.parallel`); None means that there is no
such axis, and nothing is done. Weights, alphas and all that is drawn by key are the same on every device; images are not.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
from jax import lax
from jax.custom_derivatives import SymbolicZero
from jax.flatten_util import ravel_pytree


def mean_over(axis: str | None, tree: Any) -> Any:
    """Means over the devices, of numbers of which each is already the mean of a device's share."""
    return tree if axis is None else lax.pmean(tree, axis)


def size_of(axis: str | None) -> int:
    """How many devices share the batch.

    >>> size_of(None)
    1
    """
    return 1 if axis is None else lax.axis_size(axis)


def replicated(axis: str | None, tree: Any) -> Any:
    """The same arrays, which are equal on all devices, so that their gradients are too.

    What is differentiated is one number, a mean over the devices; each device by itself finds the part of the gradient that
    its own images have in it. Here, on the way back, the parts' mean is taken, in one reduction of all arrays. So a function
    of arrays that went through here, which ends in :func:`mean_over`, has the derivatives of a function on one device, of any
    order, forward and backward: nothing that differentiates it need know of the axis.
    """
    return tree if axis is None else _replicated(axis, tree)


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def _replicated(axis: str, tree: Any) -> Any:
    return tree


@functools.partial(_replicated.defjvp, symbolic_zeros=True)
def _mean_of_tangents(axis: str, primals: tuple[Any], tangents: tuple[Any]) -> tuple[Any, Any]:
    # The tangents are equal on all devices, and this mean changes nothing; it is its transpose that is needed.
    leaves, form = jax.tree.flatten(tangents[0], is_leaf=_is_zero)
    # As one vector: separate reductions are merged by some compilers, and only where it suits their schedule.
    vector, parts_of = ravel_pytree([leaf for leaf in leaves if not _is_zero(leaf)])
    with jax.named_scope("mean_of_gradients"):  # The names are what profiles and benchmarks/communication.py show.
        means = iter(parts_of(lax.pmean(vector, axis)))
    return _replicated(axis, primals[0]), form.unflatten(leaf if _is_zero(leaf) else next(means) for leaf in leaves)


def _is_zero(tangent: Any) -> bool:
    return isinstance(tangent, SymbolicZero)


def drawn(axis: str | None, draw: Callable[[int], Any], count: int, along: int = 0) -> Any:
    """Of what is drawn for all images of the batch, the part of this device's: a draw follows an image's place in the batch.

    The whole is a function of the position, of which XLA computes what is read.

    Args:
      axis: name of the mapped axis.
      draw: from the number of images of the whole batch to arrays.
      count: images of this device.
      along: the arrays' axis that the images are on.

    >>> drawn(None, lambda n: jax.numpy.arange(n), count=3).tolist()
    [0, 1, 2]
    """
    whole = draw(count * size_of(axis))
    if axis is None:
        return whole
    first = lax.axis_index(axis) * count
    return jax.tree.map(lambda array: lax.dynamic_slice_in_dim(array, first, count, along), whole)

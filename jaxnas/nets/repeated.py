"""Equal cells in a row, run through one body: the program holds one of them, whatever their number."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array, lax
from jax.experimental.xla_metadata import set_xla_metadata

Body = Callable[[Any, Any, Array], Any]
"""``body(cell, carry, index) -> carry``, the carry in the same form."""


def equal_runs(configurations: Sequence[Any]) -> list[range]:
    """Maximal runs of equal neighbours.

    >>> equal_runs(["a", "b", "b", "c"])
    [range(0, 1), range(1, 3), range(3, 4)]
    """
    starts = [i for i, one in enumerate(configurations) if i == 0 or one != configurations[i - 1]]
    return [range(start, end) for start, end in zip(starts, [*starts[1:], len(configurations)], strict=True)]


_scan = jax.jit(lax.scan, static_argnums=0)


def run_cells(cells: Sequence[Any], first: int, body: Body, carry: Any, rematerialise: bool) -> Any:
    """Runs cells one after the other; their moments are left in the cells.

    Args:
      cells: modules of the same structure and shapes.
      first: index of the first of them in the network.
      body: what one of them does.
      carry: what goes from cell to cell.
      rematerialise: for the gradient keep only what goes from cell to cell, and run each cell again.
    """
    graph = nnx.split(cells[0], nnx.Param, nnx.BatchStat)[0]
    variables = [[nnx.to_pure_dict(nnx.state(cell, kind)) for kind in (nnx.Param, nnx.BatchStat)] for cell in cells]

    def step(carry: Any, inputs: Any) -> tuple[Any, Any]:
        weights, statistics, index = inputs
        cell = nnx.merge(graph, weights, statistics, copy=True)
        carry = body(cell, carry, index)
        return carry, nnx.to_pure_dict(nnx.state(cell, nnx.BatchStat))

    if rematerialise:
        step = jax.checkpoint(step, prevent_cse=len(cells) == 1)  # In a scan there is nothing to be merged with.
    if len(cells) == 1:
        carry, moments = step(carry, (*variables[0], jnp.asarray(first)))
        nnx.update(cells[0], moments)
        return carry
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *variables)
    with _kept_as_call():
        carry, moments = _scan(step, carry, (*stacked, first + jnp.arange(len(cells))))
    for i, cell in enumerate(cells):
        nnx.update(cell, jax.tree.map(lambda a, i=i: a[i], moments))
    return carry


def _kept_as_call() -> AbstractContextManager[Any]:
    """On a CPU what is called here stays a call in the program.

    XLA:CPU would start equal scans - an alpha and a weight update have them - from one array of zeros, which is copied for
    each and held until the last of them begins. It does not look into a call.
    """
    return set_xla_metadata(inlineable="false") if jax.default_backend() == "cpu" else contextlib.nullcontext()

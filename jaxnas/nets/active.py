"""Which weights of a supernet a sampled path has touched."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxnas.nets.chains import equal_blocks
from jaxnas.nets.supernet import reductions
from jaxnas.spaces import BlockSpace, CellSpace


def active_weights(space: CellSpace | BlockSpace, mixture: dict[str, Any], weights: Any) -> Any:
    """A mask in the form of the weights: whether what they belong to ran.

    Args:
      space: of the supernet.
      mixture: of which the weights' gradient was taken.
      weights: of the supernet, or what has their form.

    Returns:
      Bool arrays that broadcast against the weights: for each entry of a stack whether that candidate was active, true for
      everything else.
    """

    def mask(keys: Any, leaf: Any) -> Any:
        path = tuple(key.key for key in keys)
        if "stacks" not in path:
            return True
        kind, rows = stack_rows(space, weights, path)
        if not isinstance(mixture[kind], dict) or "active" not in mixture[kind]:
            return True
        name = str(path[path.index("stacks") + 1])
        names = space.cell(kind).operations
        entries = [(row, names[row].index(name)) for row in rows if name in names[row]]
        ran = mixture[kind]["active"][tuple(np.array(entries).T)]
        return jnp.reshape(ran, (-1,) + (1,) * (leaf.ndim - 1))

    return jax.tree_util.tree_map_with_path(mask, weights)


def stack_rows(space: CellSpace | BlockSpace, weights: Any, path: tuple[Any, ...]) -> tuple[str, list[int]]:
    """The kind of cell that a stack of a supernet's weights belongs to, and the rows of the alphas that it has edges of.

    Args:
      space: of the supernet.
      weights: the whole tree.
      path: of the stack in it: ``cells, I, GROUP, stacks, OPERATION, ...``; of a chain of blocks ``stages, I, ...``.
    """
    index, group = int(path[1]), path[2]
    if isinstance(space, BlockSpace):
        return "blocks", list(equal_blocks(space)[index])
    if space.family == "nb201":
        return "cell", list(range(len(space.cell("cell").edges)))
    reduction = reductions(len(weights["cells"]))[index]
    kind = "reduce" if reduction else "normal"
    edges = space.cell(kind).edges
    # A reduction cell has two groups: edges from its inputs, of stride 2, and edges between its nodes.
    return kind, [row for row, (source, _) in enumerate(edges) if not reduction or (source < 2) == (group == "from_inputs")]

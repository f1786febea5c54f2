"""From alphas to the genotype that they stand for, and from a genotype to the mixture that computes it."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike

from jaxnas.errors import UserError, did_you_mean
from jaxnas.spaces.cell import Cell, CellSpace
from jaxnas.spaces.genotype import Genotype, Nb201Genotype, Pairs, check_fits, darts_genotype
from jaxnas.spaces.operations import NONE


def derive(space: CellSpace, alphas: Mapping[str, ArrayLike]) -> Genotype:
    """The genotype of the strongest operations.

    Family darts (quark0/darts, model_search.py, genotype): per node the two edges with the largest softmax weight of an
    operation other than none, the stronger one first, ties to the lower edge; on each its strongest operation other than
    none. None has its share of the softmax all the same. Family nb201: the strongest operation of every edge, none
    included. Ties between operations go to the first. The softmax is taken in float64.

    Args:
      space: whose candidates the columns are.
      alphas: by kind of cell ``[edges, columns]``, rows as ``Cell.edges``, columns as ``Cell.operations``; what pads the
        row of an edge of fewer candidates is not looked at.

    Raises:
      UserError: a kind of cell is missing or unknown, a wrong shape, an alpha that is not finite.

    >>> from jaxnas.spaces import nb201_family
    >>> derive(nb201_family("one edge", ("none", "skip_connect"), nodes=1), {"cell": [[0.1, 0.2]]})
    Nb201Genotype(nodes=((('skip_connect', 0),),))
    """
    kinds = [kind for kind, _ in space.cells]
    if not isinstance(alphas, Mapping):
        raise UserError(f"Alphas are a dict with an array for each of the cells {kinds}, got {type(alphas).__name__}.")
    for kind in alphas:
        if kind not in kinds:
            raise UserError(f"Space {space.name!r} has no cell {kind!r}. {did_you_mean(kind, kinds)}")
    for kind in kinds:
        if kind not in alphas:
            raise UserError(f"The alphas of the {kind} cell are missing: got {list(alphas)}, needed are {kinds}.")
    weights = {kind: _softmax(cell, alphas[kind], kind) for kind, cell in space.cells}
    if space.family == "nb201":
        return Nb201Genotype(tuple(_all_edges(space.cell("cell"), weights["cell"])))
    normal, reduce = (_two_strongest_edges(space.cell(kind), weights[kind]) for kind in ("normal", "reduce"))
    return darts_genotype(normal, reduce)


def _softmax(cell: Cell, alphas: ArrayLike, kind: str) -> np.ndarray:
    """Softmax over each edge's candidates; padding gets 0."""
    try:
        values = np.asarray(alphas, dtype=np.float64)
    except (TypeError, ValueError):
        raise UserError(f"The alphas of the {kind} cell are an array of numbers [edges, columns], got {alphas!r}.") from None
    expected = (len(cell.edges), cell.columns)
    if values.shape != expected:
        raise UserError(f"The alphas of the {kind} cell have shape [edges, columns] = {expected}, got {values.shape}.")
    present = np.array(cell.present)
    broken = np.argwhere(present & ~np.isfinite(values))
    if len(broken):
        row, column = broken[0]
        source, target = cell.edges[row]
        raise UserError(
            f"The alpha of {cell.operations[row][column]!r} on edge {source} -> {target} of the {kind} cell is "
            f"{values[row, column]}: the search diverged, nothing can be derived."
        )
    values = np.where(present, values, -np.inf)
    powers = np.exp(values - values.max(axis=1, keepdims=True))
    # Added in order of size: edges with the same alphas on other operations then tie exactly, whatever the rounding.
    return powers / np.sort(powers, axis=1).sum(axis=1, keepdims=True)


def _all_edges(cell: Cell, weights: np.ndarray) -> list[Pairs]:
    chosen = _choices(cell, weights)
    return [tuple(chosen[row] for row in cell.incoming(node)) for node in range(cell.nodes)]


def _two_strongest_edges(cell: Cell, weights: np.ndarray) -> list[Pairs]:
    none = np.array([[name == NONE for name in names + ("",) * (cell.columns - len(names))] for names in cell.operations])
    weights = np.where(none, -1.0, weights)
    chosen, strength = _choices(cell, weights), weights.max(axis=1)
    # sorted is stable: equally strong edges stay in their order, as in the reference
    kept = [sorted(cell.incoming(node), key=lambda row: -strength[row])[:2] for node in range(cell.nodes)]
    return [tuple(chosen[row] for row in rows) for rows in kept]


def _choices(cell: Cell, weights: np.ndarray) -> Pairs:
    """``(strongest operation, source)`` of each edge."""
    best = weights.argmax(axis=1)
    return tuple((names[i], source) for names, i, (source, _) in zip(cell.operations, best, cell.edges, strict=True))


def one_hot_mixture(space: CellSpace, genotype: Genotype) -> dict[str, np.ndarray]:
    """The mixture with which the supernet computes exactly the genotype's cells: 1 at its operations, 0 elsewhere.

    An edge that the genotype does not keep has a row of zeros, hence gives nothing to its node.

    Returns:
      By kind of cell float32 ``[edges, columns]``.

    Raises:
      UserError: the genotype is not one of the space's.

    >>> from jaxnas.spaces import nb201_family
    >>> one_hot_mixture(nb201_family("one edge", ("none", "skip_connect"), nodes=1), Nb201Genotype(((("skip_connect", 0),),)))
    {'cell': array([[0., 1.]], dtype=float32)}
    """
    check_fits(genotype, space)
    mixture = {kind: np.zeros((len(cell.edges), cell.columns), np.float32) for kind, cell in space.cells}
    for kind, edges in genotype.cells.items():
        cell = space.cell(kind)
        for name, source, target in edges:
            row = cell.edges.index((source, target))
            mixture[kind][row, cell.operations[row].index(name)] = 1.0
    return mixture

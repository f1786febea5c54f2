"""From alphas to the genotype that they stand for, and from a genotype to the mixture that computes it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from jaxnas.errors import UserError, did_you_mean
from jaxnas.spaces.block_genotype import BlockGenotype, block_genotype, searched_operations
from jaxnas.spaces.blocks import BlockSpace, Chain
from jaxnas.spaces.cell import Cell
from jaxnas.spaces.genotype import Genotype, Nb201Genotype, Pairs
from jaxnas.spaces.membership import Space, check_fits, darts_genotype
from jaxnas.spaces.operations import NONE, SKIP

EDGES = "_edges"
"""What is added to a kind of cell to name the alphas of its edges."""


def derive(space: Space, alphas: Mapping[str, ArrayLike], most_skips: int | None = None) -> Genotype:
    """The genotype of the strongest operations.

    Family darts (quark0/darts, model_search.py, genotype): per node the two edges with the largest softmax weight of an
    operation other than none, the stronger one first, ties to the lower edge; on each its strongest operation other than
    none. None has its share of the softmax all the same. By GDAS's conventions (AutoDL-Projects,
    search_model_gdas_nasnet.py, genotype) per node the two strongest pairs of an edge and an operation other than none, be
    they of one edge. Families nb201 and blocks: the strongest operation of every edge or block, none included. Ties between
    operations go to the first. The softmax is taken in float64.

    Args:
      space: whose candidates the columns are.
      alphas: by kind of cell ``[edges, columns]``, rows as ``Cell.edges``, columns as ``Cell.operations``; what pads the
        row of an edge of fewer candidates is not looked at.
        Under ``KIND_edges`` the edges may have alphas of their own ``[edges]``: the softmax of these over the edges of a node
        multiplies the row's (PC-DARTS).
      most_skips: family darts: the most skip connections in the normal cell; by default there may be any number. While there
        are more, the weakest of them loses its share of the softmax and edges are chosen anew (P-DARTS, train_search.py,
        ``delete_min_sk_prob``).

    Raises:
      UserError: a kind of cell is missing or unknown, a wrong shape, an alpha that is not finite.

    >>> from jaxnas.spaces import nb201_family
    >>> derive(nb201_family("one edge", ("none", "skip_connect"), nodes=1), {"cell": [[0.1, 0.2]]})
    Nb201Genotype(nodes=((('skip_connect', 0),),))
    """
    weights = strengths(space, alphas)
    if isinstance(space, BlockSpace):
        return block_genotype(space, [name for name, _ in _choices(space.cell("blocks"), weights["blocks"])])
    if space.family == "nb201":
        return Nb201Genotype(tuple(_all_edges(space.cell("cell"), weights["cell"])))
    if most_skips is not None:
        weights["normal"] = _with_few_skips(space.cell("normal"), weights["normal"], most_skips)
    rule = _two_strongest_pairs if space.conventions == "gdas" else _two_strongest_edges
    normal, reduce = (rule(space.cell(kind), weights[kind]) for kind in ("normal", "reduce"))
    return darts_genotype(normal, reduce)


def strengths(space: Space, alphas: Mapping[str, ArrayLike]) -> dict[str, np.ndarray]:
    """What :func:`derive` compares: by kind of cell float64 ``[edges, columns]``, the softmax of every edge, padding 0.

    Where the edges have alphas of their own, their softmax over the edges of a node multiplies the row's.

    Raises:
      UserError: as :func:`derive`.
    """
    kinds = [kind for kind, _ in space.cells]
    known = kinds + [kind + EDGES for kind in kinds] if space.family != "blocks" else kinds
    if not isinstance(alphas, Mapping):
        raise UserError(f"Alphas are a dict with an array for each of the cells {kinds}, got {type(alphas).__name__}.")
    for kind in alphas:
        if kind not in known:
            raise UserError(f"Space {space.name!r} has no cell {kind!r}. {did_you_mean(kind, kinds)}")
    for kind in kinds:
        if kind not in alphas:
            raise UserError(f"The alphas of the {kind} cell are missing: got {list(alphas)}, needed are {kinds}.")
    weights = {kind: _softmax(cell, alphas[kind], kind) for kind, cell in space.cells}
    for kind, cell in space.cells:
        if kind + EDGES in alphas:
            weights[kind] = weights[kind] * _edge_weights(cell, alphas[kind + EDGES], kind)[:, None]
    return weights


def _softmax(cell: Cell | Chain, alphas: ArrayLike, kind: str) -> np.ndarray:
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


def _edge_weights(cell: Any, alphas: ArrayLike, kind: str) -> np.ndarray:
    """The softmax over the edges of each node."""
    values, targets = np.asarray(alphas, np.float64), np.array([target for _, target in cell.edges])
    if values.shape != targets.shape or not np.isfinite(values).all():
        raise UserError(f"The alphas of the {kind} cell's edges are {len(targets)} finite numbers, got {alphas!r}.")
    powers = np.exp(values - values.max())
    return powers / np.array([powers[targets == target].sum() for target in targets])


def _all_edges(cell: Cell, weights: np.ndarray) -> list[Pairs]:
    chosen = _choices(cell, weights)
    return [tuple(chosen[row] for row in cell.incoming(node)) for node in range(cell.nodes)]


def _two_strongest_edges(cell: Cell, weights: np.ndarray) -> list[Pairs]:
    weights = _without_none(cell, weights)
    chosen, strength = _choices(cell, weights), weights.max(axis=1)
    # sorted is stable: equally strong edges stay in their order, as in the reference
    kept = [sorted(cell.incoming(node), key=lambda row: -strength[row])[:2] for node in range(cell.nodes)]
    return [tuple(chosen[row] for row in rows) for rows in kept]


def _with_few_skips(cell: Cell, weights: np.ndarray, most: int) -> np.ndarray:
    """The weights, 0 for the skip connections that are too many.

    Raises:
      UserError: edges that have nothing but skip connections.
    """
    weights = weights.copy()
    while True:
        kept = enumerate(_two_strongest_edges(cell, weights), start=cell.inputs)
        rows = [cell.edges.index((source, node)) for node, pairs in kept for name, source in pairs if name == SKIP]
        if len(rows) <= most:
            return weights
        weight, row = min((weights[row, cell.operations[row].index(SKIP)], row) for row in rows)
        if not weight:
            raise UserError(f"The normal cell cannot have only {most} skip connections: an edge has no other candidate.")
        weights[row, cell.operations[row].index(SKIP)] = 0.0


def _two_strongest_pairs(cell: Cell, weights: np.ndarray) -> list[Pairs]:
    weights = _without_none(cell, weights)
    kept = []
    for node in range(cell.nodes):
        pairs = [(row, column) for row in cell.incoming(node) for column in range(len(cell.operations[row]))]
        strongest = sorted(pairs, key=lambda pair: -weights[pair])[:2]  # stable, as above
        kept.append(tuple((cell.operations[row][column], cell.edges[row][0]) for row, column in strongest))
    return kept


def _without_none(cell: Cell, weights: np.ndarray) -> np.ndarray:
    """The weights with less than any operation's for none."""
    none = np.array([[name == NONE for name in names + ("",) * (cell.columns - len(names))] for names in cell.operations])
    return np.where(none, -1.0, weights)


def _choices(cell: Cell | Chain, weights: np.ndarray) -> Pairs:
    """``(strongest operation, source)`` of each edge."""
    best = weights.argmax(axis=1)
    return tuple((names[i], source) for names, i, (source, _) in zip(cell.operations, best, cell.edges, strict=True))


def one_hot_mixture(space: Space, genotype: Genotype) -> dict[str, np.ndarray]:
    """The mixture with which the supernet computes exactly the genotype: 1 at its operations, 0 elsewhere.

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
    if isinstance(genotype, BlockGenotype):
        assert isinstance(space, BlockSpace)  # All else was just refused.
        chosen = {"blocks": tuple((name, i, i + 1) for i, name in enumerate(searched_operations(genotype, space)))}
    else:
        chosen = genotype.cells
    for kind, edges in chosen.items():
        cell = space.cell(kind)
        for name, source, target in edges:
            row = cell.edges.index((source, target))
            mixture[kind][row, cell.operations[row].index(name)] = 1.0
    return mixture

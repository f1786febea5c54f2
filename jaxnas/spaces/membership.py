"""Which genotypes a space holds, and drawing one of them."""

from __future__ import annotations

import itertools

import numpy as np

from jaxnas.errors import UserError, did_you_mean
from jaxnas.spaces.block_genotype import BlockGenotype, random_blocks, searched_operations
from jaxnas.spaces.blocks import BlockSpace
from jaxnas.spaces.cell import CellSpace
from jaxnas.spaces.genotype import DartsGenotype, Genotype, Nb201Genotype, Pairs
from jaxnas.spaces.operations import NONE

Space = CellSpace | BlockSpace


def check_fits(genotype: Genotype, space: Space) -> None:
    """Passes where the genotype is one of the space's; in which order a node lists its edges makes no difference.

    Raises:
      UserError: another family or number of nodes, an operation that is no candidate of its edge; in family darts an edge
        used twice (by GDAS's conventions: with the same operation), the operation none, or nodes left out of the
        concatenation (then not one of ``CellSpace.size``); in family blocks other blocks than the space's.

    >>> from jaxnas.spaces.cell import nb201_family
    >>> check_fits(Nb201Genotype(((("nor_conv_3x3", 0),),)), nb201_family("one edge", ("none", "skip_connect"), nodes=1))
    Traceback (most recent call last):
    jaxnas.errors.UserError: Edge 0 -> 1 of the cell cell has 'nor_conv_3x3', not a candidate there in space 'one edge'. \
Known: none, skip_connect.
    """
    if isinstance(genotype, BlockGenotype) and isinstance(space, BlockSpace):
        searched_operations(genotype, space)
        return
    if isinstance(genotype, BlockGenotype) or isinstance(space, BlockSpace) or genotype.family != space.family:
        raise UserError(f"A genotype of family {genotype.family!r} does not fit space {space.name!r} ({space.family}).")
    for kind, edges in genotype.cells.items():
        cell = space.cell(kind)
        candidates = dict(zip(cell.edges, cell.operations, strict=True))
        nodes = 1 + max(target for _, _, target in edges) - cell.inputs
        if nodes != cell.nodes:
            raise UserError(f"The {kind} cell has {nodes} nodes, those of space {space.name!r} have {cell.nodes}.")
        used = set()
        for name, source, target in edges:
            where = f"Edge {source} -> {target} of the {kind} cell"
            if space.family == "darts" and name == NONE:
                raise UserError(f"{where} has {NONE!r}, which no genotype of space {space.name!r} keeps.")
            if name not in candidates[source, target]:
                known = did_you_mean(name, candidates[source, target])
                raise UserError(f"{where} has {name!r}, not a candidate there in space {space.name!r}. {known}")
            pair = (source, target, name if space.conventions == "gdas" else None)
            if pair in used:
                raise UserError(f"{where} is used twice, now with {name!r}; in space {space.name!r} a node's inputs differ.")
            used.add(pair)
    if isinstance(genotype, DartsGenotype):
        for kind, concat in (("normal", genotype.normal_concat), ("reduce", genotype.reduce_concat)):
            everything = list(range(2, 2 + space.cell(kind).nodes))
            if sorted(concat) != everything:
                raise UserError(f"The {kind} cell concatenates {list(concat)}, those of space {space.name!r} {everything}.")


def random_genotype(space: Space, rng: np.random.Generator) -> Genotype:
    """A genotype drawn uniformly among the ``space.size`` ones; the lower edge of a node is listed first.

    >>> from jaxnas.spaces import nb201, to_text
    >>> to_text(random_genotype(nb201(), np.random.default_rng(0)))
    '|avg_pool_3x3~0|+|nor_conv_3x3~0|nor_conv_1x1~1|+|skip_connect~0|skip_connect~1|none~2|'
    """
    if isinstance(space, BlockSpace):
        return random_blocks(space, rng)
    drawn: dict[str, list[Pairs]] = {}
    for kind, cell in space.cells:
        drawn[kind] = []
        for node in range(cell.nodes):
            edges = [(cell.edges[row][0], cell.operations[row]) for row in cell.incoming(node)]
            if space.family == "nb201":
                drawn[kind].append(tuple((names[rng.integers(len(names))], source) for source, names in edges))
            else:
                # Listed whole: a pair of edges with more candidates must come up more often (490 entries at DARTS's last node).
                single = [[(name, source) for name in names if name != NONE] for source, names in edges]
                if space.conventions == "gdas":
                    single = [[pair] for pairs in single for pair in pairs]
                choices = [pairs for a, b in itertools.combinations(single, 2) for pairs in itertools.product(a, b)]
                drawn[kind].append(choices[rng.integers(len(choices))])
    if space.family == "nb201":
        return Nb201Genotype(tuple(drawn["cell"]))
    return darts_genotype(drawn["normal"], drawn["reduce"])


def darts_genotype(normal: list[Pairs], reduce: list[Pairs]) -> DartsGenotype:
    """The genotype of two pairs per node for each cell, all nodes concatenated as every searched DARTS genotype has it.

    >>> darts_genotype([(("skip_connect", 0), ("skip_connect", 1))], [(("skip_connect", 0), ("noise", 1))]).reduce_concat
    (2,)
    """
    (normal_pairs, normal_concat), (reduce_pairs, reduce_concat) = (
        (tuple(itertools.chain(*nodes)), tuple(range(2, 2 + len(nodes)))) for nodes in (normal, reduce)
    )
    return DartsGenotype(normal_pairs, normal_concat, reduce_pairs, reduce_concat)

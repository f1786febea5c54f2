"""What runs of a network's graph: compilers leave edges out, and a table's times are of what is left."""

from __future__ import annotations

from typing import Literal

from jaxnas.spaces import NONE, Genotype, Nb201Genotype

Graph = Literal["whole", "reaching", "folded"]
"""What ran where networks were timed. ``whole``: every edge. ``reaching``: what reaches the output. ``folded``: of that, what
the images reach, too; what depends on the weights alone, such as batch norm of zeros, was computed once.

Only in family nb201 do they differ: in the others every edge of a genotype lies on a path from the input to the output.
"""

GRAPHS: tuple[Graph, ...] = ("whole", "reaching", "folded")
"""From the one that leaves nothing out to the one that leaves most out."""


def kept(genotype: Genotype, graph: Graph) -> Genotype:
    """The genotype with ``none`` in the place of what does not run.

    >>> genotype = Nb201Genotype(((("none", 0),), (("skip_connect", 0), ("nor_conv_3x3", 1))))
    >>> kept(genotype, "reaching").nodes, kept(genotype, "folded").nodes
    (((('none', 0),), (('skip_connect', 0), ('nor_conv_3x3', 1))), ((('none', 0),), (('skip_connect', 0), ('none', 1))))
    """
    if graph == "whole":
        return genotype
    return reaching_output(genotype if graph == "reaching" else reached_by_input(genotype))


def reaching_output(genotype: Genotype) -> Genotype:
    """The genotype with ``none`` on NAS-Bench-201's edges that reach the output through none.

    What a node is fed that is zero all the same stays.

    >>> reaching_output(Nb201Genotype(((("skip_connect", 0),), (("skip_connect", 0), ("none", 1))))).nodes
    ((('none', 0),), (('skip_connect', 0), ('none', 1)))
    """
    if not isinstance(genotype, Nb201Genotype):
        return genotype
    reaching = {len(genotype.nodes)}
    for name, source, target in reversed(genotype.cells["cell"]):
        if name != NONE and target in reaching:
            reaching.add(source)
    return Nb201Genotype(
        tuple(
            tuple((name if target in reaching else NONE, source) for name, source in pairs)
            for target, pairs in enumerate(genotype.nodes, start=1)
        )
    )


def reached_by_input(genotype: Genotype) -> Genotype:
    """The genotype with ``none`` on NAS-Bench-201's edges that are fed by a node which the images do not reach.

    What such edges give out depends on the weights alone, which are fixed where a network is deployed: a compiler computes it
    once.

    >>> genotype = Nb201Genotype(((("none", 0),), (("skip_connect", 0), ("nor_conv_3x3", 1))))
    >>> reached_by_input(genotype).nodes
    ((('none', 0),), (('skip_connect', 0), ('none', 1)))
    """
    if not isinstance(genotype, Nb201Genotype):
        return genotype
    reached, nodes = {0}, []
    for target, pairs in enumerate(genotype.nodes, start=1):
        nodes.append(tuple((name if source in reached else NONE, source) for name, source in pairs))
        if any(name != NONE for name, _ in nodes[-1]):
            reached.add(target)
    return Nb201Genotype(tuple(nodes))


def has_path(genotype: Genotype) -> bool:
    """Whether anything leads from the input to the output; without, NAS-Bench-201's cell gives out zeros.

    >>> has_path(Nb201Genotype(((("skip_connect", 0),), (("none", 0), ("none", 1)))))
    False
    """
    if not isinstance(genotype, Nb201Genotype):
        return True
    reached = {0}
    for name, source, target in genotype.cells["cell"]:
        if name != NONE and source in reached:
            reached.add(target)
    return len(genotype.nodes) in reached

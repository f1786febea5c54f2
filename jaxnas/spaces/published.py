"""Genotypes of the papers, as in their repositories' ``genotypes.py``."""

from __future__ import annotations

from jaxnas.spaces.genotype import DartsGenotype

_CODES = {
    "n": "none",
    "mp": "max_pool_3x3",
    "ap": "avg_pool_3x3",
    "sk": "skip_connect",
    "s3": "sep_conv_3x3",
    "s5": "sep_conv_5x5",
    "s7": "sep_conv_7x7",
    "d3": "dil_conv_3x3",
    "d5": "dil_conv_5x5",
    "c31": "conv_3x1_1x3",
    "c71": "conv_7x1_1x7",
}
_NODES = (2, 3, 4, 5)


def _genotype(
    normal: str, reduce: str, normal_concat: tuple[int, ...] = _NODES, reduce_concat: tuple[int, ...] = _NODES
) -> DartsGenotype:
    """From ``op:input`` pairs, two a node; bars between the nodes are for the eye."""

    def cell(text: str) -> tuple[tuple[str, int], ...]:
        pairs = (item.split(":") for item in text.replace("|", " ").split())
        return tuple((_CODES[code], int(source)) for code, source in pairs)

    return DartsGenotype(cell(normal), normal_concat, cell(reduce), reduce_concat)


PUBLISHED: dict[str, DartsGenotype] = {
    # quark0/darts, cnn/genotypes.py.
    "NASNet": _genotype(
        "s5:1 s3:0 | s5:0 s3:0 | ap:1 sk:0 | ap:0 ap:0 | s3:1 sk:1",
        "s5:1 s7:0 | mp:1 s7:0 | ap:1 s5:0 | sk:3 ap:2 | s3:2 mp:1",
        (2, 3, 4, 5, 6),
        (4, 5, 6),
    ),
    "AmoebaNet": _genotype(
        "ap:0 mp:1 | s3:0 s5:2 | s3:0 ap:3 | s3:1 sk:1 | sk:0 ap:1",
        "ap:0 s3:1 | mp:0 s7:2 | s7:0 ap:1 | mp:0 mp:1 | c71:0 s3:5",
        (4, 5, 6),
        (3, 4, 6),
    ),
    "DARTS_V1": _genotype("s3:1 s3:0 | sk:0 s3:1 | sk:0 s3:1 | s3:0 sk:2", "mp:0 mp:1 | sk:2 mp:0 | mp:0 sk:2 | sk:2 ap:0"),
    "DARTS_V2": _genotype("s3:0 s3:1 | s3:0 s3:1 | s3:1 sk:0 | sk:0 d3:2", "mp:0 mp:1 | sk:2 mp:1 | mp:0 sk:2 | sk:2 mp:1"),
    # yuhuixu1993/PC-DARTS, genotypes.py.
    "PC_DARTS_cifar": _genotype(
        "s3:1 sk:0 | s3:0 d3:1 | s5:0 s3:1 | ap:0 d3:1", "s5:1 mp:0 | s5:1 s5:2 | s3:0 s3:3 | s3:1 s3:2"
    ),
    "PC_DARTS_image": _genotype(
        "sk:1 s3:0 | s3:0 sk:1 | s3:1 s3:3 | s3:1 d5:4", "s3:0 sk:1 | d5:2 mp:1 | s3:2 s3:1 | s5:0 s3:3"
    ),
    # chenxin061/pdarts, genotypes.py.
    "PDARTS": _genotype("sk:0 d3:1 | sk:0 s3:1 | s3:1 s3:3 | s3:0 d5:4", "ap:0 s5:1 | s3:0 d5:2 | mp:0 d3:1 | d3:1 d5:3"),
    # AutoDL-Projects, nas_infer_model/DXYs/genotypes.py.
    "GDAS_V1": _genotype("sk:0 sk:1 | sk:0 s5:2 | s3:3 sk:0 | s5:4 s3:3", "s5:0 s3:1 | s5:2 s5:1 | d5:2 s3:1 | s5:0 s5:1"),
    "SETN": _genotype("sk:0 s5:1 | s5:0 s3:1 | s5:1 s5:3 | mp:1 c31:4", "s3:0 s5:1 | ap:0 s5:1 | ap:0 s5:1 | ap:0 sk:1"),
    # xiangning-chen/DrNAS, genotypes.py.
    "DrNAS_cifar10": _genotype(
        "s3:0 s5:1 | s3:1 s3:2 | sk:0 s3:1 | s3:2 d5:3", "mp:0 s5:1 | d5:2 s5:1 | s5:1 d5:3 | sk:4 s5:1"
    ),
    "DrNAS_imagenet": _genotype(
        "s3:1 s3:0 | s3:0 s3:1 | s3:0 d3:3 | sk:0 s3:1", "mp:0 s3:1 | s3:0 sk:2 | s3:0 s3:2 | s3:3 s3:1"
    ),
    # xiangning-chen/SmoothDARTS, sota/cnn/genotypes.py, where they are called c10_s5_random and c10_s5_pgd.
    "SDARTS_RS": _genotype("s3:1 s3:0 | s5:1 sk:0 | s3:3 sk:1 | s3:1 d3:2", "mp:0 s3:1 | sk:2 mp:0 | d5:3 mp:0 | s3:2 s5:3"),
    "SDARTS_PGD": _genotype("s3:0 s3:1 | s3:1 sk:0 | s5:0 d3:3 | d3:4 sk:0", "mp:0 s5:1 | sk:2 mp:0 | sk:3 sk:2 | sk:2 s5:4"),
    # SNAS-Series/SNAS-Series, Analysis/snas/genotypes.py; SNAS/genotypes.py ends SNAS_moderate with s5:1.
    "SNAS_mild": _genotype("s3:0 s3:1 | sk:0 d3:1 | sk:0 sk:1 | sk:0 s3:1", "mp:0 mp:1 | mp:1 sk:2 | mp:1 sk:2 | mp:0 d5:2"),
    "SNAS_moderate": _genotype(
        "d5:0 sk:1 | s3:0 sk:1 | sk:0 sk:1 | s3:0 d5:1", "mp:0 mp:1 | s5:0 d5:1 | s5:0 s5:1 | s5:0 s5:0"
    ),
    "SNAS_aggressive": _genotype("s5:0 sk:1 | sk:0 sk:1 | d5:1 sk:0 | sk:0 d5:1", "s5:0 n:1 | s5:0 n:1 | n:1 n:0 | n:1 n:0"),
}
"""By the name that the papers' code gives them. NASNet and AmoebaNet are those papers' A cells in DARTS's network."""

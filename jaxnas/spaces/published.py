"""Genotypes of the papers, as in their repositories' ``genotypes.py`` and configurations."""

from __future__ import annotations

from jaxnas.spaces.block_genotype import BlockGenotype, block_genotype
from jaxnas.spaces.blocks import fbnet
from jaxnas.spaces.genotype import DartsGenotype, Genotype

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


def _proxyless(stem: int, blocks: str, head: int) -> BlockGenotype:
    """From kernels and expansions; bars between stages. A stage's first block has its channels, and ``/2`` where it halves."""
    found: list[tuple[str, int, int]] = []
    for stage in blocks.split("|"):
        first, *rest = stage.split()
        code, size = first.split(":")
        channels, _, stride = size.partition("/")
        found.append((_mbconv(code), int(channels), int(stride or 1)))
        found += [(_mbconv(code), int(channels), 1) for code in rest]
    return BlockGenotype("proxyless", (stem, 2), tuple(found), head)


def _mbconv(code: str) -> str:
    """``5e3`` is 5x5_MBConv3, ``Z`` leaves the block out."""
    kernel, _, expansion = code.partition("e")
    return "none" if code == "Z" else f"{kernel}x{kernel}_MBConv{expansion}"


def _fbnet(blocks: str, head: int = 1984) -> BlockGenotype:
    """From ``k5e1g2`` for k5_e1_g2 and ``sk``; bars between stages are for the eye."""
    names = [
        "skip_connect" if code == "sk" else code.replace("e", "_e").replace("g", "_g")
        for code in blocks.replace("|", " ").split()
    ]
    return block_genotype(fbnet(head=head), names)


CELLS: dict[str, DartsGenotype] = {
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
"""Cells for DARTS's network. NASNet and AmoebaNet are those papers' A cells."""

NETWORKS: dict[str, BlockGenotype] = {
    # han-cai/files, proxylessnas/*.config; the first blocks of stages have other widths than the space that they are of.
    "proxyless_mobile": _proxyless(
        32,
        "3e1:16 | 5e3:32/2 3e3 Z Z | 7e3:40/2 3e3 5e3 5e3 | 7e6:80/2 5e3 5e3 5e3 | 5e6:96 5e3 5e3 5e3 "
        "| 7e6:192/2 7e6 7e3 7e3 | 7e6:320",
        1280,
    ),
    "proxyless_cpu": _proxyless(
        40,
        "3e1:24 | 3e6:32/2 3e3 3e3 3e3 | 3e6:48/2 3e3 3e3 5e3 | 3e6:88/2 Z Z 3e3 | 5e6:104 3e3 3e3 3e3 "
        "| 5e6:216/2 5e3 5e3 3e3 | 5e6:360",
        1432,
    ),
    "proxyless_gpu": _proxyless(
        40,
        "3e1:24 | 5e3:32/2 Z Z Z | 7e3:56/2 Z Z 3e3 | 7e6:112/2 Z Z 5e3 | 5e6:128 Z 3e3 5e3 | 7e6:256/2 7e6 7e6 5e6 | 7e6:432",
        1728,
    ),
    "proxyless_mobile_14": _proxyless(
        48,
        "3e1:24 | 5e3:40/2 3e3 Z Z | 7e3:56/2 3e3 5e3 5e3 | 7e6:112/2 5e3 5e3 5e3 | 5e6:136 5e3 5e3 5e3 "
        "| 7e6:256/2 7e6 7e3 7e3 | 7e6:448",
        1792,
    ),
    # AnnaAraslanova/FBNet and mobile-vision. In FBNet-A's layer 16 the former's table of names has an expansion of 1, but its
    # channels one of 3, as the latter.
    "FBNet_A": _fbnet(
        "sk | k3e3 k3e1 sk sk | k5e6 k3e3 k5e1 k3e3 | k5e6 k5e3 k5e1g2 k5e6 | k3e6 k5e1g2 k5e3 k3e1g2 "
        "| k5e6 k5e6 k5e3 k5e6 | k5e6",
        1504,
    ),
    # The second block of the fourth stage has an expansion of 1 in the former, of 6 in the latter; with 1 the network has the
    # paper's multiply-adds within 0.6 %, with 6 it exceeds them by 3.8 %.
    "FBNet_B": _fbnet(
        "k3e1 | k3e6 k5e1 k3e1 k3e1 | k5e6 k5e3 k3e6 k5e6 | k5e6 k5e1 sk k5e3 | k5e6 k3e1 k5e1 k5e3 "
        "| k5e6 k5e1 k5e6 k5e6 | k3e6"
    ),
    "FBNet_C": _fbnet(
        "k3e1 | k3e6 sk k3e1 k3e1 | k5e6 k5e3 k5e6 k3e6 | k5e6 k5e3 k5e6 k5e6 | k5e6 k5e6 k5e6 k5e3 "
        "| k5e6 k5e6 k5e6 k5e6 | k3e6"
    ),
}
"""Whole mobile networks for ImageNet."""

PUBLISHED: dict[str, Genotype] = {**CELLS, **NETWORKS}
"""By the name that the papers' code gives them."""

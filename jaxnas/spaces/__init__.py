"""What can be searched, as plain data: cells, chains of blocks, operations, sizes, genotypes."""

from jaxnas.spaces.block_genotype import BlockGenotype, block_genotype
from jaxnas.spaces.blocks import (
    FBNET_SMALL_STRIDES,
    PROXYLESS_SMALL_STRIDES,
    Block,
    BlockSpace,
    BlockStyle,
    MBConv,
    fbnet,
    mbconv,
    mobile_small,
    proxyless,
)
from jaxnas.spaces.cell import Cell, CellSpace, Family, darts, darts_family, drnas, gdas, nb201, nb201_family, robust_darts
from jaxnas.spaces.genotype import (
    DartsGenotype,
    Genotype,
    Nb201Genotype,
    from_json,
    from_text,
    read,
    to_json,
    to_text,
)
from jaxnas.spaces.membership import Space, check_fits, darts_genotype, random_genotype
from jaxnas.spaces.named import BLOCK_SPACES, CELL_SPACES, SpaceName, named_space
from jaxnas.spaces.operations import NONE, OPERATIONS, SKIP
from jaxnas.spaces.published import PUBLISHED

__all__ = [
    "BLOCK_SPACES",
    "CELL_SPACES",
    "FBNET_SMALL_STRIDES",
    "NONE",
    "OPERATIONS",
    "PROXYLESS_SMALL_STRIDES",
    "PUBLISHED",
    "SKIP",
    "Block",
    "BlockGenotype",
    "BlockSpace",
    "BlockStyle",
    "Cell",
    "CellSpace",
    "DartsGenotype",
    "Family",
    "Genotype",
    "MBConv",
    "Nb201Genotype",
    "Space",
    "SpaceName",
    "block_genotype",
    "check_fits",
    "darts",
    "darts_family",
    "darts_genotype",
    "drnas",
    "fbnet",
    "from_json",
    "from_text",
    "gdas",
    "mbconv",
    "mobile_small",
    "nb201",
    "named_space",
    "nb201_family",
    "proxyless",
    "random_genotype",
    "read",
    "robust_darts",
    "to_json",
    "to_text",
]

"""What can be searched, as plain data: cells, operations, sizes, genotypes."""

from jaxnas.spaces.cell import Cell, CellSpace, darts, darts_family, nb201, nb201_family, robust_darts
from jaxnas.spaces.genotype import (
    DartsGenotype,
    Genotype,
    Nb201Genotype,
    check_fits,
    from_json,
    from_text,
    random_genotype,
    read,
    to_json,
    to_text,
)
from jaxnas.spaces.published import PUBLISHED

__all__ = [
    "PUBLISHED",
    "Cell",
    "CellSpace",
    "DartsGenotype",
    "Genotype",
    "Nb201Genotype",
    "check_fits",
    "darts",
    "darts_family",
    "from_json",
    "from_text",
    "nb201",
    "nb201_family",
    "random_genotype",
    "read",
    "robust_darts",
    "to_json",
    "to_text",
]

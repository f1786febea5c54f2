"""What can be searched, as plain data: cells, operations, sizes, genotypes."""

from jaxnas.spaces.cell import Cell, CellSpace, darts, darts_family, nb201, nb201_family, robust_darts

__all__ = ["Cell", "CellSpace", "darts", "darts_family", "nb201", "nb201_family", "robust_darts"]

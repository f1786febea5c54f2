"""Tabular benchmarks as arrays: architectures, what was measured of them, and the tables that searches run on."""

from jaxnas.tabular import macro, nb201
from jaxnas.tabular.benchmark import IMAGES, SEARCHED, Benchmark, Key, TableFault, table_of
from jaxnas.tabular.files import read
from jaxnas.tabular.plain import read_plain
from jaxnas.tabular.table import Table

__all__ = [
    "IMAGES",
    "SEARCHED",
    "Benchmark",
    "Key",
    "Table",
    "TableFault",
    "macro",
    "nb201",
    "read",
    "read_plain",
    "table_of",
]

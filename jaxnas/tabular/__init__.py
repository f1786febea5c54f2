"""Tabular benchmarks as arrays: architectures, what was measured of them, and the tables that searches run on."""

from jaxnas.tabular.benchmark import Benchmark, TableFault, table_of
from jaxnas.tabular.plain import read_plain
from jaxnas.tabular.table import Table

__all__ = ["Benchmark", "Table", "TableFault", "read_plain", "table_of"]

"""Tabular benchmarks as arrays: architectures, what was measured of them, and the tables that searches run on."""

from jaxnas.tabular import macro, nb101, nb201, sss
from jaxnas.tabular.benchmark import (
    CODECS,
    COUNTED_ON,
    IMAGES,
    NAMES,
    SEARCHED,
    Benchmark,
    Key,
    TableFault,
    table_of,
    told,
    words,
)
from jaxnas.tabular.compact import read_compact, write_compact
from jaxnas.tabular.fidelity import Fidelity, fidelities, fidelity_text
from jaxnas.tabular.files import read
from jaxnas.tabular.official import Trial, is_official, read_official, trials
from jaxnas.tabular.plain import read_plain
from jaxnas.tabular.table import Table

__all__ = [
    "CODECS",
    "COUNTED_ON",
    "IMAGES",
    "NAMES",
    "SEARCHED",
    "Benchmark",
    "Fidelity",
    "Key",
    "Table",
    "TableFault",
    "Trial",
    "fidelities",
    "fidelity_text",
    "is_official",
    "macro",
    "nb101",
    "nb201",
    "read",
    "read_compact",
    "read_official",
    "read_plain",
    "sss",
    "table_of",
    "told",
    "trials",
    "words",
    "write_compact",
]

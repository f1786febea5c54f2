"""Latency of a space's networks: tables, their check against whole networks, and what predicts without a table.

What is fitted, imported or predicted is imported from its own file: it needs SciPy's optimizers or scikit-learn, which take
seconds to import.
"""

from jaxnas.latency.encodings import Encoded, encode
from jaxnas.latency.graphs import GRAPHS, Graph, has_path, kept, reaching_output
from jaxnas.latency.layers import Candidate, Layer, Layers, layers
from jaxnas.latency.measured import read_columns
from jaxnas.latency.scores import Scores, scores
from jaxnas.latency.table import (
    Checks,
    Row,
    Table,
    check_matches,
    check_software,
    costs,
    edge_key,
    read,
    shape_fields,
    to_json,
    warning,
    write,
)

__all__ = [
    "GRAPHS",
    "Candidate",
    "Checks",
    "Encoded",
    "Graph",
    "Layer",
    "Layers",
    "Row",
    "Scores",
    "Table",
    "check_matches",
    "check_software",
    "costs",
    "edge_key",
    "encode",
    "has_path",
    "kept",
    "layers",
    "reaching_output",
    "read",
    "read_columns",
    "scores",
    "shape_fields",
    "to_json",
    "warning",
    "write",
]

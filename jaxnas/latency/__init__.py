"""Latency of a space's networks: tables, their check against whole networks, and what predicts without a table."""

from jaxnas.latency.layers import Candidate, Layer, Layers, layers
from jaxnas.latency.scores import Scores, scores
from jaxnas.latency.table import Checks, Row, Table, check_matches, costs, edge_key, read, shape_fields, warning, write

__all__ = [
    "Candidate",
    "Checks",
    "Layer",
    "Layers",
    "Row",
    "Scores",
    "Table",
    "check_matches",
    "costs",
    "edge_key",
    "layers",
    "read",
    "scores",
    "shape_fields",
    "warning",
    "write",
]

"""Names of the operations that a space may use, in the field's spelling."""

from __future__ import annotations

NONE = "none"
SKIP = "skip_connect"

DARTS_OPERATIONS = (
    NONE,
    "max_pool_3x3",
    "avg_pool_3x3",
    SKIP,
    "sep_conv_3x3",
    "sep_conv_5x5",
    "dil_conv_3x3",
    "dil_conv_5x5",
)
"""Candidates of DARTS in the order of its alphas' columns (quark0/darts, genotypes.py, PRIMITIVES)."""

GDAS_OPERATIONS = (
    NONE,
    SKIP,
    "sep_conv_3x3",
    "sep_conv_5x5",
    "dil_conv_3x3",
    "dil_conv_5x5",
    "avg_pool_3x3",
    "max_pool_3x3",
)
"""Candidates of GDAS's NASNet-like space in the order of its columns (AutoDL-Projects, cell_operations.py, DARTS_SPACE).

There the separable convolutions are called dua_sepc, the dilated ones dil_sepc.
"""

NB201_OPERATIONS = (NONE, SKIP, "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
"""Candidates of NAS-Bench-201 in the order of its alphas' columns (AutoDL-Projects, cell_operations.py, NAS_BENCH_201)."""

_PUBLISHED_ONLY = ("sep_conv_7x7", "conv_7x1_1x7", "conv_3x1_1x3")
"""Operations that no reference searches over, but that published cells hold: NASNet, AmoebaNet and SETN."""

OPERATIONS: list[str] = list(dict.fromkeys((*DARTS_OPERATIONS, *_PUBLISHED_ONLY, *NB201_OPERATIONS, "noise")))
"""Every operation that a network can be built of; ``noise`` is RobustDARTS S4's, a standard normal image.

:func:`jaxnas.nets.add_operation` adds one's own.
"""

"""NAS-Bench-101's architectures, counted: every graph of at most seven vertices and nine edges, up to isomorphism.

    python experiments/nasbench101_graphs.py

writes ``nasbench101_graphs.json`` beside this file.
"""

from __future__ import annotations

import hashlib
import json
import platform
import time
from pathlib import Path
from typing import Any

import numpy as np

from jaxnas.tabular import nb101


def counted() -> dict[str, Any]:
    """How many there are, in all, by vertices and by edges; and a checksum of all keys."""
    start = time.perf_counter()
    graphs = nb101.enumerated()
    seconds = time.perf_counter() - start
    edges = np.array([bits.bit_count() for bits in graphs.edges.tolist()])
    return {
        "architectures": len(graphs.keys),
        "published": nb101.SIZE,
        "by_vertices": {str(size): int((graphs.vertices == size).sum()) for size in range(2, nb101.VERTICES + 1)},
        "by_edges": {str(count): int((edges == count).sum()) for count in range(1, nb101.EDGES + 1)},
        "sha256_of_keys": hashlib.sha256(np.sort(graphs.keys).astype("<i8").tobytes()).hexdigest(),
        "seconds": round(seconds, 2),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
    }


if __name__ == "__main__":
    found = counted()
    Path(__file__).with_suffix(".json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(found, indent=1))

"""jaxnas: differentiable neural architecture search in JAX.

    import jaxnas

    result = jaxnas.search(x, y, minutes=5)
    result.report()
    result.predict(x_new)
    result.export("flax")

:func:`search` and, for scikit-learn's pipelines, :class:`ArchitectureSearchClassifier` are imported when they are asked for.
All else is imported from the rooms: ``jaxnas.spaces`` (what can be searched), ``jaxnas.nets`` (supernets and derived networks),
``jaxnas.relaxations``, ``jaxnas.hypergradients``, ``jaxnas.optimizers``, ``jaxnas.bilevel`` (the step), ``jaxnas.latency``,
``jaxnas.derive``, ``jaxnas.training``, ``jaxnas.data``, ``jaxnas.interop`` (weights and records of the reference
implementations).
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jaxnas.classifier import ArchitectureSearchClassifier as ArchitectureSearchClassifier
    from jaxnas.interface import search as search

_MODULES = {"search": "jaxnas.interface", "ArchitectureSearchClassifier": "jaxnas.classifier"}

__all__ = ["ArchitectureSearchClassifier", "search"]


def __getattr__(name: str) -> object:
    """What is imported when it is first asked for: importing jaxnas imports nothing, JAX neither."""
    if name not in _MODULES:
        raise AttributeError(f"module 'jaxnas' has no attribute {name!r}")
    return getattr(importlib.import_module(_MODULES[name]), name)

"""What a golden file holds, and the limits within which we must agree with it."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array

from jaxnas.errors import UserError
from jaxnas.interop.torch_names import to_state_dict
from jaxnas.spaces import CellSpace

LIMITS: dict[str, dict[str, float]] = {
    "value": {"float64": 1e-9, "float32": 1e-4},
    "weight_gradient": {"float64": 1e-9, "float32": 5e-3},
    "unrolled": {"float64": 1e-9, "float32": 2e-2},
    "finite_difference": {"float64": 1e-7, "float32": 2e-2},
    "update": {"float64": 1e-8, "float32": 1e-3},
    "second_order_update": {"float64": 1e-8, "float32": 2e-2},
    "equal": {"float64": 0.0, "float32": 0.0},
}
"""Largest error by kind of quantity and precision."""

_INPUTS = re.compile(
    r"(weight|momentum)/|(step\d+/)?[xy](_|$)|alphas|drop_path/(masks|probability)$|edges$|ops$|gdas/(exp|tau)"
)


@dataclasses.dataclass(frozen=True)
class Comparison:
    """Ours and the reference's of one key; arrays of one quantity are weighed together."""

    quantity: str
    kind: str
    key: str
    ours: Any
    reference: Any


@dataclasses.dataclass(frozen=True)
class Record:
    """A golden file.

    Attributes:
      name: of the file.
      meta: its configuration.
      arrays: by key.
    """

    name: str
    meta: Mapping[str, Any]
    arrays: dict[str, np.ndarray]

    def __getitem__(self, key: str) -> np.ndarray:
        if key not in self.arrays:
            raise UserError(f"{self.name} lacks {key!r}: it is not a whole record.")
        return self.arrays[key]

    def under(self, prefix: str) -> dict[str, np.ndarray]:
        """The arrays whose keys begin with a prefix, by the rest of the key."""
        return {key.removeprefix(prefix): array for key, array in self.arrays.items() if key.startswith(prefix)}

    def inputs(self) -> set[str]:
        """Keys that are given to us, not compared: weights and state at the start, images, labels, masks."""
        return {key for key in self.arrays if _INPUTS.match(key)}

    def batch(self, images: str, labels: str, precision: str) -> dict[str, Array]:
        """A batch: NCHW images to NHWC, in the given precision."""
        return {
            "images": jnp.asarray(self[images].transpose(0, 2, 3, 1), precision),
            "labels": jnp.asarray(self[labels], jnp.int32),
        }

    def cast(self, arrays: Mapping[str, np.ndarray], precision: str) -> dict[str, np.ndarray]:
        """Arrays in the given precision."""
        return {name: array.astype(precision) for name, array in arrays.items()}


def by_name(
    quantity: str, kind: str, record: Record, prefix: str, tree: Any, space: CellSpace | None = None
) -> Iterator[Comparison]:
    """Every array under a prefix with the one of that name in a tree; ``space`` is a supernet's."""
    ours = to_state_dict(tree, space)
    for name, reference in record.under(prefix).items():
        if name not in ours:
            raise UserError(f"{record.name}: {prefix}{name} names no array of the network.")
        yield Comparison(quantity, kind, prefix + name, ours[name], reference)

"""What ``measure.py`` measured, as a table and pictures.

python experiments/second-order/tell.py
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from jaxnas import axes
from jaxnas.run_folder import read_json

HERE = Path(__file__).parent
LINES = {
    "first order": "first order, in place of second",
    "after the virtual step": "gradient after the virtual step, without the product",
    "finite difference 0.01, float32": "finite difference, radius 0.01, float32",
    "finite difference 0.01, float64": "finite difference, radius 0.01, float64",
    "exact in float32": "exact, float32",
}
"""Gradients, and what the picture calls them."""


def median(epoch: Mapping[str, Any], gradient: str, of: str = "relative") -> float:
    """Over an epoch's pairs of batches, of an error of a gradient."""
    return float(np.median([pair[gradient][of] for pair in epoch["pairs"]]))


def size(epoch: Mapping[str, Any], name: str) -> float:
    """The same, of a size."""
    return float(np.median([pair[name] for pair in epoch["pairs"]]))


def main() -> None:
    """Writes the pictures and prints the rows of the tables."""
    document = read_json(HERE / "measured.json")
    epochs, radii = document["epochs"], document["radii"]
    errors = {said: [(one["epoch"], math.log10(median(one, name))) for one in epochs] for name, said in LINES.items()}
    title = "Error of the gradient in the alphas, relative to the exact one in float64"
    (HERE / "errors.svg").write_text(axes.curves(title, "epoch", "log10", errors))
    by_radius = {
        f"epoch {one['epoch']}, {precision}": [
            (math.log10(radius), math.log10(median(one, f"finite difference {radius:g}, {precision}"))) for radius in radii
        ]
        for precision in ("float32", "float64")
        for one in epochs
        if one["epoch"] in (1, 10, 50)
    }
    title = "Relative error of the finite difference by its radius"
    (HERE / "radii.svg").write_text(axes.curves(title, "log10 of the radius", "log10", by_radius))
    sizes = {
        "product with the mixed derivative": [(one["epoch"], size(one, "second_order_term")) for one in epochs],
        "change of the gradient by the virtual step": [(one["epoch"], size(one, "direct_change")) for one in epochs],
    }
    title = "Parts of the second order, relative to the first-order gradient"
    (HERE / "sizes.svg").write_text(axes.curves(title, "epoch", "share", sizes))
    for one in epochs:
        numbers = [size(one, "first_order_norm"), size(one, "second_order_term"), size(one, "direct_change")]
        numbers += [1 - median(one, "first order", "one_less_cosine")]
        numbers += [median(one, name) for name in LINES]
        numbers += [median(one, "finite difference 0.01, float32", "of_second_order_term")]
        print(one["epoch"], *(f"{number:.3g}" for number in numbers), sep=" | ")
    for radius in radii:
        means = [
            np.median([median(one, f"finite difference {radius:g}, {kind}") for one in epochs])
            for kind in ("float32", "float64")
        ]
        print(f"{radius:g}", *(f"{mean:.3g}" for mean in means), sep=" | ")


if __name__ == "__main__":
    main()

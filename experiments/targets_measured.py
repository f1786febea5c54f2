"""What searches at several targets in milliseconds end with, measured on this device.

    jaxnas pareto RECIPE --latency-table TABLE --targets 0.45 0.55 0.65 --search.latency.measured 0 --out RUNS ...
    python experiments/targets_measured.py --runs RUNS --out OUT.json [--data-dir DATA] [--measured 10]

The searches believe the table, so that they can run on a machine that does other things, too. This derives their networks as
``jaxnas search`` does at its end: the best candidates of each, five if nothing else is asked for, are measured, and the best
that meets the target is taken. The networks that are taken are measured once more, in turns: the candidate's own measurement
chose it. Nothing else should run meanwhile.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import tyro

from jaxnas import stored
from jaxnas.choosing import best_measured, expected_costs, measuring
from jaxnas.data import load
from jaxnas.errors import TargetMissed
from jaxnas.latency.deployed import device_name, software_versions
from jaxnas.pricing import check_prices, prices
from jaxnas.spaces import Genotype, to_text
from jaxnas.stages import first_part


def main(runs: Path, out: Path, data_dir: Path | None = None, measured: int = 5) -> None:
    """Writes what was measured, a network for each target."""
    networks: list[dict[str, Any]] = []
    taken: list[tuple[Genotype, dict[str, Any]]] = []
    measure: Any = None
    for folder in sorted(runs.glob("target-*"), key=lambda path: float(path.name.removeprefix("target-"))):
        recipe = stored.recipe_of(folder)[1]
        dataset, (space, alphas) = load(recipe.dataset, data_dir), stored.alphas_of(folder)
        check_prices(recipe, dataset)
        priced = prices(recipe.search, recipe.train, dataset, space)
        assert priced is not None
        measure = measuring(priced.table, priced.shape)
        expected = expected_costs(first_part(recipe.search), priced, alphas, recipe.seed)
        one: dict[str, Any] = {"target": recipe.search.latency.target}
        try:
            chosen = best_measured(space, alphas, priced, expected, measured, measure)
            taken.append((chosen.genotype, one))
            report = chosen.report
            one |= {"genotype": to_text(chosen.genotype), **report["costs"]["latency"], "candidates": report["candidates"]}
        except TargetMissed as error:
            one |= {"missed": str(error), **error.report}
        networks.append(one)
    again = measure([genotype for genotype, _ in taken]) if taken else []
    for (_, one), milliseconds in zip(taken, again, strict=True):
        one["measured_again"] = milliseconds
        print(f"target {one['target']:g} ms: expected {one['expected']:.4f}, derived {one['derived']:.4f}, measured", end=" ")
        print(f"{one['measured']:.4f}, again {milliseconds:.4f} ({milliseconds / one['target'] - 1:+.1%}): {one['genotype']}")
    document = {"device": device_name(), "software": software_versions(), "networks": networks}
    out.write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    tyro.cli(main)

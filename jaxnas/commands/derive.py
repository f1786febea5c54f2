"""``jaxnas derive``: the genotype of a run's alphas."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated, Any

import tyro

from jaxnas import stored
from jaxnas.choosing import Chosen, best_measured, expected_costs, measuring
from jaxnas.commands.arguments import JsonTarget, parse, with_target
from jaxnas.commands.json_output import json_output
from jaxnas.console import Console
from jaxnas.data import load
from jaxnas.errors import UserError
from jaxnas.pricing import check_prices, prices
from jaxnas.spaces import to_json, to_text
from jaxnas.stages import example_parts


def main(arguments: list[str]) -> int:
    """Prints it; as JSON in the form of ``genotype.json``, with a target beside ``costs`` and ``candidates``."""
    return parse(_derive, arguments, "derive", "Print the genotype of a run's alphas.")


def _derive(
    run: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")],
    latency_table: Path | None = None,
    target_ms: float | None = None,
    measured: int | None = None,
    data_dir: Path | None = None,
    json: JsonTarget = None,
) -> int:
    """Print the genotype of a run's alphas.

    Args:
      run: the folder of a run.
      latency_table: table of latencies, for --target-ms.
      target_ms: milliseconds that the network may take: the best that meets it, whatever the search was for. Where none meets
        it, the exit code is 3.
      measured: measure so many of the best by the table on this device; 0 to believe the table.
      data_dir: folder of the dataset's official files: with a target the sizes of its images count.
    """
    with json_output(json) as write:
        if latency_table is None and target_ms is None:
            if measured is not None:
                raise UserError("--measured needs --latency-table and --target-ms.")
            genotype, report = stored.derived_genotype(run), {}
        else:
            chosen = _within(run, latency_table, target_ms, measured, data_dir)
            genotype, report = chosen.genotype, chosen.report
        print(to_text(genotype))
        with Console() as console:
            console.costs(report.get("costs", {}))
        document: dict[str, Any] = to_json(genotype, stored.recipe_of(run)[1].search.build_space().name)
        write({**document, **report})
    return 0


def _within(run: Path, table: Path | None, target: float | None, measured: int | None, data_dir: Path | None) -> Chosen:
    recipe = with_target(stored.recipe_of(run)[1], table, target)
    if measured is not None:
        latency = dataclasses.replace(recipe.search.latency, measured=measured)
        recipe = dataclasses.replace(recipe, search=dataclasses.replace(recipe.search, latency=latency))
    dataset, count = load(recipe.dataset, data_dir, recipe.image_size), recipe.search.latency.measured
    space, alphas = stored.alphas_of(run)
    check_prices(recipe, dataset)
    priced = prices(recipe.search, recipe.train, dataset, space)
    assert priced is not None  # The target is one.
    # Of a search in stages the last one's method: its space is what the others have left, which the alphas say.
    part = dataclasses.replace(example_parts(recipe.search, recipe.seed)[-1], space=space)
    expected = expected_costs(part, priced, alphas, recipe.seed)
    measure = measuring(priced.table, priced.shape) if count else None
    return best_measured(space, alphas, priced, expected, max(1, count), measure)

"""``jaxnas derive``: the genotype that a run's alphas stand for, or that its shared weights choose."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated, Any, Literal

import jax
import tyro

from jaxnas import perturbation, selection, stored
from jaxnas.choosing import Chosen, best_measured, expected_costs, measuring
from jaxnas.commands.arguments import JsonTarget, parse, with_target
from jaxnas.commands.json_output import json_output
from jaxnas.console import Console
from jaxnas.data import load
from jaxnas.errors import UserError
from jaxnas.pricing import check_prices, prices
from jaxnas.spaces import Genotype, to_json, to_text
from jaxnas.stages import example_parts


def main(arguments: list[str]) -> int:
    """Prints it; as JSON in the form of ``genotype.json``.

    Beside it with a target ``costs`` and ``candidates``, by perturbation ``decisions``, of sampled ones ``compared``.
    """
    return parse(_derive, arguments, "derive", "Print the genotype of a run's alphas, or of its shared weights' choice.")


def _derive(
    run: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")],
    latency_table: Path | None = None,
    target_ms: float | None = None,
    measured: int | None = None,
    by: Literal["strongest", "perturbation", "sampled"] = "strongest",
    tune_epochs: int | None = None,
    images: int | None = None,
    samples: int | None = None,
    data_dir: Path | None = None,
    json: JsonTarget = None,
) -> int:
    """Print the genotype of a run's alphas, or of its shared weights' choice. The run's folder is left as it is.

    Args:
      run: the folder of a run.
      by: what decides. strongest: the alphas, as the search ended. perturbation: of every edge the candidate without which the
        supernet is least accurate, the supernet being tuned between the edges (DARTS-PT). sampled: the most accurate with the
        shared weights of architectures drawn from the alphas, each on 512 images with batch statistics of its own.
      tune_epochs: by perturbation: between two decisions, 5 by default.
      images: by perturbation: of the validation half; all by default.
      samples: by sampled: 100 by default, beside the strongest.
      latency_table: table of latencies, for --target-ms.
      target_ms: milliseconds that the network may take: the best that meets it, whatever the search was for. Where none meets
        it, the exit code is 3.
      measured: measure so many of the best by the table on this device; 0 to believe the table.
      data_dir: folder of the dataset's official files: with a target the sizes of its images count.
    """
    with json_output(json) as write:
        for name, value, of in (
            ("tune-epochs", tune_epochs, "perturbation"),
            ("images", images, "perturbation"),
            ("samples", samples, "sampled"),
        ):
            if value is not None and by != of:
                raise UserError(f"--{name} is of --by {of}, got --by {by}.")
            if value is not None and value < (0 if name == "tune-epochs" else 1):
                raise UserError(f"--{name} is {value}: give at least {0 if name == 'tune-epochs' else 1}.")
        with Console() as console:
            if latency_table is not None or target_ms is not None:
                if by != "strongest":
                    raise UserError(f"--target-ms goes by the alphas: leave out --by {by}, or the target.")
                chosen = _within(run, latency_table, target_ms, measured, data_dir)
                genotype, report = chosen.genotype, chosen.report
            elif measured is not None:
                raise UserError("--measured needs --latency-table and --target-ms.")
            elif by == "perturbation":
                genotype, report = _by_perturbation(run, tune_epochs, images, data_dir, console)
            elif by == "sampled":
                genotype, report = _by_samples(run, samples, data_dir, console)
            else:
                genotype, report = stored.derived_genotype(run), {}
            print(to_text(genotype))
            console.costs(report.get("costs", {}))
        document: dict[str, Any] = to_json(genotype, stored.recipe_of(run)[1].search.build_space().name)
        write({**document, **report})
    return 0


def _by_perturbation(
    run: Path, tune_epochs: int | None, images: int | None, data_dir: Path | None, console: Console
) -> tuple[Genotype, dict[str, Any]]:
    perturbation.check_selected(stored.recipe_of(run)[1].search)
    recipe, dataset, network, weights = stored.supernet_of(run, data_dir)
    _, alphas = stored.alphas_of(run)
    epochs = perturbation.TUNE_EPOCHS if tune_epochs is None else tune_epochs
    found = perturbation.select(recipe, dataset, network, weights, alphas, console, epochs, images)
    return found.genotype, {"decisions": found.decisions}


def _by_samples(run: Path, samples: int | None, data_dir: Path | None, console: Console) -> tuple[Genotype, dict[str, Any]]:
    recipe, dataset, network, weights = stored.supernet_of(run, data_dir)
    if recipe.search.estimator == "enas":
        raise UserError("The run's controller has drawn a hundred already, of which the best is --by strongest.")
    space, alphas = stored.alphas_of(run)
    genotypes = selection.drawn(space, alphas, recipe.seed, selection.CANDIDATES if samples is None else samples)
    key = jax.random.fold_in(jax.random.key(recipe.seed), 9)
    chosen, accuracies = selection.best(genotypes, space, network, weights, dataset, key)
    console.note(f"the best of {len(genotypes)} by shared weights: {accuracies.max():.2%}; the strongest: {accuracies[0]:.2%}")
    compared = [
        {"genotype": to_text(genotype), "accuracy": float(accuracy)}
        for genotype, accuracy in zip(genotypes, accuracies, strict=True)
    ]
    return chosen, {"compared": compared}


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

"""Every small recipe searched to a genotype on digits: accuracy of its supernet, and how far its alphas moved.

    python experiments/small_recipes.py [RECIPE ...] [--seed 0]

The small recipes are all whose names end in ``-digits``. Each is searched as ``jaxnas search`` does it, without the training
that follows; its entries in ``small_recipes.json`` and ``small_recipes.md`` beside this file are replaced.
"""

from __future__ import annotations

import dataclasses
import json
import tempfile
import time
from pathlib import Path
from typing import Annotated, Any

import jax
import numpy as np
import tyro

from jaxnas import searching
from jaxnas.choosing import choose
from jaxnas.console import Console
from jaxnas.data import load
from jaxnas.recipes import RECIPES, Recipe
from jaxnas.reports import Seconds
from jaxnas.run_folder import LOG, RunFolder, environment
from jaxnas.saves import saving
from jaxnas.spaces import to_text
from jaxnas.stages import Part, spread

RECORD, TABLE = (Path(__file__).parent / f"small_recipes.{ending}" for ending in ("json", "md"))
NAMES = tuple(name for name in RECIPES if name.endswith("-digits"))
LEAST_ACCURACY = 0.8


def searched(name: str, seed: int) -> dict[str, Any]:
    """Searches with a small recipe.

    Returns:
      ``valid_accuracy``: the supernet's in the last epoch of the search, by the log: on the validation half, as the method
      mixes or samples. Where a method never looks at that half: of ``selection``, the mean over the random cells that are
      compared in the end, on that half (rsps); of ``train``, on the training images, since its one level learns from all of
      them (snas). ``accuracy_of`` says which. ``least_movement``: of all rows of the alphas the smallest of their largest
      changes since their stage began, in a search that carries its alphas from stage to stage since the first began.
      ``genotype``, and of the whole, compilation included, ``seconds`` and ``cpu_seconds``, those of all cores.
    """
    began, began_cpu = time.perf_counter(), time.process_time()
    recipe = dataclasses.replace(RECIPES[name], seed=seed)
    dataset = load(recipe.dataset)
    network = searching.search_network(recipe.search, dataset)
    with tempfile.TemporaryDirectory() as folder, Console() as console:
        with saving(RunFolder(folder), {}, console.note) as saves:
            parts, state = searching.search_parts(recipe, dataset, network, console, saves, Seconds())
        last_epoch = json.loads((Path(folder) / LOG).read_text().splitlines()[-1])
    found = choose(recipe, *parts[-1], dataset, state)
    # NaN is null in the log: no step has looked at the validation half.
    accuracies = {
        "valid": last_epoch.get("valid_accuracy"),
        "selection": found.accuracies,
        "train": last_epoch["train_accuracy"],
    }
    of, accuracy = next((of, value) for of, value in accuracies.items() if value is not None)
    return {
        "valid_accuracy": round(float(np.mean(accuracy)), 4),
        "accuracy_of": of,
        "least_movement": round(least_movement(start_of(recipe, parts), alphas_of(recipe, parts[-1][0], state.alphas)), 6),
        "genotype": to_text(found.genotype),
        "seconds": round(time.perf_counter() - began, 1),
        "cpu_seconds": round(time.process_time() - began_cpu, 1),
    }


def start_of(recipe: Recipe, parts: list[Any]) -> Any:
    """The alphas with which the last stage began, or the first where it carries them on."""
    part, network = parts[0 if recipe.search.between_stages == "carried" else -1]
    stage = searching.search_stage(recipe, load(recipe.dataset), network, part=part)
    return alphas_of(recipe, part, stage.start().alphas)


def alphas_of(recipe: Recipe, part: Part, alphas: Any) -> Any:
    """Of a stage, in the columns of the whole space; NaN where a candidate is gone."""
    return spread(recipe.search.build_space(), part.space, alphas) if recipe.search.next_stages else jax.device_get(alphas)


def least_movement(start: Any, end: Any) -> float:
    """The smallest over all rows of the largest change in a row; of ENAS's controller, whose arrays are in a tree, too."""
    changes = jax.tree.leaves(jax.tree.map(lambda a, b: np.atleast_1d(np.abs(b - a)), start, end))
    return min(float(np.nanmax(change.reshape(len(change), -1), axis=1).min()) for change in changes)


def moves(name: str) -> bool:
    """Whether a recipe learns alphas at all: RSPS does not, by its definition."""
    return RECIPES[name].search.estimator != "rsps"


def table(record: dict[str, Any]) -> str:
    """The record for a person."""
    one = next(iter(record.values()))
    versions = ", ".join(f"{package} {version}" for package, version in one["packages"].items() if version)
    lines = [
        "# Small recipes on digits",
        "",
        f"Made by `python experiments/small_recipes.py` ({one['devices'][0]}, {one['cpus']} cores, Python {one['python']},",
        f"{versions}; dates in the [record](small_recipes.json)): every",
        "small recipe's search, without the training after it. Accuracy is that of the supernet in the last epoch, on the half",
        "that its weights did not learn from, unless the table says otherwise. Movement is the largest change of an alpha in",
        "the row that moved least. Seconds include compilation. Other work ran on the machine and held these runs up at times:",
        "the seconds are upper bounds; CPU seconds are of all cores, without what a run waited.",
        "",
        "| recipe | seed | accuracy | least movement | seconds | CPU seconds | genotype |",
        "|---|---|---|---|---|---|---|",
    ]
    notes = {"selection": " (mean of the cells compared)", "train": " (training images)", "valid": ""}
    for entry in record.values():
        movement = f"{entry['least_movement']:.4f}" if moves(entry["recipe"]) else "has no alphas to learn"
        accuracy = f"{entry['valid_accuracy']:.1%}{notes[entry['accuracy_of']]}"
        genotype = entry["genotype"].replace("|", "\\|")
        seconds = f"{entry['seconds']:.0f} | {entry['cpu_seconds']:.0f}"
        lines.append(f"| {entry['recipe']} | {entry['seed']} | {accuracy} | {movement} | {seconds} | `{genotype}` |")
    return "\n".join(lines) + "\n"


def main(names: Annotated[tuple[str, ...], tyro.conf.Positional] = NAMES, seed: int = 0) -> None:
    """Searches with small recipes, all by default."""
    for name in names:
        found = {"recipe": name, "seed": seed, **searched(name, seed), **environment()}
        record = json.loads(RECORD.read_text(encoding="utf-8")) if RECORD.exists() else {}
        record[f"{name}, seed {seed}"] = found
        order = sorted(record, key=lambda key: (NAMES.index(record[key]["recipe"]), record[key]["seed"]))
        record = {key: record[key] for key in order}
        RECORD.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
        TABLE.write_text(table(record), encoding="utf-8")


if __name__ == "__main__":
    tyro.cli(main)

"""What decides a run: data, split, space, recipe, seeds, protocol, evaluation; for its card."""

from __future__ import annotations

import hashlib
import itertools
import json
import sys
from collections.abc import Mapping
from typing import Any

from jaxnas.data import Dataset, fingerprints, in_memory
from jaxnas.estimators import ESTIMATORS
from jaxnas.recipe import HALF, Recipe
from jaxnas.recipes import RECIPES, Training
from jaxnas.run_folder import fields, plain
from jaxnas.spaces import Space
from jaxnas.trainings import TRAININGS

_HALVES = "the data set's own halves of its training images"


def of_search(
    name: str, recipe: Recipe, dataset: Dataset, space: Space, within: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Of a search and the trainings that follow it.

    Args:
      name: of the recipe.
      dataset: with the two parts that the search uses, ``jaxnas.searching.search_data``.
      space: of the search.
      within: what else decides it, as a budget of minutes.
    """
    search = recipe.search
    drawn = (search.train_share, search.valid_share) != (HALF, HALF)
    split = {"how": "drawn of every class by the seed" if drawn else _HALVES}
    split |= {"train_share": search.train_share, "valid_share": search.valid_share, "seed": recipe.seed if drawn else None}
    if search.order == "together":
        split = {"how": "none: one level, on all training images", "train_share": 1.0, "valid_share": 1.0, "seed": None}
    random = 0 if recipe.only_search else recipe.random_cells
    values = {"search": plain(search), "train": plain(recipe.train), **(within or {})}
    named = RECIPES.get(name)
    return _about(
        kind="search",
        recipe=_recipe(name, values, None if named is None else {"search": plain(named.search), "train": plain(named.train)}),
        data=_data(recipe.dataset, dataset),
        split=split,
        space=_space(search.space, space),
        seeds={
            "search": [recipe.seed],
            "training": [] if recipe.only_search else [recipe.seed],
            "random": [recipe.seed] if random else [],
        },
        protocol={
            "method": f"{search.estimator}, {search.hypergradient}",
            "architecture": _chosen(recipe),
            "searches": 1,
            "searches_compared": None,
            "trials": 0 if recipe.only_search else 1 + random,
        },
        judged_on="none" if recipe.only_search else "test",
        baseline=random,
    )


def of_training(name: str, training: Training, dataset: Dataset, genotype: str) -> dict[str, Any]:
    """Of the training of a genotype that was given."""
    named = TRAININGS.get(name)
    return _about(
        kind="training",
        recipe=_recipe(name, {"train": plain(training.train)}, None if named is None else {"train": plain(named.train)}),
        data=_data(training.dataset, dataset),
        split=None,
        space=None,
        seeds={"search": [], "training": [training.seed], "random": []},
        protocol={
            "method": "none",
            "architecture": f"given: {genotype}",
            "searches": 0,
            "searches_compared": None,
            "trials": 1,
        },
        judged_on="test",
        baseline=0,
    )


def of_blackbox(name: str, search: Mapping[str, Any], training: Training, dataset: Dataset, space: Space) -> dict[str, Any]:
    """Of a search that trains its candidates; ``search`` has what decides it besides their training."""
    return _about(
        kind="blackbox",
        recipe=_recipe(name, {"blackbox": dict(search), "train": plain(training.train)}, None),
        data=_data(training.dataset, dataset),
        split={"how": _HALVES, "train_share": HALF, "valid_share": HALF, "seed": None},
        space=_space(str(search["space"]), space),
        seeds={"search": [training.seed], "training": [training.seed], "random": []},
        protocol={
            "method": str(search["searcher"]),
            "architecture": "the most accurate on the validation half, of those that were trained for the most epochs",
            "searches": 1,
            "searches_compared": None,
            "trials": search["trainings"],
        },
        judged_on="validation",
        baseline=0,
    )


def _about(*, judged_on: str, baseline: int, **parts: Any) -> dict[str, Any]:
    """The parts with what is the same for every run."""
    how = "drawn by the space's own rule, trained by the recipe, data and seed of what was found" if baseline else None
    return {
        **parts,
        "evaluation": {
            "split": judged_on,
            "read": "never: nothing is trained" if judged_on == "none" else "once for each network, after its last epoch",
            "weights": "of the last epoch, not of the best",
            "batch_norm": "running averages of the training",
            "test_split_read": judged_on == "test",
        },
        "baseline": {"random_networks": baseline, "how": how},
        "tuning": {"command": sys.argv[1:], "settings_compared": _settings_of_a_sweep(), "test_split_used": None},
    }


def _settings_of_a_sweep() -> list[str] | None:
    """What the command compares, where it is a sweep with several settings."""
    arguments = sys.argv[1:]
    if arguments[:1] != ["sweep"] or "--set" not in arguments:
        return None
    after = arguments[arguments.index("--set") + 1 :]
    return list(itertools.takewhile(lambda word: not word.startswith("--"), after))


def _recipe(name: str, values: dict[str, Any], named: dict[str, Any] | None) -> dict[str, Any]:
    """Every value; those that the recipe of this name has otherwise; a checksum."""
    changed = None
    if named is not None:
        before = fields(named)
        changed = {field: [before.get(field), value] for field, value in fields(values).items() if before.get(field) != value}
    return {"name": name, "sha256": checksum(values), "changed": changed, "values": values}


def _data(name: str, dataset: Dataset) -> dict[str, Any]:
    parts = fingerprints(dataset)
    return {
        "name": name,
        "classes": dataset.classes,
        "image_size": dataset.image_size,
        "images": {part: len(getattr(dataset, part).labels) for part in parts},
        "sha256": parts,
        "fingerprint_of": "images and labels" if in_memory(dataset) else "labels alone: the images stay on disk",
    }


def _space(name: str, space: Space) -> dict[str, Any]:
    return {"name": name, "sha256": checksum(plain(space)), "genotypes": space.size, "alphas": space.alphas}


def _chosen(recipe: Recipe) -> str:
    """How the architecture comes from the search, in words."""
    if recipe.search.has_targets:
        return "the highest score within the targets, of the best by the table the one that is measured to be within"
    if ESTIMATORS[recipe.search.estimator].selects:
        return "the most accurate with the supernet's weights on the validation part, of those that the method draws"
    if recipe.search.early_stop == "end":
        return "the strongest alphas, after the last epoch or of the one that RobustDARTS's rule keeps"
    return "the strongest alphas after the last epoch"


def checksum(document: Any) -> str:
    """SHA-256 of a document as JSON with its keys in order.

    >>> checksum({"a": (1, 2), "b": 3}) == checksum({"b": 3, "a": [1, 2]})
    True
    """
    return hashlib.sha256(json.dumps(document, sort_keys=True, separators=(",", ":")).encode()).hexdigest()

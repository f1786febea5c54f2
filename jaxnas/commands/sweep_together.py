"""The searches of a sweep that differ in their seed alone, by one program: each in its own run folder, as if it were alone."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterable
from pathlib import Path

from jaxnas import card, run, searching
from jaxnas.console import Console
from jaxnas.data import Dataset
from jaxnas.errors import UserError
from jaxnas.feeding import epochs_of_steps
from jaxnas.recipe import HALF
from jaxnas.recipes import Recipe
from jaxnas.reports import SearchReport, StageReport
from jaxnas.run_folder import CONFIG, RunFolder, plain
from jaxnas.saves import saving
from jaxnas.seeds import Apart, together
from jaxnas.stages import first_part


def check(recipes: Iterable[Recipe]) -> None:
    """Refuses what cannot be searched together.

    Raises:
      UserError: stages, an early stop or instruments, which are of one search; shares of the images, drawn by its seed.
    """
    for recipe in recipes:
        search = recipe.search
        if search.next_stages:
            raise UserError("--together: each seed prunes its own candidates between two stages. Leave --together out.")
        if search.instruments_every:
            raise UserError("--together: instruments measure one search. Leave it out, or --search.instruments-every.")
        if (search.train_share, search.valid_share) != (HALF, HALF):
            raise UserError("--together: shares of the images are drawn by the seed. Leave it out, or --search.train-share.")


def by_setting(runs: dict[Path, Recipe]) -> list[dict[Path, Recipe]]:
    """The runs in groups that differ in nothing but their seed."""
    groups: list[tuple[Recipe, dict[Path, Recipe]]] = []
    for path, recipe in runs.items():
        setting = dataclasses.replace(recipe, seed=0)
        group = next((group for other, group in groups if other == setting), None)
        if group is None:
            groups.append((setting, group := {}))
        group[path] = recipe
    return [group for _, group in groups]


def search(name: str, runs: dict[Path, Recipe], dataset: Dataset, console: Console) -> None:
    """Searches with all these seeds, which are begun here; what is found is not yet trained.

    Every run is saved as it would be alone, and goes on alone from its last checkpoint, whatever ends this.

    Raises:
      UserError: numbers of one of them that are not finite, or a folder that cannot be had.
      Left: the process was asked to leave; all are saved.
    """
    recipes = list(runs.values())
    network = searching.search_network(recipes[0].search, dataset)
    stage = together([searching.search_stage(recipe, dataset, network) for recipe in recipes])
    part = first_part(recipes[0].search)
    seeds = f"search of seeds {', '.join(str(recipe.seed) for recipe in recipes)}"
    with contextlib.ExitStack() as open_runs:
        each = []
        for path, recipe in runs.items():
            folder = RunFolder(path)
            begun_with = run.settled(folder, {CONFIG: {"recipe": name, **plain(recipe)}})
            kept = card.Card(folder, card.of_search(name, recipe, dataset, part.space, {}))
            saves = open_runs.enter_context(saving(folder, begun_with, console.note, kept.spent))
            each.append(SearchReport(Console(quiet=True), saves, part))
        epochs_of_steps(stage, Apart(StageReport(seeds, console, None), each))

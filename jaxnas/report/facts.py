"""Reading the folder of a run for a page: what is damaged or missing is said, and ends nothing."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

from jaxnas.card import read as read_card
from jaxnas.errors import UserError
from jaxnas.history import read_lines
from jaxnas.recipe import Recipe
from jaxnas.recipes import Training, from_config
from jaxnas.run_folder import CARD, CONFIG, ENVIRONMENT, GENOTYPE_JSON, LOG, RESULT, TIMING, read_json
from jaxnas.spaces import Genotype, from_text, read

READ = (CONFIG, ENVIRONMENT, LOG, TIMING, RESULT, GENOTYPE_JSON)


@dataclasses.dataclass(frozen=True)
class Run:
    """What a run's folder holds.

    Attributes:
      folder: where it is.
      name: of its recipe.
      recipe: of a search, of a training alone, or None where the configuration cannot be read.
      config, environment, result: the documents, empty where they cannot be read.
      log, timing: the lines that can be read.
      genotype: what it found or was given.
      card: its run card, empty where there is none.
      problems: what is missing or damaged, a sentence each.
    """

    folder: Path
    name: str
    recipe: Recipe | Training | None
    config: dict[str, Any]
    environment: dict[str, Any]
    result: dict[str, Any]
    log: list[dict[str, Any]]
    timing: list[dict[str, Any]]
    genotype: Genotype | None
    card: dict[str, Any]
    problems: tuple[str, ...]

    @property
    def search(self) -> Recipe | None:
        """The recipe, where it is that of a search."""
        return self.recipe if isinstance(self.recipe, Recipe) else None

    @property
    def network(self) -> dict[str, Any]:
        """The row of ``result.json`` about what was found or given."""
        row = self.result.get("found", self.result.get("given"))
        return row if isinstance(row, dict) else {}

    @property
    def rows(self) -> list[dict[str, Any]]:
        """The rows of all networks that were trained."""
        random = self.result.get("random")
        return [row for row in [self.network, *(random if isinstance(random, list) else [])] if isinstance(row, dict) and row]

    @property
    def seconds(self) -> tuple[float, float] | None:
        """Of the whole run and of its search: by the card over all processes that worked on it, else of the last one."""
        if self.card:
            cost = self.card["cost"]
            return cost["wall_seconds"], cost["device_seconds"].get("search", 0.0)
        of_last = self.result.get("seconds")
        total = number(of_last.get("total")) if isinstance(of_last, dict) else None
        return None if total is None else (total, number(self.result["seconds"].get("search")) or 0.0)

    def series(self, stage: str, metric: str) -> list[tuple[int, float]]:
        """Epochs from 1, and a metric's values, of the stages whose names begin so."""
        found = [record for record in self.log if record["stage"].startswith(stage) and number(record.get(metric)) is not None]
        return [(int(record.get("epoch", 0)) + 1, float(record[metric])) for record in found]


def number(value: Any) -> float | None:
    """A number as a float; None for anything else.

    >>> number(2), number("2"), number(True)
    (2.0, None, None)
    """
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def read_run(folder: Path) -> Run:
    """Reads a run's folder.

    Raises:
      UserError: no folder, or one that holds none of a run's files.
    """
    if not folder.is_dir():
        raise UserError(f"{folder} is not the folder of a run.")
    if not any((folder / name).exists() for name in READ):
        raise UserError(f"{folder} holds no file of a run ({', '.join(READ)}).")
    problems: list[str] = []

    def tried(read: Callable[[], Any]) -> Any:
        try:
            return read()
        except (UserError, OSError) as error:
            problems.append(str(error).replace(f"{folder}/", ""))
            return None

    def document(name: str) -> dict[str, Any]:
        content = tried(lambda: read_json(folder / name))
        if content is not None and not isinstance(content, dict):
            problems.append(f"{name} holds no object.")
        return content if isinstance(content, dict) else {}

    config, environment = document(CONFIG), document(ENVIRONMENT)
    recipe = tried(lambda: from_config(config)) if config else None
    result: dict[str, Any] = {}
    if (folder / RESULT).exists():
        result = document(RESULT)
    else:
        problems.append(f"{RESULT} is missing: the run is not done, or was ended. Accuracies and seconds are not known yet.")
    log, damaged = read_lines(folder / LOG)
    timing, also = read_lines(folder / TIMING)
    problems += damaged + also
    genotype = None
    if (folder / GENOTYPE_JSON).exists():
        genotype = tried(lambda: read(folder / GENOTYPE_JSON))
    elif isinstance(result.get("found"), dict) and "genotype" in result["found"]:
        genotype = tried(lambda: from_text(result["found"]["genotype"]))
    else:
        problems.append(f"{GENOTYPE_JSON} is missing: nothing was found yet.")
    if isinstance(result.get("missed"), str):
        problems.append(f"The target was missed: {result['missed']}")
    name = config.get("recipe") if isinstance(config.get("recipe"), str) else folder.name
    card = tried(lambda: read_card(folder)) if (folder / CARD).exists() else None
    return Run(folder, str(name), recipe, config, environment, result, log, timing, genotype, card or {}, tuple(problems))

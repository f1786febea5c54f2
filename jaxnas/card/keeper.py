"""A run's card while the run goes on: what was spent adds up over all processes that worked on it."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from jaxnas.card.checklist import checklist
from jaxnas.card.where import code, hardware
from jaxnas.errors import UserError
from jaxnas.run_folder import CARD, LOG, RunFolder, environment, read_json

FORMAT = 1
PARTS = {"kind", "recipe", "data", "split", "space", "seeds", "protocol", "evaluation", "baseline", "tuning", "result"}
PARTS |= {"hardware", "code", "cost", "unknown"}
SECONDS_BETWEEN = 10.0
"""So often within an epoch the seconds are written: a kill loses at most these."""

SHARED = ("search", "instruments", "choice")
"""What all devices of a search do; the rest is done on one."""

KINDS = (*SHARED, "train found", "train given", "train random", "evaluate", "candidates")
COMPILING = ("trace", "compile")

REASONS = {
    "space": "a genotype was given: nothing was searched",
    "split": "a genotype was given: the training is on all training images",
    "split.seed": "nothing is drawn: the parts are fixed by the data",
    "recipe.changed": "no recipe of this name is known",
    "protocol.searches_compared": "a run does not know whether it was kept among others",
    "baseline.how": "there are no random networks",
    "tuning.settings_compared": "a run does not know which other settings were tried before it, nor by which accuracy",
    "tuning.test_split_used": "a run reads the test split after its last epoch only; whether its settings were chosen by the "
    "test accuracies of former runs it does not know",
    "hardware.processor": "the system does not tell it",
    "code.commit": "jaxnas was not run from a checkout that git knows",
    "code.changed": "jaxnas was not run from a checkout that git knows",
    "code.version": "jaxnas is not installed",
    "result": "the run is not finished",
    "result.genotype": "no architecture met the targets",
    "result.accuracy": "no network was trained to its end",
    "result.parameters": "no network was trained to its end",
}
"""Why something is null, by its place."""


class Card:
    """Keeps ``card.json`` true.

    Args:
      folder: the run's; where it is resumed, its card goes on.
      about: what decides the run, from ``jaxnas.card.about``.
      devices: how many share the batches of the search.
      imports: seconds that were spent before.
    """

    def __init__(self, folder: RunFolder, about: Mapping[str, Any], devices: int = 1, imports: float = 0.0) -> None:
        self._folder, self._began, self._imports, self._written = folder, time.perf_counter(), imports, 0.0
        before = read_json(folder.path / CARD) if folder.resumed and (folder.path / CARD).exists() else {}
        self._content: dict[str, Any] = {"format": FORMAT, **about, "result": None, **before}
        for name, now in (("hardware", hardware()), ("code", code())):
            known = before.get(name, [])
            self._content[name] = known if now in known else [*known, now]
        self._seconds: dict[str, float] = {}
        here = {"date": environment()["date"], "devices": devices, "seconds": self._seconds, "wall_seconds": 0.0}
        # A run that was begun before there were cards has spent what is not known.
        self._whole = before["cost"]["whole"] if before else not (folder.resumed and (folder.path / LOG).exists())
        self._sessions: list[dict[str, Any]] = [*before.get("cost", {}).get("sessions", []), here]
        self._write()

    def spent(self, what: str, seconds: float, now: bool = False) -> None:
        """Adds seconds of what begins with one of :data:`KINDS`, or of :data:`COMPILING`; written now and then, or now."""
        self._seconds[what] = self._seconds.get(what, 0.0) + seconds
        if now or time.perf_counter() - self._written > SECONDS_BETWEEN:
            self._write()

    def knows(self, what: str) -> bool:
        """Whether seconds were added of that name, by any process."""
        return any(what in session["seconds"] for session in self._sessions)

    def finish(self, genotype: str | None, accuracy: float | None, parameters: int | None) -> None:
        """Adds what came out: the architecture, its network's accuracy on the split that it is judged on, and its weights."""
        self._content["result"] = {"genotype": genotype, "accuracy": accuracy, "parameters": parameters}
        self._write()

    def _write(self) -> None:
        self._written = time.perf_counter()
        self._sessions[-1]["wall_seconds"] = round(self._imports + self._written - self._began, 3)
        sessions = [
            {**one, "seconds": {stage: round(seconds, 3) for stage, seconds in one["seconds"].items()}}
            for one in self._sessions
        ]
        content = {key: value for key, value in self._content.items() if key != "unknown"} | {
            "cost": {"whole": self._whole, **cost(sessions)}
        }
        unknown = {place: REASONS.get(re.sub(r"\.\d+", "", place), "not recorded") for place in nulls(content)}
        self._folder.write_json(CARD, content | {"unknown": unknown})


def read(folder: Path) -> dict[str, Any]:
    """The card of a run.

    Raises:
      UserError: it is missing, as in a run of an earlier version, or damaged.
    """
    if not (folder / CARD).exists():
        raise UserError(f"{folder} has no {CARD}: it is no run, or was begun by a version of jaxnas that wrote none.")
    card = read_json(folder / CARD)
    try:
        if card["format"] != FORMAT or not card.keys() >= PARTS or not card["cost"].keys() >= {"sessions", "whole"}:
            raise ValueError("it lacks a part")
        checklist(card)
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        raise UserError(f"{folder / CARD} does not have the form of a card: {error}. Was it changed?") from error
    return card


def cost(sessions: list[dict[str, Any]]) -> dict[str, Any]:
    """What the processes that worked on a run have cost together, in seconds; compilation apart.

    A device second is a second for which one device is kept by the run's compiled programs: the host's work between two
    dispatches counts, since nobody else has the device meanwhile.

    >>> cost([{"devices": 2, "seconds": {"search": 3.0, "train random 1": 1.0, "compile": 9.0}, "wall_seconds": 20.0}])[
    ...     "device_seconds"]
    {'search': 6.0, 'train random': 1.0, 'total': 7.0}
    """
    device: dict[str, float] = {}
    compiling = dict.fromkeys(COMPILING, 0.0)
    for session in sessions:
        for stage, seconds in session["seconds"].items():
            if stage in COMPILING:
                compiling[stage] += seconds
                continue
            kind = next(kind for kind in KINDS if stage.startswith(kind))
            device[kind] = device.get(kind, 0.0) + seconds * (session["devices"] if kind in SHARED else 1)
    device["total"] = sum(device.values())
    return {
        "device_seconds": {kind: round(seconds, 3) for kind, seconds in device.items()},
        "compile_seconds": {kind: round(seconds, 3) for kind, seconds in compiling.items()},
        "wall_seconds": round(sum(session["wall_seconds"] for session in sessions), 3),
        "sessions": sessions,
    }


def nulls(value: Any, place: str = "") -> Iterator[str]:
    """The places of what is null in nested objects and lists; the values of a recipe, of which null may be one, left out.

    >>> list(nulls({"a": {"b": None}, "c": [1, {"d": None}], "recipe": {"values": {"e": None}}}))
    ['a.b', 'c.1.d']
    """
    if value is None:
        yield place
    inner = value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, list) else ()
    for name, item in inner:
        at = f"{place}.{name}" if place else str(name)
        if at not in ("recipe.values", "recipe.changed") or item is None:
            yield from nulls(item, at)

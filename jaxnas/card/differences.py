"""What keeps runs from being compared: differences in data, split, space, recipe, hardware or evaluation, by their cards."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

from jaxnas.run_folder import fields

MISSING = "not there"


@dataclasses.dataclass(frozen=True)
class Difference:
    """A fact that is not the same in all runs.

    Attributes:
      what: data, split, space, recipe, hardware, evaluation, code, seed or card.
      fact: its name in the card.
      values: each value with the runs that have it.
    """

    what: str
    fact: str
    values: tuple[tuple[str, tuple[str, ...]], ...]

    def __str__(self) -> str:
        return f"{self.what}: {self.fact} is " + ", ".join(f"{value} in {' and '.join(runs)}" for value, runs in self.values)


NOT_REFUSED = {"code"}
"""Versions are confounders that are told; they forbid no comparison."""


def facts(card: Mapping[str, Any]) -> dict[tuple[str, str], Any]:
    """What must be the same in runs that are compared, by part of the card and name. The seed is none of it."""
    found: dict[tuple[str, str], Any] = {("evaluation", "split"): card["evaluation"]["split"]}
    sums = card["data"]["sha256"]
    found |= {("data", f"sha256 of {part}"): sums[part][:12] for part in ("train", "test")}
    split = card["split"] or {"how": "none", "train_share": None, "valid_share": None, "seed": None}
    found |= {("split", name): split[name] for name in ("how", "train_share", "valid_share")}
    if split["seed"] is None:  # Parts that the seed draws are others by every seed, as they should be.
        found |= {("split", f"sha256 of {part}"): sums[part][:12] for part in ("search_train", "search_valid")}
    space = card["space"]
    found["space", "space"] = "none" if space is None else f"{space['name']} (sha256 {space['sha256'][:12]})"
    found["recipe", "kind of run"] = card["kind"]
    found |= {("recipe", name): value for name, value in fields(card["recipe"]["values"]).items()}
    for name in card["hardware"][0]:
        found["hardware", name] = "; then ".join(str(value) for value in dict.fromkeys(one[name] for one in card["hardware"]))
    found["hardware", "devices of a search"] = sorted({session["devices"] for session in card["cost"]["sessions"]})
    for name in ("version", "commit", "changed"):
        found["code", name] = "; then ".join(str(value) for value in dict.fromkeys(one[name] for one in card["code"]))
    return found


def differences(cards: Mapping[str, Mapping[str, Any]]) -> list[Difference]:
    """What differs between runs, by their names; of a run without a card the card is empty.

    Runs of the same facts must differ in their seed, else they are one search twice.
    """
    lacking = tuple(name for name, card in cards.items() if not card)
    having = {name: facts(card) for name, card in cards.items() if card}
    found = [Difference("card", "card.json", ((MISSING, lacking),))] if lacking else []
    for what, fact in dict.fromkeys(key for one in having.values() for key in one):
        values: dict[str, tuple[str, ...]] = {}
        for name, one in having.items():
            value = str(one.get((what, fact), MISSING))
            values[value] = (*values.get(value, ()), name)
        if len(values) > 1:
            found.append(Difference(what, fact, tuple(values.items())))
    return [*found, *_same_seeds(cards, having)]


def _same_seeds(cards: Mapping[str, Mapping[str, Any]], having: Mapping[str, Any]) -> Iterator[Difference]:
    names = list(having)
    for i, first in enumerate(names):
        for second in names[i + 1 :]:
            if having[first] == having[second] and cards[first]["seeds"] == cards[second]["seeds"]:
                seeds = cards[first]["seeds"]["search"] or cards[first]["seeds"]["training"]
                yield Difference("seed", "the seed", ((f"{', '.join(map(str, seeds))}, the same,", (first, second)),))


def refused(found: list[Difference]) -> list[Difference]:
    """Those that forbid a comparison."""
    return [one for one in found if one.what not in NOT_REFUSED]

"""Runs that differ in their seed alone, as one row: mean and deviation, random search at equal cost, seconds of devices."""

from __future__ import annotations

import dataclasses
import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from jaxnas.card import differences, facts
from jaxnas.report.facts import Run, number

FOUND = ("search", "instruments", "choice", "train found", "train given")
"""What it costs in device seconds to find and train a network."""


@dataclasses.dataclass(frozen=True)
class Equal:
    """Random search at the cost of a search and its training.

    Attributes:
      best_of: so many random networks cost as much.
      expected: the test accuracy of the best of so many, in 0..1; None where it cannot be said.
      why: why not.
    """

    best_of: int | None
    expected: float | None
    why: str = ""


@dataclasses.dataclass(frozen=True)
class Group:
    """A row of a comparison.

    Attributes:
      label: the recipe's name, with a number where another group has it, too.
      runs: with nothing but their seeds apart.
      differs: in which parts of their cards they are not as the first group's.
      found: test accuracies of what was found, in 0..1, one of each finished run.
      random: those of all random networks.
      equal: random search at equal cost.
      device_seconds: mean over the runs, by what they were spent on.
      compile_seconds: mean over the runs; None where no run has a card.
    """

    label: str
    runs: tuple[Run, ...]
    differs: tuple[str, ...]
    found: tuple[float, ...]
    random: tuple[float, ...]
    equal: Equal
    device_seconds: Mapping[str, float]
    compile_seconds: float | None

    def as_json(self) -> dict[str, Any]:
        """For JSON: of one number no deviation."""
        return {
            "recipe": self.label,
            "runs": [str(run.folder) for run in self.runs],
            "differs": list(self.differs),
            "found": spread_of(self.found),
            "random_networks": spread_of(self.random),
            "random_search_at_equal_cost": dataclasses.asdict(self.equal),
            "device_seconds": dict(self.device_seconds),
            "compile_seconds": self.compile_seconds,
        }


def spread_of(values: Sequence[float]) -> dict[str, Any]:
    """Number, mean and sample deviation; None where there are too few.

    >>> spread_of([0.25, 0.75])["deviation"], spread_of([0.5])["deviation"]
    (0.3535533905932738, None)
    """
    mean = statistics.mean(values) if values else None
    return {"number": len(values), "mean": mean, "deviation": statistics.stdev(values) if len(values) > 1 else None}


def spread(values: Sequence[float]) -> str:
    """Mean and sample deviation of shares in words; of one value there is none.

    >>> spread([0.9, 0.92, 0.94]), spread([0.9])
    ('92.00% ± 2.00% (n=3)', '90.00% (n=1, no deviation)')
    """
    if not values:
        return "not known"
    deviation = f" ± {statistics.stdev(values):.2%} (n={len(values)})" if len(values) > 1 else " (n=1, no deviation)"
    return f"{statistics.mean(values):.2%}{deviation}"


def groups(runs: Sequence[Run]) -> list[Group]:
    """Runs by all that their cards must have in common; those without a card by their recipe's name."""
    by_facts: dict[tuple[str, str], list[Run]] = {}
    for run in runs:
        kept = {key: value for key, value in facts(run.card).items() if key[0] != "code"} if run.card else {}
        by_facts.setdefault((run.name, repr(sorted(kept.items(), key=str))), []).append(run)
    names = [name for name, _ in by_facts]
    found: list[Group] = []
    for name, members in zip(names, by_facts.values(), strict=True):
        same = sum(group.runs[0].name == name for group in found)
        label = f"{name} ({same + 1})" if names.count(name) > 1 else name
        found.append(_group(label, tuple(members), next(iter(by_facts.values()))[0]))
    return found


def _group(label: str, runs: tuple[Run, ...], first: Run) -> Group:
    apart = differences({"first": first.card, "this": runs[0].card}) if runs[0] is not first else []
    differs = tuple(dict.fromkeys(one.what for one in apart if one.what != "code"))
    found = _accuracies(run.network for run in runs)
    random = _accuracies(row for run in runs for row in run.rows[1:])
    costs = [run.card["cost"] for run in runs if run.card and run.result]
    kinds = dict.fromkeys(kind for cost in costs for kind in cost["device_seconds"])
    device = {kind: statistics.mean(cost["device_seconds"].get(kind, 0.0) for cost in costs) for kind in kinds}
    compiling = statistics.mean(sum(cost["compile_seconds"].values()) for cost in costs) if costs else None
    networks = statistics.mean(len(run.rows) - 1 for run in runs if run.card and run.result) if costs else 0
    return Group(label, runs, differs, found, random, at_equal_cost(random, device, networks), device, compiling)


def _accuracies(rows: Iterable[Mapping[str, Any]]) -> tuple[float, ...]:
    """Of those networks that were judged."""
    known = (number(row.get("test_accuracy")) for row in rows)
    return tuple(accuracy for accuracy in known if accuracy is not None)


def at_equal_cost(random: Sequence[float], device: Mapping[str, float], networks: float) -> Equal:
    """Random search that trains as many networks as the search and its training cost, and keeps the best.

    Kept is the best by test accuracy, as runs have no other of their random networks: random search, which would have to
    choose by validation, cannot be better than this.

    Args:
      random: test accuracies of random networks, trained as what was found.
      device: device seconds of a run.
      networks: random networks of a run.

    >>> at_equal_cost([0.5, 0.7, 0.6], {"search": 6.0, "train found": 2.0, "train random": 9.0}, 3)
    Equal(best_of=2, expected=0.6666666666666666, why='')
    """
    if not random or not device.get("train random"):
        return Equal(None, None, "no random networks were trained: --random-cells")
    of_one = device["train random"] / networks
    best_of = max(1, math.floor(sum(device.get(kind, 0.0) for kind in FOUND) / of_one))
    if best_of > len(random):
        return Equal(best_of, None, f"{best_of} networks cost as much, but there are {len(random)}: more --random-cells")
    return Equal(best_of, expected_best(random, best_of))


def expected_best(values: Sequence[float], number: int) -> float:
    """The mean of the largest of ``number`` values, over all choices of so many of these.

    >>> expected_best([1.0, 2.0, 4.0], 2)  # Of 2, 4 and 4.
    3.3333333333333335
    """
    ranked, count = sorted(values), len(values)
    return sum(math.comb(i, number - 1) * value for i, value in enumerate(ranked)) / math.comb(count, number)

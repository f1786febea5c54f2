"""The best-practice checklist for neural architecture search, answered from a run's card.

The items are those of Lindauer and Hutter, "Best Practices for Scientific Research on Neural Architecture Search" (JMLR
21(243), 2020), in our words.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any


@dataclasses.dataclass(frozen=True)
class Item:
    """An item of the checklist.

    Attributes:
      number: in the checklist.
      asked: what is to be released or reported.
      answer: what the run says; None where it cannot.
      why: why it cannot.
    """

    number: int
    asked: str
    answer: str | None
    why: str = ""


def checklist(card: Mapping[str, Any]) -> tuple[Item, ...]:
    """The seventeen items with what a card says of each."""
    evaluation, cost = card["evaluation"], card["cost"]
    version, training = _version(card["code"][-1]), "recipe.values.train"
    of_search = _of_search(card, version)
    random = card["baseline"]["random_networks"]
    dataset = f"{card['data']['name']}, sha256 of its test images {card['data']['sha256']['test'][:12]}"
    logs = "log.jsonl and timing.jsonl: every epoch, with its seconds"
    per_candidate = "result.json and candidates: every training, with its seconds"
    seconds = ", ".join(f"{kind} {value:,.1f} s" for kind, value in cost["device_seconds"].items() if kind != "total")
    compiling = sum(cost["compile_seconds"].values())
    return (
        Item(1, "code of the final training", f"{version}; {training}"),
        of_search[2],
        Item(3, "hyperparameters and seeds of the evaluation", f"{training}; seeds {_numbers(card['seeds']['training'])}"),
        of_search[4],
        of_search[5],
        Item(6, "everything released, tidy or not", "the run's folder: configuration, logs, architecture, weights"),
        Item(7, "same data, split, space and code for all compared", f"{dataset}; {_split(card)}; compare refuses others"),
        Item(8, "confounders: hardware, versions, flags", _confounders(card)),
        Item(9, "ablations", None, "a run is one setting: jaxnas sweep --set has others"),
        Item(10, "same evaluation for all", f"{evaluation['split']} split, read {evaluation['read']}; {evaluation['weights']}"),
        Item(11, "performance over time", per_candidate if card["kind"] == "blackbox" else logs),
        Item(12, "random search", f"{random} networks, {card['baseline']['how']}" if random else None, "none was trained"),
        Item(13, "several runs with other seeds", None, "a run is of one seed: jaxnas sweep makes others, compare their mean"),
        of_search[14],
        Item(15, "how hyperparameters were tuned, at which cost", _tuned(card), card["unknown"]["tuning.test_split_used"]),
        Item(
            16,
            "time of all stages",
            f"{seconds} of devices; compilation {compiling:,.1f} s; {cost['wall_seconds']:,.1f} s in all",
        ),
        Item(17, "all details", "card.json, config.json, environment.json"),
    )


def _of_search(card: Mapping[str, Any], version: str) -> dict[int, Item]:
    """The items that only a search can answer."""
    space, why = card["space"], card["unknown"].get("space", "")
    asked = {
        2: "search space",
        4: "code of the search method",
        5: "hyperparameters and seeds of the search",
        14: "tabular or surrogate benchmark",
    }
    if space is None:
        return {number: Item(number, words, None, why) for number, words in asked.items()}
    tabular = "jaxnas query and jaxnas trust look it up in NAS-Bench-201" if space["name"] == "nb201" else None
    answers = {
        2: f"{space['name']}, {space['genotypes']:,} genotypes, sha256 {space['sha256'][:12]}",
        4: f"{version}; {card['protocol']['method']}",
        5: f"recipe.values; seeds {_numbers(card['seeds']['search'])}",
        14: tabular,
    }
    return {number: Item(number, asked[number], answer, "no table of this space is read") for number, answer in answers.items()}


def _version(code: Mapping[str, Any]) -> str:
    commit = "commit not known" if code["commit"] is None else f"commit {code['commit'][:12]}"
    return f"jaxnas {code['version']}, {commit}{', with changes' if code['changed'] else ''}"


def _split(card: Mapping[str, Any]) -> str:
    split = card["split"]
    return "all training images" if split is None else f"{split['how']}: {split['train_share']:g}, {split['valid_share']:g}"


def _tuned(card: Mapping[str, Any]) -> str | None:
    compared = card["tuning"]["settings_compared"]
    return None if compared is None else f"a sweep over {' '.join(compared)}; their test accuracies are in sweep.json"


def _confounders(card: Mapping[str, Any]) -> str:
    hardware = "; then ".join(
        f"{one['devices']} x {one['device']}, {one['processor'] or 'no name'}, XLA flags: {one['xla_flags'] or 'none'}"
        for one in card["hardware"]
    )
    packages = ", ".join(f"{name} {number}" for name, number in card["code"][-1]["packages"].items() if name != "jaxnas")
    return f"{hardware}; {packages}"


def _numbers(values: Sequence[int]) -> str:
    return ", ".join(map(str, values)) or "none"

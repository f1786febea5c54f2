"""What a card says of a run: its data, split, space and recipe, by checksums that change with them alone."""

from __future__ import annotations

import dataclasses
import sys
from typing import Any

import pytest

from jaxnas import card
from jaxnas.data import load, with_shares
from jaxnas.recipes import find

DIGITS = load("digits")


def of(name: str = "nb201-digits", dataset: Any = DIGITS, seed: int = 0, cells: int = 3, **search: Any) -> dict[str, Any]:
    recipe = find(name)
    changed = dataclasses.replace(recipe.search, **search)
    recipe = dataclasses.replace(recipe, search=changed, seed=seed, random_cells=cells)
    return card.of_search(name, recipe, dataset, recipe.search.build_space())


def test_a_recipes_checksum_is_of_its_values_and_not_of_seed_or_random_cells() -> None:
    assert of()["recipe"]["sha256"] == of(seed=5, cells=1)["recipe"]["sha256"] != of(epochs=3)["recipe"]["sha256"]
    assert of()["recipe"]["changed"] == {}
    assert of(epochs=3)["recipe"]["changed"] == {"search.epochs": [10, 3]}
    assert of()["protocol"]["trials"] == 4 and of(cells=0)["baseline"] == {"random_networks": 0, "how": None}


def test_a_space_is_told_apart_by_what_it_is() -> None:
    first, second, third = of()["space"], of("darts-digits")["space"], of("s3-cifar10-small")["space"]
    assert len({first["sha256"], second["sha256"], third["sha256"]}) == 3
    assert (first["genotypes"], first["alphas"]) == (15625, 30)


def test_drawn_parts_have_their_seed_and_a_fingerprint() -> None:
    halves = of()
    assert halves["split"]["seed"] is None and halves["data"]["images"]["search_train"] == 648
    drawn = [of(dataset=with_shares(DIGITS, 0.8, 0.2, s), seed=s, train_share=0.8, valid_share=0.2) for s in (0, 0, 1)]
    assert [one["split"]["seed"] for one in drawn] == [0, 0, 1]
    prints = [one["data"]["sha256"] for one in drawn]
    assert prints[0] == prints[1] != prints[2]
    assert prints[2]["test"] == prints[0]["test"] == halves["data"]["sha256"]["test"]


def test_a_search_alone_trains_nothing_and_reads_no_test_split() -> None:
    recipe = dataclasses.replace(find("nb201-digits"), only_search=True)
    found = card.of_search("nb201-digits", recipe, DIGITS, recipe.search.build_space())
    assert found["protocol"]["trials"] == 0 and not found["evaluation"]["test_split_read"]
    assert found["seeds"] == {"search": [0], "training": [], "random": []}


def test_how_the_architecture_is_chosen() -> None:
    assert of()["protocol"]["architecture"] == "the strongest alphas after the last epoch"
    assert "supernet's weights" in of("rsps-digits")["protocol"]["architecture"]
    assert of("snas-digits")["split"]["how"].startswith("none: one level")


def test_a_sweep_says_what_it_compares(monkeypatch: pytest.MonkeyPatch) -> None:
    assert of()["tuning"]["settings_compared"] is None
    command = ["sweep", "nb201-digits", "--set", "search.batch=32,64", "train.epochs=5,9", "--seeds", "0"]
    monkeypatch.setattr(sys, "argv", ["jaxnas", *command])
    assert of()["tuning"] == {
        "command": command,
        "settings_compared": ["search.batch=32,64", "train.epochs=5,9"],
        "test_split_used": None,
    }

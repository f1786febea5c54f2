"""Runs that differ in more than their seeds are told apart, each difference with both values."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from jaxnas.card import differences, refused

NAME = "nb201-digits"


@pytest.fixture(scope="module")
def card(write_run: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Callable[..., dict[str, Any]]:
    """The card of a run of a recipe that never ran."""
    folder = tmp_path_factory.mktemp("runs")

    def of(name: str = NAME, seed: int = 0, **changes: Any) -> dict[str, Any]:
        path = folder / f"{name}-{seed}-{len(list(folder.iterdir()))}"
        return json.loads((write_run(path, name, seed=seed, **changes) / "card.json").read_text())

    return of


def said(first: dict[str, Any], second: dict[str, Any]) -> list[str]:
    return [str(one) for one in refused(differences({"a": first, "b": second}))]


def changed(card: dict[str, Any], *place: Any, value: Any) -> dict[str, Any]:
    card = copy.deepcopy(card)
    inner: Any = card
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = value
    return card


def test_seeds_are_no_difference_and_the_same_seed_is_no_second_run(card: Any) -> None:
    assert said(card(), card(seed=1)) == []
    assert said(card(), card()) == ["seed: the seed is 0, the same, in a and b"]


def test_recipes_differ_in_named_values(card: Any) -> None:
    assert said(card(), card(seed=1, epochs=9)) == ["recipe: search.epochs is 4 in a, 9 in b"]
    other = said(card(), card("gdas-digits", seed=1))
    assert "recipe: search.estimator is softmax in a, gdas in b" in other
    assert "recipe: search.temperature is 1.0 in a, 10.0 in b" in other


def test_data_split_space_hardware_and_evaluation(card: Any) -> None:
    first, second = card(), card(seed=1)
    data = changed(second, "data", "sha256", "test", value="f" * 64)
    assert said(first, data) == [f"data: sha256 of test is {first['data']['sha256']['test'][:12]} in a, {'f' * 12} in b"]
    drawn = card(seed=1, train_share=0.8, valid_share=0.2)
    assert "split: train_share is 0.5 in a, 0.8 in b" in said(first, drawn)
    assert "recipe: search.train_share is 0.5 in a, 0.8 in b" in said(first, drawn)
    space = changed(second, "space", "sha256", value="0" * 64)
    assert said(first, space)[0].startswith("space: space is nb201 (sha256 ")
    hardware = changed(second, "hardware", 0, "device", value="gpu: H200")
    assert said(first, hardware) == ["hardware: device is cpu: cpu in a, gpu: H200 in b"]
    moved = changed(second, "hardware", value=[*second["hardware"], {**second["hardware"][0], "cpus": 99}])
    assert said(first, moved)[0].endswith("; then 99 in b")
    assert said(first, changed(second, "evaluation", "split", value="validation")) == [
        "evaluation: split is test in a, validation in b"
    ]


def test_parts_drawn_by_the_seed_may_be_others(card: Any) -> None:
    shares = {"train_share": 0.8, "valid_share": 0.2}
    first, second = card(**shares), card(seed=1, **shares)
    assert said(first, changed(second, "data", "sha256", "search_train", value="f" * 64)) == []


def test_other_code_is_told_and_not_refused(card: Any) -> None:
    second = changed(card(seed=1), "code", 0, "commit", value="abc")
    found = differences({"a": card(), "b": second})
    assert [one.what for one in found] == ["code"] and refused(found) == []


def test_a_run_without_a_card_cannot_be_compared(card: Any) -> None:
    assert said(card(), {}) == ["card: card.json is not there in b"]

"""The benchmark's own functions, and that both sides are given the same step."""

from __future__ import annotations

import dataclasses

import pytest

from benchmarks.cases import CASES, Hypergradient, Order, step_values
from benchmarks.ours import noise, recipe_of
from benchmarks.search_step import spread, turns


def test_spread() -> None:
    assert spread("x", [3.0, 1.0, 2.0, 10.0]) == {"x_median": 2.5, "x_min": 1.0, "x_max": 10.0}


def test_turns_let_nobody_always_begin() -> None:
    orders = list(turns(["ours", "peer", "other"], 4))
    assert all(sorted(order) == ["other", "ours", "peer"] for order in orders)
    assert [order[0] for order in orders] == ["ours", "other", "ours", "other"]


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize(("order", "hypergradient"), [("first", "first_order"), ("second", "unrolled")])
def test_both_sides_do_the_same_step(name: str, order: Order, hypergradient: Hypergradient) -> None:
    case = CASES[name]
    search = recipe_of(case, order).search
    values = dataclasses.asdict(step_values(case.family, hypergradient))
    assert (search.order == "alphas_first") == values.pop("alphas_first")
    assert values == {field: getattr(search, field) for field in values}
    assert (search.channels, search.cells, search.batch) == (case.channels, case.cells, case.batch)
    assert search.weight_steps_per_alpha_step == 1 and search.alphas_from_epoch == 0


def test_noise_fills_the_epoch() -> None:
    case = CASES["darts-small"]
    dataset = noise(case)
    assert dataset.search_train.images.shape == (case.epoch_steps * case.batch, 8, 8, 3)
    assert (dataset.search_train.images != dataset.search_valid.images).any()

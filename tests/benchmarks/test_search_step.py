"""The benchmark's own functions, and that both sides are given the same step."""

from __future__ import annotations

import dataclasses
import json

import pytest

from benchmarks.cases import CASES, Family, Hypergradient, Order, step_values
from benchmarks.ours import noise, recipe_of
from benchmarks.search_step import CONFORMANCE, conforming, spread, turns


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


def test_a_way_conforms_by_every_file_of_its_family() -> None:
    found = [
        {"family": family, "form": form, "layout": "nchw", "passed": passed}
        for family, form, passed in [
            ("darts", "plain", True),
            ("darts", "shared", False),
            ("darts", "shared", True),
            ("nb201", "plain", False),
            ("nb201", "shared", True),
            ("darts", "plain", True),
        ]
    ]
    assert conforming("darts", found) == [("plain", "nchw")]
    assert conforming("nb201", found) == [("shared", "nchw")]


@pytest.mark.parametrize("family", ["darts", "nb201"])
def test_the_peer_that_is_measured_conforms(family: Family) -> None:
    comparisons = json.loads(CONFORMANCE.read_text(encoding="utf-8"))["comparisons"]
    files = {f"{family}_supernet_a.npz", f"{family}_supernet_b.npz"}
    for form, layout in conforming(family, comparisons):
        own = [one for one in comparisons if (one["family"], one["form"], one["layout"]) == (family, form, layout)]
        assert {one["file"] for one in own} == files
        assert not any(one[precision]["failed"] for one in own for precision in ("float64", "float32"))
    assert ("shared", "channels_last") in conforming(family, comparisons)

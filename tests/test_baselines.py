"""Curves against loops, the comparison against SciPy, and what a whole run on a small table says."""

from __future__ import annotations

import dataclasses
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from jaxnas import baselines
from jaxnas.baselines import BAYESIAN_SEEDS, at_costs, compared, curves, halving_queries, picture
from jaxnas.errors import UserError
from jaxnas.tabular import Table, read_plain, table_of

SIZES, QUERIES, SEEDS = (3, 3, 3), 20, 8


@pytest.fixture(scope="module")
def table() -> Table:
    choices = np.array(list(np.ndindex(SIZES)))
    worth = 30 + 10 * choices.sum(1)
    names = (("a", "b", "c"),) * 3
    return Table(
        "toy", ("x", "y", "z"), names, choices, np.array([3, 9]), np.stack([worth, worth + 1], 1), worth + 2,
        np.stack([np.full(27, 2.0), np.full(27, 6.0)], 1), "one run",
    )  # fmt: skip


@pytest.fixture(scope="module")
def result(table: Table) -> dict[str, Any]:
    """Of all but the LSTM's search, which compiles for long; the slow test has it."""
    said: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(baselines, "BASELINES", [one for one in baselines.BASELINES if "LSTM" not in one.name])
        found = baselines.run(table, SEEDS, QUERIES, 0, said.append)
    assert len(said) == len(found["searchers"])
    return found


def test_the_last_answer_by_a_cost_against_a_loop() -> None:
    rng = np.random.default_rng(0)
    seconds, values = np.cumsum(rng.uniform(1, 3, (4, 9)), 1), rng.normal(size=(4, 9))
    costs = np.linspace(0, 20, 33)
    for seed in range(4):
        for at, cost in enumerate(costs):
            known = [value for second, value in zip(seconds[seed], values[seed], strict=True) if second <= cost]
            np.testing.assert_equal(at_costs(seconds, values, costs)[seed, at], known[-1] if known else np.nan)


def test_confidence_is_that_of_scipy() -> None:
    rng = np.random.default_rng(1)
    found, other = rng.normal(94, 0.3, (12, 2)), rng.normal(93.7, 0.5, (30, 2))
    expected = stats.ttest_1samp(found, 0).confidence_interval(0.95)
    for ours, theirs in zip(curves(found)[1:3], expected, strict=True):
        np.testing.assert_allclose(ours, theirs)
    np.testing.assert_allclose(curves(found).deviation, found.std(0))
    welch = stats.ttest_ind(found[:, 0], other[:, 0], equal_var=False).confidence_interval(0.95)
    said = compared(found[:, 0], other[:, 0])
    np.testing.assert_allclose(
        (said["difference"] - said["half_width"], said["difference"] + said["half_width"]), (welch.low, welch.high)
    )


@pytest.mark.parametrize(
    ("shift", "verdict"), [(1.0, "wins"), (-1.0, "loses"), (0.01, "wins, within the error"), (-0.01, "loses, within the error")]
)
def test_who_loses_is_said_to_lose(shift: float, verdict: str) -> None:
    random = np.array([93.0, 93.2, 93.4, 93.6])
    assert compared(random + shift, random)["verdict"] == verdict
    assert compared(random * 0 + 94, random * 0 + 94)["verdict"] == "equal, within the error"


def test_every_searcher_is_there_at_equal_cost(result: dict[str, Any], table: Table) -> None:
    names = [one["name"] for one in result["searchers"]]
    assert names[0] == "random search" and len(set(names)) == len(names) == 6
    assert [one["seeds"] for one in result["searchers"]] == [SEEDS] * 5 + [BAYESIAN_SEEDS]
    # Random search pays 2 seconds a query; who trains longer has ended later.
    assert result["costs"][-1] == 2.0 * QUERIES and len(result["costs"]) == 50
    for one in result["searchers"]:
        assert one["curve"]["mean"][-1] == pytest.approx(one["at_equal_cost"]["mean"], abs=1e-5)
        if one["queries"] == QUERIES:
            assert one["after_queries"]["mean"] == pytest.approx(one["at_equal_cost"]["mean"], abs=1e-5)
        mean = np.array(one["curve"]["mean"])
        assert np.isnan(mean[:2]).all() and np.isfinite(mean[2:]).all()  # No answer before 2 seconds.
        assert (np.diff(mean[2:]) >= -1e-9).all() or one["name"] == "successive halving"
        assert mean[-1] <= result["best_test_accuracy"] == 92 == table.test.max()


def test_halving_has_whole_brackets(result: dict[str, Any]) -> None:
    halving = next(one for one in result["searchers"] if one["name"] == "successive halving")
    # 50 architectures of 3 epochs and 16 of 9 are 294 epochs, more than 20 of 3: one bracket, and one more.
    assert halving["queries"] == halving_queries([3, 9], QUERIES) == 2 * 66
    assert "against_random" not in halving["after_queries"] and "verdict" in halving["at_equal_cost"]["against_random"]


def test_the_picture_has_a_curve_and_a_band_for_each(result: dict[str, Any]) -> None:
    tree = ElementTree.fromstring(picture(result))
    paths = [path.attrib for path in tree.iter() if path.tag.endswith("path")]
    assert sum("fill-opacity" in path for path in paths) == 6
    texts = {text.text for text in tree.iter() if text.tag.endswith("text")}
    assert {one["name"] for one in result["searchers"]} <= texts


def test_a_table_of_one_budget_leaves_halving_out_and_says_so(table: Table, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(baselines, "BASELINES", baselines.BASELINES[:1])
    said: list[str] = []
    first = {field: getattr(table, field)[..., :1] for field in ("budgets", "validation", "seconds")}
    short = dataclasses.replace(table, **first)
    found = baselines.run(short, 2, 4, 0, said.append)
    assert "successive halving" not in [one["name"] for one in found["searchers"]]
    assert "successive halving: left out, the table has one budget, 3 epochs" in said


def test_what_cannot_be_compared_is_refused(table: Table) -> None:
    with pytest.raises(UserError, match="number of seeds is 1"):
        baselines.run(table, 1, 4, 0, print)
    with pytest.raises(UserError, match="number of queries is 1"):
        baselines.run(table, 2, 1, 0, print)


@pytest.mark.slow
def test_on_nas_bench_201_they_find_what_is_known(data_dir: Path) -> None:
    file = data_dir / "nasbench201" / "nb201_main.npz"
    if not file.is_file():
        pytest.skip(f"NAS-Bench-201's table not found: {file}")
    found = baselines.run(table_of(read_plain(file), "cifar10"), 200, 200, 0, print)
    random = found["searchers"][0]["by_queries"]["100"]
    assert random["mean"] == pytest.approx(93.73, abs=0.10) and 0.30 <= random["deviation"] <= 0.43
    after = {one["name"]: one["after_queries"] for one in found["searchers"]}
    assert after["regularised evolution"]["mean"] == pytest.approx(94.13, abs=0.10)
    assert len(found["searchers"]) == 7
    for name in ("REINFORCE, independent", "REINFORCE, LSTM"):
        against = after[name]["against_random"]
        assert against["difference"] >= 0 or against["verdict"].startswith("loses")

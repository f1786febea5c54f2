"""Rank correlation by budget, against a slow one and the figures that are known of the published table."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from jaxnas import cli
from jaxnas.errors import UserError
from jaxnas.tabular import Benchmark, nb201, read_plain
from jaxnas.tabular.benchmark import Accuracy
from jaxnas.tabular.fidelity import fidelities

RUNS = np.ones(nb201.SIZE, np.uint8)


def accuracy(values: np.ndarray) -> Accuracy:
    return Accuracy(values.astype(np.float32), RUNS, "the benchmark's seed 777")


def benchmark(validation: dict[int, np.ndarray], test: np.ndarray, curves: dict[int, np.ndarray] | None = None) -> Benchmark:
    key = "cifar100", "x-valid"
    return Benchmark(
        "nb201",
        {(*key, epochs): accuracy(values) for epochs, values in validation.items()}
        | {("cifar100", "x-test", 200): accuracy(test)},
        {("cifar100", epochs): np.full(nb201.SIZE, 2 * epochs, np.float32) for epochs in validation},
        {},
        "a test",
        {(*key, epochs): values.astype(np.float32) for epochs, values in (curves or {}).items()},
    )


def slow_spearman(one: np.ndarray, other: np.ndarray) -> float:
    """Pearson's correlation of ranks, of ties the mean rank."""

    def ranks(values: np.ndarray) -> list[float]:
        return [float((values < value).sum() + ((values == value).sum() + 1) / 2) for value in values]

    return float(np.corrcoef(ranks(one), ranks(other))[0, 1])


def slow_kendall(one: np.ndarray, other: np.ndarray) -> float:
    """Tau-b by all pairs."""
    first, second = (np.sign(values[:, None] - values[None]).astype(np.int64) for values in (one, other))
    return float((first * second).sum() / np.sqrt(float((first**2).sum()) * float((second**2).sum())))


def test_against_slow_correlations() -> None:
    rng = np.random.default_rng(0)
    test = np.full(
        nb201.SIZE, 1.0
    )  # All but a few are equal, so that all pairs of the best tenth, and they alone, can be compared.
    best = rng.choice(nb201.SIZE, 1_600, replace=False)
    test[best] = 50 + np.arange(1_600) / 100
    estimate = np.round(rng.uniform(20, 80, nb201.SIZE), 1)
    low, _ = fidelities(benchmark({12: estimate, 200: test}, test), "cifar100")
    top = test >= np.quantile(test, 0.9)
    assert 1_500 < top.sum() < 1_600
    assert low.spearman_top == pytest.approx(slow_spearman(estimate[top], test[top]))
    assert low.kendall_top == pytest.approx(slow_kendall(estimate[top], test[top]))
    assert low.chosen == pytest.approx(test[estimate == estimate.max()].mean())


def test_curves_give_the_budgets_between() -> None:
    test = 50 + np.arange(nb201.SIZE) / 1000
    curve = np.linspace(40, 60, 12) + np.zeros((nb201.SIZE, 1))
    curve[:, 0] = 90 - test  # After one epoch the order is the other way round,
    curve[:, 1] = test - 20  # after two it is that of the test.
    found = fidelities(benchmark({12: test, 200: test}, test, {12: curve + np.arange(nb201.SIZE)[:, None] % 2}), "cifar100")
    assert [(one.after, one.trained) for one in found] == [(1, 12), (2, 12), (4, 12), (8, 12), (12, 12), (200, 200)]
    assert found[0].cost == pytest.approx(1 / 200) and found[0].spearman < -0.99 and found[1].spearman > 0.99
    assert (found[-1].spearman, found[-1].kendall) == pytest.approx((1, 1))
    assert found[-1].chosen == pytest.approx(test.max())


def test_a_single_budget() -> None:
    test = 50 + np.arange(nb201.SIZE) / 1000
    with pytest.raises(UserError, match="a single budget of cifar100, 12 epochs, and no curve"):
        fidelities(benchmark({12: test}, test), "cifar100")
    low, high = fidelities(benchmark({12: test}, test, {12: test[:, None] + np.zeros(12)}), "cifar100")[-2:]
    assert (low.after, high.after) == (8, 12)
    with pytest.raises(UserError, match="The table has no cifar10-valid x-valid"):
        fidelities(benchmark({12: test}, test), "cifar10")
    with pytest.raises(UserError, match="not on nb201's 'svhn'"):
        fidelities(benchmark({12: test}, test), "svhn")


def test_the_published_table(nb201_table: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = nb201_table
    low, high = fidelities(read_plain(table), "cifar10")
    assert (round(low.spearman, 3), round(low.spearman_top, 3), round(high.spearman, 3)) == (0.772, 0.504, 0.984)
    with pytest.raises(SystemExit) as end:
        cli.main(["table", "fidelity", str(table), "--json"])
    assert end.value.code == 0
    twelve = [one for one in json.loads(capsys.readouterr().out) if one["trained"] == 12]
    assert [round(one["spearman"], 3) for one in twelve] == [0.772, 0.825, 0.818]

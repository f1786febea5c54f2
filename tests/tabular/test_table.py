"""The table that searches run on."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnas.errors import UserError
from jaxnas.tabular import Table, read_plain, table_of


def toy(**changes: Any) -> Table:
    choices = np.array([[1, 2], [0, 0], [0, 1], [1, 1], [1, 0], [0, 2]])
    fields: dict[str, Any] = {
        "name": "toy",
        "positions": ("first", "second"),
        "operations": (("none", "skip"), ("none", "conv", "pool")),
        "choices": choices,
        "budgets": np.array([12, 200]),
        "validation": np.arange(12.0).reshape(6, 2),
        "test": np.arange(6.0),
        "seconds": np.ones((6, 2)),
        "averaged": "one run",
    }
    return Table(**fields | changes)


def test_lookup_finds_every_row_inside_jit_too() -> None:
    table = toy()
    np.testing.assert_array_equal(table.lookup(table.choices), np.arange(6))
    np.testing.assert_array_equal(jax.jit(table.lookup)(jnp.asarray(table.choices)), np.arange(6))
    assert table.cardinality.tolist() == [2, 3] and table.radix.tolist() == [3, 1]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"choices": np.zeros((6, 2))}, "every combination"),
        ({"choices": np.full((6, 2), 3)}, "every combination"),
        ({"choices": np.zeros((5, 2))}, r"choices has the shape \(5, 2\), \(6, 2\) is needed"),
        ({"test": np.array([1, 2, 3, np.nan, 5, 6])}, "test, architecture 3: nan is not an accuracy"),
        ({"validation": np.full((6, 2), 101)}, "validation, architecture 0: 101.0 is not an accuracy"),
        ({"seconds": np.zeros((6, 2))}, "seconds, architecture 0: 0.0 is not a time"),
        ({"budgets": np.array([200, 12])}, "must rise"),
        ({"validation": np.ones((6, 1))}, "validation has the shape"),
    ],
)
def test_what_is_no_table(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said):
        toy(**changes)


def test_what_searches_see_of_nas_bench_201(nb201_table: Path) -> None:
    benchmark = read_plain(nb201_table)
    table = table_of(benchmark, "cifar10")
    assert table.budgets.tolist() == [12, 200]
    assert round(float(table.test.max()), 2) == 94.37 and int(table.test.argmax()) == 6111
    assert round(float(table.validation[:, 1].max()), 2) == 91.61
    # A training on half of the images for 12 epochs, of architecture 0 in the official records.
    np.testing.assert_allclose(table.seconds[0], [86.65311598777771, 1444.2185997962952], rtol=1e-6)
    assert "mean of 2 runs, of the benchmark's seeds 111 and 777" in table.averaged
    with pytest.raises(UserError, match="cifar10, cifar100, ImageNet16-120"):
        table_of(benchmark, "cifar10-valid")
    twelve = {key: found for key, found in benchmark.accuracy.items() if key[2] == 12}
    with pytest.raises(UserError, match="The table has no cifar10 ori-test 200 epochs. It has: .*cifar10 ori-test 12 epochs"):
        table_of(dataclasses.replace(benchmark, accuracy=twelve), "cifar10")

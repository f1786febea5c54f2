"""On NAS-Bench-201: what random search and regularised evolution find there is known."""

from __future__ import annotations

from pathlib import Path

import jax
import numpy as np
import pytest

from jaxnas.blackbox import Arrays, Searcher, arrays_of, random_search, regularised_evolution, search_seeds
from jaxnas.tabular import Table, read_plain, table_of


@pytest.fixture(scope="module")
def table(data_dir: Path) -> Table:
    file = data_dir / "nasbench201" / "nb201_main.npz"
    if not file.is_file():
        pytest.skip(f"NAS-Bench-201's table not found: {file}")
    return table_of(read_plain(file), "cifar10")


def found(searcher: Searcher, table: Table, queries: int) -> np.ndarray:
    """``[200]``: test accuracies, in percent, of the best by 12 epochs' validation accuracy."""
    arrays: Arrays = arrays_of(table)
    trace = search_seeds(searcher, arrays, jax.random.split(jax.random.key(0), 200), queries)
    return table.test[np.asarray(trace.best)[:, -1]].astype(np.float64)


def test_random_search_finds_what_it_is_known_to_find(table: Table) -> None:
    accuracy = found(random_search(table.cardinality.tolist()), table, 100)
    assert accuracy.mean() == pytest.approx(93.73, abs=0.10)
    assert 0.30 <= accuracy.std() <= 0.43


def test_evolution_finds_what_it_is_known_to_find(table: Table) -> None:
    assert found(regularised_evolution(table.cardinality.tolist(), 10, 3), table, 200).mean() == pytest.approx(94.13, abs=0.10)

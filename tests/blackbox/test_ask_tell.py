"""One implementation, two drivers: asked from Python a searcher asks what it asks inside jit; and mistakes of who tells."""

from __future__ import annotations

from collections.abc import Callable

import jax
import numpy as np
import pytest

from jaxnas.blackbox import (
    AskTell,
    Searcher,
    Trial,
    arrays_of,
    ask_table,
    independent,
    local_search,
    lstm,
    random_search,
    regularised_evolution,
    reinforce,
    search_seeds,
    successive_halving,
)
from jaxnas.errors import UserError
from jaxnas.tabular import Table

SIZES = (3, 2, 4)
SEARCHERS: dict[str, Callable[[], Searcher]] = {
    "random": lambda: random_search(SIZES),
    "evolution": lambda: regularised_evolution(SIZES, 5, 2, budget=1),
    "local": lambda: local_search(SIZES),
    "halving": lambda: successive_halving(SIZES, [3, 9], arms=6),
    "reinforce": lambda: reinforce(independent(SIZES), 0.1),
    "lstm": lambda: reinforce(lstm(SIZES), 0.01),
}


@pytest.fixture(scope="module")
def table() -> Table:
    choices = np.array(list(np.ndindex(SIZES)))
    numbers = np.random.default_rng(0)
    percent = numbers.integers(0, 100, (len(choices), 2))
    order = numbers.permutation(len(choices))
    names = tuple(tuple(f"o{i}" for i in range(size)) for size in SIZES)
    seconds = numbers.uniform(1, 9, (len(choices), 2))
    return Table("toy", ("a", "b", "c"), names, choices[order], np.array([3, 9]), percent, percent[:, 1], seconds, "one run")


@pytest.mark.parametrize("name", SEARCHERS)
def test_both_drivers_ask_the_same(name: str, table: Table) -> None:
    searcher = SEARCHERS[name]()
    inside = search_seeds(searcher, arrays_of(table), jax.random.key(7)[None], 40)
    outside = ask_table(AskTell(searcher, seed=7), table, 40)
    for field in ("index", "budget", "validation", "best"):
        np.testing.assert_array_equal(np.asarray(getattr(inside, field))[0], np.asarray(getattr(outside, field)), field)
    np.testing.assert_allclose(np.asarray(inside.seconds)[0], np.asarray(outside.seconds), rtol=1e-6)


def test_a_trace_says_what_the_table_has(table: Table) -> None:
    trace = jax.tree.map(np.asarray, search_seeds(SEARCHERS["halving"](), arrays_of(table), jax.random.key(0)[None], 16))
    index, budget = trace.index[0], trace.budget[0]
    assert budget.tolist() == ([0] * 6 + [1] * 2) * 2
    np.testing.assert_array_equal(trace.validation[0], table.validation[index, budget])
    np.testing.assert_allclose(trace.seconds[0], np.cumsum(table.seconds[index, budget]), rtol=1e-6)
    for query in range(16):
        seen = list(zip(budget[: query + 1], trace.validation[0, : query + 1], -np.arange(query + 1), strict=True))
        assert trace.best[0, query] == index[-max(seen)[2]]


def test_keys_are_searches_of_their_own(table: Table) -> None:
    trace = search_seeds(SEARCHERS["random"](), arrays_of(table), jax.random.split(jax.random.key(0), 5), 40)
    assert len({tuple(row) for row in np.asarray(trace.index).tolist()}) == 5


def test_what_is_told_wrongly_is_refused(table: Table) -> None:
    search = AskTell(random_search(SIZES), seed=0)
    trial = search.ask()
    assert trial is not None
    with pytest.raises(UserError, match="is nan.*failed the worst"):
        search.tell(trial, float("nan"))
    with pytest.raises(UserError, match="not asked"):
        search.tell(Trial((9, 9, 9), 0), 1.0)
    search.tell(trial, 1.0)
    with pytest.raises(UserError, match="told before"):
        search.tell(trial, 1.0)
    with pytest.raises(UserError, match="toy has"):
        ask_table(AskTell(random_search([2, 2]), seed=0), table, 3)

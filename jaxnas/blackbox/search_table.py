"""Searchers on a table: all queries of a search in one scan, all seeds in one program."""

from __future__ import annotations

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from jaxnas.blackbox.ask_tell import Asking, init_key, question_key
from jaxnas.blackbox.searcher import Searcher
from jaxnas.errors import UserError
from jaxnas.tabular import Table


class Arrays(NamedTuple):
    """What a search sees of a table, for use inside jit; it has no test accuracies.

    Attributes:
      index_of: ``[A]`` int32, the row of the architecture of each code.
      radix: ``[positions]`` int32, the code is ``choices @ radix``.
      validation: ``[A, budgets]`` float32, percent.
      seconds: ``[A, budgets]`` float32, of one training.
    """

    index_of: Array
    radix: Array
    validation: Array
    seconds: Array


class Trace(NamedTuple):
    """What a search did, by query.

    Attributes:
      index: ``[queries]`` int32, the row that was asked.
      budget: ``[queries]`` int32, at which budget.
      validation: ``[queries]`` float32, what was answered, in percent.
      best: ``[queries]`` int32, the row of the best answer so far at the largest budget so far, the first of equal ones.
      seconds: ``[queries]`` float32, simulated seconds until the answer, one training after the other. A repeated question is
        paid again, as in NAS-Bench-201's baselines.
    """

    index: Array
    budget: Array
    validation: Array
    best: Array
    seconds: Array


def arrays_of(table: Table) -> Arrays:
    """The part of a table that a search sees."""
    columns = (table.index_of, table.radix, table.validation, table.seconds)
    return Arrays(*(jnp.asarray(column) for column in columns))


def search_table(searcher: Searcher, arrays: Arrays, key: Array, queries: int) -> Trace:
    """A search on a table, to be jitted and, over keys, vmapped (:func:`search_seeds`).

    >>> import numpy as np
    >>> from jaxnas.blackbox import random_search
    >>> arrays = Arrays(jnp.arange(4), jnp.array([2, 1]), jnp.array([[1.0], [2.0], [3.0], [4.0]]), jnp.ones((4, 1)))
    >>> trace = search_table(random_search([2, 2]), arrays, jax.random.key(0), 50)
    >>> int(trace.best[-1]), float(trace.seconds[-1])
    (3, 50.0)
    """

    def query(carry: tuple, number: Array) -> tuple[tuple, Trace]:
        state, best, best_budget, best_value, seconds = carry
        state, question = searcher.ask(state, question_key(key, number))
        row = arrays.index_of[question.choices @ arrays.radix]
        value = arrays.validation[row, question.budget]
        state = searcher.tell(state, question, value)
        longer, equal = question.budget > best_budget, question.budget == best_budget
        better = longer | (equal & (value > best_value))
        best = jnp.where(better, row, best)
        best_value, best_budget = jnp.where(better, value, best_value), jnp.maximum(best_budget, question.budget)
        seconds += arrays.seconds[row, question.budget]
        return (state, best, best_budget, best_value, seconds), Trace(row, question.budget, value, best, seconds)

    start = (searcher.init(init_key(key)), jnp.int32(0), jnp.int32(-1), jnp.float32(-jnp.inf), jnp.float32(0))
    return lax.scan(query, start, jnp.arange(queries))[1]


@functools.partial(jax.jit, static_argnums=(0, 3), static_argnames="at_once")
def search_seeds(searcher: Searcher, arrays: Arrays, keys: Array, queries: int, at_once: int | None = None) -> Trace:
    """:func:`search_table` of many keys in one program; the trace's arrays are ``[keys, queries]``.

    Args:
      keys: ``[keys]``, of each search its own.
      at_once: how many searches go side by side, one such group after the other; all by default.
    """
    return lax.map(lambda key: search_table(searcher, arrays, key, queries), keys, batch_size=at_once or len(keys))


def ask_table(asking: Asking, table: Table, queries: int) -> Trace:
    """The same of a searcher that is asked and told from Python, as those of libraries are, on the host.

    Raises:
      UserError: it chooses at other positions or between other choices than the table has; it waits although all is told.
    """
    if asking.cardinality != tuple(table.cardinality.tolist()):
        raise UserError(
            f"A searcher of {asking.cardinality} choices, and {table.name} has {tuple(table.cardinality.tolist())}."
        )
    rows: list[tuple[int, int, float, int, float]] = []
    best, best_at, seconds = 0, (-1, -np.inf), np.float32(0)
    for _ in range(queries):
        trial = asking.ask()
        if trial is None:
            raise UserError("The searcher waits for an answer, and none is open.")
        row = int(table.lookup(np.asarray(trial.choices)))
        value = float(table.validation[row, trial.budget])
        asking.tell(trial, value)
        if (trial.budget, value) > best_at:
            best, best_at = row, (trial.budget, value)
        seconds += table.seconds[row, trial.budget]
        rows.append((row, trial.budget, value, best, float(seconds)))
    columns = zip(*rows, strict=True)
    types = (np.int32, np.int32, np.float32, np.int32, np.float32)
    return Trace(*(jnp.asarray(np.array(column, dtype)) for column, dtype in zip(columns, types, strict=True)))

"""Every black-box searcher on one table: what it finds for what cost, with the confidence that many seeds give."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from scipy import stats

from jaxnas import axes
from jaxnas.blackbox import (
    INDEPENDENT_RATE,
    LSTM_RATE,
    Searcher,
    Trace,
    arrays_of,
    ask_table,
    independent,
    local_search,
    lstm,
    random_search,
    regularised_evolution,
    reinforce,
    rung_sizes,
    search_seeds,
    successive_halving,
)
from jaxnas.errors import UserError
from jaxnas.tabular import Table

POINTS = 50
"""Of a curve, at equal distances of cost."""

CONFIDENCE = 0.95
BAYESIAN_SEEDS = 5
ARMS = 50
RANDOM = "random search"
COLOURS = ("#1f5fa8", "#c2410c", "#15803d", "#7e22ce", "#0e7490", "#a16207", "#be185d")


class Baseline(NamedTuple):
    """A searcher inside jit.

    Attributes:
      name: for tables and pictures.
      values: of its parameters, and where they are from.
      build: ``build(cardinality)``, trained at the first budget.
      at_once: searches side by side, see :func:`jaxnas.blackbox.search_seeds`.
    """

    name: str
    values: str
    build: Callable[[Sequence[int]], Searcher]
    at_once: int | None = None


BASELINES = (
    Baseline(RANDOM, "with replacement, as NAS-Bench-201's RS", random_search),
    Baseline(
        "regularised evolution",
        "population 10, sample 3, as NAS-Bench-201's REA",
        lambda cardinality: regularised_evolution(cardinality, 10, 3),
    ),
    Baseline("local search", "to the first better neighbour, with restarts", local_search),
    Baseline(
        "REINFORCE, independent",
        f"Adam at {INDEPENDENT_RATE}, as NATS-Bench's scripts",
        lambda cardinality: reinforce(independent(cardinality), INDEPENDENT_RATE),
    ),
    # XLA:CPU compiles the many small matrix products of LSTMs side by side for minutes, of one for seconds.
    Baseline(
        "REINFORCE, LSTM",
        f"Zoph and Le's controller, Adam at {LSTM_RATE}, as ENAS's",
        lambda cardinality: reinforce(lstm(cardinality), LSTM_RATE),
        at_once=1,
    ),
)


class Curves(NamedTuple):
    """What a searcher's seeds found by some costs.

    Attributes:
      mean: ``[C]``, of the test accuracy of what each seed has found; NaN before all have an answer.
      low, high: ``[C]``, of the confidence interval of that mean, by Student's t.
      deviation: ``[C]``, of the seeds (population deviation, as papers have it).
    """

    mean: np.ndarray
    low: np.ndarray
    high: np.ndarray
    deviation: np.ndarray


def at_costs(seconds: np.ndarray, values: np.ndarray, costs: np.ndarray) -> np.ndarray:
    """``[seeds, C]``: of each seed the value of its last answer by each cost; NaN before its first.

    Args:
      seconds: ``[seeds, queries]``, rising: when each answer came.
      values: ``[seeds, queries]``, what it had found by then.
      costs: ``[C]``.

    >>> at_costs(np.array([[1.0, 3.0]]), np.array([[7.0, 8.0]]), np.array([0.5, 1.0, 2.9, 3.0]))
    array([[nan,  7.,  7.,  8.]])
    """
    last = np.stack([np.searchsorted(row, costs, side="right") - 1 for row in seconds])
    found = np.take_along_axis(values.astype(np.float64), np.maximum(last, 0), 1)
    return np.where(last >= 0, found, np.nan)


def curves(found: np.ndarray) -> Curves:
    """Mean, confidence and deviation over seeds.

    Args:
      found: ``[seeds, C]``, at least two seeds.

    >>> [round(float(part[0]), 3) for part in curves(np.array([[93.0], [94.0]]))]
    [93.5, 87.147, 99.853, 0.5]
    """
    seeds = len(found)
    mean, error = found.mean(0), found.std(0, ddof=1) / np.sqrt(seeds)
    half = stats.t.ppf((1 + CONFIDENCE) / 2, seeds - 1) * error
    return Curves(mean, mean - half, mean + half, found.std(0))


def compared(found: np.ndarray, random: np.ndarray) -> dict[str, Any]:
    """A searcher beside random search: the difference of the means with its confidence (Welch's t), and a word.

    >>> compared(np.array([94.0, 94.2, 94.1]), np.array([93.0, 93.2, 93.1]))["verdict"]
    'wins'
    """
    difference = float(found.mean() - random.mean())
    variances = [part.var(ddof=1) / len(part) for part in (found, random)]
    total = sum(variances)
    parts = sum(variance**2 / (len(part) - 1) for variance, part in zip(variances, (found, random), strict=True))
    half = float(stats.t.ppf((1 + CONFIDENCE) / 2, total**2 / parts) * np.sqrt(total)) if total else 0.0
    word = "wins" if difference > 0 else "loses" if difference < 0 else "equal"
    return {
        "difference": difference,
        "half_width": half,
        "verdict": word if abs(difference) > half else f"{word}, within the error",
    }


def run(table: Table, seeds: int, queries: int, seed: int, say: Callable[[str], None]) -> dict[str, Any]:
    """Runs every searcher on a table, each with many seeds.

    All but successive halving train every architecture at the table's first budget and ask as often as is said; halving has as
    many brackets as train at least as many epochs. What is compared is the test accuracy of what a search would hand over, the
    best by validation accuracy, at equal cost: simulated seconds of training, one after the other. The costs end where the
    first of all searches does, so that every curve is of all its seeds.

    Args:
      seeds: searches of each searcher inside jit; of Bayesian optimisation there are :data:`BAYESIAN_SEEDS`.
      queries: of each search.
      seed: of all random numbers.
      say: told of each searcher when it is done.

    Returns:
      What ``baselines.json`` holds.

    Raises:
      UserError: fewer than two seeds or queries.
    """
    from jaxnas.blackbox.bayesian import Bayesian  # Not above: scikit-learn takes seconds to import.

    for number, what in ((seeds, "seeds"), (queries, "queries")):
        if number < 2:
            raise UserError(f"The number of {what} is {number}; it must be at least 2.")
    cardinality, arrays = table.cardinality.tolist(), arrays_of(table)
    keys = jax.random.split(jax.random.key(seed), seeds)
    done: list[tuple[str, str, Trace, float]] = []

    def add(name: str, values: str, search: Callable[[], Trace]) -> None:
        began = time.perf_counter()
        trace = jax.device_get(search())
        done.append((name, values, trace, time.perf_counter() - began))
        accuracy = table.test[trace.best[:, -1]].mean(dtype=np.float64)
        say(f"{name}: {len(trace.best)} seeds in {done[-1][-1]:.1f} s, {accuracy:.2f} after {trace.best.shape[1]} queries")

    for one in BASELINES:
        searcher = one.build(cardinality)
        add(
            one.name,
            one.values,
            lambda s=searcher, at_once=one.at_once: search_seeds(s, arrays, keys, queries, at_once=at_once),
        )
    if len(table.budgets) > 1:
        budgets = table.budgets.tolist()
        longer = halving_queries(budgets, queries)
        halving = successive_halving(cardinality, budgets, ARMS)
        values = f"{ARMS} architectures a bracket, {' and '.join(map(str, budgets))} epochs"
        add("successive halving", values, lambda: search_seeds(halving, arrays, keys, longer))
    else:
        say(f"successive halving: left out, the table has one budget, {table.budgets[0]} epochs")
    add(
        "Bayesian optimisation",
        "Gaussian process by scikit-learn, expected improvement",
        lambda: stacked([ask_table(Bayesian(cardinality, seed + i), table, queries) for i in range(BAYESIAN_SEEDS)]),
    )
    return summary(table, done, queries)


def stacked(traces: Sequence[Trace]) -> Trace:
    """Traces of single searches as one of all."""
    return Trace(*(jnp.stack(parts) for parts in zip(*traces, strict=True)))


def halving_queries(budgets: Sequence[int], queries: int) -> int:
    """Questions of whole brackets of successive halving that train for at least as many epochs, and one bracket more.

    >>> halving_queries([12, 200], 200)
    159
    """
    sizes = rung_sizes(ARMS, budgets)
    epochs = sum(size * budget for size, budget in zip(sizes, budgets, strict=True))
    return (-(-queries * budgets[0] // epochs) + 1) * sum(sizes)


def summary(table: Table, done: Sequence[tuple[str, str, Trace, float]], queries: int) -> dict[str, Any]:
    """What ``baselines.json`` holds, of traces with their searchers' names, values and seconds; random search is the first."""
    end = min(float(trace.seconds[:, -1].min()) for _, _, trace, _ in done)
    costs = np.linspace(end / POINTS, end, POINTS)
    tests = [table.test[trace.best].astype(np.float64) for _, _, trace, _ in done]
    by_cost = [at_costs(np.asarray(trace.seconds), test, costs) for (_, _, trace, _), test in zip(done, tests, strict=True)]
    searchers = []
    for (name, values, trace, elapsed), test, found in zip(done, tests, by_cost, strict=True):
        last = test[:, -1]
        one = {
            "name": name,
            "values": values,
            "seeds": len(test),
            "queries": test.shape[1],
            "by_queries": {
                str(count): {"mean": test[:, count - 1].mean(), "deviation": test[:, count - 1].std()}
                for count in (10, 20, 50, 100)
                if count < test.shape[1]
            },
            "after_queries": {"mean": last.mean(), "deviation": last.std(), "seconds": trace.seconds[:, -1].mean()},
            "at_equal_cost": {"mean": found[:, -1].mean(), "deviation": found[:, -1].std()},
            "curve": {field: part.round(5).tolist() for field, part in curves(found)._asdict().items()},
            "wall_seconds": elapsed,
        }
        if name != RANDOM:
            one["at_equal_cost"]["against_random"] = compared(found[:, -1], by_cost[0][:, -1])
            if test.shape[1] == queries:
                one["after_queries"]["against_random"] = compared(last, tests[0][:, -1])
        searchers.append(_plain(one))
    return {
        "table": table.name,
        "averaged": table.averaged,
        "best_test_accuracy": float(table.test.max()),
        "queries": queries,
        "confidence": CONFIDENCE,
        "costs": costs.round(2).tolist(),
        "searchers": searchers,
    }


def _plain(value: Any) -> Any:
    """With Python's numbers for NumPy's."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return value.item() if isinstance(value, np.generic) else value


def picture(result: dict[str, Any]) -> str:
    """An SVG of what :func:`run` returns: a curve for each searcher with the confidence of its mean as a band.

    The first tenth of the cost is left out, in which the mean rises from that of a random architecture.

    Raises:
      UserError: no cost in it at which every search has an answer.
    """
    costs = np.asarray(result["costs"])
    shown = costs >= costs[-1] / 10
    bands = [{part: np.asarray(values)[shown] for part, values in one["curve"].items()} for one in result["searchers"]]
    heights = np.concatenate([band[part] for band in bands for part in ("low", "high")])
    heights = heights[np.isfinite(heights)]
    if not len(heights):
        raise UserError("No curve can be drawn: ask for more queries.")
    frame = axes.around(costs[shown].tolist(), [*heights.tolist(), result["best_test_accuracy"]])
    title = f"{result['table']}: mean test accuracy of what is found, {result['confidence']:.0%} confidence"
    parts = frame.drawn(title, "simulated seconds of training", "percent")
    best = frame.at((frame.x_ticks[0], result["best_test_accuracy"]))[1]
    edges = axes.LEFT, axes.WIDTH - axes.RIGHT
    parts.append(f'<path d="M{edges[0]} {best}H{edges[1]}" stroke="#000" stroke-dasharray="4 3"/>')
    for i, (one, band) in enumerate(zip(result["searchers"], bands, strict=True)):
        colour, there = COLOURS[i % len(COLOURS)], np.isfinite(band["mean"])
        along = costs[shown][there].tolist()
        line, low, high = (
            [frame.at(at) for at in zip(along, band[part][there].tolist(), strict=True)] for part in Curves._fields[:3]
        )
        parts.append(f'<path d="M{_through([*low, *reversed(high)])}Z" fill="{colour}" fill-opacity="0.15"/>')
        parts.append(f'<path d="M{_through(line)}" fill="none" stroke="{colour}" stroke-width="1.5"/>')
        y = axes.HEIGHT - axes.BOTTOM - 14 * (len(bands) - i)
        parts.append(f'<path d="M{edges[1] - 190} {y - 4}h16" stroke="{colour}" stroke-width="3"/>')
        parts.append(axes.text(edges[1] - 168, y, one["name"], "start"))
    return axes.svg(parts)


def _through(points: Sequence[axes.Point]) -> str:
    return "L".join(f"{x} {y}" for x, y in points)

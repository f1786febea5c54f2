"""``jaxnas reproduce``: published results, what it takes to get them, and whether they hold."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import rich.table
import tyro

from jaxnas import registry
from jaxnas.commands.arguments import JsonTarget, parse
from jaxnas.commands.json_output import json_output
from jaxnas.commands.reproduce_runs import Place, planned, run
from jaxnas.commands.wide_table import print_table
from jaxnas.errors import UserError
from jaxnas.registry import Expected, Result
from jaxnas.reproducing import Verdict, all_hold, as_record, counted, day, judged


def main(arguments: list[str]) -> int:
    """Prints what came out beside what was published; 1 where a result does not hold."""
    return parse(_reproduce, arguments, "reproduce", "Published results: all of them, or whether some hold.")


def _reproduce(
    names: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="[NAME...]")] = (),
    data_dir: Path | None = None,
    table: Path | None = None,
    out: Path | None = None,
    dry_run: bool = False,
    record: bool = False,
    json: JsonTarget = None,
) -> int:
    """Reproduce published results; without a name, list them with what was measured last.

    Args:
      names: of results.
      data_dir: folder of the dataset's official files.
      table: where a result needs one: of NAS-Bench-201, or of latencies.
      out: folder of the runs, runs/reproduce by default, where each result has its own. Repeat the command to go on: what is
        finished there is kept.
      dry_run: print what would be run and what it costs, and run nothing.
      record: write what comes out into the result's file, in a checkout.
    """
    with json_output(json) as write:
        results = [registry.find(name) for name in names or registry.names()]
        if not names:
            _listed(results)
            write({"results": [_as_json(result) for result in results]})
            return 0
        places = {result.name: Place((out or Path("runs") / "reproduce") / result.name, data_dir, table) for result in results}
        if dry_run:
            for result in results:
                print("\n".join(_planned(result, places[result.name])))
            write({"results": [_as_json(result) for result in results]})
            return 0
        if len(set(names)) < len(names):
            raise UserError("A result is named twice.")
        came = [_one(result, places[result.name], record) for result in results]
        write({"results": came})
    return 1 if any(one["holds"] is False for one in came) else 0


def _one(result: Result, place: Place, record: bool) -> dict[str, Any]:
    """Gets one result, says what came out, and returns it."""
    began = time.perf_counter()
    if record:
        registry.check_recordable()  # Before hours are spent.
    values, cost = (counted(result), {}) if result.count else run(result, place)
    verdicts = judged(result, values)
    measured = as_record(verdicts, {**cost, "wall": round(time.perf_counter() - began, 3)})
    print("\n".join(said(result, verdicts)))
    if record:
        print(f"  recorded in {registry.record(result.name, measured)}")
    return {"name": result.name, **measured}


def said(result: Result, verdicts: Sequence[Verdict]) -> list[str]:
    """What came out, a line for each quantity, and whether all holds."""
    lines = [f"{result.name}: {result.title}", f"  {result.source}"]
    for verdict in verdicts:
        mark = {True: "holds", False: "DOES NOT HOLD", None: "nothing to compare with"}[verdict.holds]
        deviation = "n=1, no deviation" if verdict.deviation is None else f"+- {verdict.deviation:.2f}, n={verdict.number}"
        exact = verdict.expected.tolerance == 0
        number = f"{verdict.mean:,}" if exact else f"{verdict.mean:.2f} ({deviation})"
        lines.append(f"  {mark}: {verdict.expected.quantity}: {number}; published {_published(verdict.expected)}")
    end = {True: "holds", False: "does not hold", None: "has nothing to be compared with"}[all_hold(verdicts)]
    return [*lines, f"{result.name} {end}."]


def _published(expected: Expected) -> str:
    """What was published, in words."""
    if expected.value is None:
        return f"nothing known: {expected.said}"
    if expected.tolerance == 0:
        return f"{expected.value:,}"
    spread = "" if expected.spread is None else f" +- {expected.spread:g}"
    return f"{expected.value:g}{spread}, tolerance {expected.tolerance:g}"


def _planned(result: Result, place: Place) -> list[str]:
    """What would be run, and its cost."""
    lines = [f"{result.name}: {result.title}", f"  source: {result.source}", f"  protocol: {result.protocol}"]
    lines.append(f"  published cost: {result.published_cost or 'not known'}")
    lines.append(f"  our cost, last: {_cost(result)}")
    lines += [f"  differs: {result.differs}"] if result.differs else []
    if result.count:
        return [*lines, f"  counts {_figures(result)}; nothing is trained"]
    lines += [f"  expected: {one.quantity}: {_published(one)}" for one in result.expected]
    return [*lines, *(f"  {line}" for line in planned(result, place))]


def _cost(result: Result) -> str:
    if result.measured is None:
        return "not run"
    return ", ".join(f"{what} {seconds:,.1f} s" for what, seconds in result.measured["cost"].items() if seconds is not None)


def _listed(results: Sequence[Result]) -> None:
    """A row for each result: what is expected, and what came out last, where and when."""
    table = rich.table.Table(box=None, pad_edge=False)
    for column in ("name", "published", "last measured", "", "when", "device"):
        table.add_column(column)
    for result in results:
        more = len(result.expected) - 1
        expected = _figures(result) if result.count else f"{_short(result.expected[0])}{f' and {more} more' if more else ''}"
        table.add_row(result.name, expected, *_last(result))
    print_table(table)


def _figures(result: Result) -> str:
    return "1 figure" if len(result.expected) == 1 else f"{len(result.expected)} figures"


def _short(expected: Expected) -> str:
    if expected.value is None:
        return f"{expected.quantity}: not known"
    spread = "" if expected.spread is None else f" +- {expected.spread:g}"
    return f"{expected.quantity}: {expected.value:g}{spread}"


def _last(result: Result) -> tuple[str, ...]:
    """What came out last, whether it held, when and where."""
    measured = result.measured
    if measured is None:
        return "not run", "", "", ""
    holds = {True: "holds", False: "does not hold", None: "nothing to compare with"}[measured["holds"]]
    value = measured["values"][result.expected[0].quantity]
    deviation = "" if value["deviation"] is None else f" +- {value['deviation']:.2f}"
    number = _figures(result) if result.count else f"{value['mean']:.2f}{deviation} (n={value['number']})"
    return number, holds, day(measured), ", ".join(measured["devices"])


def _as_json(result: Result) -> dict[str, Any]:
    """A result as its file has it, with its name."""
    return dataclasses.asdict(result)

"""Whether a published result holds: what needs no training is counted here, the rest is judged from the folders of runs."""

from __future__ import annotations

import dataclasses
import datetime
import statistics
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

from jaxnas import published, table_query
from jaxnas.errors import UserError
from jaxnas.registry import Expected, Result
from jaxnas.run_folder import environment
from jaxnas.spaces import SpaceName, named_space
from jaxnas.tabular import nb101, nb201
from jaxnas.tabular import read as read_table

Values = Mapping[str, Sequence[float]]
"""By quantity what was measured of it: one number, or one of each seed."""


@dataclasses.dataclass(frozen=True)
class Verdict:
    """What was measured of one quantity, beside what was published.

    Attributes:
      expected: what was published.
      mean: of what was measured.
      deviation: sample deviation of it; None of one number.
      number: how many there are.
      holds: whether the mean is within the tolerance; None where nothing was published.
    """

    expected: Expected
    mean: float
    deviation: float | None
    number: int
    holds: bool | None


def judged(result: Result, values: Values) -> tuple[Verdict, ...]:
    """What was measured beside what was published, in the order of the file.

    Raises:
      UserError: a quantity that was not measured.
    """
    verdicts = []
    for expected in result.expected:
        found = values.get(expected.quantity)
        if not found:
            raise UserError(f"{result.name}: nothing measures {expected.quantity!r}. It knows: {', '.join(values)}.")
        mean = found[0] if len(found) == 1 else statistics.mean(found)  # A count stays the whole number that it is.
        deviation = statistics.stdev(found) if len(found) > 1 else None
        verdicts.append(Verdict(expected, mean, deviation, len(found), expected.holds(mean)))
    return tuple(verdicts)


def all_hold(verdicts: Sequence[Verdict]) -> bool | None:
    """Whether all hold of which something was published; None where nothing was.

    >>> unknown = Verdict(Expected("error", None, said="not known"), 3.0, None, 1, None)
    >>> all_hold([unknown]), all_hold([unknown, dataclasses.replace(unknown, holds=False)])
    (None, False)
    """
    known = [verdict.holds for verdict in verdicts if verdict.holds is not None]
    return all(known) if known else None


def as_record(verdicts: Sequence[Verdict], cost: Mapping[str, float | None]) -> dict[str, Any]:
    """What the registry keeps of a measurement: values, and where, when and with what they came out.

    Args:
      cost: seconds, by what they were spent on.
    """
    where = environment()
    return {
        "holds": all_hold(verdicts),
        "date": where["date"],
        "devices": where["devices"],
        "processor": where["processor"],
        "packages": where["packages"],
        "cost": dict(cost),
        "values": {
            verdict.expected.quantity: {"mean": verdict.mean, "deviation": verdict.deviation, "number": verdict.number}
            for verdict in verdicts
        },
    }


def looked_up(result: Result, architectures: Sequence[str], table: Path) -> Values:
    """What a table of NAS-Bench-201 says of architectures, for the quantities ``dataset/split/epochs`` of a result.

    Args:
      architectures: strings of the benchmark, or folders of runs that found one.
      table: its file.

    Raises:
      UserError: the table lacks something of that, or is of another benchmark.
    """
    benchmark = read_table(table, "nb201")
    indices = [table_query.architecture(one, benchmark) for one in architectures]
    values = {}
    for expected in result.expected:
        dataset, split, epochs = expected.quantity.split("/")
        mean = benchmark.find(dataset, split, int(epochs)).mean
        values[expected.quantity] = [float(mean[index]) for index in indices]
    return values


def trained(accuracies: Sequence[float]) -> Values:
    """The quantities of trained networks, by their test accuracies in 0..1.

    >>> trained([0.9725])
    {'test accuracy, %': [97.25], 'test error, %': [2.75]}
    """
    percent = [round(100 * accuracy, 6) for accuracy in accuracies]
    return {"test accuracy, %": percent, "test error, %": [round(100 - one, 6) for one in percent]}


def counted(result: Result) -> Values:
    """The quantities of a result that needs no training.

    Raises:
      UserError: an unknown counter or network.
    """
    assert result.count is not None
    if result.count not in COUNTERS:
        raise UserError(f"{result.name}: unknown counter {result.count!r}. Known: {', '.join(COUNTERS)}.")
    return {quantity: [value] for quantity, value in COUNTERS[result.count]([one.quantity for one in result.expected]).items()}


def _networks(quantities: Sequence[str]) -> dict[str, int]:
    """Of published networks what :mod:`jaxnas.published` counts."""
    rows = {row.name: row for row in published.ROWS}
    wanted = dict.fromkeys(quantity.rpartition(": ")[0] for quantity in quantities)
    unknown = [name for name in wanted if name not in rows]
    if unknown:
        raise UserError(f"No published network is called {unknown[0]!r}.")
    return {f"{name}: {figure.name}": figure.ours for name in wanted for figure in published.check(rows[name])}


def _nasbench101(_: Sequence[str]) -> dict[str, int]:
    return {"architectures": len(nb101.enumerated().keys)}


def _nasbench201(_: Sequence[str]) -> dict[str, int]:
    """Cells by their strings, and those of them that compute different things."""
    return {
        "architectures": len(set(nb201.strings(nb201.all_choices()).tolist())),
        "architectures that differ": len(set(nb201.classes().tolist())),
    }


def _spaces(_: Sequence[str]) -> dict[str, int]:
    found = {}
    for name in get_args(SpaceName):
        space = named_space(name)
        found |= {f"{name}: genotypes": space.size, f"{name}: alphas": space.alphas}
    return found


COUNTERS: dict[str, Callable[[Sequence[str]], dict[str, int]]] = {
    "networks": _networks,
    "nasbench101": _nasbench101,
    "nasbench201": _nasbench201,
    "spaces": _spaces,
}
"""By name: from the quantities that are asked for to their numbers, and maybe more."""


def day(record: Mapping[str, Any]) -> str:
    """The day of a record, in words.

    >>> day({"date": "2026-11-29T06:00:00+00:00"})
    '2026-11-29'
    """
    return datetime.datetime.fromisoformat(str(record["date"])).date().isoformat()

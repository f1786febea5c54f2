"""The page that compares runs: by recipe the mean over seeds and its spread."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

from jaxnas.errors import UserError
from jaxnas.pareto import non_dominated
from jaxnas.report import charts
from jaxnas.report.facts import Run, number
from jaxnas.report.page import Chart, Drawing, Page, Section, Table
from jaxnas.report.run_page import drawn, percent


def comparison(runs: Sequence[Run]) -> Page:
    """The page of several runs.

    Raises:
      UserError: fewer than two.
    """
    if len(runs) < 2:
        raise UserError("A comparison needs the folders of at least two runs.")
    groups: dict[str, list[Run]] = {}
    for run in runs:
        groups.setdefault(run.name, []).append(run)
    problems = [f"{run.folder}: {problem}" for run in runs for problem in run.problems]
    sections, left_out = [_summary(groups), _runs(runs)], []
    for section, what in ((_curves(groups), "curves of the searches"), (_trade(runs), "accuracy against latency")):
        if section is None:
            left_out.append(what)
        else:
            sections.append(section)
    drawings = [
        Drawing(drawn(run.genotype, run.folder.name), f"{run.folder.name}: {percent(_accuracy(run))}")
        for run in runs
        if run.genotype is not None
    ]
    if drawings:
        sections.append(Section("networks", "Networks", "What each run found.", drawings))
    names = ", ".join(groups)
    return Page(f"jaxnas: {len(runs)} runs", f"Recipes: {names}.", sections, problems, left_out)


def _accuracy(run: Run) -> float | None:
    return number(run.network.get("test_accuracy"))


def spread(values: Sequence[float]) -> str:
    """Mean and sample deviation of shares; of one value there is none.

    >>> spread([0.9, 0.92, 0.94]), spread([0.9])
    ('92.00% ± 2.00%', '90.00%')
    """
    if not values:
        return "not known"
    deviation = f" ± {statistics.stdev(values):.2%}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.2%}{deviation}"


def _summary(groups: dict[str, list[Run]]) -> Section:
    rows = []
    for name, runs in groups.items():
        found = [value for run in runs if (value := _accuracy(run)) is not None]
        random = [number(row.get("test_accuracy")) for run in runs for row in run.rows[1:]]
        rows.append((name, str(len(found)), spread(found), spread([value for value in random if value is not None])))
    columns = ("recipe", "finished runs", "test accuracy, found", "random networks")
    text = "Means, with the sample deviation over runs (seeds) and, of the random networks, over all of them."
    return Section("summary", "Summary", text, [Table("Recipes beside each other.", columns, rows)])


def _runs(runs: Sequence[Run]) -> Section:
    rows = []
    for run in runs:
        seconds = run.result.get("seconds")
        total = number(seconds.get("total")) if isinstance(seconds, dict) else None
        parameters, latency = number(run.network.get("parameters")), _latency(run)
        rows.append(
            (
                run.folder.name,
                run.name,
                "" if run.recipe is None else str(run.recipe.seed),
                percent(_accuracy(run)),
                "" if parameters is None else f"{parameters:,.0f}",
                "" if latency is None else f"{latency:.4g}",
                "" if total is None else f"{total:,.0f}",
            )
        )
    columns = ("run", "recipe", "seed", "test accuracy", "parameters", "latency, ms", "seconds")
    return Section("runs", "Runs", "", [Table("Each run.", columns, rows)])


def _latency(run: Run) -> float | None:
    costs = run.result.get("costs")
    latency = costs.get("latency") if isinstance(costs, dict) else None
    return number(latency.get("measured", latency.get("derived"))) if isinstance(latency, dict) else None


def _curves(groups: dict[str, list[Run]]) -> Section | None:
    found = []
    for metric, title in (("valid_accuracy", "accuracy"), ("valid_loss", "loss")):
        by_recipe = {
            name: curves
            for name, runs in groups.items()
            if (curves := [c for run in runs if (c := run.series("search", metric))])
        }
        if by_recipe:
            found.append(_band(metric.replace("_", "-"), title, by_recipe))
    text = "Of the supernets on the validation halves: the mean over runs, and within the band all of them."
    return Section("curves", "Searches", text, found) if found else None


def _band(name: str, title: str, by_recipe: dict[str, list[list[tuple[int, float]]]]) -> Chart:
    means, values = {}, []
    for recipe, curves in by_recipe.items():
        epochs = sorted({epoch for curve in curves for epoch, _ in curve})
        at = {epoch: [value for curve in curves for e, value in curve if e == epoch] for epoch in epochs}
        means[recipe] = [(epoch, statistics.mean(found)) for epoch, found in at.items()]
        values += [{"x": epoch, "low": min(all_), "high": max(all_), "series": recipe} for epoch, all_ in at.items()]
    caption = f"Validation {title} of the searches, by recipe: mean and range over {max(map(len, by_recipe.values()))} runs."
    chart = charts.curves(name, caption, means, title, percent=title == "accuracy")
    lines: dict[str, Any] = chart.spec["layer"][0]["encoding"]
    area = {
        "data": {"values": values},
        "mark": {"type": "area", "opacity": 0.18},
        "encoding": {
            "x": lines["x"],
            "y": {**lines["y"], "field": "low"},
            "y2": {"field": "high"},
            "color": lines["color"],
        },
    }
    return Chart(chart.name, {**chart.spec, "layer": [area, *chart.spec["layer"]]}, caption, chart.numbers)


def _trade(runs: Sequence[Run]) -> Section | None:
    points = [
        (run.folder.name, latency, accuracy, run.name)
        for run in runs
        if (latency := _latency(run)) is not None and (accuracy := _accuracy(run)) is not None
    ]
    if not points:
        return None
    pairs = [(x, y) for _, x, y, _ in points]
    front = [pair for pair, kept in zip(pairs, non_dominated(pairs), strict=True) if kept]
    caption = "Test accuracy against latency, measured where it was; the line is the Pareto front of these runs."
    chart = charts.scatter("trade", caption, points, "latency, ms", "test accuracy", front, percent=True)
    return Section("trade", "Accuracy against latency", "", [chart])

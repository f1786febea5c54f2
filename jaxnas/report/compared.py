"""The page that compares runs: by recipe the mean over seeds and its spread."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

from jaxnas.card import Difference, differences, refused
from jaxnas.errors import UserError
from jaxnas.pareto import non_dominated
from jaxnas.report import charts
from jaxnas.report.facts import Run, number
from jaxnas.report.groups import Equal, Group, groups, spread
from jaxnas.report.page import Chart, Drawing, Page, Section, Table
from jaxnas.report.run_page import drawn, percent


def comparison(runs: Sequence[Run]) -> Page:
    """The page of several runs; what keeps them from being compared (:func:`apart`) is told first.

    Raises:
      UserError: fewer than two.
    """
    found = groups(runs)
    problems = [f"{'Not comparable' if refused([one]) else 'Note'}: {one}" for one in apart(runs)]
    problems += [f"{run.folder}: {problem}" for run in runs for problem in run.problems]
    sections, left_out = [_summary(found), _runs(runs)], []
    for section, what in (
        (_curves({one.label: list(one.runs) for one in found}), "curves of the searches"),
        (_trade(runs), "accuracy against latency"),
    ):
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
    names = ", ".join(group.label for group in found)
    return Page(f"jaxnas: {len(runs)} runs", f"Recipes: {names}.", sections, problems, left_out)


def apart(runs: Sequence[Run]) -> list[Difference]:
    """What differs between runs, each named by its folder.

    Raises:
      UserError: fewer than two.
    """
    if len(runs) < 2:
        raise UserError("A comparison needs the folders of at least two runs.")
    if len({run.folder.resolve() for run in runs}) < len(runs):
        raise UserError("A run is named twice: a comparison needs two runs.")
    names = [run.folder.name for run in runs]
    return differences({str(run.folder) if names.count(run.folder.name) > 1 else run.folder.name: run.card for run in runs})


def _accuracy(run: Run) -> float | None:
    return number(run.network.get("test_accuracy"))


def random_search(equal: Equal) -> str:
    """Random search at equal cost in words.

    >>> random_search(Equal(2, 0.75)), random_search(Equal(None, None, "none were trained"))
    ('75.00%, best of 2', 'not known: none were trained')
    """
    return f"not known: {equal.why}" if equal.expected is None else f"{equal.expected:.2%}, best of {equal.best_of}"


def _summary(found: Sequence[Group]) -> Section:
    rows = []
    for group in found:
        seconds = [group.device_seconds.get(kind, 0.0) for kind in ("search", "train found")]
        known = [f"{value:,.0f}" for value in seconds] if group.device_seconds else ["not known"] * 2
        compiling = "not known" if group.compile_seconds is None else f"{group.compile_seconds:,.0f}"
        numbers = (spread(group.found), spread(group.random), random_search(group.equal))
        rows.append((group.label, ", ".join(group.differs) or "", *numbers, *known, compiling))
    columns = (
        "recipe",
        "not as the first in",
        "test accuracy, found",
        "random networks",
        "random search, equal cost",
        "search, device s",
        "training, device s",
        "compilation, s",
    )
    text = (
        "Means, with the sample deviation over runs (seeds) and, of the random networks, over all of them; of one run there is "
        "none. Random search at equal cost trains as many random networks as the search and its training took device seconds "
        "for; kept is the best by test accuracy, which no random search that chooses by validation can beat."
    )
    return Section("summary", "Summary", text, [Table("Recipes beside each other.", columns, rows)])


def _runs(runs: Sequence[Run]) -> Section:
    rows = []
    for run in runs:
        parameters, latency = number(run.network.get("parameters")), _latency(run)
        rows.append(
            (
                run.folder.name,
                run.name,
                "" if run.recipe is None else str(run.recipe.seed),
                percent(_accuracy(run)),
                "" if parameters is None else f"{parameters:,.0f}",
                "" if latency is None else f"{latency:.4g}",
                "" if run.seconds is None else f"{run.seconds[0]:,.0f}",
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

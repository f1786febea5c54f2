"""The page of one run: sections that its folder has data for."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any

import numpy as np

from jaxnas.derive import one_hot_mixture
from jaxnas.drawing import graphs, place, titled, to_svg
from jaxnas.errors import UserError
from jaxnas.history import Moment, moments
from jaxnas.instruments import early_stop
from jaxnas.pareto import non_dominated
from jaxnas.recipe import Recipe
from jaxnas.report import charts
from jaxnas.report.card_section import card_section
from jaxnas.report.facts import Run, number
from jaxnas.report.page import Cards, Chart, Commands, Drawing, Page, Part, Section, Slider, Table
from jaxnas.rollback import EIGENVALUE
from jaxnas.spaces import SKIP, BlockGenotype, Genotype, Space

MOMENTS = 60
"""At most so many epochs are in a slider; of a longer search as many, evenly apart."""


def report(run: Run) -> Page:
    """The page of a run."""
    problems = list(run.problems)
    sections = [_summary(run)]
    left_out: list[str] = []

    def add(section: Section | None, what: str) -> None:
        if section is None:
            left_out.append(what)
        else:
            sections.append(section)

    add(_network(run), "the network, as none was found yet")
    found: list[Moment] = []
    if run.search is not None:
        found, damaged = moments(run.search.search, run.log, MOMENTS)
        problems += damaged
        add(_alphas(run.search, found), "the alphas, as no epoch of the search is logged")
        add(_search(run), "losses of the search")
    add(_training(run), "losses of the training")
    if run.search is not None:
        add(_skips(run, run.search, found), "the share of skip connections")
        add(_costs(run, run.search), "expected costs over time, as the alphas paid for none")
        add(_trade(run), "accuracy against latency, as no latency is known")
        add(_latencies(run), "predicted against measured latency, as none was measured")
    if not run.card:
        left_out.append("the best-practice checklist, as the run has no card")
    sections += [card_section(run), _next(run)]
    recipe = run.recipe
    of = f"{recipe.dataset}, seed {recipe.seed}" if recipe is not None else "configuration not known"
    date = str(run.environment.get("date", "")).replace("T", " ").replace("+00:00", " UTC")
    title = f"jaxnas: {run.name}"
    return Page(title, f"{of}{f', begun {date}' if date else ''}. Folder {run.folder.name}.", sections, problems, left_out)


def percent(value: float | None) -> str:
    """A share in words."""
    return "not known" if value is None else f"{value:.2%}"


def _summary(run: Run) -> Section:
    cards = [("test accuracy", percent(number(run.network.get("test_accuracy"))), "of the network that was found")]
    mean, deviation = number(run.result.get("random_mean")), number(run.result.get("random_std"))
    if mean is not None:
        spread = "" if deviation is None else f"± {deviation:.2%}, sample deviation of {len(run.rows) - 1}"
        cards.append(("random networks", percent(mean), spread))
        accuracy = number(run.network.get("test_accuracy"))
        if accuracy is not None:
            cards.append(("difference", f"{accuracy - mean:+.2%}", "found against the random ones' mean"))
    parameters = number(run.network.get("parameters"))
    if parameters is not None:
        cards.append(("parameters", f"{parameters:,.0f}", ""))
    for name, cost in _costs_of(run).items():
        value = number(cost.get("measured", cost.get("derived")))
        if value is not None:
            how = "measured" if "measured" in cost else "by table or count"
            target = number(cost.get("target"))
            cards.append(
                (
                    name.replace("_", " "),
                    f"{value:.4g} {cost.get('unit', '')}",
                    how + (f", target {target:g}" if target else ""),
                )
            )
    calls = run.result.get("early_stop")
    for call in calls if isinstance(calls, list) else []:
        if isinstance(call, dict) and (epoch := number(call.get("epoch"))) is not None:
            decay, ratio = number(call.get("weight_decay")), number(call.get("ratio"))
            what = f"back to epoch {epoch + 1:.0f}" if decay is not None else f"epoch {epoch + 1:.0f} was kept"
            then = "the search ended" if decay is None else f"on with weight decay {decay:g}"
            cards.append(("early stop", what, f"eigenvalue {ratio or 0:.2f} times that of before: {then}"))
    if run.seconds is not None:
        cards.append(("time", f"{run.seconds[0]:,.0f} s", f"of which search {run.seconds[1]:,.0f} s"))
    parts: list[Part] = [Cards(cards)]
    if run.rows:
        rows = [
            (
                str(row.get("cell")),
                percent(number(row.get("test_accuracy"))),
                f"{number(row.get('parameters')) or 0:,.0f}",
                f"{number(row.get('train_seconds')) or 0:,.1f}",
            )
            for row in run.rows
        ]
        parts.append(Table("Networks, trained alike.", ("network", "test accuracy", "parameters", "training s"), rows))
    return Section("summary", "Summary", "", parts)


def _costs_of(run: Run) -> dict[str, dict[str, Any]]:
    costs = run.result.get("costs")
    return {name: cost for name, cost in costs.items() if isinstance(cost, dict)} if isinstance(costs, dict) else {}


def _network(run: Run) -> Section | None:
    if run.genotype is None:
        return None
    parts = [
        Drawing(to_svg(place(graph), f"{kind} of {run.name}"), f"{kind}: from the inputs to the output")
        for kind, graph in graphs(run.genotype).items()
    ]
    text = "Every operation in its box; circles are states, the sums of what comes in."
    if run.genotype.family == "blocks":
        text = "Rows are stages of equal size and channels; colours are kernels."
    return Section("network", "Network", text, parts)


def drawn(genotype: Genotype, title: str) -> str:
    """All graphs of a genotype in one SVG."""
    return to_svg(titled([(kind, place(graph)) for kind, graph in graphs(genotype).items()]), title)


def _alphas(recipe: Recipe, found: list[Moment]) -> Section | None:
    if not found:
        return None
    space = recipe.search.build_space()
    distinct = list(dict.fromkeys(moment.genotype for moment in found))
    frames = [drawn(genotype, f"network {i} of the search") for i, genotype in enumerate(distinct, start=1)]
    chosen = [one_hot_mixture(space, moment.genotype) for moment in found]
    maps, numbers = {}, []
    for kind, cell in space.cells:
        edges = edge_names(space, kind)
        operations = list(dict.fromkeys(name for names in cell.operations for name in names))
        maps[kind] = {
            "spec": charts.heat_map(edges, operations, max(float(np.nanmax(moment.strengths[kind])) for moment in found)),
            "operations": cell.operations,
            "edges": edges,
            "moments": [_cells(moment.strengths[kind], chosen[at][kind]) for at, moment in enumerate(found)],
        }
        rows = [
            (edge, *(_strength(dict(zip(names, row, strict=False)).get(name)) for name in operations))
            for edge, names, row in zip(edges, cell.operations, found[-1].strengths[kind], strict=True)
        ]
        numbers.append(Table(f"{kind}: softmax of the alphas at epoch {found[-1].label}", ("edge", *operations), rows, True))
    shown = [distinct.index(moment.genotype) for moment in found]
    slider = Slider([moment.label for moment in found], maps, frames, shown, numbers)
    text = "How strong each candidate of each edge is, as the derivation compares them. Move the slider, or use the arrow keys."
    return Section("alphas", "Alphas over time", text, [slider])


def edge_names(space: Space, kind: str) -> list[str]:
    """What the edges are called: by their ends, blocks by their numbers."""
    edges = space.cell(kind).edges
    return [f"block {i}" for i in range(1, len(edges) + 1)] if kind == "blocks" else [f"{a}-{b}" for a, b in edges]


def _cells(strengths: np.ndarray, chosen: np.ndarray) -> list[list[tuple[int | None, int]]]:
    return [
        [(None if np.isnan(value) else round(1000 * float(value)), int(there > 0)) for value, there in zip(*rows, strict=True)]
        for rows in zip(strengths, np.asarray(chosen), strict=True)
    ]


def _strength(value: float | None) -> str:
    return "" if value is None or np.isnan(value) else f"{value:.3f}"


def _two(run: Run, prefix: str, stages: Mapping[str, str], metrics: Mapping[str, str]) -> list[Chart]:
    """A chart of losses and one of accuracies: of each stage each metric that is logged."""
    found = []
    for what, shown in (("loss", "Losses"), ("accuracy", "Accuracies")):
        lines = {
            f"{name} {said}".strip(): points
            for stage, name in stages.items()
            for metric, said in metrics.items()
            if (points := run.series(stage, f"{metric}_{what}"))
        }
        if lines:
            caption = f"{shown}, means of each epoch."
            found.append(charts.curves(f"{prefix}-{what}", caption, lines, what, percent=what == "accuracy"))
    return found


def _search(run: Run) -> Section | None:
    metrics = {"train": "training half", "valid": "validation half"}
    stages = dict.fromkeys(record["stage"] for record in run.log if record["stage"].startswith("search"))
    names = {stage: "" if stage == "search" else f"stage {stage.removeprefix('search ')}," for stage in stages}
    found = _two(run, "search", names, metrics)
    return (
        Section(
            "search",
            "Search",
            "The supernet: the weights learn on the training half of the images, the alphas on the validation half.",
            found,
        )
        if found
        else None
    )


def _training(run: Run) -> Section | None:
    stages = dict.fromkeys(record["stage"] for record in run.log if record["stage"].startswith("train "))
    found = _two(run, "training", {stage: stage.removeprefix("train ") for stage in stages}, {"train": ""})
    text = "The found network and random ones, trained alike. The test split is read once, at the end: it has no curve."
    return Section("training", "Training", text, found) if found else None


def skip_share(genotype: Genotype) -> float:
    """The share of skip connections among a genotype's operations.

    >>> from jaxnas.spaces import PUBLISHED
    >>> skip_share(PUBLISHED["DARTS_V2"])
    0.3125
    """
    if isinstance(genotype, BlockGenotype):
        names = [name for name, *_ in genotype.blocks]
    else:
        names = [name for edges in genotype.cells.values() for name, *_ in edges]
    return sum(name == SKIP for name in names) / len(names)


def _skips(run: Run, recipe: Recipe, found: list[Moment]) -> Section | None:
    candidates = {name for _, cell in recipe.search.build_space().cells for names in cell.operations for name in names}
    if SKIP not in candidates or not found or recipe.search.next_stages:
        return None
    share = [(int(moment.label), skip_share(moment.genotype)) for moment in found]
    eigenvalues = run.series("search", EIGENVALUE)
    text = "A share that rises to all is the collapse that DARTS is known for."
    if not eigenvalues:
        caption = "Skip connections among the operations of what the alphas stood for."
        chart = charts.curves("skips", caption, {"skip connections": share}, "share", percent=True)
    else:
        caption = "Skip connections' share, and the largest eigenvalue of the validation loss's Hessian in the alphas."
        sides = ("share of skip connections", share), ("largest eigenvalue", eigenvalues)
        chart = charts.two_axes("skips", caption, *sides, _kept_by_early_stop(recipe, eigenvalues))
    return Section("skips", "Skip connections", text, [chart])


def _kept_by_early_stop(recipe: Recipe, eigenvalues: list[tuple[int, float]]) -> int | None:
    """The epoch, from 1, whose network RobustDARTS would keep; None where it lets the search go on, or the log has gaps."""
    try:
        found = early_stop(
            [epoch - 1 for epoch, _ in eigenvalues], [one for _, one in eigenvalues], recipe.search.instruments_every
        )
    except UserError:
        return None
    return None if found is None else found.epoch + 1


def _costs(run: Run, recipe: Recipe) -> Section | None:
    found = []
    for name in ("latency", "multiply_adds", "parameters"):
        points = run.series("search", name)
        if points:
            said, term = name.replace("_", " "), getattr(recipe.search, name)
            target = term.target if term.form == "target" else None
            unit = {"latency": "ms"}.get(name, "number")
            caption = f"Expected {said} of the alphas{', and the target' if target else ''}."
            found.append(charts.curves(f"cost-{name}", caption, {said: points}, f"{said}, {unit}", target))
    return (
        Section("costs", "Costs over time", "Of the network that is trained, as the alphas expect it.", found)
        if found
        else None
    )


def latency_of(row: Mapping[str, Any], latency: Mapping[str, Any]) -> float | None:
    """Milliseconds of a network in ``result.json``: those of its own, or the found one's measured or derived ones."""
    own = row.get("costs")
    value = number(own.get("latency")) if isinstance(own, dict) else None
    if value is None and row.get("cell") == "found":
        value = number(latency.get("derived"))
    return value


def _trade(run: Run) -> Section | None:
    latency = _costs_of(run).get("latency", {})
    points = []
    for row in run.rows:
        milliseconds, accuracy = latency_of(row, latency), number(row.get("test_accuracy"))
        if milliseconds is not None and accuracy is not None:
            label = str(row.get("cell"))
            points.append((label, milliseconds, accuracy, "found" if label == "found" else "random"))
    if not points:
        return None
    pairs = [(x, y) for _, x, y, _ in points]
    front = [pair for pair, kept in zip(pairs, non_dominated(pairs), strict=True) if kept]
    caption = "Test accuracy against latency by the table; the line is the Pareto front, which no network here beats in both."
    chart = charts.scatter(
        "trade", caption, points, "latency, ms", "test accuracy", front, number(latency.get("target")), percent=True
    )
    return Section("trade", "Accuracy against latency", "", [chart])


def _latencies(run: Run) -> Section | None:
    candidates = run.result.get("candidates")
    points = []
    for i, one in enumerate(candidates if isinstance(candidates, list) else [], start=1):
        predicted, measured = (number(one.get(key)) if isinstance(one, dict) else None for key in ("latency", "measured"))
        if predicted is not None and measured is not None:
            points.append((f"candidate {i}", predicted, measured, "candidates"))
    if not points:
        return None
    caption = "Latency measured on this device against the table's; on the dashed line both are equal."
    chart = charts.scatter("latencies", caption, points, "by the table, ms", "measured, ms", diagonal=True)
    text = "The best candidates within the target, in the order of their scores."
    return Section("latencies", "Predicted against measured latency", text, [chart])


def _next(run: Run) -> Section:
    folder = shlex.quote(str(run.folder))
    commands = []
    if run.recipe is not None and not run.result:
        commands.append(("Go on with it, where it was ended", f"jaxnas resume {folder}"))
    arguments = run.environment.get("arguments")
    if isinstance(arguments, list) and arguments:
        commands.append(("The same again", shlex.join(["jaxnas", *map(str, arguments)])))
    if run.network:
        commands.append(("Its test accuracy", f"jaxnas evaluate {folder}"))
    if run.genotype is not None:
        commands.append(("Train what was found for longer", f"jaxnas train {folder} --train.epochs 100 --out {folder}-longer"))
        commands.append(("Its picture", f"jaxnas draw {folder} --out network.png"))
    if run.search is not None:
        seed = run.search.seed + 1
        commands.append(("Its genotype", f"jaxnas derive {folder}"))
        commands.append(("Another seed of the recipe", f"jaxnas search {shlex.quote(run.name)} --seed {seed}"))
        commands.append(("Beside other seeds", f"jaxnas compare {folder} OTHER_RUN ..."))
    commands.append(("This page again", f"jaxnas report {folder}"))
    return Section("next", "To go on", "", [Commands(commands)])

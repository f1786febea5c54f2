"""Charts as Vega-Lite's specifications: every one has the same look, and names what it shows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from jaxnas.report.page import Chart, Table

COLOURS = ("#1f5fa8", "#b3400f", "#2f6b36", "#7a3f96", "#6b5500", "#005f6b", "#8f2d56", "#4a4a4a")
DASHES = ([1, 0], [6, 3], [2, 2], [8, 3, 2, 3], [4, 1], [1, 3], [10, 4], [3, 3])
"""Series differ in both, so that they are told apart without colour. Each colour has a contrast of 4.5 to white at least."""

TEXT = {"labelFontSize": 12, "titleFontSize": 12, "labelColor": "#1a1a1a", "titleColor": "#1a1a1a", "titleFontWeight": "normal"}
CONFIG: dict[str, Any] = {
    "font": "system-ui, Liberation Sans, Arial, sans-serif",
    "background": "#ffffff",
    "view": {"stroke": None},
    "axis": {**TEXT, "gridColor": "#e3e6ea", "domainColor": "#767676", "tickColor": "#767676"},
    "legend": {
        **TEXT,
        "orient": "top",
        "direction": "horizontal",
        "title": None,
        "symbolStrokeWidth": 2,
        "symbolOpacity": 1,
        "columns": 3,
        "labelLimit": 260,
    },
    "line": {"strokeWidth": 2},
}

CONTRAST = 0.65
"""Up to this share of a heat map's scale letters are black, above it white: always with a contrast of 4.6 at least."""

Point = tuple[float, float]


def base(height: int) -> dict[str, Any]:
    """What every chart has."""
    return {"width": "container", "height": height, "config": CONFIG, "autosize": {"type": "fit-x", "contains": "padding"}}


def _axis(title: str, percent: bool = False) -> dict[str, Any]:
    return {"title": title, **({"format": "~%"} if percent else {})}


def _epochs(lines: Iterable[Sequence[tuple[int, float]]]) -> dict[str, Any]:
    """The axis of epochs, whose ticks are whole numbers."""
    epochs = [epoch for points in lines for epoch, _ in points]
    first, last = min(epochs), max(epochs)
    step = next(size * 10**power for power in range(9) for size in (1, 2, 5) if (last - first) / (size * 10**power) <= 10)
    ticks = [first, *range(first - first % step + step, last + 1, step)]
    axis = {"title": "epoch", "values": ticks, "format": "d"}
    return {"field": "x", "type": "quantitative", "axis": axis, "scale": {"zero": False, "nice": False}}


def _series(names: Sequence[str]) -> dict[str, Any]:
    domain, legend = list(names), {"symbolType": "stroke", "symbolSize": 300}
    field = {"field": "series", "type": "nominal", "sort": None, "legend": legend}
    return {
        "color": {**field, "scale": {"domain": domain, "range": list(COLOURS)}},
        "strokeDash": {**field, "scale": {"domain": domain, "range": list(DASHES)}},
    }


def curves(
    name: str,
    caption: str,
    lines: Mapping[str, Sequence[tuple[int, float]]],
    y: str,
    target: float | None = None,
    percent: bool = False,
) -> Chart:
    """Curves over epochs, each a colour and a dash of its own; ``target``: a level line."""
    values = [{"x": x, "y": value, "series": series} for series, points in lines.items() for x, value in points]
    few = max(len(points) for points in lines.values()) <= 40
    layers: list[dict[str, Any]] = [
        {
            "mark": {"type": "line", "point": {"size": 25} if few else False},
            "encoding": {
                "x": _epochs(lines.values()),
                "y": {"field": "y", "type": "quantitative", "axis": _axis(y, percent=percent), "scale": {"zero": False}},
                **_series(list(lines)),
                "tooltip": [{"field": "series"}, {"field": "x", "title": "epoch"}, {"field": "y", "title": y, "format": ".4g"}],
            },
        }
    ]
    if target is not None:
        layers.append(_level(target, "y", f"target {target:g}"))
    spec = {**base(240), "data": {"values": values}, "layer": layers}
    return Chart(name, spec, caption, by_epoch(f"{caption} Numbers by epoch.", lines))


def _level(at: float, axis: str, words: str) -> dict[str, Any]:
    """A line across the chart at one value, with its name."""
    place = {"x": 4, "align": "left", "dy": -6} if axis == "y" else {"y": 8, "align": "left", "dx": 5}
    return {
        "data": {"values": [{"at": at}]},
        "encoding": {axis: {"field": "at", "type": "quantitative"}},
        "layer": [
            {"mark": {"type": "rule", "strokeDash": [5, 4], "color": "#8f2d56", "strokeWidth": 1.5}},
            {"mark": {"type": "text", "text": words, "color": "#8f2d56", "fontSize": 12, **place}},
        ],
    }


def by_epoch(caption: str, lines: Mapping[str, Sequence[tuple[int, float]]]) -> Table:
    """Curves as a table."""
    values = {series: dict(points) for series, points in lines.items()}
    epochs = sorted({epoch for points in values.values() for epoch in points})
    rows = [(str(e), *(f"{points[e]:.4g}" if e in points else "" for points in values.values())) for e in epochs]
    return Table(caption, ("epoch", *lines), rows)


def two_axes(
    name: str,
    caption: str,
    left: tuple[str, list[tuple[int, float]]],
    right: tuple[str, list[tuple[int, float]]],
    stop: int | None,
) -> Chart:
    """Two curves over one axis of epochs, each with its own scale; ``stop``: an epoch that a line is drawn at."""
    layers: list[dict[str, Any]] = []
    for number, (title, points) in enumerate((left, right)):
        axis = {**_axis(title), "orient": ("left", "right")[number], "titleColor": COLOURS[number], "grid": not number}
        encoding = {
            "x": _epochs([left[1], right[1]]),
            "y": {"field": "y", "type": "quantitative", "axis": axis},
        }
        mark = {"type": "line", "color": COLOURS[number], "strokeDash": DASHES[number]}
        layers.append({"data": {"values": [{"x": x, "y": y} for x, y in points]}, "mark": mark, "encoding": encoding})
    if stop is not None:
        layers.append(_level(stop, "x", f"RobustDARTS keeps epoch {stop}"))
    spec = {**base(240), "layer": layers, "resolve": {"scale": {"y": "independent"}}}
    return Chart(name, spec, caption, by_epoch(f"{caption} Numbers by epoch.", {left[0]: left[1], right[0]: right[1]}))


def scatter(
    name: str,
    caption: str,
    points: Sequence[tuple[str, float, float, str]],
    x: str,
    y: str,
    front: Sequence[Point] = (),
    target: float | None = None,
    diagonal: bool = False,
    percent: bool = False,
) -> Chart:
    """Points ``(label, x, y, series)``; a front as steps, a target as an upright line, or the diagonal of equal values."""
    values = [{"label": label, "x": a, "y": b, "series": series} for label, a, b, series in points]
    scale = {"zero": False, "nice": True, "padding": 12}
    series = list(dict.fromkeys(series for *_, series in points))
    shapes = {
        "domain": series,
        "range": ["circle", "diamond", "square", "triangle-up", "cross", "triangle-down", "stroke", "arrow"],
    }
    shape = {"field": "series", "type": "nominal", "scale": shapes, "sort": None}
    named = {"color": {**_series(series)["color"], "legend": {}}, "shape": shape}
    axes = {
        "x": {"field": "x", "type": "quantitative", "axis": _axis(x), "scale": scale},
        "y": {"field": "y", "type": "quantitative", "axis": _axis(y, percent=percent), "scale": scale},
    }
    layers: list[dict[str, Any]] = []
    if front:
        steps = [{"x": a, "y": b} for a, b in sorted(front)]
        mark = {"type": "line", "interpolate": "step-after", "color": "#767676"}
        layers.append({"data": {"values": steps}, "mark": mark, "encoding": axes})
    if diagonal:
        ends = [min(min(a, b) for _, a, b, _ in points), max(max(a, b) for _, a, b, _ in points)]
        mark = {"type": "line", "color": "#767676", "strokeDash": [5, 4]}
        layers.append({"data": {"values": [{"x": end, "y": end} for end in ends]}, "mark": mark, "encoding": axes})
    tooltip = [{"field": "label"}, {"field": "x", "title": x, "format": ".6g"}, {"field": "y", "title": y, "format": ".4g"}]
    mark = {"type": "point", "filled": True, "size": 90, "opacity": 1}
    layers.append({"data": {"values": values}, "mark": mark, "encoding": {**axes, **named, "tooltip": tooltip}})
    if len(points) <= 12:
        text = {"type": "text", "align": "left", "dx": 8, "dy": -6, "fontSize": 12, "color": "#1a1a1a"}
        layers.append({"data": {"values": values}, "mark": text, "encoding": {**axes, "text": {"field": "label"}}})
    if target is not None:
        layers.append(_level(target, "x", f"target {target:g}"))
    rows = [(label, f"{a:.6g}", f"{b:.2%}" if percent else f"{b:.6g}") for label, a, b, _ in points]
    return Chart(name, {**base(300), "layer": layers}, caption, Table(f"{caption} Numbers.", ("network", x, y), rows))


def heat_map(edges: Sequence[str], operations: Sequence[str], most: float) -> dict[str, Any]:
    """The specification of a heat map of alphas up to ``most``; its rows are put in by the page, for the slider's epoch."""
    axes = {
        "x": {"field": "operation", "type": "nominal", "sort": list(operations), "axis": {"title": None, "labelAngle": -45}},
        "y": {"field": "edge", "type": "nominal", "sort": list(edges), "axis": {"title": "edge"}},
    }
    axes = {name: {**axis, "scale": {"domain": list(axis["sort"])}} for name, axis in axes.items()}
    blues = {"domain": [0, most], "range": ["#ffffff", "#08306b"], "interpolate": "rgb"}
    strength = {"field": "strength", "type": "quantitative", "scale": blues, "legend": None}
    tooltip = [{"field": "edge"}, {"field": "operation"}, {"field": "strength", "format": ".3f"}]
    letters = {"condition": {"test": f"datum.strength > {CONTRAST * most}", "value": "#ffffff"}, "value": "#000000"}
    number = {"field": "strength", "type": "quantitative", "format": ".2f"}
    # Frames in a layer of their own, so that no neighbour covers a side of them.
    framed = {"type": "rect", "fill": None, "stroke": "#d9480f", "strokeWidth": 2.5}
    return {
        **base(22 * len(edges)),
        "data": {"name": "strengths"},
        "encoding": axes,
        "layer": [
            {
                "mark": {"type": "rect", "stroke": "#dddddd", "strokeWidth": 0.5},
                "encoding": {"color": strength, "tooltip": tooltip},
            },
            {"mark": framed, "transform": [{"filter": "datum.chosen"}]},
            {"mark": {"type": "text", "fontSize": 11}, "encoding": {"text": number, "color": letters}},
        ],
    }

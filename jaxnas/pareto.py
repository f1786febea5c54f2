"""Accuracy against cost: which of several networks no other beats in both, how much these cover, and a picture."""

from __future__ import annotations

import math
from collections.abc import Sequence
from xml.sax.saxutils import escape

Point = tuple[float, float]
"""Cost, which should be small, and accuracy, which should be large."""


def non_dominated(points: Sequence[Point]) -> list[bool]:
    """Which points no other is at least as good as in both and better in one; equal points do not beat each other.

    >>> non_dominated([(1.0, 0.5), (2.0, 0.4), (2.0, 0.7), (2.0, 0.7)])
    [True, False, True, True]
    """
    return [
        not any(other != (cost, accuracy) and other[0] <= cost and other[1] >= accuracy for other in points)
        for cost, accuracy in points
    ]


def hypervolume(points: Sequence[Point], reference: Point) -> float:
    """The area that points dominate up to a reference, a cost and an accuracy that each of them should better.

    >>> hypervolume([(1.0, 0.5), (2.0, 0.7), (9.0, 0.9)], reference=(4.0, 0.0))
    1.9
    """
    area, best = 0.0, reference[1]
    inside = sorted(point for point in points if point[0] < reference[0])
    ends = [cost for cost, _ in inside[1:]] + [reference[0]]
    for (cost, accuracy), end in zip(inside, ends, strict=True):
        best = max(best, accuracy)
        area += (end - cost) * (best - reference[1])
    return area


WIDTH, HEIGHT, LEFT, BOTTOM, TOP, RIGHT = 640, 420, 80, 60, 30, 30


def picture(points: Sequence[Point], names: Sequence[str], title: str, cost: str) -> str:
    """An SVG: a dot for each point, filled where no other dominates it, and the steps of the front through those.

    Args:
      points: at least one.
      names: what stands beside each dot.
      cost: what the horizontal axis says.

    Raises:
      ValueError: no point.

    >>> picture([(1.0, 0.5)], ["a"], "one network", "latency in ms").count("<circle")
    1
    """
    x_ticks, y_ticks = _ticks([x for x, _ in points]), _ticks([y for _, y in points])

    def at(point: Point) -> Point:
        x = LEFT + (point[0] - x_ticks[0]) / (x_ticks[-1] - x_ticks[0]) * (WIDTH - LEFT - RIGHT)
        y = HEIGHT - BOTTOM - (point[1] - y_ticks[0]) / (y_ticks[-1] - y_ticks[0]) * (HEIGHT - BOTTOM - TOP)
        return round(x, 2), round(y, 2)

    def text(x: float, y: float, words: str, anchor: str = "middle") -> str:
        return f'<text x="{x}" y="{y}" text-anchor="{anchor}">{escape(words)}</text>'

    base, front = HEIGHT - BOTTOM, non_dominated(points)
    parts = [text(WIDTH / 2, 18, title), text(WIDTH / 2, HEIGHT - 12, cost), text(8, 18, "test accuracy", "start")]
    for tick in x_ticks:
        x, _ = at((tick, y_ticks[0]))
        parts += [f'<path d="M{x} {TOP}V{base}" stroke="#ddd"/>', text(x, base + 18, f"{tick:.6g}")]
    for tick in y_ticks:
        _, y = at((x_ticks[0], tick))
        parts += [f'<path d="M{LEFT} {y}H{WIDTH - RIGHT}" stroke="#ddd"/>', text(LEFT - 8, y + 4, f"{tick:.4g}", "end")]
    best = [at(point) for point in sorted({point for point, kept in zip(points, front, strict=True) if kept})]
    steps = "".join(f"H{x}V{y}" for x, y in best[1:])
    parts.append(f'<path d="M{best[0][0]} {best[0][1]}{steps}" fill="none" stroke="#1f5fa8"/>')
    for point, name, kept in zip(points, names, front, strict=True):
        x, y = at(point)
        fill = "#1f5fa8" if kept else "#fff"
        parts += [f'<circle cx="{x}" cy="{y}" r="4" fill="{fill}" stroke="#1f5fa8"/>', text(x + 7, y - 6, name, "start")]
    head = f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{HEIGHT}" font-family="sans-serif" font-size="12">'
    return "\n".join([head, f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>', *parts, "</svg>"]) + "\n"


def _ticks(values: Sequence[float]) -> list[float]:
    """Round numbers, at least two, from below the least to above the greatest.

    >>> _ticks([0.91, 0.98])
    [0.9, 0.92, 0.94, 0.96, 0.98]
    """
    low, high = min(values), max(values)
    span = (high - low) or abs(high) or 1.0
    size = 10.0 ** math.floor(math.log10(span / 4))
    step = next(factor * size for factor in (1, 2, 5, 10) if span / (factor * size) <= 5)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(i * step, 12) for i in range(first, max(last, first + 1) + 1)]

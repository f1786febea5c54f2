"""Accuracy against cost: which of several networks no other beats in both, how much these cover, and a picture."""

from __future__ import annotations

from collections.abc import Sequence

from jaxnas import axes

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
    frame = axes.around([x for x, _ in points], [y for _, y in points])
    parts, front = frame.drawn(title, cost, "test accuracy"), non_dominated(points)
    best = [frame.at(point) for point in sorted({point for point, kept in zip(points, front, strict=True) if kept})]
    steps = "".join(f"H{x}V{y}" for x, y in best[1:])
    parts.append(f'<path d="M{best[0][0]} {best[0][1]}{steps}" fill="none" stroke="#1f5fa8"/>')
    for point, name, kept in zip(points, names, front, strict=True):
        x, y = frame.at(point)
        fill = "#1f5fa8" if kept else "#fff"
        parts.append(f'<circle cx="{x}" cy="{y}" r="4" fill="{fill}" stroke="#1f5fa8"/>')
        parts.append(axes.text(x + 7, y - 6, name, "start"))
    return axes.svg(parts)

"""What pictures have in common: an SVG with axes, written by hand."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from xml.sax.saxutils import escape

Point = tuple[float, float]

COLOURS = ("#1f5fa8", "#c0392b", "#2e8b57", "#8e44ad", "#d98c00", "#444444")
WIDTH, HEIGHT, LEFT, BOTTOM, TOP, RIGHT = 640, 420, 80, 60, 30, 30


@dataclasses.dataclass(frozen=True)
class Axes:
    """Where values lie in a picture: between the least and the greatest tick of both axes.

    Attributes:
      x_ticks, y_ticks: rising, at least two.
    """

    x_ticks: Sequence[float]
    y_ticks: Sequence[float]

    def at(self, point: Point) -> Point:
        """The place of a point, in pixels.

        >>> Axes([0, 1], [0, 1]).at((0.0, 1.0))
        (80.0, 30.0)
        """
        x = LEFT + (point[0] - self.x_ticks[0]) / (self.x_ticks[-1] - self.x_ticks[0]) * (WIDTH - LEFT - RIGHT)
        y = HEIGHT - BOTTOM - (point[1] - self.y_ticks[0]) / (self.y_ticks[-1] - self.y_ticks[0]) * (HEIGHT - BOTTOM - TOP)
        return round(x, 2), round(y, 2)

    def drawn(self, title: str, horizontal: str, vertical: str) -> list[str]:
        """The grid with its numbers, and what stands beside it."""
        base = HEIGHT - BOTTOM
        parts = [text(WIDTH / 2, 18, title), text(WIDTH / 2, HEIGHT - 12, horizontal), text(8, 18, vertical, "start")]
        for tick in self.x_ticks:
            x, _ = self.at((tick, self.y_ticks[0]))
            parts += [f'<path d="M{x} {TOP}V{base}" stroke="#ddd"/>', text(x, base + 18, f"{tick:.6g}")]
        for tick in self.y_ticks:
            _, y = self.at((self.x_ticks[0], tick))
            parts += [f'<path d="M{LEFT} {y}H{WIDTH - RIGHT}" stroke="#ddd"/>', text(LEFT - 8, y + 4, f"{tick:.4g}", "end")]
        return parts


def around(xs: Sequence[float], ys: Sequence[float]) -> Axes:
    """Axes on which all of some values lie.

    Raises:
      ValueError: no values.
    """
    return Axes(ticks(xs), ticks(ys))


def curves(
    title: str, horizontal: str, vertical: str, lines: Mapping[str, Sequence[Point]], marks: Sequence[Point] = ()
) -> str:
    """An SVG of a line for each name, with rings around some points.

    Raises:
      ValueError: no point.

    >>> curves("a walk", "hour", "metres", {"up": [(0, 1.0), (1, 3.0)], "down": [(0, 3.0), (1, 1.0)]}).count("<path")
    15
    """
    frame = around(*zip(*(point for line in lines.values() for point in line), strict=True))
    parts = frame.drawn(title, horizontal, vertical)
    for i, line in enumerate(lines.values()):
        through = "L".join(f"{x} {y}" for x, y in map(frame.at, line))
        parts.append(f'<path d="M{through}" fill="none" stroke="{COLOURS[i % len(COLOURS)]}" stroke-width="1.5"/>')
    wide, high = 36 + 7 * max(map(len, lines)), 14 * len(lines) + 6  # Behind the names, which lines may cross.
    parts.append(f'<rect x="{LEFT + 8}" y="{TOP + 2}" width="{wide}" height="{high}" fill="#fff" fill-opacity="0.8"/>')
    for i, name in enumerate(lines):
        colour, y = COLOURS[i % len(COLOURS)], TOP + 14 + 14 * i
        parts.append(f'<path d="M{LEFT + 12} {y - 4}h16" stroke="{colour}" stroke-width="3"/>')
        parts.append(text(LEFT + 34, y, name, "start"))
    parts += [
        f'<circle cx="{x}" cy="{y}" r="5" fill="none" stroke="#000" stroke-width="1.5"/>' for x, y in map(frame.at, marks)
    ]
    return svg(parts)


def text(x: float, y: float, words: str, anchor: str = "middle") -> str:
    """A line of text."""
    return f'<text x="{x}" y="{y}" text-anchor="{anchor}">{escape(words)}</text>'


def svg(parts: Sequence[str]) -> str:
    """The whole file.

    >>> svg([text(1, 2, "a < b")]).splitlines()[2]
    '<text x="1" y="2" text-anchor="middle">a &lt; b</text>'
    """
    head = f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{HEIGHT}" font-family="sans-serif" font-size="12">'
    return "\n".join([head, f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>', *parts, "</svg>"]) + "\n"


def ticks(values: Sequence[float]) -> list[float]:
    """Round numbers, at least two, from below the least to above the greatest.

    >>> ticks([0.91, 0.98])
    [0.9, 0.92, 0.94, 0.96, 0.98]
    """
    low, high = min(values), max(values)
    span = (high - low) or abs(high) or 1.0
    size = 10.0 ** math.floor(math.log10(span / 4))
    step = next(factor * size for factor in (1, 2, 5, 10) if span / (factor * size) <= 5)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(i * step, 12) for i in range(first, max(last, first + 1) + 1)]

"""The strength of every candidate as a heat map."""

from __future__ import annotations

from collections.abc import Mapping
from xml.sax.saxutils import escape

import numpy as np

from jaxnas.drawing.layout import CHARACTER, MARGIN
from jaxnas.drawing.svg import INK, svg_element
from jaxnas.spaces import Space

CELL_WIDTH, CELL_HEIGHT = 48, 22


def heat_map(space: Space, strengths: Mapping[str, np.ndarray], title: str) -> str:
    """An SVG: for each kind of cell a row an edge, a column an operation; dark is strong.

    Args:
      space: whose candidates these are.
      strengths: by kind of cell ``[edges, columns]``, in 0..1, as of :func:`jaxnas.derive.strengths`; NaN where an edge does
        not have the candidate any more.

    >>> from jaxnas.spaces import nb201_family
    >>> svg = heat_map(nb201_family("one", ("none", "skip_connect"), nodes=1), {"cell": np.array([[0.25, 0.75]])}, "one edge")
    >>> ">.75<" in svg, "cell, edge 0-1: none 0.25, skip_connect 0.75" in svg
    (True, True)
    """
    parts, said, y = [], [], MARGIN + 0.0
    widest = 0.0
    for kind, cell in space.cells:
        names = list(dict.fromkeys(name for operations in cell.operations for name in operations))
        labels = [f"{source}-{target}" for source, target in cell.edges]
        left = MARGIN + max(len(label) for label in (*labels, kind)) * CHARACTER + 8
        # Names stand aslant above their columns.
        y += max(len(name) for name in names) * CHARACTER * 0.71 + 8
        parts.append(f'<text x="{MARGIN}" y="{y - 6:g}" font-weight="bold" fill="{INK}">{escape(kind)}</text>')
        for column, name in enumerate(names):
            x = left + (column + 0.5) * CELL_WIDTH
            parts.append(f'<text transform="translate({x:g} {y - 6:g}) rotate(-45)" fill="{INK}">{escape(name)}</text>')
        for label, operations, row in zip(labels, cell.operations, strengths[kind], strict=True):
            parts.append(f'<text x="{left - 8:g}" y="{y + 15:g}" text-anchor="end" fill="{INK}">{label}</text>')
            there = {name: float(value) for name, value in zip(operations, row, strict=False) if not np.isnan(value)}
            parts += [_cell(left + names.index(name) * CELL_WIDTH, y, value) for name, value in there.items()]
            said.append(f"{kind}, edge {label}: {', '.join(f'{name} {value:.2f}' for name, value in there.items())}")
            y += CELL_HEIGHT
        y += MARGIN
        widest = max(widest, left + len(names) * CELL_WIDTH + len(names[-1]) * CHARACTER * 0.71)
    return svg_element(widest + MARGIN, y, f"{title}. {'; '.join(said)}", parts)


def _cell(x: float, y: float, value: float) -> str:
    """A rectangle from white to blue, its number in the colour that is seen on it."""
    red, green, blue = (round(255 + (end - 255) * value) for end in (8, 48, 107))
    letters = "#ffffff" if value > 0.65 else "#000000"
    number = f'<text x="{x + CELL_WIDTH / 2:g}" y="{y + 15:g}" text-anchor="middle" fill="{letters}">'
    number += f"{value:.2f}".removeprefix("0") + "</text>"
    return (
        f'<rect x="{x:g}" y="{y:g}" width="{CELL_WIDTH}" height="{CELL_HEIGHT}" fill="rgb({red},{green},{blue})" '
        f'stroke="#dddddd"/>{number}'
    )

"""Pictures as SVG: one self-contained element, with a text alternative."""

from __future__ import annotations

from collections.abc import Sequence
from xml.sax.saxutils import escape, quoteattr

from jaxnas.drawing.layout import FONT, Box, Line, Picture

FONTS = "DejaVu Sans Mono, Liberation Mono, Menlo, Consolas, monospace"

LOOKS: dict[str, tuple[str, str, str]] = {
    "state": ("#ffffff", "#333333", "#1a1a1a"),
    "conv": ("#dce9f9", "#2b5c9e", "#12305a"),
    "dilated": ("#e8e0f6", "#5b3f96", "#35205f"),
    "pool": ("#ddf0df", "#2f6b36", "#173d1c"),
    "skip": ("#fdecd2", "#8a5a00", "#553700"),
    "none": ("#ffffff", "#8a8a8a", "#595959"),
    "other": ("#eeeeee", "#555555", "#1a1a1a"),
    "kernel3": ("#e3eefb", "#2b5c9e", "#12305a"),
    "kernel5": ("#e8e0f6", "#5b3f96", "#35205f"),
    "kernel7": ("#fbdfe3", "#9c2f45", "#5e1524"),
}
"""Fill, border and letters of each kind of vertex; letters have a contrast of at least 4.5 to their fill."""

INK, FAINT = "#333333", "#9a9a9a"


def to_svg(picture: Picture, title: str) -> str:
    """The picture as an SVG element, which is a file of its own, too.

    >>> from jaxnas.drawing.layout import Box, Picture
    >>> to_svg(Picture(40, 40, (Box(5, 5, 30, 26, "a<b", "state"),), ()), "one")[:70]
    '<svg xmlns="http://www.w3.org/2000/svg" width="40" height="40" viewBox'
    """
    said = f"{title}. {picture.description}" if picture.description else title
    parts = [*(_line(line) for line in picture.lines), *(_box(box) for box in picture.boxes)]
    return svg_element(picture.width, picture.height, said, parts)


def svg_element(width: float, height: float, said: str, parts: Sequence[str]) -> str:
    """An SVG element of parts on white; ``said`` is its text alternative."""
    size = f'width="{width:g}" height="{height:g}" viewBox="0 0 {width:g} {height:g}"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img" aria-label={quoteattr(said)} '
    head += f'font-family="{FONTS}" font-size="{FONT}">'
    return "\n".join([head, f'<rect width="{width:g}" height="{height:g}" fill="#ffffff"/>', *parts, "</svg>"]) + "\n"


def _box(box: Box) -> str:
    if box.look in ("text", "title"):
        weight = ' font-weight="bold"' if box.look == "title" else ""
        return f'<text x="{box.x:g}" y="{box.y + box.height / 2 + 4:g}" fill="{INK}"{weight}>{escape(box.label)}</text>'
    fill, border, letters = LOOKS[box.look]
    dashes = ' stroke-dasharray="4 3"' if box.look == "none" else ""
    radius = box.height / 2 if box.look == "state" else 4
    return (
        f'<rect x="{box.x:g}" y="{box.y:g}" width="{box.width:g}" height="{box.height:g}" rx="{radius:g}" fill="{fill}" '
        f'stroke="{border}"{dashes}/><text x="{box.x + box.width / 2:g}" y="{box.y + box.height / 2 + 4:g}" '
        f'text-anchor="middle" fill="{letters}">{escape(box.label)}</text>'
    )


def _line(line: Line) -> str:
    """The curves, and an arrow's head where they end: rightwards or, in a chain from row to row, downwards."""
    colour, dashes = (FAINT, ' stroke-dasharray="4 3"') if line.faint else (INK, "")
    path = f"M{_at(line.curves[0][0])}" + "".join(f"C{_at(b)} {_at(c)} {_at(d)}" for _, b, c, d in line.curves)
    (_, _, (before, _), (x, y)) = line.curves[-1]
    head = f"M{x:g} {y:g}l-6 -3v6z" if before < x else f"M{x:g} {y:g}l-3 -6h6z"
    return f'<path d="{path}" fill="none" stroke="{colour}"{dashes}/><path d="{head}" fill="{colour}"/>'


def _at(point: tuple[float, float]) -> str:
    return f"{point[0]:g} {point[1]:g}"

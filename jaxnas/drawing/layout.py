"""Where everything of a picture is: boxes that do not overlap, and lines that go around them."""

from __future__ import annotations

import dataclasses
import itertools
from collections import defaultdict
from collections.abc import Sequence

import fast_sugiyama

from jaxnas.drawing.graphs import Graph

Point = tuple[float, float]
Curve = tuple[Point, Point, Point, Point]
"""A cubic Bezier segment; a straight line has its inner points on it."""

FONT, HEIGHT, SLOT, GAP, MARGIN, ROW = 12, 26.0, 38.0, 44.0, 10.0, 52.0
"""Pixels: of letters, a box's height, from box to box in a column, between columns, around a picture, from row to row."""

CHARACTER = 0.6 * FONT
"""At most so wide is a character, on the mean of a label: exactly in the monospaced font that pictures ask for."""


@dataclasses.dataclass(frozen=True)
class Box:
    """A label in its box; of look ``text`` there is no line around it. Pixels, from the upper left corner."""

    x: float
    y: float
    width: float
    height: float
    label: str
    look: str


@dataclasses.dataclass(frozen=True)
class Line:
    """The curves from one box to another, which begin and end on their borders; faint where nothing is computed."""

    curves: tuple[Curve, ...]
    faint: bool = False


@dataclasses.dataclass(frozen=True)
class Picture:
    """What is drawn; ``description`` is the same in words."""

    width: float
    height: float
    boxes: tuple[Box, ...]
    lines: tuple[Line, ...]
    description: str = ""


def place(graph: Graph) -> Picture:
    """A cell from left to right, in layers; a chain in rows, one a stage.

    >>> from jaxnas.drawing.graphs import graphs
    >>> from jaxnas.spaces import PUBLISHED
    >>> picture = place(graphs(PUBLISHED["DARTS_V2"])["normal"])
    >>> len(picture.boxes), len(picture.lines)  # 7 states and 8 operations; 2 lines an operation and 4 to the output
    (15, 20)
    """
    description = "; ".join(
        f"{graph.vertices[source].label} to {graph.vertices[target].label}" for source, target in graph.edges
    )
    return dataclasses.replace(_rows(graph) if graph.chain else _layers(graph), description=description)


def titled(pictures: Sequence[tuple[str, Picture]]) -> Picture:
    """Pictures below each other, each under its title.

    >>> from jaxnas.drawing.graphs import Vertex
    >>> one = place(Graph((Vertex("a", "state"), Vertex("b", "state")), ((0, 1),)))
    >>> [box.label for box in titled([("normal", one)]).boxes]
    ['normal', 'a', 'b']
    """
    boxes, lines, top = [], [], MARGIN
    for title, picture in pictures:
        boxes.append(Box(MARGIN, top, _width(title), HEIGHT, title, "title"))
        top += HEIGHT
        boxes += [dataclasses.replace(box, y=box.y + top) for box in picture.boxes]
        for line in picture.lines:
            moved = tuple(_curve([(x, y + top) for x, y in curve]) for curve in line.curves)
            lines.append(dataclasses.replace(line, curves=moved))
        top += picture.height
    width = max(max(picture.width for _, picture in pictures), *(box.x + box.width + MARGIN for box in boxes))
    return Picture(width, top, tuple(boxes), tuple(lines), ". ".join(f"{title}: {one.description}" for title, one in pictures))


def _width(label: str) -> float:
    return max(HEIGHT, len(label) * CHARACTER + 14)


def _curve(points: Sequence[Point]) -> Curve:
    first, second, third, fourth = points
    return first, second, third, fourth


def _straight(start: Point, end: Point) -> Curve:
    (x, y), (u, v) = start, end
    return start, (x + (u - x) / 3, y + (v - y) / 3), (x + 2 * (u - x) / 3, y + 2 * (v - y) / 3), end


def _layers(graph: Graph) -> Picture:
    """Sugiyama's layers, by a library; what it calls dummies are where a long line passes a layer."""
    slots, layer_of, ways = _sugiyama(graph)
    widths: dict[int, float] = defaultdict(float)
    for number, layer in layer_of.items():
        widths[layer] = max(widths[layer], _width(graph.vertices[number].label) if number < len(graph.vertices) else 0.0)
    left, x = {}, MARGIN
    for layer in sorted(widths):
        left[layer] = x
        x += widths[layer] + GAP

    def ends(number: int) -> tuple[Point, Point]:
        """Where lines come in and go out: on the borders of a box, or of the layer that they pass."""
        layer, y = layer_of[number], MARGIN + HEIGHT / 2 + slots[number] * SLOT
        if number >= len(graph.vertices):
            return (left[layer], y), (left[layer] + widths[layer], y)
        width, middle = _width(graph.vertices[number].label), left[layer] + widths[layer] / 2
        return (middle - width / 2, y), (middle + width / 2, y)

    boxes = []
    for number, vertex in enumerate(graph.vertices):
        (begin, y), (end, _) = ends(number)
        boxes.append(Box(begin, y - HEIGHT / 2, end - begin, HEIGHT, vertex.label, vertex.kind))
    lines = []
    for source, target in graph.edges:
        (_, at), curves = ends(source), []
        for one, other in itertools.pairwise(ways[source, target]):
            # Level within a layer, where the boxes are; it bends between the layers, where none is.
            border, (next_border, y) = left[layer_of[one]] + widths[layer_of[one]], (left[layer_of[other]], ends(other)[0][1])
            if at[0] < border - 0.01:  # Of the widest box of a layer it is the border itself, but for rounding.
                curves.append(_straight(at, (border, at[1])))
            middle = (border + next_border) / 2
            curves.append(((border, at[1]), (middle, at[1]), (middle, y), (next_border, y)))
            at = next_border, y
        if at[0] < ends(target)[0][0] - 0.01:
            curves.append(_straight(at, ends(target)[0]))
        lines.append(Line(tuple(curves), "none" in (graph.vertices[source].kind, graph.vertices[target].kind)))
    height = 2 * MARGIN + HEIGHT + max(slots.values()) * SLOT
    return Picture(x - GAP + MARGIN, height, tuple(boxes), tuple(lines))


def _sugiyama(graph: Graph) -> tuple[dict[int, float], dict[int, int], dict[tuple[int, int], list[int]]]:
    """Slot and layer of every vertex and dummy, and the way of each edge from vertex to vertex by dummies."""
    edges = list(graph.edges)
    # An input that nothing takes has its place in the first layer all the same.
    used = {number for edge in edges for number in edge}
    operation = next(target for _, target in edges)
    unused = [(number, operation) for number in range(len(graph.vertices)) if number not in used]
    slots: dict[int, float] = {}
    layer_of: dict[int, int] = {}
    following: dict[int, list[int]] = defaultdict(list)
    below, dummies = 0.0, itertools.count(len(graph.vertices))
    for positions, _, _, found in fast_sugiyama.from_edges(edges + unused, minimum_length=1, vertex_spacing=1):
        top, least = max(y for _, (_, y) in positions), min(x for _, (x, _) in positions)
        # Components may call their dummies alike.
        numbers = sorted(int(number) for number, _ in positions)
        name = {number: number if number < len(graph.vertices) else next(dummies) for number in numbers}
        for number, (across, along) in positions:
            slots[name[int(number)]], layer_of[name[int(number)]] = below + across - least, round(top - along)
        for source, target in found or ():
            following[name[int(source)]].append(name[int(target)])
        below = max(slots.values()) + 1
    return slots, layer_of, {edge: _way(edge, following, len(graph.vertices)) for edge in dict.fromkeys(graph.edges)}


def _way(edge: tuple[int, int], following: dict[int, list[int]], vertices: int) -> list[int]:
    """From an edge's source by dummies, which have one successor each, to its target."""
    for first in following[edge[0]]:
        way = [edge[0], first]
        while way[-1] >= vertices:
            way.append(following[way[-1]][0])
        if way[-1] == edge[1]:
            return way
    raise AssertionError(f"the layout lost edge {edge}")


def _rows(graph: Graph) -> Picture:
    """A row of boxes for each stage, its name before it; from row to row the line goes between them."""

    def stage_of(number: int) -> str:
        return graph.vertices[number].stage

    stages = [(stage, list(numbers)) for stage, numbers in itertools.groupby(range(len(graph.vertices)), stage_of)]
    begin = MARGIN + max(_width(stage) for stage, _ in stages) + 10
    width = max(_width(vertex.label) for vertex in graph.vertices)
    boxes: dict[int, Box] = {}
    names = []
    for row, (stage, numbers) in enumerate(stages):
        y = MARGIN + row * ROW
        names.append(Box(MARGIN, y, _width(stage), HEIGHT, stage, "text"))
        for column, number in enumerate(numbers):
            vertex = graph.vertices[number]
            boxes[number] = Box(begin + column * (width + GAP / 2), y, width, HEIGHT, vertex.label, vertex.kind)
    lines = []
    for source, target in graph.edges:
        a, b = boxes[source], boxes[target]
        if a.y == b.y:
            curves = (_straight((a.x + a.width, a.y + HEIGHT / 2), (b.x, b.y + HEIGHT / 2)),)
        else:
            left, right, between = b.x + width / 2, a.x + width / 2, (a.y + HEIGHT + b.y) / 2
            corners = (right, a.y + HEIGHT), (right, between), (left, between), (left, b.y)
            curves = tuple(_straight(*pair) for pair in itertools.pairwise(corners))
        lines.append(Line(curves))
    right = max(box.x + box.width for box in boxes.values())
    drawn = (*names, *boxes.values())
    return Picture(right + MARGIN, 2 * MARGIN + HEIGHT + (len(stages) - 1) * ROW, drawn, tuple(lines))

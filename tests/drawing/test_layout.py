"""The geometry of pictures: nothing overlaps, and no line goes through a box that it does not belong to."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from jaxnas.drawing import Box, Graph, Picture, Vertex, graphs, place, titled
from jaxnas.spaces import CELL_SPACES, PUBLISHED, Genotype, named_space, random_genotype

pytestmark = pytest.mark.quick

RNG = np.random.Generator(np.random.PCG64(0))
SPACES = (*CELL_SPACES, "fbnet", "proxyless")
RANDOM = {f"{name} {i}": random_genotype(named_space(name), RNG) for name in SPACES for i in range(5)}


def along(picture: Picture) -> list[np.ndarray]:
    """Points on each line."""
    t = np.linspace(0, 1, 60)[:, None]
    weights = np.concatenate([(1 - t) ** 3, 3 * t * (1 - t) ** 2, 3 * t**2 * (1 - t), t**3], axis=1)
    return [np.concatenate([weights @ np.array(curve) for curve in line.curves]) for line in picture.lines]


def inside(box: Box, points: np.ndarray, margin: float) -> bool:
    low, high = (box.x - margin, box.y - margin), (box.x + box.width + margin, box.y + box.height + margin)
    return bool(np.any(np.all((points > low) & (points < high), axis=1)))


@pytest.mark.parametrize("name", [*PUBLISHED, *RANDOM])
def test_boxes_are_apart_and_lines_pass_them(name: str) -> None:
    genotype: Genotype = PUBLISHED.get(name) or RANDOM[name]
    for graph in graphs(genotype).values():
        picture = place(graph)
        for a, b in itertools.combinations(picture.boxes, 2):
            apart = max(a.x - b.x - b.width, b.x - a.x - a.width, a.y - b.y - b.height, b.y - a.y - a.height)
            assert apart >= 5, (a.label, b.label)
        for box in picture.boxes:
            assert len(box.label) * 0.6 * 12 <= box.width
            assert 0 <= box.x and 0 <= box.y and box.x + box.width <= picture.width and box.y + box.height <= picture.height
        drawn = [box for box in picture.boxes if box.look != "text"]
        assert [box.label for box in drawn] == [vertex.label for vertex in graph.vertices]
        for (source, target), points in zip(graph.edges, along(picture), strict=True):
            begin, end = drawn[source], drawn[target]
            for box in picture.boxes:
                # Its own boxes are touched where it begins and ends, not crossed.
                assert not inside(box, points, -0.1 if box in (begin, end) else 3), (box.label, begin.label, end.label)
            assert inside(begin, points[:1], 0.1) and inside(end, points[-1:], 0.1)
            assert np.all(np.linalg.norm(np.diff(points, axis=0), axis=1) < 60)  # In one piece.


def test_an_input_that_nothing_takes_and_a_cell_in_two_parts() -> None:
    states = tuple(Vertex(name, "state") for name in ("c_{k-2}", "c_{k-1}", "0", "c_{k}"))
    alone = Graph((*states, Vertex("skip_connect", "skip"), Vertex("none", "none")), ((1, 4), (4, 2), (1, 5), (5, 2), (2, 3)))
    assert place(alone).boxes[0].x < place(alone).boxes[2].x
    parts = Graph((*states, Vertex("a", "other"), Vertex("b", "other")), ((0, 4), (4, 2), (1, 5), (5, 3)))
    assert len({(box.x, box.y) for box in place(parts).boxes}) == 6


def test_titles_are_above_their_pictures() -> None:
    one = place(graphs(PUBLISHED["DARTS_V2"])["reduce"])
    both = titled([("first", one), ("second", one)])
    tops = [box.y for box in both.boxes if box.look == "title"]
    assert tops == [10, 10 + 26 + one.height] and len(both.lines) == 2 * len(one.lines)
    assert {round(box.y - tops[1]) for box in both.boxes[len(one.boxes) + 2 :]} == {round(box.y + 26) for box in one.boxes}

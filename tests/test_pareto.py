"""Fronts and the area that they dominate, against counting over a grid."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest

from jaxnas.pareto import hypervolume, non_dominated, picture


def test_front_and_area_on_random_sets() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        points = [(int(x), int(y)) for x, y in rng.integers(0, 12, (8, 2))]
        reference = (10, 2)
        cells = [
            (x, y)
            for x in range(12)
            for y in range(12)
            if x < reference[0] and y >= reference[1] and any(a <= x and b > y for a, b in points)
        ]
        assert hypervolume(points, reference) == len(cells)
        front = [point for point, kept in zip(points, non_dominated(points), strict=True) if kept]
        # Nothing is lost without the others, and each of the front adds something or has an equal.
        assert hypervolume(front, reference) == len(cells)
        for cost, accuracy in points:
            beaten = any(a <= cost and b >= accuracy and (a, b) != (cost, accuracy) for a, b in points)
            assert ((cost, accuracy) in front) != beaten


@pytest.mark.parametrize("points", [[(3.0, 0.9)], [(1.0, 0.5), (2.0, 0.4), (3.0, 0.8)], [(180000.0, 0.97), (128832.0, 0.97)]])
def test_a_picture_has_its_dots_within_its_axes_and_in_their_order(points: list[tuple[float, float]]) -> None:
    tree = ElementTree.fromstring(picture(points, [f"<{x:g}>" for x, _ in points], "a & b", "latency in ms"))
    dots = [dot for dot in tree.iter() if dot.tag.endswith("circle")]
    at = [(float(dot.attrib["cx"]), float(dot.attrib["cy"])) for dot in dots]
    assert all(80 <= x <= 610 and 30 <= y <= 360 for x, y in at)
    assert [dot.attrib["fill"] != "#fff" for dot in dots] == non_dominated(points)
    for (cost, accuracy), (x, y) in zip(points, at, strict=True):
        for (other, better), (u, v) in zip(points, at, strict=True):
            assert (cost < other) == (x < u) and (accuracy < better) == (y > v)

"""Ticks are round and hold all values; a point lies where its value is between the ticks."""

from __future__ import annotations

import numpy as np
import pytest

from jaxnas.axes import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, around, curves, ticks


@pytest.mark.parametrize("values", [[93.1, 94.37], [0.0, 21_400.0], [5.0], [-3.0, 3.0], [0.0]])
def test_axes_hold_all_values(values: list[float]) -> None:
    found = ticks(values)
    assert 2 <= len(found) <= 7 and found[0] <= min(values) and max(values) <= found[-1]
    np.testing.assert_allclose(np.diff(found), found[1] - found[0])
    frame = around(values, values)
    for value in values:
        x, y = frame.at((value, value))
        share = (value - found[0]) / (found[-1] - found[0])
        assert x == pytest.approx(LEFT + share * (WIDTH - LEFT - RIGHT), abs=0.01)
        assert y == pytest.approx(HEIGHT - BOTTOM - share * (HEIGHT - BOTTOM - TOP), abs=0.01)


def test_every_curve_goes_through_its_points_and_is_named() -> None:
    lines = {"a < b": [(0, 1.0), (2, 3.0)], "flat": [(0, 2.0), (2, 2.0)]}
    drawn = curves("title", "epoch", "percent", lines, marks=[(2, 3.0)])
    frame = around([0, 2, 0, 2], [1.0, 3.0, 2.0, 2.0])
    for points in lines.values():
        (x0, y0), (x1, y1) = map(frame.at, points)
        assert f'd="M{x0} {y0}L{x1} {y1}"' in drawn
    assert all(f">{said}</text>" in drawn for said in ("a &lt; b", "flat", "title", "epoch", "percent"))
    x, y = frame.at((2, 3.0))
    assert drawn.count("<circle") == 1 and f'cx="{x}" cy="{y}"' in drawn

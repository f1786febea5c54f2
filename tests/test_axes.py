"""Ticks are round and hold all values; a point lies where its value is between the ticks."""

from __future__ import annotations

import numpy as np
import pytest

from jaxnas.axes import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, around, ticks


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

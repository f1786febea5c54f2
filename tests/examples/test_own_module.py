"""The documented example of a mixed operation in one's own module: it finds the one candidate that sees what is there."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
import pytest

pytestmark = pytest.mark.quick


def test_it_takes_fewer_than_40_lines(lines_of_code: int) -> None:
    assert 0 < lines_of_code < 40


def test_it_chooses_the_convolution_that_is_wide_enough(example: Any) -> None:
    chosen, (weights, alphas) = example.search()
    assert chosen == "dil_conv_3x3"
    # And tells the signals apart: fresh ones, by far better than log 2.
    batch = example.signals(jax.random.key(99), 256)
    assert float(example.loss(weights, alphas, batch)) < 0.5 * np.log(2)


def test_what_its_candidates_see(example: Any) -> None:
    """The two classes differ in nothing but their correlation over four steps."""
    x, labels = example.signals(jax.random.key(1), 4000)
    x = np.asarray(x)[..., 0]
    for label in (0, 1):
        of_class = x[np.asarray(labels) == label]
        lags = [float((of_class * np.roll(of_class, lag, 1)).mean()) for lag in range(6)]
        np.testing.assert_allclose(lags, [1, 0, 0, 0, 0.5 * label, 0], atol=0.02)

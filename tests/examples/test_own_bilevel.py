"""The documented example of one's own bilevel problem: its hypergradient is the derivative of the closed form."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

pytestmark = pytest.mark.quick


def test_it_takes_fewer_than_40_lines(lines_of_code: int) -> None:
    assert 0 < lines_of_code < 40


def test_its_hypergradient(example: Any) -> None:
    """Through the normal equations, which the example solves and does not differentiate."""
    penalties = jnp.array([-1.0, 0.0, 0.5, 1.0, -2.0, 0.0])
    value, found = example.gradient(penalties)
    expected = jax.grad(lambda p: example.valid_loss(example.fit(p), p))(penalties)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)
    # The minimum is one.
    np.testing.assert_allclose(jax.grad(example.train_loss)(example.fit(penalties), penalties), 0, atol=1e-5)
    assert float(value) == pytest.approx(float(example.valid_loss(example.fit(penalties), penalties)))

"""The documented example of a supernet in one's own loop: its price is what the table of counts says, and it works."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import pytest

from jaxnas.spaces import check_fits, to_text

pytestmark = pytest.mark.quick


def test_it_takes_fewer_than_40_lines(lines_of_code: int) -> None:
    assert 0 < lines_of_code < 40


def test_its_cost(example: Any) -> None:
    """A convolution of k x k pixels over C channels has k k C C multiply-adds a pixel; of three stages of one cell each the
    widths double and the sides halve, so each has as many. What is not searched is the same for all."""
    per_cell = 8 * 8 * 4 * 4
    shares = {name: jnp.zeros((3, 3)).at[:, column].set(1.0) for column, name in enumerate(("skip", "one", "three"))}
    costs = {name: float(example.COST({"cell": share})) for name, share in shares.items()}
    assert costs["one"] - costs["skip"] == pytest.approx(3 * 3 * per_cell, rel=1e-6)
    assert costs["three"] - costs["skip"] == pytest.approx(3 * 3 * 9 * per_cell, rel=1e-6)


def test_a_price_makes_what_it_finds_cheap(example: Any) -> None:
    genotype, alphas = example.search(4, 1e-2)
    check_fits(genotype, example.SPACE)
    assert "nor_conv" not in to_text(genotype)
    assert bool((alphas["cell"][:, 0] > alphas["cell"][:, 1:].max(-1)).all())

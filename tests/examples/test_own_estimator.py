"""The documented example of one's own estimator: it searches, it is what it says, and it is as short as promised."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import numpy as np

from jaxnas.recipes import find
from jaxnas.spaces import Nb201Genotype, nb201_family


def test_it_takes_fewer_than_40_lines(lines_of_code: int) -> None:
    assert 0 < lines_of_code < 40


def test_its_relaxation(example: Any) -> None:
    space = nb201_family("e", (("none", "skip_connect", "nor_conv_1x1"), ("skip_connect",), ("none", "nor_conv_1x1")), nodes=2)
    alphas = np.array([[0.5, -3.0, 1.0], [0.2, 7.0, 7.0], [0.0, 0.0, 7.0]])
    mixture, probabilities = example.rectified(space)({"cell": alphas}, jax.random.key(0), {}, "weights")
    expected = [[1.5 / 3.5, 0, 2 / 3.5], [1, 0, 0], [0.5, 0.5, 0]]
    np.testing.assert_allclose(mixture["cell"], expected, atol=1e-6)
    np.testing.assert_array_equal(probabilities["cell"], mixture["cell"])


def test_it_searches(example: Any) -> None:
    recipe = find("nb201-digits")
    small = dataclasses.replace(recipe, search=dataclasses.replace(recipe.search, channels=2, batch=8))
    assert isinstance(example.search(small, steps=2), Nb201Genotype)

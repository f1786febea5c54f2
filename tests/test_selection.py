"""Which genotypes are compared, and which wins."""

from __future__ import annotations

import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnas import selection
from jaxnas.data import load
from jaxnas.derive import one_hot_mixture
from jaxnas.nets import Network
from jaxnas.spaces import check_fits, darts, nb201_family, random_genotype, to_text

NAMES = (("none", "skip_connect", "nor_conv_1x1"), ("skip_connect", "none"), ("nor_conv_1x1",), *[("none", "skip_connect")] * 3)
SPACE = nb201_family("uneven", NAMES)


@pytest.mark.parametrize("count", [5, 100])
def test_the_most_probable_cells_are_those_of_a_full_enumeration(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    monkeypatch.setattr(selection, "CANDIDATES", count)
    alphas = np.random.default_rng(0).normal(size=(6, 3))
    found = selection.candidates("setn", SPACE, {"cell": alphas}, seed=0)
    logs = [
        np.log(np.exp(row[: len(names)]) / np.exp(row[: len(names)]).sum()) for row, names in zip(alphas, NAMES, strict=True)
    ]
    every = sorted(
        itertools.product(*(range(len(names)) for names in NAMES)), key=lambda p: -sum(map(lambda r, c: r[c], logs, p))
    )
    for genotype, columns in zip(found, every, strict=False):
        chosen = one_hot_mixture(SPACE, genotype)["cell"].argmax(1)
        np.testing.assert_array_equal(chosen, columns)
    assert len(found) == min(count, len(every)) == len(set(found))


def test_random_cells_are_of_the_space_and_of_the_seed() -> None:
    found, again, other = (selection.candidates("rsps", darts(), None, seed) for seed in (0, 0, 1))
    assert len(set(found)) == selection.CANDIDATES
    assert found == again != other
    for genotype in found:
        check_fits(genotype, darts())


def test_the_most_accurate_wins() -> None:
    """A network that is right about as many classes as its path has skips, in evaluation of a path alone."""
    digits = load("digits")

    def forward(weights: Any, mixture: Any, images: Any, key: Any, scalars: Any, statistics: Any = None) -> Any:
        parts = mixture["cell"]
        skips = (parts["weights"] * parts["active"] * np.array([[0, 1, 0], [1, 0, 0], [0, 0, 0], *[[0, 1, 0]] * 3])).sum()
        return jnp.where(jnp.arange(10) == (skips - 1) * weights, 1.0, 0.0) * jnp.ones((len(images), 1)), None

    genotypes = [random_genotype(SPACE, np.random.default_rng(seed)) for seed in range(6)]
    skips = [to_text(genotype).count("skip_connect") for genotype in genotypes]
    network = Network(init=lambda key: (None, None), forward=forward, parameters=0)
    winner, accuracies = selection.best(genotypes, SPACE, network, 1.0, digits, jax.random.key(0))
    labels = digits.search_valid.labels
    for count, accuracy in zip(skips, accuracies, strict=True):
        share = (labels == count - 1).mean()
        assert abs(accuracy - share) < 4 * np.sqrt(max(share, 0.01) / selection.IMAGES)
    assert winner == genotypes[int(accuracies.argmax())]

"""Additive fits: exact sums are recovered, what is not determined is refused, constraints hold."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from jaxnas.errors import UserError
from jaxnas.latency import costs, encode
from jaxnas.latency.additive import fit, fitted_table
from jaxnas.latency.encodings import candidate_keys, exclusive
from jaxnas.nets import Shape
from jaxnas.spaces import Nb201Genotype, Space, darts, nb201_family, random_genotype, robust_darts

SPACE = nb201_family("three", ("none", "skip_connect", "nor_conv_3x3"), nodes=2)
SHAPE = Shape(4, 1, 10, 8)


def genotype(names: tuple[str, ...]) -> Nb201Genotype:
    return Nb201Genotype((((names[0], 0),), ((names[1], 0), (names[2], 1))))


EVERY = [genotype(names) for names in itertools.product(("none", "skip_connect", "nor_conv_3x3"), repeat=3)]


def test_exact_sums_are_recovered_in_the_gauge_of_the_cheapest() -> None:
    true = np.array([[0.0, 0.2, 2.0], [0.5, 0.0, 1.0], [0.1, 0.3, 0.0]])
    encoding = encode(SPACE, EVERY).chosen
    found = fit(SPACE, encoding, encoding @ true.ravel() + 3.0)
    assert found.intercept == pytest.approx(3.0, rel=1e-12)
    assert np.allclose(found.costs, true.ravel(), atol=1e-12)
    assert (found.counts == 9).all() and np.allclose(found.spreads, 0, atol=1e-12)


def test_predictions_are_those_of_least_squares_in_any_gauge() -> None:
    rng = np.random.default_rng(0)
    encoding = encode(SPACE, EVERY).chosen
    latencies = rng.uniform(5, 6, len(EVERY))
    found = fit(SPACE, encoding, latencies)
    # Another gauge: the first candidate of each edge costs 0.
    reduced = np.concatenate([np.ones((27, 1)), encoding.reshape(27, 3, 3)[:, :, 1:].reshape(27, 6)], axis=1)
    numbers = np.linalg.solve(reduced.T @ reduced, reduced.T @ latencies)
    assert np.allclose(found.predict(encoding), reduced @ numbers, atol=1e-12)
    # The standard error of a difference on an edge, from the reduced normal equations.
    variance = ((latencies - reduced @ numbers) ** 2).sum() / (27 - 7)
    inverse = np.linalg.inv(reduced.T @ reduced)
    first = found.costs[:3]
    base, other = int(first.argmin()), int(first.argmax())
    contrast = np.zeros(7)
    for column, sign in ((other, 1.0), (base, -1.0)):
        if column:
            contrast[column] += sign
    assert found.spreads[other] == pytest.approx(np.sqrt(variance * contrast @ inverse @ contrast), rel=1e-9)
    assert found.spreads[base] == 0


def test_nothing_takes_a_negative_time() -> None:
    encoding = encode(SPACE, EVERY).chosen
    convolutions = encoding.reshape(27, 3, 3)[:, :, 2].sum(1)
    latencies = convolutions**2  # A line through it is below 0 at none.
    found = fit(SPACE, encoding, latencies)
    assert found.intercept >= 0 and found.costs.min() >= 0
    plain = np.linalg.lstsq(np.concatenate([np.ones((27, 1)), encoding], axis=1), latencies, rcond=None)[0]
    assert (np.concatenate([np.ones((27, 1)), encoding], axis=1) @ plain).min() < 0
    # By symmetry one number is left, the slope: its least squares through the origin.
    slope = (convolutions * latencies).sum() / (convolutions**2).sum()
    assert np.allclose(found.predict(encoding), slope * convolutions, atol=1e-9)


@pytest.mark.parametrize("space", [darts(), robust_darts(1)], ids=lambda space: space.name)
def test_cells_that_keep_two_edges_a_node(space: Space) -> None:
    rng = np.random.default_rng(0)
    genotypes = [random_genotype(space, rng) for _ in range(500)]
    encoding = encode(space, genotypes).chosen
    assert encoding.shape == (500, space.alphas)
    nodes = [(0, 1), (2,), (3,), (4,)]  # Groups of columns; the first node keeps both its edges.
    sums = [encoding[:, group].sum(axis=1) for group in map(list, exclusive(space))]
    assert all((np.sum([sums[5 * kind + i] for i in node], axis=0) == 2).all() for kind in (0, 1) for node in nodes)
    true = rng.uniform(0, 1, space.alphas)
    latencies = encoding @ true + 2.0
    found = fit(space, encoding[:400], latencies[:400])
    assert np.allclose(found.predict(encoding[400:]), latencies[400:], atol=1e-9)
    assert np.nanmin(found.costs) >= 0 and found.intercept >= 0


def test_what_the_networks_do_not_determine() -> None:
    encoding = encode(SPACE, EVERY).chosen
    with pytest.raises(UserError, match="3 networks do not determine the 7 costs .* at least 5"):
        fit(SPACE, encoding[[0, 4, 8]], [1.0, 2.0, 3.0])  # The second and the third edge's operations change together.
    # Two edges that always have the same operation: their costs cannot be told apart.
    same = [i for i, g in enumerate(EVERY) if g.nodes[0][0][0] == g.nodes[1][0][0]]
    with pytest.raises(UserError, match="do not determine"):
        fit(SPACE, encoding[same], np.ones(len(same)))


def test_a_candidate_that_no_network_had_is_not_guessed() -> None:
    encoding = encode(SPACE, EVERY).chosen
    without = encoding[:, 2] == 0
    found = fit(SPACE, encoding[without], np.arange(1.0, 1 + without.sum()))
    assert np.isnan(found.costs[2]) and found.counts[2] == 0
    with pytest.raises(UserError, match="No measured network had cell/0/nor_conv_3x3, and 1 candidate"):
        found.predict(encoding)
    table = fitted_table(found, SHAPE, None, "a phone")
    with pytest.raises(UserError, match="no row for 1 candidate.*cell/0/nor_conv_3x3"):
        costs(table, SPACE, SHAPE)


@pytest.mark.parametrize("broken", [-1.0, float("nan"), float("inf")])
def test_latencies_that_are_none(broken: float) -> None:
    encoding = encode(SPACE, EVERY).chosen
    with pytest.raises(UserError, match="finite and not negative"):
        fit(SPACE, encoding, [broken, *[1.0] * 26])
    with pytest.raises(UserError, match="one latency for each network"):
        fit(SPACE, encoding, [1.0])


def test_the_table_of_a_fit() -> None:
    encoding = encode(SPACE, EVERY).chosen
    latencies = 1.0 + encoding @ np.arange(9.0)
    found = fit(SPACE, encoding[:20], latencies[:20])
    table = fitted_table(found, SHAPE, (encoding[20:], latencies[20:], "held out"), "a phone", batch=1, precision="float32")
    by_kind, fixed = costs(table, SPACE, SHAPE)
    assert np.allclose(fixed + encoding @ by_kind["cell"].ravel(), latencies)
    assert list(table.rows) == list(candidate_keys(SPACE))
    assert table.checks and table.checks.scores.networks == 7 and table.checks.scores.passed

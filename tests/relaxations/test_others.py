"""Dirichlet's regulariser, uniform paths, weights of edges: against NumPy."""

from __future__ import annotations

import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import beta

from jaxnas.derive import derive
from jaxnas.errors import UserError
from jaxnas.relaxations import dirichlet, divergence, initial_partial_alphas, partial_channels, uniform_path, with_bypass
from jaxnas.spaces import darts, darts_family, nb201_family

pytestmark = pytest.mark.usefixtures("float64")


def test_divergence_from_a_flat_dirichlet_is_its_integral() -> None:
    """For two candidates, where the distribution is a beta distribution and the flat one is uniform; a lone one adds 0."""
    space = nb201_family("e", (("none", "skip_connect"), ("nor_conv_1x1",), ("skip_connect", "none")), nodes=2)
    alphas = np.array([[0.7, -0.4], [2.0, 9.0], [-1.0, 1.5]])
    expected = 0.0
    for row in (0, 2):
        a, b = (1 + x if x > 0 else np.exp(x) for x in alphas[row])
        expected += quad(lambda x, a=a, b=b: beta.pdf(x, a, b) * beta.logpdf(x, a, b), 0, 1)[0]
    assert float(divergence(space, {"cell": jnp.asarray(alphas)})) == pytest.approx(expected, abs=1e-7)


def test_uniform_paths_of_nb201() -> None:
    space = nb201_family("e", (("none", "skip_connect", "nor_conv_1x1"), ("skip_connect", "none"), ("nor_conv_1x1",)), nodes=2)
    alphas = {"cell": jnp.asarray(np.random.default_rng(0).normal(size=(3, 3)))}
    keys = jax.random.split(jax.random.key(0), 6000)
    mixture = jax.vmap(lambda key: uniform_path(space)(alphas, key, {}, "weights")[0]["cell"])(keys)
    active = np.asarray(mixture["active"])
    np.testing.assert_array_equal(mixture["weights"], active.astype(float))
    expected = np.array([[1, 1, 1], [1.5, 1.5, 0], [3, 0, 0]]) / 3
    assert (np.abs(active.mean(0) - expected) <= 4 * np.sqrt(expected * (1 - expected) / len(keys))).all()
    at_expectation = np.asarray(uniform_path(space)(alphas, keys[0], {}, "alphas")[0]["cell"])
    np.testing.assert_allclose(at_expectation.sum(1), 1.0, rtol=1e-13)


def test_uniform_paths_of_darts_keep_two_edges_of_each_node() -> None:
    space = darts_family("d", ("none", "skip_connect"), nodes=3)
    alphas = {kind: jnp.zeros((9, 2)) for kind in ("normal", "reduce")}
    keys = jax.random.split(jax.random.key(0), 3000)
    active: Any = jax.vmap(lambda k: uniform_path(space)(alphas, k, {}, "weights")[0]["normal"]["active"])(keys)
    kept: Any = np.asarray(active).any(-1)
    for node, rows in enumerate(([0, 1], [2, 3, 4], [5, 6, 7, 8])):
        assert (kept[:, rows].sum(1) == 2).all(), node
        pairs = list(itertools.combinations(rows, 2))
        for pair in pairs:
            share = kept[:, pair].all(1).mean()
            assert abs(share - 1 / len(pairs)) <= 4 * np.sqrt(1 / len(pairs) / len(keys))


def test_partial_channels_weigh_edges_by_node_and_derive_by_the_product() -> None:
    space = darts_family("d", ("none", "skip_connect", "sep_conv_3x3"), nodes=2)
    rng = np.random.default_rng(1)
    alphas = {kind: rng.normal(size=(5, 3)) for kind in ("normal", "reduce")}
    alphas |= {f"{kind}_edges": rng.normal(size=5) for kind in ("normal", "reduce")}
    mixture, _ = partial_channels(space)(jax.tree.map(jnp.asarray, alphas), jax.random.key(0), {}, "weights")
    genotype = derive(space, alphas)
    for kind in ("normal", "reduce"):
        p = np.exp(alphas[kind]) / np.exp(alphas[kind]).sum(1, keepdims=True)
        powers = np.exp(alphas[f"{kind}_edges"])
        shares = powers / np.array([powers[:2].sum()] * 2 + [powers[2:].sum()] * 3)
        np.testing.assert_allclose(mixture[kind], shares[:, None] * np.concatenate([np.ones((5, 1)), p], 1), rtol=1e-12)
        strength = (shares[:, None] * p)[:, 1:]
        expected = []
        for rows in ([0, 1], [2, 3, 4]):
            for row in sorted(rows, key=lambda r: -strength[r].max())[:2]:
                expected.append((("skip_connect", "sep_conv_3x3")[strength[row].argmax()], space.cell(kind).edges[row][0]))
        assert getattr(genotype, kind) == tuple(expected)
    with pytest.raises(UserError, match="edges are 5 finite numbers"):
        derive(space, {**alphas, "normal_edges": np.zeros(4)})


def test_initial_partial_alphas() -> None:
    alphas = initial_partial_alphas(darts(), jax.random.key(0))
    assert sum(alpha.size for alpha in alphas.values()) == 252
    drawn = np.concatenate([np.ravel(alpha) for alpha in alphas.values()])
    assert len(np.unique(drawn)) == 252 and abs(drawn.std() / 1e-3 - 1) < 4 / np.sqrt(2 * 252)


def test_dirichlet_with_partial_channels_lets_the_others_pass_whole() -> None:
    space = nb201_family("e", (("none", "skip_connect"), ("nor_conv_1x1",), ("skip_connect", "none")), nodes=2)
    alphas = {"cell": jnp.asarray(np.random.default_rng(0).normal(size=(3, 2)))}
    arguments: Any = (alphas, jax.random.key(3), {}, "weights")
    dense, mean = dirichlet(space)(*arguments)
    mixture, same_mean = with_bypass(dirichlet(space))(*arguments)
    np.testing.assert_array_equal(mixture["cell"], np.column_stack([np.ones(3), dense["cell"]]))
    np.testing.assert_array_equal(mean["cell"], same_mean["cell"])

"""What is logged of a search's state, against the pieces that it is made of."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnas.data import load
from jaxnas.errors import UserError
from jaxnas.nets import Network
from jaxnas.probe import Probe, check_probed
from jaxnas.recipes import find
from jaxnas.searching import search_network, search_stage
from jaxnas.stages import first_part

RECIPE = find("nb201-digits")


def measured(**changes: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Of two epochs, at one state."""
    small = {"channels": 2, "cells": 1, "batch": 8, "alpha_deviation": 0.5, "instruments_every": 1}
    search = dataclasses.replace(RECIPE.search, **small, **changes)
    recipe, dataset = dataclasses.replace(RECIPE, search=search), load("digits")
    network = search_network(search, dataset)
    state = search_stage(recipe, dataset, network).start()
    probe = Probe(recipe, dataset, network, first_part(search))
    first, second = probe(0, state), probe(1, state)
    assert probe(0, state) == first  # Of the seed and the epoch alone.
    return first, second


def test_a_measurement_of_a_search_by_the_exact_gradient() -> None:
    found, later = measured(hypergradient="unrolled")
    assert found["hypergradient_cosine"] == pytest.approx(1, abs=1e-5)
    assert found["hypergradient_norm_ratio"] == pytest.approx(1, abs=1e-5)
    eigenvalues = np.array(found["eigenvalues"])
    assert len(eigenvalues) == 30 and (np.diff(eigenvalues) >= 0).all()
    # Every row's softmax stays as it is along one direction: six eigenvalues are 0, no matter what the loss is.
    assert (np.abs(eigenvalues) < 1e-4).sum() >= 6 and np.abs(eigenvalues).max() > 1e-3
    assert found["loss"] != later["loss"]  # Another batch.
    assert 0 <= found["derived_accuracy"] <= 1 and found["derived_loss"] != found["loss"]
    assert 0 < found["entropy"] < 1 and 0 < found["skip_share"] < 1


@pytest.mark.slow
def test_the_first_order_gradient_is_not_the_exact_one() -> None:
    found, _ = measured(hypergradient="first_order")
    assert -1 <= found["hypergradient_cosine"] < 0.99999
    assert found["hypergradient_norm_ratio"] != pytest.approx(1, abs=1e-5)


def cheap() -> Network:
    """A supernet of nb201's mixtures that compiles in no time."""

    def init(key: Any) -> tuple[Any, Any]:
        first, last = (jax.random.normal(k, shape) for k, shape in zip(jax.random.split(key), ((3, 30), (30, 10)), strict=True))
        return {"first": first, "last": last}, {}

    def forward(weights: Any, mixture: Any, x: Any, key: Any, scalars: Any, statistics: Any = None) -> Any:
        return jnp.tanh(x.mean((1, 2)) @ weights["first"] * mixture["cell"].reshape(-1)) @ weights["last"], {}

    return Network(init, forward, 0)


def test_samplers_are_measured_at_what_they_sample_from() -> None:
    """The numbers of DARTS at the same state, but for a hypergradient that has no exact one."""
    dataset, found = load("digits"), {}
    for estimator in ("softmax", "gdas", "sdarts_rs"):
        changes: dict[str, Any] = {"estimator": estimator, "batch": 32, "alpha_deviation": 0.5, "instruments_every": 1}
        search = dataclasses.replace(RECIPE.search, **changes)
        check_probed(search)
        recipe = dataclasses.replace(RECIPE, search=search)
        state = search_stage(recipe, dataset, cheap()).start()
        found[estimator] = Probe(recipe, dataset, cheap(), first_part(search))(0, state)
    darts = found.pop("softmax")
    without = {name: value for name, value in darts.items() if not name.startswith("hypergradient")}
    assert len(darts) - len(without) == 2 and darts["entropy"] < 1
    for numbers in found.values():
        assert numbers.keys() == without.keys()
        for name, value in without.items():
            assert numbers[name] == pytest.approx(value, rel=1e-5, abs=1e-6)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"estimator": "enas"}, "no curvature to measure with estimator=enas, which learns no alphas"),
        ({"space": "proxyless_tiny", "cells": 8, "channels": 16}, "searches of cells in one stage"),
    ],
)
def test_what_cannot_be_measured_is_refused(changes: dict[str, Any], said: str) -> None:
    search = dataclasses.replace(RECIPE.search, **changes)
    check_probed(search)
    with pytest.raises(UserError, match=said):
        check_probed(dataclasses.replace(search, instruments_every=2))

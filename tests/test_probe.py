"""What is logged of a search's state, against the pieces that it is made of."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from jaxnas.data import load
from jaxnas.errors import UserError
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


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"estimator": "gdas"}, "no curvature to measure with estimator=gdas"),
        ({"space": "proxyless_tiny", "cells": 8, "channels": 16}, "searches of cells in one stage"),
    ],
)
def test_what_cannot_be_measured_is_refused(changes: dict[str, Any], said: str) -> None:
    search = dataclasses.replace(RECIPE.search, **changes)
    check_probed(search)
    with pytest.raises(UserError, match=said):
        check_probed(dataclasses.replace(search, instruments_every=2))

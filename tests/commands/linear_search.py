"""The command line with networks that compile in no time, 48 digits and a dispatch for every step; run by test_processes.py."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from jaxnas import cli, feeding, run, searching, training
from jaxnas.commands import resume, search
from jaxnas.data import Dataset, Split, load
from jaxnas.nets import Network


def digits(*_: Any) -> Dataset:
    whole = load("digits")
    part = Split(whole.train.images[:48], whole.train.labels[:48])
    return dataclasses.replace(whole, train=part, search_train=part, search_valid=part, test=part)


def init(key: Array) -> tuple[Any, Any]:
    return {"matrix": 0.1 * jax.random.normal(key, (3, 10))}, {}


def supernet(recipe: Any, *_: Any) -> Network:
    """The alphas scale what a linear network, whose key moves its loss, says."""
    cells = recipe.build_space().cells

    def forward(weights: Any, mixture: Any, x: Array, key: Array, *_: Any, **__: Any) -> Any:
        scale = sum((mixture[kind] * jnp.arange(1.0, 1 + mixture[kind].shape[1])).sum() for kind, _ in cells)
        return scale * (x.mean((1, 2)) + jax.random.normal(key, (3,))) @ weights["matrix"], {}

    return Network(init, forward, parameters=30)


def derived(*_: Any) -> Network:
    def forward(weights: Any, mixture: Any, x: Array, key: Array, scalars: Any, statistics: Any = None) -> Any:
        logits = x.mean((1, 2)) @ weights["matrix"], None
        return (logits, {}) if statistics is None else (logits, statistics)

    return Network(init, forward, parameters=30)


if __name__ == "__main__":
    searching.search_network = supernet
    training.network_of = run.network_of = derived
    search.load = resume.load = digits  # pyright: ignore[reportAttributeAccessIssue]
    feeding.STEPS_PER_DISPATCH = 1
    cli.main()

"""The search step lowers for devices that are not here."""

from __future__ import annotations

import dataclasses

import jax
import jax.export

from jaxnas import searching
from jaxnas.data import load
from jaxnas.recipes import RECIPES

PLATFORMS = ("cpu", "cuda", "tpu")


def test_the_search_step_lowers_for_every_platform() -> None:
    """An operation without a lowering for one of them, or a call of a library that is not stable, is an error of the export."""
    recipe, dataset = RECIPES["nb201-digits"], load("digits")
    recipe = dataclasses.replace(recipe, search=dataclasses.replace(recipe.search, channels=2, cells=1, batch=4))
    stage = searching.search_stage(recipe, dataset, searching.search_network(recipe.search, dataset), steps=1)
    state, data = jax.eval_shape(stage.start), jax.eval_shape(lambda data: data, stage.data)
    rows = tuple(jax.ShapeDtypeStruct(row.shape[1:], row.dtype) for row in jax.eval_shape(lambda: stage.indices(0)))
    step = jax.export.export(jax.jit(stage.step), platforms=PLATFORMS)(state, data, *rows)
    assert step.platforms == PLATFORMS
    assert step.disabled_safety_checks == ()
    after, _ = jax.tree.unflatten(step.out_tree, step.out_avals)
    assert jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), after) == jax.tree.map(
        lambda leaf: (leaf.shape, leaf.dtype), state
    )

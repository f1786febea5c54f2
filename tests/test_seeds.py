"""Searches of several seeds in one program: each comes to what it comes to alone, and nothing more is computed."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh

from jaxnas import feeding, searching
from jaxnas.data import Augmentation, load
from jaxnas.errors import UserError
from jaxnas.recipe import SearchRecipe
from jaxnas.recipes import Recipe, find
from jaxnas.run_folder import flat_arrays
from jaxnas.seeds import of_seed, together
from jaxnas.spaces import nb201_family
from jaxnas.stages import first_part

SEEDS, STEPS = (0, 5), 3
SPACE = nb201_family("two nodes", ("none", "skip_connect", "nor_conv_3x3", "avg_pool_3x3"), nodes=2)


def recipe_of(**changes: Any) -> Recipe:
    search = SearchRecipe(
        space="nb201", channels=2, cells=1, batch=16, epochs=1, learning_rate=0.1, alpha_learning_rate=0.05,
        augmentation=Augmentation(crop_padding=1, flip=True),
    )  # fmt: skip
    return dataclasses.replace(find("nb201-digits"), search=dataclasses.replace(search, **changes))


def stages_of(recipe: Recipe) -> list[feeding.Stage]:
    dataset = load("digits")
    network = searching.search_network(recipe.search, dataset, SPACE)
    if jax.config.read("jax_enable_x64"):
        forward: Any = network.forward  # Images are augmented in float32 and computed with in their own type.
        network = dataclasses.replace(
            network, forward=lambda w, m, images, *rest, **axis: forward(w, m, images.astype(jnp.float64), *rest, **axis)
        )
    part = dataclasses.replace(first_part(recipe.search), space=SPACE)
    recipes = [dataclasses.replace(recipe, seed=seed) for seed in SEEDS]
    return [searching.search_stage(one, dataset, network, STEPS, part=part) for one in recipes]


def after(stage: feeding.Stage, program: Any) -> tuple[Any, Any]:
    """The state after the steps, and what they reported."""
    rows = tuple(jnp.asarray(rows) for rows in stage.indices(0))
    return program.call(stage.start(), stage.data, rows, jnp.int32(STEPS))


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize(
    "changes",
    (
        {},
        pytest.param({"estimator": "gdas"}, marks=pytest.mark.slow),
        pytest.param({"hypergradient": "unrolled"}, marks=pytest.mark.slow),
    ),
    ids=str,
)
def test_every_seed_comes_to_what_it_comes_to_alone(changes: dict[str, Any]) -> None:
    stages = stages_of(recipe_of(**changes))
    alone = feeding.compile_stage(stages[0])
    both = together(stages)
    state, metrics = after(both, feeding.compile_stage(both))
    found = []
    for at, stage in enumerate(stages):
        expected, said = after(stage, alone)
        found.append(flat_arrays(of_seed(state, at)))
        for name, array in flat_arrays(expected).items():
            np.testing.assert_allclose(found[-1][name], array, rtol=1e-9, atol=1e-11, err_msg=name)
        assert metrics.keys() == said.keys()
        for name, values in said.items():
            np.testing.assert_allclose(metrics[name][:, at], values, rtol=1e-9, err_msg=name)
    name = next(name for name in found[0] if name.startswith("alphas."))
    assert not np.allclose(found[0][name], found[1][name], atol=1e-4)  # They are searches of their own.


def test_what_one_seed_does_not_run_several_do_not_run() -> None:
    """A condition with an axis of seeds would be a selection: both of its branches would run."""

    def conditions(jaxpr: Any) -> int:
        inner = [value for equation in jaxpr.eqns for value in jax.tree.leaves(equation.params, is_leaf=is_jaxpr)]
        here = sum(equation.primitive.name == "cond" for equation in jaxpr.eqns)
        return here + sum(conditions(getattr(value, "jaxpr", value)) for value in inner if is_jaxpr(value))

    def is_jaxpr(value: Any) -> bool:
        return hasattr(value, "eqns") or hasattr(value, "jaxpr")

    def of(stage: feeding.Stage) -> int:
        rows = tuple(rows[0] for rows in stage.indices(0))
        return conditions(jax.make_jaxpr(stage.step)(stage.start(), stage.data, *rows).jaxpr)

    stages = stages_of(recipe_of())
    assert of(together(stages)) == of(stages[0]) > 10


def test_what_cannot_go_together_is_told() -> None:
    stages = stages_of(recipe_of())
    several = dataclasses.replace(stages[1], mesh=Mesh(np.array(jax.devices()[:1]), ("batch",)))
    others = dataclasses.replace(stages[1], data=jax.tree.map(np.copy, stages[1].data))
    for other, said in ((several, "one device"), (dataclasses.replace(stages[1], epochs=9), "equally many"), (others, "share")):
        with pytest.raises(UserError, match=said):
            together([stages[0], other])

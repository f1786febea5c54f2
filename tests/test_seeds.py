"""Searches of several seeds in one program: each comes to what it comes to alone, and nothing more is computed."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh

from jaxnas import feeding, leaving, searching
from jaxnas.bilevel import SearchState
from jaxnas.data import Augmentation, load
from jaxnas.errors import UserError
from jaxnas.recipe import SearchRecipe
from jaxnas.recipes import Recipe, find
from jaxnas.run_folder import flat_arrays
from jaxnas.seeds import Apart, of_seed, together
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
            np.testing.assert_allclose(metrics[name][:, at], values, rtol=1e-9, atol=1e-11, err_msg=name)
    name = next(name for name in found[0] if name.startswith("alphas."))
    assert not np.allclose(found[0][name], found[1][name], atol=1e-4)  # They are searches of their own.


def test_what_one_seed_does_not_run_several_do_not_run() -> None:
    """A condition with an axis of seeds would be a selection: both of its branches would run."""

    def conditions(jaxpr: Any) -> int:
        inner = [value for equation in jaxpr.eqns for value in jax.tree.leaves(equation.params, is_leaf=is_jaxpr)]
        # Not those on the platform, by which a dense convolution with an axis of seeds stays a call: one branch is left.
        own = [equation for equation in jaxpr.eqns if equation.primitive.name == "cond"]
        here = sum(equation.params.get("branches_platforms") is None for equation in own)
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
    longer = dataclasses.replace(stages[1], epochs=9)
    on_disk = dataclasses.replace(stages[1], streams=(load("digits").train,))
    for other, said in ((several, "one device"), (longer, "equally many"), (others, "share"), (on_disk, "from disk")):
        with pytest.raises(UserError, match=said):
            together([stages[0], other])


class Heard(feeding.Report):
    """A report that remembers, in place of screen and files."""

    def __init__(self, leave_in: int | None = None) -> None:
        self.calls: list[Any] = []
        self.leave_in = leave_in

    def begin(self, state: Any, done: feeding.Done) -> tuple[Any, feeding.Done]:
        self.calls.append(("begin", flat(state), done))
        return state, done

    def compiled(self, compiled: Any) -> None: ...

    def progress(self, epoch: int, epochs: int, step: int, steps: int, metrics: Any) -> None:
        self.calls.append((epoch, epochs, step, steps, metrics))

    def epoch(self, epoch: int, epochs: int, metrics: Any, state: Any, seconds: float) -> None:
        self.calls.append((epoch, epochs, metrics, flat(state)))

    def reached(self, state: Any, done: feeding.Done) -> None:
        metrics = {name: np.nan_to_num(np.concatenate(chunks), nan=-1).tolist() for name, chunks in done.metrics.items()}
        self.calls.append(("reached", flat(state), done.epoch, done.step, metrics))
        if done.epoch == self.leave_in:
            raise leaving.Left("Left.")


def flat(state: Any) -> dict[str, Any]:
    return {name: array.tolist() for name, array in flat_arrays(state).items()}


def toy(seed: int) -> feeding.Stage:
    """A search of integers in floats, whose numbers are exact in any order of summation; every second step reports nothing."""

    def step(state: Any, data: Any, rows: Any) -> tuple[Any, dict[str, Any]]:
        seen = data[rows].sum()
        state = dataclasses.replace(state, step=state.step + 1, weights={"w": state.weights["w"] + seen})
        return state, {"train_loss": seen, "valid_loss": jnp.where(state.step % 2 == 0, jnp.nan, seen)}

    def start() -> Any:
        alphas = {"cell": jnp.zeros(3)}
        return SearchState(jnp.int32(0), jax.random.key(seed), {"w": jnp.full(2, float(seed))}, alphas, (), (jnp.zeros(()),))

    def indices(epoch: int) -> tuple[Any, ...]:
        return (feeding.index_batches(jax.random.key(10 * seed + epoch), 64, 2, 25),)

    return feeding.Stage(step, start, DATA, indices, epochs=2, steps_per_epoch=25)


DATA = np.arange(64.0, dtype=np.float32)


def test_every_report_hears_what_it_would_hear_alone() -> None:
    overall, each = Heard(), [Heard() for _ in SEEDS]
    feeding.epochs_of_steps(together([toy(seed) for seed in SEEDS]), Apart(overall, each))
    for seed, heard in zip(SEEDS, each, strict=True):
        alone = Heard()
        feeding.epochs_of_steps(toy(seed), alone)
        assert heard.calls == alone.calls and len(heard.calls) == 1 + 2 * (2 + 2 + 1)
    means = [np.mean([heard.calls[-2][2]["train_loss"] for heard in each]), overall.calls[-1][2]["train_loss"]]
    assert means[0] == pytest.approx(means[1])


def test_all_are_saved_before_the_process_leaves() -> None:
    each = [Heard(leave_in=1) for _ in SEEDS]
    with pytest.raises(leaving.Left):
        feeding.epochs_of_steps(together([toy(seed) for seed in SEEDS]), Apart(Heard(), each))
    assert [heard.calls[-1][0] for heard in each] == ["reached"] * len(SEEDS)


def test_a_number_that_is_not_finite_is_of_one_seed() -> None:
    stages = [toy(seed) for seed in SEEDS]
    bad = np.where(np.asarray(stages[1].indices(0)[0])[3, 0] == np.arange(64), np.inf, DATA).astype(np.float32)
    stages = [dataclasses.replace(stage, data=bad) for stage in stages]
    first = [np.flatnonzero((np.asarray(stage.indices(0)[0]) == np.argmax(bad)).any(axis=1))[0] for stage in stages]
    step, at = min((step, at) for at, step in enumerate(first))
    with pytest.raises(feeding.NotFinite, match=f"inf in epoch 0, step {step} for search {at} "):
        feeding.epochs_of_steps(together(stages), Apart(Heard(), [Heard(), Heard()]))

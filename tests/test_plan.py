"""Plans against the sizes of what a search really holds, and against the program that it really compiles."""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import psutil
import pytest
from jax import Array

from jaxnas import feeding, plan, searching
from jaxnas.compiling import Compiled
from jaxnas.data import Dataset, load, stand_in
from jaxnas.nets import Network
from jaxnas.plan import Memory, advice
from jaxnas.recipes import Recipe, SearchRecipe, find

BATCH = 30


def changed(name: str, **search: Any) -> Recipe:
    recipe = find(name)
    return dataclasses.replace(recipe, search=dataclasses.replace(recipe.search, **search))


def linear(*_: Any) -> Network:
    """In place of a supernet, compiled in no time: the mixture's first column scales the logits."""

    def init(key: Array) -> tuple[Any, Any]:
        return {"matrix": 0.1 * jax.random.normal(key, (3, 10))}, {"mean": jnp.zeros(3)}

    def forward(weights: Any, mixture: Any, x: Array, key: Array, scalars: Any, statistics: Any = None) -> Any:
        return mixture["cell"][:, 0].sum() * x.mean((1, 2)) @ weights["matrix"], {"mean": x.mean((0, 1, 2))}

    return Network(init, forward, parameters=30)


class StubProgram:
    """In place of a compiled program: its sizes."""

    def __init__(self, argument: int = 10, output: int = 10, temp: int = 10, alias: int = 10) -> None:
        sizes = {"argument": argument, "output": output, "temp": temp, "alias": alias}
        self.sizes = types.SimpleNamespace(**{f"{name}_size_in_bytes": size for name, size in sizes.items()})

    def memory_analysis(self) -> Any:
        return self.sizes

    def __call__(self) -> None:
        raise AssertionError("A plan runs nothing.")


@pytest.fixture
def linear_supernet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "search_network", linear)


def black(dataset: Dataset) -> Dataset:
    """The shapes of a data set that is not there."""

    def empty(split: Any) -> Any:
        arrays = (np.broadcast_to(np.zeros((), array.dtype), array.shape) for array in (split.images, split.labels))
        return type(split)(*arrays)

    splits = {name: empty(getattr(dataset, name)) for name in ("search_train", "search_valid", "train", "test")}
    return dataclasses.replace(dataset, **splits)


def test_memory_is_that_of_the_arrays_of_a_search(linear_supernet: None) -> None:
    recipe, dataset = changed("nb201-digits", batch=BATCH, epochs=3), load("digits")
    found = plan.plan(recipe, dataset)
    stage = searching.search_stage(recipe, dataset, linear())
    state = jax.tree.map(
        lambda leaf: jax.random.key_data(leaf) if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key) else leaf, stage.start()
    )
    held = sum(leaf.nbytes for leaf in jax.tree.leaves(state))
    data = 1297 * (8 * 8 * 3 + 4)
    steps = 648 // BATCH
    rows = 2 * 20 * BATCH * 4
    metrics = 6 * 20 * 4
    pointers = 8 * (len(jax.tree.leaves(state)) + 6)  # XLA:CPU's table of the outputs
    assert (found.epochs, found.steps_per_epoch, found.batch) == (3, steps, BATCH)
    assert found.memory.data == data
    assert found.memory.arguments == held + data + rows + 4
    assert found.memory.aliased == held
    assert found.memory.outputs == held + metrics + pointers
    # At least the two batches of the step as float images.
    assert found.memory.temporary > 2 * BATCH * 8 * 8 * 3 * 4
    assert (found.parameters, found.alphas) == (30, 30)
    assert found.fits and found.advice == ()
    assert found.trace_seconds > 0 and found.compile_seconds > 0 and not found.from_cache


def test_a_plan_compiles_the_program_of_the_search_and_needs_no_images(
    linear_supernet: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    programs = []

    def recorded(function: Callable[..., Any], *arguments: Any, **how: Any) -> Compiled:
        programs.append(jax.jit(function, donate_argnums=how["donate"]).lower(*arguments).as_text())
        return real(function, *arguments, **how) if len(programs) == 1 else Compiled(StubProgram(), 1.0, 2.0)

    real = feeding.compile_ahead
    monkeypatch.setattr(feeding, "compile_ahead", recorded)
    recipe, dataset = changed("nb201-digits", batch=300, epochs=1), load("digits")

    class Silent:
        compiled = progress = epoch = reached = lambda *_: None

        def begin(self, state: Any, done: feeding.Done) -> tuple[Any, feeding.Done]:
            return state, done

    report: Any = Silent()
    state, _ = searching.search_cell(recipe, dataset, linear(), report)
    assert int(state.step) == 2
    plan.plan(recipe, dataset)
    plan.plan(recipe, black(dataset))
    assert programs[0] == programs[1] == programs[2]
    plan.plan(changed("nb201-digits", batch=301, epochs=1), dataset)
    assert programs[3] != programs[0]


def stub_compilation(monkeypatch: pytest.MonkeyPatch, **analysis: int) -> None:
    program: Any = StubProgram(**analysis)
    monkeypatch.setattr(plan, "compile_stage", lambda stage: Compiled(program, 1.0, 2.0, True))


def test_the_supernet_of_the_paper(monkeypatch: pytest.MonkeyPatch) -> None:
    """1,930,618 weights (quark0/darts prints 1.930618 MB), 14 edges of 8 operations in two cells, half of CIFAR-10."""
    stub_compilation(monkeypatch)
    dataset = stand_in("cifar10")
    assert dataset is not None
    found = plan.plan(find("darts-first-order"), dataset)
    assert (found.parameters, found.alphas) == (1_930_618, 2 * 14 * 8)
    assert (found.epochs, found.steps_per_epoch, found.batch) == (50, 25_000 // 64, 64)
    assert found.memory.data == 50_000 * (3072 + 4)
    assert found.multiply_adds["nasbench201"] > found.multiply_adds["conv_linear"] > 32 * 32 * 27 * 48
    assert (found.trace_seconds, found.compile_seconds, found.from_cache) == (1.0, 2.0, True)


class Device:
    """A device with or without a number of its memory."""

    def __init__(self, platform: str, stats: dict[str, int] | None) -> None:
        self.platform, self.device_kind, self.memory_stats = platform, "made up", lambda: stats


def test_free_memory() -> None:
    assert plan.free_memory(Device("gpu", {"bytes_limit": 1000, "bytes_in_use": 300})) == 700
    assert plan.free_memory(Device("gpu", None)) is None
    machine = psutil.virtual_memory()
    assert plan.free_memory(Device("cpu", None)) == pytest.approx(machine.available, rel=0.2)


@pytest.mark.parametrize(("free", "fits"), [(610, True), (609, False), (None, None)])
def test_a_plan_fits_what_is_free(
    free: int | None, fits: bool | None, linear_supernet: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    stub_compilation(monkeypatch, argument=100, output=40, temp=500, alias=30)
    monkeypatch.setattr(plan, "free_memory", lambda device: free)
    found = plan.plan(changed("nb201-digits", batch=BATCH), load("digits"))
    assert found.memory.total == 610
    assert found.fits is fits
    assert bool(found.advice) == (fits is False)


@pytest.mark.parametrize(("free", "batch"), [(366, 32), (365, 31), (609, 62), (117, 0), (118, 1), (50, 0)])
def test_the_batch_that_is_advised_fits_by_its_estimate(free: int, batch: int) -> None:
    memory = Memory(arguments=100, outputs=40, temporary=512, aliased=30, data=60)
    found = advice(SearchRecipe(batch=64), memory, free)
    assert any(change.startswith(f"--search.batch {batch} ") for change in found) == (batch > 0)
    if batch:  # 110 bytes whatever the batch, and 8 of the 512 for each image.
        assert 110 + 8 * batch <= free < 110 + 8 * (batch + 1)
    assert any("smaller data set" in change for change in found) == (free < 60)


def test_options_are_advised_that_exist_and_are_not_in_use() -> None:
    memory = Memory(arguments=100, outputs=40, temporary=512, aliased=30, data=60)
    there = {field.name for field in dataclasses.fields(SearchRecipe)} & set(plan.SAVING)
    named = {change.split()[0].removeprefix("--search.") for change in advice(SearchRecipe(), memory, 300)}
    assert named - {"batch", "micro-batches"} == there
    in_use: Any = {name: plan.SAVING[name] for name in there}
    named = {change.split()[0] for change in advice(SearchRecipe(**in_use), memory, 300)}
    assert named == {"--search.batch", "--search.micro-batches"}

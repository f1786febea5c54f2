"""Stages of a search: which candidates survive, with what the next stage begins, and whole runs in stages."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax import Array

from jaxnas import cli, methods, run, searching
from jaxnas.bilevel import SearchState, initial_state
from jaxnas.console import Console
from jaxnas.data import Dataset, load
from jaxnas.derive import derive
from jaxnas.errors import UserError
from jaxnas.nets import Network, Shape, supernet
from jaxnas.recipes import RECIPES, NextStage, Recipe, SearchRecipe, find
from jaxnas.run_folder import RunFolder
from jaxnas.spaces import CellSpace, check_fits, darts, drnas, fbnet, from_text, nb201
from jaxnas.stages import Part, carried, example_parts, first_part, gathered, next_part, pruned, spread, stage_key
from jaxnas.stored import derived_genotype
from jaxnas.training import Trained


def random_alphas(space: CellSpace, seed: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {kind: rng.normal(size=(len(cell.edges), cell.columns)) for kind, cell in space.cells}


def dropped_one_by_one(alphas: np.ndarray, operations: int) -> list[list[int]]:
    """P-DARTS's ``get_min_k``: the smallest softmax is overwritten by 1, as often as candidates go."""
    kept = []
    for row in alphas:
        probabilities = np.exp(row) / np.exp(row).sum()
        gone = set()
        for _ in range(len(row) - operations):
            gone.add(int(np.argmin(probabilities)))
            probabilities[np.argmin(probabilities)] = 1
        kept.append([column for column in range(len(row)) if column not in gone])
    return kept


@pytest.mark.quick
@pytest.mark.parametrize(("build", "operations"), [(darts, 5), (drnas, 4), (nb201, 3), (darts, 8)])
def test_survivors_are_the_references(build: Any, operations: int) -> None:
    space = build()
    for seed in range(10):
        alphas = random_alphas(space, seed)
        left, columns = pruned(space, alphas, operations)
        for kind, cell in space.cells:
            assert columns[kind].tolist() == dropped_one_by_one(alphas[kind], operations)
            # DrNAS, utils.py, prune: topk of the alphas themselves.
            strongest = [sorted(sorted(range(len(row)), key=lambda j, row=row: -row[j])[:operations]) for row in alphas[kind]]
            assert columns[kind].tolist() == strongest
            expected = tuple(tuple(names[j] for j in row) for names, row in zip(cell.operations, strongest, strict=True))
            assert left.cell(kind).operations == expected
    assert left.name == space.name


def test_of_equal_alphas_the_first_goes_and_survivors_are_pruned_again() -> None:
    alphas = {"cell": np.array([[0.0, 0, 0, 0, 0], [1, 0, 0, 0, 0], [5, 4, 3, 2, 1], [0] * 5, [0] * 5, [0] * 5])}
    left, _ = pruned(nb201(), alphas, 3)
    assert left.cell("cell").operations[0] == ("nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
    assert left.cell("cell").operations[1] == ("none", "nor_conv_3x3", "avg_pool_3x3")
    assert left.cell("cell").operations[2] == ("none", "skip_connect", "nor_conv_1x1")
    again, _ = pruned(left, {"cell": np.array([[0.0, 2, 1]] * 6)}, 2)
    assert again.cell("cell").operations[1] == ("nor_conv_3x3", "avg_pool_3x3")
    with pytest.raises(UserError, match="cannot keep 3 candidates: one of the cell cell has 2"):
        pruned(again, {"cell": np.zeros((6, 2))}, 3)
    with pytest.raises(UserError, match="space 'fbnet' is a chain of blocks"):
        pruned(fbnet(), {}, 3)


def test_stages_of_p_darts() -> None:
    parts = example_parts(find("p-darts").search, 0)
    assert [part.name for part in parts] == ["search 1", "search 2", "search 3"]
    assert [part.search.cells for part in parts] == [5, 11, 17]
    assert [part.search.skip_dropout for part in parts] == [0.1, 0.4, 0.7]
    assert [(part.first_epoch, part.end_epoch, part.search.epochs) for part in parts] == [(0, 25, 25)] * 3
    assert all(part.search.alphas_from_epoch == 10 and part.search.most_skips == 2 for part in parts)
    assert [part.space.alphas for part in parts] == [2 * 14 * kept for kept in (8, 5, 3)]
    assert len({jax.random.key_data(stage_key(0, i)).tobytes() for i in range(3)}) == 3


def test_stages_of_drnas_share_one_annealing() -> None:
    """ks [6, 4], num_keeps [7, 4], train_epochs [25, 25]; the alphas rest for ten epochs of each stage."""
    search = find("drnas").search
    parts = example_parts(search, 0)
    assert [(part.first_epoch, part.end_epoch) for part in parts] == [(0, 25), (25, 50)]
    assert [part.search.share for part in parts] == [6, 4]
    assert [part.space.alphas for part in parts] == [196, 2 * 14 * 4]
    assert [methods.build(part.search, part.space, 10).alphas_from_step for part in parts] == [100, 350]
    weights: Any = {"w": jnp.zeros(())}
    gradient = {"w": jnp.ones(())}
    for part in parts:
        method = methods.build(dataclasses.replace(part.search, momentum=0.0, weight_decay=0.0), part.space, 10)
        state = method.weight_optimizer.init(weights)
        for epoch in (0, 1, 25, 49):
            at = optax.tree.set(state, count=jnp.asarray(10 * epoch))
            step: Any = method.weight_optimizer.update(gradient, at, weights)[0]
            np.testing.assert_allclose(-step["w"], 0.1 * (1 + np.cos(np.pi * epoch / 50)) / 2, rtol=1e-5)


def parameters_by_hand(space: CellSpace, channels: int, cells: int, share: int) -> int:
    """Of a DARTS supernet, from the sizes of its operations (model_search.py, operations.py)."""

    def operation(name: str, c: int, stride: int) -> int:
        kernel = int(name[-1]) if "conv" in name else 0
        separable = kernel**2 * c + c**2
        return {"sep": 2 * separable, "dil": separable, "ski": c**2 if stride == 2 else 0}.get(name[:3], 0)

    total, before, width, last = 27 * 3 * channels + 2 * 3 * channels, 3 * channels, channels, 3 * channels
    for number in range(cells):
        reduction = number in (cells // 3, 2 * cells // 3)
        width *= 2 if reduction else 1
        cell = space.cell("reduce" if reduction else "normal")
        for (source, _), names in zip(cell.edges, cell.operations, strict=True):
            total += sum(operation(name, width // share, 2 if reduction and source < 2 else 1) for name in names)
        total += before * width + last * width
        before, last = last, 4 * width
    return total + last * 10 + 10


def test_parameters_of_every_stage() -> None:
    """P-DARTS's first supernet has 1,275,834 weights (its code prints 1.275834MB)."""
    first = first_part(find("p-darts").search)
    assert supernet(first.space, Shape(16, 5, 10)).parameters == 1_275_834
    assert parameters_by_hand(darts(), 16, 5, 1) == 1_275_834
    for name in ("p-darts", "drnas"):
        for part in example_parts(find(name).search, 0):
            assert isinstance(part.space, CellSpace)
            search = part.search
            network = supernet(part.space, Shape(search.channels, search.cells, 10), search.share)
            assert network.parameters == parameters_by_hand(part.space, search.channels, search.cells, search.share)


def test_alphas_in_the_columns_of_the_whole_space_and_back() -> None:
    whole = darts()
    left, columns = pruned(whole, random_alphas(whole, 0), 5)
    alphas = random_alphas(left, 1)
    full = spread(whole, left, alphas)
    for kind in ("normal", "reduce"):
        assert (np.isnan(full[kind]).sum(axis=1) == 3).all()
        for row in range(14):
            for at, column in enumerate(columns[kind][row]):
                assert full[kind][row, column] == np.float32(alphas[kind][row, at])
    space, back = gathered(whole, full)
    assert space == left
    jax.tree.map(lambda a, b: np.testing.assert_array_equal(a, np.float32(b)), back, alphas)
    with pytest.raises(UserError, match="without candidates"):
        gathered(whole, {kind: np.full((14, 8), np.nan) for kind in ("normal", "reduce")})


def test_what_drnas_carries() -> None:
    """Alphas and Adam's moments by column, momenta as the weights, counts, steps and the key as they were."""
    search = SearchRecipe(
        space="drnas",
        channels=8,
        cells=3,
        estimator="drnas",
        share=4,
        epochs=2,
        next_stages=(NextStage(epochs=2, operations=4, cells=3, share=2),),
        between_stages="carried",
    )
    before = first_part(search)
    assert isinstance(before.space, CellSpace)
    alphas = {kind: jnp.asarray(alpha, jnp.float32) for kind, alpha in random_alphas(before.space, 0).items()}
    space, columns = pruned(before.space, alphas, 4)
    after = next_part(search, before, space)

    def start_of(part: Part, alphas: Any) -> tuple[Any, SearchState]:
        method = methods.build(part.search, part.space, 5)
        weights, _ = supernet(part.space, Shape(8, 3, 10, 8), part.search.share).init(jax.random.key(part.number))
        return method, initial_state(method, jax.random.key(7), weights, alphas)

    method, state = start_of(before, alphas)

    def like(tree: Any, count: int, **factors: tuple[float, Any]) -> Any:
        values = {name: jax.tree.map(lambda a, f=f: f * a, of) for name, (f, of) in factors.items()}
        return optax.tree.set(tree, count=jnp.asarray(count, jnp.int32), **values)

    state = dataclasses.replace(
        state,
        step=jnp.asarray(10, jnp.int32),
        weight_state=like(state.weight_state, 10, trace=(3.0, state.weights)),
        alpha_state=like(state.alpha_state, 9, mu=(0.5, alphas), nu=(0.25, alphas)),
    )
    method, start = start_of(after, {kind: jnp.zeros((14, 4)) for kind in alphas})
    found = carried(before, after, method, state, start, jax.random.key(1))
    assert jax.tree.structure(found) == jax.tree.structure(start)
    assert jax.tree.map(lambda a: (a.shape, a.dtype), found) == jax.tree.map(lambda a: (a.shape, a.dtype), start)
    rows = np.arange(14)[:, None]
    for kind in alphas:
        kept = np.asarray(alphas[kind])[rows, columns[kind]]
        for name, factor in (("mu", 0.5), ("nu", 0.25)):
            np.testing.assert_array_equal(optax.tree.get(found.alpha_state, name)[kind], factor * kept)
        np.testing.assert_array_equal(found.alphas[kind], kept)
    trace = optax.tree.get(found.weight_state, "trace")
    jax.tree.map(lambda m, w: np.testing.assert_array_equal(m, 3 * w), trace, found.weights)
    assert int(optax.tree.get(found.weight_state, "count")) == 10
    assert int(optax.tree.get(found.alpha_state, "count")) == 9
    assert int(found.step) == 10
    assert jax.random.key_data(found.key).tolist() == jax.random.key_data(state.key).tolist()
    again = carried(before, after, method, state, start, jax.random.key(1))
    jax.tree.map(np.testing.assert_array_equal, found.weights, again.weights)
    other = carried(before, after, method, state, start, jax.random.key(2))
    same = jax.tree.leaves(jax.tree.map(lambda a, b: bool((a == b).all()), found.weights, other.weights))
    assert not all(same)


def linear(recipe: SearchRecipe, dataset: Dataset, space: Any = None) -> Network:
    """In place of a supernet, compiled in no time: every column of the mixture scales a pixel sum of its own."""
    cells = (recipe.build_space() if space is None else space).cells

    def init(key: Array) -> tuple[Any, Any]:
        return {"matrix": 0.1 * jax.random.normal(key, (3, 10))}, {}

    def forward(weights: Any, mixture: Any, x: Array, key: Array, scalars: Any, statistics: Any = None) -> Any:
        scale = sum((mixture[kind] * jnp.arange(1.0, 1 + mixture[kind].shape[1])).sum() for kind, _ in cells)
        return scale * x.mean((1, 2)) @ weights["matrix"], {}

    return Network(init, forward, parameters=30)


def small(name: str) -> Recipe:
    """A recipe in stages of two epochs of one or two steps."""
    recipe = RECIPES[name]
    stages = tuple(dataclasses.replace(stage, epochs=2) for stage in recipe.search.next_stages)
    search = dataclasses.replace(recipe.search, batch=324, epochs=2, alphas_from_epoch=1, next_stages=stages)
    return dataclasses.replace(recipe, search=search, random_cells=0)


def staged_run(name: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[dict[str, Any], str]:
    """A whole run with a linear supernet, and without the training."""
    monkeypatch.setattr(searching, "search_network", linear)
    monkeypatch.setattr(run, "train", lambda *_: Trained({"w": jnp.ones(2)}, {}, 7, 0.25, 0.0, 0.0))
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        result = run.run(name, small(name), load("digits"), RunFolder(folder), Console(), 0.0)
    return result, printed.getvalue()


@pytest.mark.parametrize("name", ["p-darts", "drnas-progressive-digits"])
def test_a_run_in_stages(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compiled: list[str] = []
    monkeypatch.setattr(Console, "compiled", lambda self, stage, _: compiled.append(stage))
    result, printed = staged_run(name, tmp_path / "a", monkeypatch)
    recipe = small(name)
    anew = recipe.search.between_stages == "anew"
    space = recipe.search.build_space()
    numbers = range(1 + len(recipe.search.next_stages))
    assert [stage for stage in compiled if stage.startswith("search")] == [f"search {i + 1}" for i in numbers]
    log = [json.loads(line) for line in (tmp_path / "a" / "log.jsonl").read_text().splitlines()]
    epochs = [(line["stage"], line["epoch"]) for line in log if "epoch" in line]
    assert epochs == [(f"search {i + 1}", e + (0 if anew else 2 * i)) for i in numbers for e in range(2)]

    # By the log: within a stage the alphas rest, then move; what the strongest of them leave is what the next stage has.
    kinds = [kind for kind, _ in space.cells]
    for number in numbers:
        resting, moving = (log[2 * number + i]["alphas"] for i in range(2))
        assert resting != moving
        last = log[2 * number - 1]["alphas"] if number else resting
        for kind in kinds:
            for before, row in zip(last[kind], resting[kind], strict=True):
                kept = [column for column, alpha in enumerate(row) if alpha is not None]
                assert len(kept) == ([space.cell(kind).columns] + [s.operations for s in recipe.search.next_stages])[number]
                if number:
                    there = [column for column, alpha in enumerate(before) if alpha is not None]
                    assert kept == sorted(sorted(there, key=lambda column: before[column])[-len(kept) :])
                    assert anew != all(row[column] == before[column] for column in kept)

    with np.load(tmp_path / "a" / "alphas.npz") as alphas:
        for kind in kinds:
            np.testing.assert_array_equal(np.array(log[numbers[-1] * 2 + 1]["alphas"][kind], np.float32), alphas[kind])
        assert isinstance(space, CellSpace)
        left, gathered_alphas = gathered(space, dict(alphas))
    genotype = from_text(result["found"]["genotype"])
    check_fits(genotype, left)
    assert derived_genotype(tmp_path / "a") == genotype == derive(left, gathered_alphas, recipe.search.most_skips)
    assert [stage["alphas"] for stage in result["stages"]][0] == space.alphas
    assert result["alphas"] == left.alphas
    for i in numbers[1:]:
        assert f"stage {i + 1}" in printed

    staged_run(name, tmp_path / "b", monkeypatch)
    for file in ("log.jsonl", "alphas.npz", "supernet.npz", "genotype.json", "config.json"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes(), file


def test_a_dry_run_takes_two_steps_of_every_stage(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(searching, "search_network", linear)
    ended: list[int] = []
    real = searching.search_cell

    def watched(*arguments: Any, **options: Any) -> Any:
        state, compiled = real(*arguments, **options)
        ended.append(int(state.step))
        return state, compiled

    monkeypatch.setattr(searching, "search_cell", watched)
    recipe = dataclasses.replace(small("drnas-progressive-digits"), seed=3)
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        run.dry_run("drnas-progressive-digits", recipe, load("digits"), Console())
    assert ended == [2, 4]
    assert "two steps of each of 2 stages done, nothing written" in printed.getvalue()


def test_a_recipe_of_one_stage_is_the_case_of_one_stage() -> None:
    search = find("darts-first-order").search
    (part,) = example_parts(search, 0)
    assert part == Part(0, "search", search, darts(), 0, 50)
    assert jax.random.key_data(stage_key(5, 0)).tolist() == jax.random.key_data(jax.random.key(5)).tolist()


def test_stages_from_the_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as done:
        cli.main(["search", "p-darts-digits", "--search.next-stages.0.operations", "9"])
    assert done.value.code == 2
    told = " ".join(capsys.readouterr().err.split())
    assert "next_stages.0.operations=9: an edge of space nb201 has 5 candidates before that stage" in told


@pytest.mark.slow
@pytest.mark.parametrize("name", ["p-darts-digits", "drnas-progressive-digits"])
def test_a_real_run_in_stages_twice(name: str, tmp_path: Path) -> None:
    """The supernets themselves, in float32, by the command: the same bytes, and alphas that survive."""
    options = ["--search.batch", "324", "--train.channels", "2", "--train.epochs", "1", "--random-cells", "0"]
    for folder in ("a", "b"):
        with pytest.raises(SystemExit) as done, contextlib.redirect_stdout(io.StringIO()):
            cli.main(["search", name, *options, "--out", str(tmp_path / folder)])
        assert done.value.code == 0
    for file in ("log.jsonl", "alphas.npz", "supernet.npz", "network.npz", "genotype.json"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes(), file
    with np.load(tmp_path / "a" / "supernet.npz") as weights:
        held = sum(array.size for array in weights.values())
    assert held == json.loads((tmp_path / "a" / "result.json").read_text())["supernet_parameters"]

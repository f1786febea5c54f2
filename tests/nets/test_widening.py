"""Weights carried into a supernet of fewer and wider candidates: against DrNAS's rule, candidate by candidate."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnas.nets import Shape, Take, supernet, taken, takes
from jaxnas.nets.supernet import reductions
from jaxnas.spaces import CellSpace, drnas, nb201
from jaxnas.stages import pruned

DARTS_SHAPE, NB201_SHAPE = Shape(8, 3, 10, 8), Shape(8, 1, 10, 8)


def pruned_at_random(space: CellSpace, operations: int, seed: int) -> tuple[CellSpace, dict[str, np.ndarray]]:
    rng = np.random.default_rng(seed)
    return pruned(space, {kind: rng.normal(size=(len(cell.edges), cell.columns)) for kind, cell in space.cells}, operations)


def carried(space: CellSpace, after: CellSpace, shape: Shape, shares: tuple[int, int], seed: int = 0) -> tuple[Any, Any, Any]:
    """Weights before and after, and the takes."""
    old, _ = supernet(space, shape, shares[0]).init(jax.random.key(seed))
    new, _ = jax.eval_shape(supernet(after, shape, shares[1]).init, jax.random.key(0))
    found = takes(space, after, old, new, np.random.default_rng(seed))
    result = taken(found, old)
    assert jax.tree.map(jnp.shape, result) == jax.tree.map(jnp.shape, new)
    return old, result, found


def repeats(new: np.ndarray, old: np.ndarray) -> np.ndarray:
    """Which entry of the old leading axis each of the new one repeats; the old ones come first."""
    found = np.array([np.flatnonzero((old == entry).all(axis=tuple(range(1, old.ndim)))).item() for entry in new])
    np.testing.assert_array_equal(found[: len(old)], np.arange(len(old)))
    return found


def check_convolution(new: np.ndarray, old: np.ndarray, inputs: np.ndarray | None) -> np.ndarray:
    """OutChannelWider after InChannelWider: ``new[o, i] = old[out[o], in[i]]``; returns the repeated inputs."""
    outputs = repeats(new[:, : old.shape[1]], old)
    if inputs is None:
        inputs = repeats(new[: old.shape[0]].swapaxes(0, 1), old.swapaxes(0, 1))
    for o, i in np.ndindex(*new.shape[:2]):
        np.testing.assert_array_equal(new[o, i], old[outputs[o], inputs[i]])
    return inputs


def check_candidate(new: Any, old: Any) -> list[tuple[int, ...]]:
    """One candidate of one edge by the reference's layers; returns what was repeated, to see that it is drawn."""
    if "conv_1" in new:
        return [tuple(check_convolution(new[name]["weight"], old[name]["weight"], None)) for name in ("conv_1", "conv_2")]
    drawn, channels = [], None
    for layer in sorted(new["op"]):
        kernel, former = new["op"][layer]["weight"], old["op"][layer]["weight"]
        if kernel.ndim == 3:
            channels = repeats(kernel, former)
            drawn.append(tuple(channels))
        else:
            drawn.append(tuple(check_convolution(kernel, former, channels)))
            channels = None
            if "bias" in new["op"][layer]:
                outputs = repeats(kernel[:, : former.shape[1]], former)
                np.testing.assert_array_equal(new["op"][layer]["bias"], old["op"][layer]["bias"][outputs])
    return drawn


def check_supernet(space: CellSpace, after: CellSpace, shape: Shape, shares: tuple[int, int]) -> None:
    old, new, _ = carried(space, after, shape, shares)
    drawn, seen = set(), 0
    for number, cell in new["cells"].items():
        kind = "cell" if space.family == "nb201" else ("normal", "reduce")[reductions(shape.cells)[number]]
        for group, rows in cell.items():
            if not isinstance(rows, dict) or "stacks" not in rows:
                jax.tree.map(np.testing.assert_array_equal, rows, old["cells"][number][group])
                continue
            for name, stack in rows["stacks"].items():
                places: dict[bool, list[int]] = {}
                for former, one in ((True, space), (False, after)):
                    edges = enumerate(zip(one.cell(kind).edges, one.cell(kind).operations, strict=True))
                    places[former] = [
                        row
                        for row, ((source, _), names) in edges
                        if name in names and (kind != "reduce" or (group == "from_inputs") == (source < 2))
                    ]
                before = old["cells"][number][group]["stacks"][name]
                stack, before = (one["operation"] if "operation" in one else one for one in (stack, before))
                for at, row in enumerate(places[False]):
                    mine = jax.tree.map(lambda a, at=at: np.asarray(a)[at], stack)
                    former_at = places[True].index(row)
                    drawn.update(check_candidate(mine, jax.tree.map(lambda a, at=former_at: np.asarray(a)[at], before)))
                    seen += 1
    assert seen > 5
    assert (len(drawn) > 10) == (shares[0] != shares[1])
    for name in new:
        if name != "cells":
            jax.tree.map(np.testing.assert_array_equal, new[name], old[name])


@pytest.mark.parametrize("shares", [(4, 2), (4, 4), (2, 1)], ids=str)
def test_darts_supernet_by_the_references_layers(shares: tuple[int, int]) -> None:
    after, _ = pruned_at_random(drnas(), 4, seed=1)
    check_supernet(drnas(), after, DARTS_SHAPE, shares)


@pytest.mark.parametrize("shares", [(4, 2), (2, 2)], ids=str)
def test_nb201_supernet_by_the_references_layers(shares: tuple[int, int]) -> None:
    after, _ = pruned_at_random(nb201(), 3, seed=1)
    check_supernet(nb201(), after, NB201_SHAPE, shares)


def test_a_momentum_is_taken_as_its_weight() -> None:
    after, _ = pruned_at_random(drnas(), 4, seed=2)
    old, new, found = carried(drnas(), after, DARTS_SHAPE, (4, 2))
    doubled = taken(found, jax.tree.map(lambda w: 2 * w, old))
    jax.tree.map(lambda a, b: np.testing.assert_array_equal(a, 2 * b), doubled, new)
    assert all(isinstance(take, Take) for take in jax.tree.leaves(found))


def test_candidates_without_weight_are_left_out_without_a_change() -> None:
    """The function of the whole supernet where what goes has weight 0 is that of the pruned one with the other weights."""
    space, share = nb201(), 2
    after, columns = pruned_at_random(space, 3, seed=3)
    old, new, _ = carried(space, after, NB201_SHAPE, (share, share))
    rows = np.arange(6)[:, None]
    mixture = np.random.default_rng(0).uniform(size=(6, 5)).astype(np.float32)
    kept = np.zeros_like(mixture)
    kept[rows, columns["cell"]] = mixture[rows, columns["cell"]]

    def logits(space: CellSpace, weights: Any, mixture: np.ndarray) -> Any:
        with_bypass = np.column_stack([np.ones(6, np.float32), mixture])
        images = jnp.asarray(np.random.default_rng(1).normal(size=(4, 8, 8, 3)), jnp.float32)
        forward = jax.jit(supernet(space, NB201_SHAPE, share).forward)
        return forward(weights, {"cell": jnp.asarray(with_bypass)}, images, jax.random.key(0), {})[0]

    whole, left = logits(space, old, kept), logits(after, new, mixture[rows, columns["cell"]])
    np.testing.assert_allclose(left, whole, rtol=1e-4, atol=1e-5)

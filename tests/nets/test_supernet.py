"""Supernets: sizes against the published ones, cells against an evaluation edge by edge, moments, one-hot mixtures."""

from __future__ import annotations

import collections
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxnas.interop.torch_names import from_state_dict, torch_names
from jaxnas.nets import Shape, derived, supernet
from jaxnas.nets.operations import BatchNorm, Pass
from jaxnas.nets.supernet import DartsCell
from jaxnas.spaces import Cell, DartsGenotype, darts, darts_family, nb201, nb201_family

RNG = np.random.default_rng(0)


pytestmark = pytest.mark.usefixtures("float64")


@pytest.mark.quick
@pytest.mark.parametrize(
    ("cells", "classes", "count"),
    [(8, 10, 1_930_618), (8, 100, 1_953_748), (5, 10, 1_275_834)],  # The last: stage 1 of P-DARTS.
)
def test_published_parameter_counts_of_darts(cells: int, classes: int, count: int) -> None:
    assert supernet(darts(), Shape(16, cells, classes)).parameters == count


@pytest.mark.quick
def test_published_parameter_count_of_pc_darts_for_imagenet() -> None:
    assert supernet(darts(), Shape(16, 8, 1000, 224, template="imagenet"), share=2).parameters == 956_512


@pytest.mark.parametrize(("channels", "classes"), [(4, 10), (10, 2)])
def test_what_the_stems_for_imagenet_have_more(channels: int, classes: int) -> None:
    width = 3 * channels
    stem = (27 + 2) * width
    stems = (27 + 2) * (width // 2) + 9 * (width // 2) * width + 2 * width + 9 * width**2 + 2 * width
    for_cifar, for_imagenet = (
        supernet(darts(), Shape(channels, 5, classes, 32, template=template)).parameters for template in ("cifar", "imagenet")
    )
    assert for_imagenet - for_cifar == stems - stem


@pytest.mark.parametrize(("channels", "cells", "classes"), [(4, 3, 10), (6, 8, 7), (10, 4, 2)])
def test_parameter_counts_of_darts_follow_the_closed_form(channels: int, cells: int, classes: int) -> None:
    stem = (27 + 2) * 3 * channels
    total, before, last, width = stem, 3 * channels, 3 * channels, channels
    for i in range(cells):
        reduction = i in (cells // 3, 2 * cells // 3)
        width *= 2 if reduction else 1
        # 14 mixed edges; on 8 of a reduction cell's the skip is a factorized reduction; two preprocessing convolutions.
        total += 14 * (6 * width**2 + 102 * width) + 8 * width**2 * reduction + (before + last) * width
        before, last = last, 4 * width
    total += last * classes + classes
    assert supernet(darts(), Shape(channels, cells, classes)).parameters == total


@pytest.mark.quick
def test_parameter_counts_of_nb201() -> None:
    assert supernet(nb201(), Shape(16, 5, 10, affine=False)).parameters == 1_692_826
    # With affine batch norms the convolutions have no bias: the other published count, and scales and shifts in place of
    # biases; 2 convolutions on each of the 6 edges of 5 cells at each width.
    affine = 2 * 2 * 6 * 5 * (16 + 32 + 64)
    assert supernet(nb201(), Shape(16, 5, 10, affine=True)).parameters == 1_686_106 + affine


# A cell of two nodes, five edges, on images of 4x4 (and 2x2 after reduction).

N, C, SIZE = 2, 2, 4
UNIFORM = (("none", "skip_connect", "nor_conv_3x3"),) * 5
UNEVEN = (
    ("skip_connect", "dil_conv_3x3"),
    ("avg_pool_3x3", "none", "skip_connect"),
    ("dil_conv_3x3",),
    ("skip_connect", "avg_pool_3x3"),
    ("max_pool_3x3", "dil_conv_3x3"),
)
SIMPLE = (
    ("nor_conv_1x1", "skip_connect"),
    ("max_pool_3x3",),
    ("skip_connect",),
    ("none", "nor_conv_1x1"),
    ("skip_connect",),
)
CONTEXT = Pass(N, True, jax.random.key(5))


def build(operations: tuple[tuple[str, ...], ...], reduction: bool) -> tuple[Cell, Any, Any, Any]:
    """A cell's description, and its module as graph, random weights and random statistics."""
    cell = darts_family("cell", operations, nodes=2).cell("normal")
    graph, weights, statistics = nnx.split(DartsCell(cell, 3, 3, C, reduction, False), nnx.Param, nnx.BatchStat)
    weights = jax.tree.map(lambda a: RNG.normal(size=a.shape), nnx.to_pure_dict(weights))
    statistics = jax.tree.map(lambda a: jnp.asarray(RNG.uniform(0.5, 2, size=a.shape)), nnx.to_pure_dict(statistics))
    return cell, graph, weights, statistics


def inputs(cell: Cell) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A mixture, with values also where there is no candidate, and the two inputs in rows."""
    s0, s1 = (RNG.normal(size=(SIZE, 3, SIZE * N)) for _ in range(2))
    return RNG.normal(size=(len(cell.edges), cell.columns)), s0, s1


def moments_of(module: Any) -> Any:
    return nnx.to_pure_dict(nnx.state(module, nnx.BatchStat))


def scanned(graph: Any, weights: Any, statistics: Any, mixture: Any, s0: Any, s1: Any) -> Any:
    """The cell's output and moments."""
    module = nnx.merge(graph, weights, statistics, copy=True)
    return module(s0, s1, mixture, CONTEXT), moments_of(module)


def edge_by_edge(cell: Cell, graph: Any, weights: Any, statistics: Any, mixture: Any, s0: Any, s1: Any) -> Any:
    """The same, candidate after candidate, each a module of its own: the next of its kind in the stack."""
    module = nnx.merge(graph, weights, statistics, copy=True)
    states: dict[int, Any] = {0: module.preprocess0(s0, CONTEXT), 1: module.preprocess1(s1, CONTEXT)}
    moments = collections.defaultdict(list)
    for (source, target), names, factors in zip(cell.edges, cell.operations, mixture, strict=True):
        group = "from_inputs" if module.reduction and source < 2 else "between_nodes"
        for name, factor in zip(names, factors, strict=False):
            if name != "none":
                kind, *variables = nnx.split(getattr(module, group).stacks[name], nnx.Param, nnx.BatchStat)
                nth = len(moments[group, name])
                operation = nnx.merge(kind, *(jax.tree.map(lambda a, nth=nth: a[nth], state) for state in variables), copy=True)
                states[target] = states.get(target, 0) + factor * operation(states[source], CONTEXT)
                moments[group, name].append(moments_of(operation))
    found = moments_of(module)
    for (group, name), entries in moments.items():
        if entries[0]:
            found[group]["stacks"][name] = jax.tree.map(lambda *a: jnp.stack(a), *entries)
    return jnp.concatenate([states[2], states[3]], axis=1), found


def assert_trees_close(ours: Any, theirs: Any) -> None:
    assert jax.tree.structure(ours) == jax.tree.structure(theirs)
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-9 * float(np.abs(b).max(initial=1e-9)))


CASES = {"uniform": (UNIFORM, False), "uneven": (UNEVEN, False), "reduction": (SIMPLE, True)}


@pytest.mark.parametrize("case", [pytest.param("uniform", marks=pytest.mark.quick), "uneven", "reduction"])
def test_scanned_edges_equal_an_evaluation_edge_by_edge(case: str) -> None:
    operations, reduction = CASES[case]
    cell, graph, weights, statistics = build(operations, reduction)

    def value_and_gradient(run: Any) -> Any:
        def loss(weights: Any, mixture: Any, s0: Any, s1: Any) -> Any:
            out, moments = run(weights, statistics, mixture, s0, s1)
            return jnp.sin(out).sum(), (out, moments)

        return jax.value_and_grad(loss, (0, 1, 2, 3), has_aux=True)

    @jax.jit
    def both(*args: Any) -> Any:
        by_scan = value_and_gradient(lambda *args: scanned(graph, *args))
        by_edge = value_and_gradient(lambda *args: edge_by_edge(cell, graph, *args))
        return by_scan(*args), by_edge(*args)

    ours, theirs = both(weights, *inputs(cell))
    assert_trees_close(ours, theirs)
    # None has no output to weigh, and a column beyond an edge's candidates stands for nothing.
    candidates = [[j < len(names) and names[j] != "none" for j in range(cell.columns)] for names in operations]
    np.testing.assert_array_equal(np.asarray(ours[1][1]) != 0, candidates)


def test_forward_over_reverse_through_the_scan() -> None:
    """The derivative of both gradients along the weights, which an unrolled hypergradient takes."""
    cell, graph, weights, statistics = build(SIMPLE, False)
    mixture, s0, s1 = inputs(cell)

    def along_the_weights(run: Any) -> Any:
        def loss(weights: Any, mixture: Any) -> Any:
            return jnp.sin(run(weights, statistics, mixture, s0, s1)[0]).sum()

        gradients = jax.grad(loss, (0, 1))
        return lambda w, m: jax.jvp(lambda w: gradients(w, m), (w,), (jax.tree.map(jnp.cos, w),))[1]

    @jax.jit
    def both(*args: Any) -> Any:
        by_scan = along_the_weights(lambda *args: scanned(graph, *args))
        by_edge = along_the_weights(lambda *args: edge_by_edge(cell, graph, *args))
        return by_scan(*args), by_edge(*args)

    assert_trees_close(*both(weights, mixture))


@pytest.mark.quick
@pytest.mark.parametrize("affine", [False, True])
def test_batch_norm_leaves_mean_and_unbiased_variance_and_normalises_by_the_biased(affine: bool) -> None:
    x, key = RNG.normal(size=(5, C, 3 * N)), jax.random.key(0)
    norm = BatchNorm(C, affine)
    scale, shift = (RNG.normal(size=C), RNG.normal(size=C)) if affine else (np.ones(C), np.zeros(C))
    if norm.weight is not None and norm.bias is not None:
        norm.weight[...], norm.bias[...] = jnp.asarray(scale), jnp.asarray(shift)
    mean, variance = x.mean((0, 2), keepdims=True), x.var((0, 2), keepdims=True)
    column = (None, slice(None), None)
    expected = (x - mean) / np.sqrt(variance + 1e-5) * scale[column] + shift[column]
    np.testing.assert_allclose(norm(jnp.asarray(x), Pass(N, True, key)), expected, rtol=1e-12)
    np.testing.assert_allclose(norm.mean[...], mean.ravel(), rtol=1e-12)
    np.testing.assert_allclose(norm.var[...], x.var((0, 2), ddof=1), rtol=1e-12)

    norm.mean[...], norm.var[...] = jnp.array([0.5, -1.0]), jnp.array([4.0, 0.25])
    expected = (x - np.array([0.5, -1.0])[column]) / np.sqrt(np.array([4.0, 0.25])[column] + 1e-5)
    found = norm(jnp.asarray(x), Pass(N, False, key))
    np.testing.assert_allclose(found, expected * scale[column] + shift[column], rtol=1e-12)
    np.testing.assert_array_equal(norm.var[...], [4.0, 0.25])


def test_given_statistics_are_used_everywhere() -> None:
    """A batch normalised by its own moments, given as statistics with the biased variance, has the same outputs."""
    space, n, size = nb201_family("two", ("skip_connect", "nor_conv_1x1"), nodes=2), 3, 8
    net = supernet(space, Shape(4, 1, 5, image_size=size))
    abstract, like = jax.eval_shape(net.init, jax.random.key(0))
    weights = jax.tree.map(lambda a: RNG.normal(size=a.shape), abstract)
    images, mixture = RNG.normal(size=(n, size, size, 3)), {"cell": RNG.normal(size=(3, 2))}
    forward = jax.jit(net.forward)
    logits, moments = forward(weights, mixture, images, jax.random.key(0), {})
    assert jax.tree.map(jnp.shape, moments) == jax.tree.map(jnp.shape, like)

    stem = np.pad(images, [(0, 0), (1, 1), (1, 1), (0, 0)])
    kernel = weights["stem"]["layers"][0]["weight"]
    stem = sum(stem[:, i : i + size, j : j + size] @ kernel[:, :, i, j].T for i in range(3) for j in range(3))
    of_stem = moments["stem"]["layers"][1]
    np.testing.assert_allclose(of_stem["mean"], np.mean(stem, (0, 1, 2)), rtol=1e-10)
    np.testing.assert_allclose(of_stem["var"], np.var(stem, (0, 1, 2), ddof=1), rtol=1e-10)

    def biased(path: Any, moment: Any) -> Any:
        names = [key.key for key in path]
        # The parts are cell, reduction, cell, reduction, cell: each reduction halves the image.
        halvings = {"stem": 0, "cells": (int(names[1]) + 1) // 2 if names[0] == "cells" else 0, "lastact": 2}[names[0]]
        count = n * (size >> halvings) ** 2
        return moment * (count - 1) / count if names[-1] == "var" else moment

    statistics = jax.tree_util.tree_map_with_path(biased, moments)
    evaluated, unchanged = forward(weights, mixture, images, jax.random.key(0), {}, statistics)
    np.testing.assert_allclose(evaluated, logits, rtol=1e-9)
    assert_trees_close(unchanged, statistics)
    # And an image is then evaluated by itself, whatever the rest of the batch.
    images[1:] = RNG.normal(size=images[1:].shape)
    with_others, _ = forward(weights, mixture, images, jax.random.key(0), {}, statistics)
    np.testing.assert_allclose(with_others[0], evaluated[0], rtol=1e-12)


@pytest.mark.quick
@pytest.mark.parametrize("reduction", [False, True])
def test_every_edge_draws_its_own_noise_and_the_backward_pass_the_same(reduction: bool) -> None:
    cell, graph, weights, statistics = build((("noise",),) * 5, reduction)
    s0, s1 = (RNG.normal(size=(16, 3, 16 * N)) for _ in range(2))

    @jax.jit
    def run(mixture: Any, g: Any) -> Any:
        out, pull = jax.vjp(lambda m: scanned(graph, weights, statistics, m, s0, s1)[0], mixture)
        return out, pull(g)[0]

    size = 8 if reduction else 16
    mixture, g = RNG.normal(size=(5, 1)), RNG.normal(size=(size, 2 * C, size * N))
    # Noise does not depend on what an edge is given: the output is linear in the mixture.
    noises = np.stack([run(one_hot[:, None], g)[0] for one_hot in np.eye(5)])
    out, of_mixture = run(mixture, g)
    np.testing.assert_allclose(out, np.tensordot(mixture[:, 0], noises, 1), rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(of_mixture[:, 0], np.tensordot(noises, g, 3), rtol=1e-9)

    # An edge's noise is in its target's part of the output.
    drawn = np.stack([np.split(noise, 2, axis=1)[target - 2] for noise, (_, target) in zip(noises, cell.edges, strict=True)])
    correlations = np.corrcoef(drawn.reshape(5, -1))
    # Four standard deviations of the estimates.
    bound = 4 / np.sqrt(drawn[0].size)
    np.testing.assert_allclose(correlations, np.eye(5), atol=bound)
    np.testing.assert_allclose(drawn.std((1, 2, 3)), 1, atol=bound)


def test_one_hot_mixture_is_the_derived_network() -> None:
    """Without pools, whose batch norm derived networks lack, and with scale 1 and shift 0 in their batch norms."""
    names = ("dil_conv_3x3", "skip_connect")
    space, shape = darts_family("two", names, nodes=2), Shape(4, 3, 5, image_size=8)
    normal = (("skip_connect", 0), ("dil_conv_3x3", 1), ("dil_conv_3x3", 2), ("skip_connect", 1))
    reduce = (("dil_conv_3x3", 1), ("skip_connect", 0), ("skip_connect", 2), ("dil_conv_3x3", 0))
    genotype = DartsGenotype(normal, (2, 3), reduce, (2, 3))
    large, small = supernet(space, shape), derived(genotype, shape)
    like, wanted = (jax.eval_shape(net.init, jax.random.key(0))[0] for net in (large, small))
    arrays = {name: RNG.normal(size=leaf.shape) for leaf in torch_names(like, space) for name in leaf.names}

    edges = space.cell("normal").edges
    chosen = {}
    for kind, operations in (("normal", normal), ("reduce", reduce)):
        rows = [edges.index((source, 2 + i // 2)) for i, (_, source) in enumerate(operations)]
        chosen[kind] = [(row, names.index(name)) for row, (name, _) in zip(rows, operations, strict=True)]
    mixture = {kind: np.zeros((5, 2)) for kind in chosen}
    for kind, entries in chosen.items():
        for row, column in entries:
            mixture[kind][row, column] = 1

    kept = {name: array for name, array in arrays.items() if "._ops." not in name}
    for i, kind in enumerate(("normal", "reduce", "reduce")):
        for nth, (row, column) in enumerate(chosen[kind]):
            prefix = f"cells.{i}._ops.{row}._ops.{column}."
            kept |= {n.replace(prefix, f"cells.{i}._ops.{nth}."): a for n, a in arrays.items() if n.startswith(prefix)}
    for leaf in torch_names(wanted):
        for name in leaf.names:
            # What the supernet's batch norms lack.
            kept.setdefault(name, np.full(leaf.shape, float(name.endswith("weight"))))
    images = RNG.normal(size=(3, 8, 8, 3))
    weights, fewer = from_state_dict(arrays, like, space), from_state_dict(kept, wanted)

    @jax.jit
    def both(weights: Any, fewer: Any, images: Any) -> Any:
        key = jax.random.key(0)
        return large.forward(weights, mixture, images, key, {})[0], small.forward(fewer, None, images, key, {})[0][0]

    np.testing.assert_allclose(*both(weights, fewer, images), rtol=1e-9)


def scans_on_the_way_back(jaxpr: Any) -> Iterator[Any]:
    for equation in jaxpr.eqns:
        if equation.primitive.name == "scan" and equation.params["reverse"]:
            yield equation
        for inner in jax.tree.leaves(list(equation.params.values()), is_leaf=lambda part: hasattr(part, "jaxpr")):
            if hasattr(inner, "jaxpr"):
                yield from scans_on_the_way_back(inner.jaxpr)


@pytest.mark.parametrize("asked", ["weights", "mixture"])
def test_only_the_gradients_that_are_asked_for_are_carried(asked: str) -> None:
    network = supernet(nb201_family("two", ("skip_connect", "nor_conv_3x3"), nodes=2), Shape(4, 2, 3, 8))
    whole = {"weights": network.init(jax.random.key(0))[0], "mixture": {"cell": jnp.ones((3, 2))}}

    def loss(part: Any) -> Any:
        inputs = {**whole, asked: part}
        images = jnp.ones((2, 8, 8, 3))
        return network.forward(inputs["weights"], inputs["mixture"], images, jax.random.key(1), {})[0].sum()

    scans = scans_on_the_way_back(jax.make_jaxpr(jax.grad(loss))(whole[asked]).jaxpr)
    # What a scan carries it gives out in the form of one turn; of what it stacks there is one for each turn.
    pairs = (
        (out.aval.shape, of_turn.shape)
        for scan in scans
        for out, of_turn in zip(scan.outvars, scan.params["jaxpr"].out_avals, strict=True)
    )
    carried = {shape for shape, of_turn in pairs if shape == of_turn}
    # The kernels of the three edges of the first stage, and the whole mixture.
    assert ((3, 4, 4, 3, 3) in carried, (3, 2) in carried) == (asked == "weights", asked == "mixture")

"""The forms of a mixture in the scanned edges against plain sums, edge by edge, and what a sampled path leaves undone."""

from __future__ import annotations

import collections
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax import Array

from jaxnas.nets import Shape, supernet
from jaxnas.nets.active import active_weights
from jaxnas.nets.mixed import MixedEdge, MixedEdges
from jaxnas.nets.operations import Pass, Style, build_operation
from jaxnas.nets.partial import Bypass, PartialOperation
from jaxnas.spaces import darts_family, nb201_family

pytestmark = pytest.mark.usefixtures("float64")
N, C, SIZE = 2, 2, 3
CONTEXT = Pass(N, True, jax.random.key(5))
STYLE = Style(affine=True)
OPERATIONS = (("none", "skip_connect", "nor_conv_1x1"), ("avg_pool_3x3", "nor_conv_1x1"), ("nor_conv_1x1", "skip_connect"))
EDGES = tuple(
    MixedEdge(source, target, row, names)
    for row, ((source, target), names) in enumerate(zip(((0, 1), (0, 2), (1, 2)), OPERATIONS, strict=True))
)
RNG = np.random.default_rng(0)


def edges() -> tuple[Any, Any, Any]:
    """The module's graph, random weights and statistics."""
    module = MixedEdges(EDGES, lambda name: build_operation(name, C, 1, STYLE), True)
    graph, weights, statistics = nnx.split(module, nnx.Param, nnx.BatchStat)
    weights = jax.tree.map(lambda a: jnp.asarray(RNG.normal(size=a.shape)), nnx.to_pure_dict(weights))
    return graph, weights, nnx.to_pure_dict(statistics)


def scanned(graph: Any, weights: Any, statistics: Any, mixture: Any, x: Array) -> Array:
    module = nnx.merge(graph, weights, statistics, copy=True)
    states = jnp.concatenate([x[None], jnp.zeros((2, *x.shape))])
    return module(states[:1], states, mixture, CONTEXT)


def one_by_one(graph: Any, weights: Any, statistics: Any, mixture: Any, x: Array) -> Array:
    """The same in plain JAX, every candidate computed, without scan and without a backward rule of our own."""
    module = nnx.merge(graph, weights, statistics, copy=True)
    parts = mixture if isinstance(mixture, dict) else {"weights": mixture}
    states, seen = [x, jnp.zeros_like(x), jnp.zeros_like(x)], collections.Counter[str]()
    for edge in EDGES:
        y = states[edge.target] + (parts["offset"][edge.row] if "offset" in parts else 0.0)
        for column, name in enumerate(edge.operations):
            if name == "none":
                continue
            kind, *variables = nnx.split(module.stacks[name], nnx.Param, nnx.BatchStat)
            nth = seen[name]
            seen[name] += 1
            operation: Any = nnx.merge(kind, *(jax.tree.map(lambda a, nth=nth: a[nth], v) for v in variables), copy=True)
            out = operation(states[edge.source], CONTEXT)
            weight = parts["weights"][edge.row, column]
            if "active" in parts and not parts["active"][edge.row, column]:
                probed = "probed" in parts and parts["probed"][edge.row, column]
                out = jax.lax.stop_gradient(out) if probed else jnp.zeros_like(out)
                weight = weight - jax.lax.stop_gradient(weight)
            y = y + weight * out
        states[edge.target] = y
    return jnp.stack(states)


ACTIVE = np.array([[False, False, True], [True, False, False], [True, False, False]])
PROBED = np.array([[True, True, False], [False, True, False], [False, False, False]])
FORMS = {
    "active": {"active": ACTIVE},
    "active and probed": {"active": ACTIVE, "probed": PROBED},
    "offset": {"active": ACTIVE[:, ::-1] & ~ACTIVE, "offset": np.array([0.3, -0.2, 0.1])},
}


@pytest.mark.parametrize("form", FORMS)
def test_forms_of_a_mixture(form: str) -> None:
    graph, weights, statistics = edges()
    choices = {name: array for name, array in FORMS[form].items() if array.dtype == bool}
    numbers = {"weights": RNG.normal(size=(3, 3)), **{k: v for k, v in FORMS[form].items() if k not in choices}}
    x = RNG.normal(size=(SIZE, C, SIZE * N))

    @jax.jit
    def both(weights: Any, numbers: Any, x: Any) -> Any:
        def gradient(run: Any) -> Any:
            def loss(weights: Any, numbers: Any, x: Any) -> Any:
                out = run(graph, weights, statistics, {**numbers, **choices}, x)
                return jnp.sin(out[1:]).sum(), out

            return jax.value_and_grad(loss, (0, 1, 2), has_aux=True)(weights, numbers, x)

        return gradient(scanned), gradient(one_by_one)

    ours, theirs = both(weights, numbers, x)
    assert jax.tree.structure(ours) == jax.tree.structure(theirs)
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-11)
    of_weights = np.asarray(ours[1][1]["weights"])
    asked = choices["active"] | choices.get("probed", False)
    np.testing.assert_array_equal(of_weights[~asked], 0.0)  # What did not run has no gradient at all.


def test_only_what_is_active_runs() -> None:
    """A candidate that makes NaN of all it is given does no harm where it does not run, forward and back."""
    graph, weights, statistics = edges()
    weights["stacks"]["nor_conv_1x1"] = jax.tree.map(lambda a: a.at[1].set(jnp.nan), weights["stacks"]["nor_conv_1x1"])
    x = jnp.asarray(RNG.normal(size=(SIZE, C, SIZE * N)))

    @jax.jit
    def gradient(weights: Any, mixture: Any, active: Any) -> Any:
        def loss(weights: Any, mixture: Any) -> Any:
            return jnp.sin(scanned(graph, weights, statistics, {"weights": mixture, "active": active}, x)[2]).sum()

        return jax.value_and_grad(loss, (0, 1))(weights, mixture)

    everywhere = jnp.ones((3, 3))
    without = ACTIVE.copy()
    assert not without[1, 1]  # the second convolution
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient(weights, everywhere, without)))
    assert not np.isfinite(gradient(weights, everywhere, without | (np.arange(9).reshape(3, 3) == 4))[0])


def test_only_states_that_an_edge_starts_from_are_kept() -> None:
    graph, weights, statistics = edges()
    x = jnp.asarray(RNG.normal(size=(SIZE, C, SIZE * N)))
    _, pull = jax.vjp(lambda x: scanned(graph, weights, statistics, jnp.ones((3, 3)), x), x)
    kept = [leaf.shape for leaf in jax.tree.leaves(pull) if leaf.shape[1:] == x.shape]
    assert max(states for states, *_ in kept) == 2  # Not the third, the cell's output.


@pytest.mark.parametrize("space", [nb201_family("n", ("none", "skip_connect", "nor_conv_1x1"), nodes=2), "darts"])
def test_active_weights_are_those_with_a_gradient(space: Any) -> None:
    """On every stack: the mask that is computed from the mixture, and where the gradient of a loss is not zero."""
    shape = Shape(2, 1, 3, image_size=4, affine=True)
    if space == "darts":
        space, shape = darts_family("d", ("skip_connect", "dil_conv_3x3"), nodes=2), Shape(4, 3, 3, image_size=8)
    net = supernet(space, shape)
    rng, mixture = np.random.default_rng(3), {}
    for kind, cell in space.cells:
        # Not none, which is first where it is: behind it nothing has a gradient.
        active = np.eye(cell.columns, dtype=bool)[rng.integers(cell.columns - 2, cell.columns, len(cell.edges))]
        mixture[kind] = {"weights": active.astype(float), "active": active}
    weights = jax.tree.map(lambda a: a.astype(jnp.float64), net.init(jax.random.key(0))[0])
    images = rng.normal(size=(3, shape.image_size, shape.image_size, 3))

    @jax.jit
    @jax.grad
    def gradient(weights: Any) -> Any:
        return jnp.sin(net.forward(weights, mixture, images, jax.random.key(0), {})[0]).sum()

    mask, found, stacks = active_weights(space, mixture, weights), gradient(weights), 0
    for (path, ran), leaf in zip(jax.tree_util.tree_flatten_with_path(mask)[0], jax.tree.leaves(found), strict=True):
        keys = [key.key for key in path]
        if "stacks" in keys:
            moved = np.abs(leaf).reshape(len(leaf), -1).max(1) > 0
            np.testing.assert_array_equal(moved, np.asarray(ran).ravel(), err_msg=str(keys))
            stacks += 1
        else:
            assert ran is True
    assert stacks


@pytest.mark.parametrize("stride", [1, 2])
def test_partial_channels_are_the_references_split_and_shuffle(stride: int) -> None:
    """Split, operate or pool, concatenate, ``view(B, K, C / K).transpose``: in NCHW, by NumPy."""
    share, c, size = 4, 8, 4
    x_nchw = RNG.normal(size=(N, c, size, size))
    rows = jnp.asarray(x_nchw.transpose(2, 1, 3, 0).reshape(size, c, size * N))
    build_weight = 0.7

    class Scaled(nnx.Module):
        def __call__(self, x: Array, context: Pass) -> Array:
            h, channels, wn = x.shape
            kept = x.reshape(h, channels, wn // N, N)[::stride, :, ::stride]
            return build_weight * kept.reshape(kept.shape[0], channels, -1)

    ours = PartialOperation(Scaled(), share)(rows, CONTEXT) + Bypass(share, stride)(rows, CONTEXT)
    first, rest = x_nchw[:, : c // share], x_nchw[:, c // share :]
    if stride == 2:
        rest = rest.reshape(N, c - c // share, size // 2, 2, size // 2, 2).max((3, 5))
    joined = np.concatenate([build_weight * first[:, :, ::stride, ::stride], rest], axis=1)
    shuffled = joined.reshape(N, share, c // share, *joined.shape[2:]).swapaxes(1, 2).reshape(joined.shape)
    out = size // stride
    np.testing.assert_allclose(ours, shuffled.transpose(2, 1, 3, 0).reshape(out, c, out * N), rtol=1e-13)


def test_published_parameter_count_of_pc_darts() -> None:
    from jaxnas.spaces import darts

    assert supernet(darts(), Shape(16, 8, 10), share=4).parameters == 299_578

"""Names of the PyTorch references: recorded weights loaded by name give the recorded results."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnas.errors import UserError
from jaxnas.interop.torch_names import from_state_dict, to_state_dict, torch_names
from jaxnas.nets import Shape, derived, supernet
from jaxnas.spaces import PUBLISHED, CellSpace, DartsGenotype, darts, darts_family, from_text, nb201, robust_darts


def error(ours: dict[str, np.ndarray], reference: dict[str, np.ndarray]) -> float:
    """The golden files' definition: the largest relative error of an array, tiny arrays measured against all together."""
    assert ours.keys() == reference.keys()
    norms = {name: float(np.linalg.norm(array)) for name, array in reference.items()}
    floor = 1e-3 * sum(norm**2 for norm in norms.values()) ** 0.5
    return max(float(np.linalg.norm(ours[name] - array)) / max(norms[name], floor) for name, array in reference.items())


def group(golden: dict[str, np.ndarray], prefix: str) -> dict[str, np.ndarray]:
    return {name.removeprefix(prefix): array for name, array in golden.items() if name.startswith(prefix)}


def load(path: Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    with np.load(path) as file:
        golden = dict(file)
    return golden, ast.literal_eval(str(golden.pop("meta")))


def cross_entropy(logits: Any, y: np.ndarray) -> Any:
    return -jax.nn.log_softmax(logits)[jnp.arange(len(y)), y].mean()


def darts_loss(golden_dir: Path) -> tuple[Any, Any, dict[str, np.ndarray]]:
    golden, meta = load(golden_dir / "darts_supernet_b.npz")
    net = supernet(darts(), Shape(meta["C"], meta["layers"], meta["classes"], meta["size"]))
    like, _ = jax.eval_shape(net.init, jax.random.key(0))
    weights = from_state_dict(group(golden, "weight/"), like, darts())
    mixture = {kind: jax.nn.softmax(jnp.asarray(golden[f"alphas_{kind}"])) for kind in ("normal", "reduce")}
    images = jnp.asarray(golden["x_train_nchw"].transpose(0, 2, 3, 1), jnp.float64)

    def loss(weights: Any) -> Any:
        logits, _ = net.forward(weights, mixture, images, jax.random.key(0), {})
        return cross_entropy(logits, golden["y_train"]), logits

    return loss, weights, golden


def test_darts_supernet_with_recorded_weights(golden_dir: Path) -> None:
    with jax.enable_x64(True):
        loss, weights, golden = darts_loss(golden_dir)
        value, logits = jax.jit(loss)(weights)
        assert error({"": logits}, {"": golden["logits_train"]}) < 1e-9
        assert abs(value / golden["loss_train"] - 1) < 1e-9
        # Other trees of the weights' form have the same names.
        momentum = from_state_dict(group(golden, "momentum/"), weights, darts())
        assert error(to_state_dict(momentum, darts()), group(golden, "momentum/")) == 0


@pytest.mark.slow
def test_darts_supernet_gradients_by_name(golden_dir: Path) -> None:
    with jax.enable_x64(True):
        loss, weights, golden = darts_loss(golden_dir)
        gradients = jax.jit(jax.grad(lambda w: loss(w)[0]))(weights)
        assert error(to_state_dict(gradients, darts()), group(golden, "grad_weight_train/")) < 1e-9


def nb201_loss(path: Path) -> tuple[Any, Any, dict[str, np.ndarray]]:
    golden, meta = load(path)
    net = supernet(nb201(), Shape(meta["C"], meta["N"], meta["classes"], meta["size"], affine=meta["affine"]))
    like, _ = jax.eval_shape(net.init, jax.random.key(0))
    weights = from_state_dict(group(golden, "weight/"), like, nb201())
    mixture = {"cell": jax.nn.softmax(jnp.asarray(golden["alphas"]))}
    images = jnp.asarray(golden["x_nchw"].transpose(0, 2, 3, 1))

    def loss(weights: Any) -> Any:
        logits, _ = net.forward(weights, mixture, images, jax.random.key(0), {})
        return cross_entropy(logits, golden["y"]), logits

    return loss, weights, golden


def test_nb201_supernet_with_recorded_weights(golden_dir: Path) -> None:
    with jax.enable_x64(True):
        loss, weights, golden = nb201_loss(golden_dir / "nb201_supernet_a.npz")
        value, logits = jax.jit(loss)(weights)
        assert error({"": logits}, {"": golden["mixture/logits"]}) < 1e-9
        assert abs(value / golden["mixture/loss"] - 1) < 1e-9


@pytest.mark.slow
@pytest.mark.parametrize("which", ["a", "b"])
def test_nb201_supernet_gradients_by_name(golden_dir: Path, which: str) -> None:
    with jax.enable_x64(True):
        loss, weights, golden = nb201_loss(golden_dir / f"nb201_supernet_{which}.npz")
        gradients, logits = jax.jit(jax.grad(loss, has_aux=True))(weights)
        assert error({"": logits}, {"": golden["mixture/logits"]}) < 1e-9
        assert error(to_state_dict(gradients, nb201()), group(golden, "mixture/grad_weight/")) < 1e-9


def numbered(tree: Any) -> Any:
    """A tree of the same form in which no two numbers are equal."""
    leaves, form = jax.tree.flatten(tree)
    ends = np.cumsum([0, *(leaf.size for leaf in leaves)])
    return form.unflatten(np.arange(a, b).reshape(leaf.shape) for a, b, leaf in zip(ends, ends[1:], leaves, strict=False))


SIZE = Shape(channels=2, cells=3, classes=2, image_size=8)


def trees(space: CellSpace) -> tuple[Any, Any]:
    return jax.eval_shape(supernet(space, SIZE).init, jax.random.key(0))


def test_edges_with_candidates_of_their_own_keep_their_numbers() -> None:
    space = robust_darts(1)
    weights, statistics = (numbered(tree) for tree in trees(space))
    named = to_state_dict(weights, space)
    assert sum(array.size for array in named.values()) == sum(leaf.size for leaf in jax.tree.leaves(weights))
    # Normal cell: edges 3, 6, 7 and 9 have {skip, sep 3x3}, so edge 7 is the third of that stack.
    stack = weights["cells"][0]["between_nodes"]["stacks"]["sep_conv_3x3"]
    np.testing.assert_array_equal(named["cells.0._ops.7._ops.1.op.5.weight"], stack["op"][5]["weight"][2][:, None])
    # Reduction cell: edge 1 (max pool, dil 3x3) leaves an input, edge 7 (skip, dil 3x3) a node: each is first of its stack.
    cell = weights["cells"][1]
    dilated = cell["from_inputs"]["stacks"]["dil_conv_3x3"]["op"][1]["weight"]
    np.testing.assert_array_equal(named["cells.1._ops.1._ops.1.op.1.weight"], dilated[0][:, None])
    dilated = cell["between_nodes"]["stacks"]["dil_conv_3x3"]["op"][1]["weight"]
    np.testing.assert_array_equal(named["cells.1._ops.7._ops.1.op.1.weight"], dilated[0][:, None])
    # Search follows a pooling by a batch norm in a list without a name of its own; edges 5 and 10 have {max pool, skip}.
    named = to_state_dict(statistics, space)
    pooling = statistics["cells"][0]["between_nodes"]["stacks"]["max_pool_3x3"]["op"][1]
    np.testing.assert_array_equal(named["cells.0._ops.10._ops.0.1.running_mean"], pooling["mean"][1])
    np.testing.assert_array_equal(named["cells.0._ops.10._ops.0.1.running_var"], pooling["var"][1])


@pytest.mark.parametrize(
    "space", [robust_darts(1), darts_family("pools below", ("max_pool_3x3", "sep_conv_3x3"), ("avg_pool_3x3",))]
)
def test_loading_inverts_naming(space: CellSpace) -> None:
    for tree in map(numbered, trees(space)):
        again = from_state_dict(to_state_dict(tree, space), tree, space)
        assert jax.tree.all(jax.tree.map(np.array_equal, tree, again))


def test_names_of_derived_networks() -> None:
    cell = (("sep_conv_3x3", 0), ("skip_connect", 1))
    net = derived(DartsGenotype(cell, (2,), cell, (2,)), Shape(2, 3, 2), auxiliary=True)
    weights, statistics = jax.eval_shape(net.init, jax.random.key(0))
    names = {leaf.names[0]: leaf.shape for leaf in (*torch_names(weights), *torch_names(statistics))}
    assert names["cells.0._ops.0.op.1.weight"] == (2, 1, 3, 3)
    assert names["cells.1._ops.1.bn.running_var"] == (4,)
    assert names["auxiliary_head.features.2.weight"] == (128, 8, 1, 1)
    assert names["auxiliary_head.classifier.bias"] == (2,)

    small = derived(from_text("|none~0|+|skip_connect~0|nor_conv_3x3~1|"), Shape(2, 1, 2))
    weights, _ = jax.eval_shape(small.init, jax.random.key(0))
    names = {leaf.names[0] for leaf in torch_names(weights)}
    convolutions = {f"cells.{i}.layers.2.op.{name}" for i in (0, 2, 4) for name in ("1.weight", "2.weight", "2.bias")}
    reduction = {f"{conv}.op.{name}" for conv in ("conv_a", "conv_b") for name in ("1.weight", "2.weight", "2.bias")}
    between = {f"cells.{i}.{name}" for i in (1, 3) for name in (*reduction, "downsample.1.weight")}
    ends = {"stem.0.weight", "stem.1.weight", "stem.1.bias", "lastact.0.weight", "lastact.0.bias"}
    assert names == convolutions | between | ends | {"classifier.weight", "classifier.bias"}


@pytest.mark.parametrize("name", ["cifar_DARTS_V2", "imagenet_AmoebaNet"])
def test_names_of_the_recorded_networks(golden_dir: Path, name: str) -> None:
    golden, meta = load(golden_dir / f"darts_network_{name}.npz")
    shape = Shape(meta["C"], meta["layers"], meta["classes"], meta["size"], template=meta["network"])
    net = derived(PUBLISHED[meta["genotype"]], shape, auxiliary=True)
    trees = jax.eval_shape(net.init, jax.random.key(0))
    for tree, prefix in zip(trees, ("weight/", "after_one_forward/"), strict=True):
        names = {leaf.names[0]: leaf.shape for leaf in torch_names(tree)}
        assert names == {name: array.shape for name, array in group(golden, prefix).items()}


def test_names_of_pairs_of_kernels() -> None:
    cell = (("conv_7x1_1x7", 0), ("conv_3x1_1x3", 1))
    weights, _ = jax.eval_shape(derived(DartsGenotype(cell, (2,), cell, (2,)), Shape(2, 3, 2)).init, jax.random.key(0))
    names = {leaf.names[0]: leaf.shape for leaf in torch_names(weights)}
    # One is a bare list in quark0/darts, the other a module with a list in AutoDL-Projects.
    assert (names["cells.0._ops.0.1.weight"], names["cells.0._ops.0.2.weight"]) == ((2, 2, 1, 7), (2, 2, 7, 1))
    assert (names["cells.0._ops.1.op.1.weight"], names["cells.0._ops.1.op.2.weight"]) == ((2, 2, 1, 3), (2, 2, 3, 1))
    small = derived(from_text("|conv_7x1_1x7~0|"), Shape(2, 1, 2))
    weights, _ = jax.eval_shape(small.init, jax.random.key(0))
    assert "cells.0.layers.0.1.weight" in {leaf.names[0] for leaf in torch_names(weights)}
    space = darts_family("pairs", ("none", "conv_7x1_1x7"))
    named = to_state_dict(numbered(trees(space)[0]), space)
    assert named["cells.0._ops.13._ops.1.2.weight"].shape == (2, 2, 7, 1)


def test_a_whole_state_dict_serves_weights_and_statistics() -> None:
    net = derived(from_text("|nor_conv_3x3~0|"), Shape(2, 1, 2))
    weights, statistics = (numbered(tree) for tree in jax.eval_shape(net.init, jax.random.key(0)))
    whole = {**to_state_dict(weights), **to_state_dict(statistics), "stem.1.num_batches_tracked": np.array(7)}
    for tree in (weights, statistics):
        assert jax.tree.all(jax.tree.map(np.array_equal, tree, from_state_dict(whole, tree)))


def test_names_that_do_not_fit_are_named() -> None:
    net = derived(from_text("|nor_conv_3x3~0|"), Shape(2, 1, 2))
    weights, _ = jax.eval_shape(net.init, jax.random.key(0))
    arrays = to_state_dict(numbered(weights))
    arrays["stem.0.wieght"] = arrays.pop("stem.0.weight")
    arrays["classifier.bias"] = np.zeros(3)
    with pytest.raises(UserError) as caught:
        from_state_dict(arrays, weights)
    for problem in ("missing: stem.0.weight", "unknown: stem.0.wieght", "another shape: classifier.bias (3,) instead of (2,)"):
        assert problem in str(caught.value)


def test_a_supernet_needs_its_own_space() -> None:
    weights, _ = trees(nb201())
    with pytest.raises(UserError, match="give its space"):
        torch_names(weights)
    with pytest.raises(UserError, match="Give the space that the supernet was built of"):
        torch_names(trees(robust_darts(2))[0], robust_darts(1))

"""Derived networks against published counts, the reference's recorded values and the supernet with one operation an edge."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxnas.errors import UserError
from jaxnas.interop.torch_names import from_state_dict, to_state_dict, torch_names
from jaxnas.nets import Network, Shape, derived, supernet
from jaxnas.nets.derived import DartsNetwork, DiscreteNb201Cell
from jaxnas.nets.operations import Pass
from jaxnas.spaces import PUBLISHED, DartsGenotype, Nb201Genotype, from_text, nb201

PAIRS = (("sep_conv_3x3", 0), ("skip_connect", 1)), (("skip_connect", 0), ("max_pool_3x3", 1))
SMALL = DartsGenotype(PAIRS[0], (2,), PAIRS[1], (2,))
IMAGENET = Shape(48, 14, 1000, 224, template="imagenet")

COUNTS = {
    "DARTS_V1": (3_169_414, 4_510_432),
    "DARTS_V2": (3_349_342, 4_718_752),
    "NASNet": (3_830_950, 5_564_320),
    "AmoebaNet": (3_145_078, 4_627_360),
    "PC_DARTS_cifar": (3_634_678, 5_270_560),
    "PC_DARTS_image": (3_721_510, 5_342_464),
    "PDARTS": (3_433_798, 4_944_352),
    "DrNAS_cifar10": (4_099_294, 5_738_464),
    "DrNAS_imagenet": (4_048_750, 5_726_368),
    "SNAS_mild": (2_661_382, 3_939_328),
    "SNAS_moderate": (2_847_358, 4_312_576),
    "SDARTS_RS": (3_606_166, 5_120_320),
    "SDARTS_PGD": (3_344_806, 4_768_864),
    "GDAS_V1": (3_368_782, 4_969_216),
}
"""Weights of the references' networks: for CIFAR-10 with C=36 and 20 cells, for ImageNet with C=48 and 14 cells."""


@pytest.mark.parametrize("name", COUNTS)
def test_published_parameter_counts(name: str) -> None:
    cifar, imagenet = (derived(PUBLISHED[name], shape).parameters for shape in (Shape(36, 20, 10), IMAGENET))
    assert (cifar, imagenet) == COUNTS[name]


@pytest.mark.parametrize(
    ("name", "shape", "count"),
    [
        ("DARTS_V2", Shape(16, 20, 10), 710_682),
        ("NASNet", Shape(33, 20, 10), 3_245_989),
        ("NASNet", Shape(32, 20, 10), 3_061_738),
        ("GDAS_V1", dataclasses.replace(IMAGENET, channels=50), 5_345_075),
        # A classifier of 576 channels: 576 * 90 + 90 more for 100 labels.
        ("DARTS_V2", Shape(36, 20, 100), 3_349_342 + 51_930),
    ],
)
def test_published_parameter_counts_at_other_sizes(name: str, shape: Shape, count: int) -> None:
    assert derived(PUBLISHED[name], shape).parameters == count


@pytest.mark.parametrize(("name", "cifar", "imagenet"), [("DARTS_V2", 476_426, 1_260_776), ("AmoebaNet", 457_994, 1_236_200)])
def test_the_auxiliary_head_has_its_published_size_and_is_not_counted(name: str, cifar: int, imagenet: int) -> None:
    for shape, size, count in zip((Shape(36, 20, 10), IMAGENET), (cifar, imagenet), COUNTS[name], strict=True):
        net = derived(PUBLISHED[name], shape, auxiliary=True)
        weights, _ = jax.eval_shape(net.init, jax.random.key(0))
        assert sum(leaf.size for leaf in jax.tree.leaves(weights["auxiliary_head"])) == size
        assert net.parameters == count


@pytest.mark.parametrize(
    "text",
    [
        "|none~0|+|none~0|none~1|+|none~0|none~1|none~2|",
        "|nor_conv_3x3~0|+|nor_conv_1x1~0|skip_connect~1|+|avg_pool_3x3~0|nor_conv_3x3~1|nor_conv_1x1~2|",
        "|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+|skip_connect~0|nor_conv_3x3~1|nor_conv_1x1~2|",
    ],
)
def test_nb201_parameter_counts_follow_the_closed_form(text: str) -> None:
    expected = 73306 + 243040 * text.count("3x3~") + 28000 * text.count("1x1") - 243040 * text.count("pool")
    assert derived(from_text(text), Shape(16, 5, 10)).parameters == expected
    # 64 channels before the classifier: 65 weights for each label more (CIFAR-100, ImageNet16-120).
    assert derived(from_text(text), Shape(16, 5, 100)).parameters == expected + 5850
    assert derived(from_text(text), Shape(16, 5, 120, 16)).parameters == expected + 7150


def error(ours: dict[str, np.ndarray], reference: dict[str, np.ndarray]) -> float:
    """The golden files' definition: the largest relative error of an array, tiny arrays measured against all together."""
    assert ours.keys() == reference.keys()
    norms = {name: float(np.linalg.norm(array)) for name, array in reference.items()}
    floor = 1e-3 * sum(norm**2 for norm in norms.values()) ** 0.5
    return max(float(np.linalg.norm(ours[name] - array)) / max(norms[name], floor) for name, array in reference.items())


def group(golden: dict[str, np.ndarray], prefix: str) -> dict[str, np.ndarray]:
    return {name.removeprefix(prefix): array for name, array in golden.items() if name.startswith(prefix)}


@pytest.fixture(scope="module")
def golden(golden_dir: Path) -> dict[str, np.ndarray]:
    with np.load(golden_dir / "darts_network_cifar_DARTS_V2.npz") as file:
        return dict(file)


def golden_network(golden: dict[str, np.ndarray]) -> tuple[Network, Any, Any]:
    """Network, weights and images in float64."""
    net = derived(PUBLISHED["DARTS_V2"], Shape(channels=4, cells=5, classes=10), auxiliary=True)
    like, _ = jax.eval_shape(net.init, jax.random.key(0))
    images = jnp.asarray(golden["x_nchw"].transpose(0, 2, 3, 1), jnp.float64)
    return net, from_state_dict(group(golden, "weight/"), like), images


def test_forward_passes_equal_the_reference(golden: dict[str, np.ndarray]) -> None:
    with jax.enable_x64(True):
        net, weights, images = golden_network(golden)
        assert net.parameters == golden["parameters_without_auxiliary_head"]
        forward = jax.jit(net.forward)
        key = jax.random.key(0)

        # Factors of 1 are no drop path: one program serves both passes.
        masks = jnp.asarray(golden["drop_path/masks"])
        (logits, auxiliary), moments = forward(weights, jnp.ones_like(masks), images, key, {})
        assert error({"": logits}, {"": golden["train/logits"]}) < 1e-9
        assert error({"": auxiliary}, {"": golden["train/aux_logits"]}) < 1e-9

        gates = masks / (1 - golden["drop_path/probability"])
        (logits, auxiliary), _ = forward(weights, gates, images, key, {})
        assert error({"": logits}, {"": golden["drop_path/logits"]}) < 1e-9
        assert error({"": auxiliary}, {"": golden["drop_path/aux_logits"]}) < 1e-9

        # Running averages start at mean 0 and variance 1, and PyTorch's momentum is 0.1.
        named = {name: 0.9 * name.endswith("var") + 0.1 * array for name, array in to_state_dict(moments).items()}
        recorded = group(golden, "after_one_forward/")
        for kind in ("running_mean", "running_var"):
            ours, theirs = ({name: a for name, a in arrays.items() if name.endswith(kind)} for arrays in (named, recorded))
            assert error(ours, theirs) < 1e-9

        running = from_state_dict(named, moments)
        (logits, auxiliary), unchanged = forward(weights, None, images, key, {"drop_path": 0.3}, running)
        assert error({"": logits}, {"": golden["eval/logits"]}) < 1e-9
        assert auxiliary is None
        assert jax.tree.all(jax.tree.map(jnp.array_equal, unchanged, running))


@pytest.mark.slow
def test_loss_and_weight_gradients_equal_the_reference(golden: dict[str, np.ndarray]) -> None:
    with jax.enable_x64(True):
        net, weights, images = golden_network(golden)

        def loss(weights: Any) -> Any:
            outputs, _ = net.forward(weights, None, images, jax.random.key(0), {})
            plain, auxiliary = (-jax.nn.log_softmax(logits)[jnp.arange(3), golden["y"]].mean() for logits in outputs)
            return plain + 0.4 * auxiliary

        value, gradients = jax.jit(jax.value_and_grad(loss))(weights)
        assert abs(value / golden["train/loss"] - 1) < 1e-9
        assert error(to_state_dict(gradients), group(golden, "train/grad_weight/")) < 1e-9


def test_drawn_drop_path_keeps_the_mean_and_is_what_forward_applies() -> None:
    net, key, scalars = derived(SMALL, Shape(4, 3, 10, image_size=8)), jax.random.key(3), {"drop_path": jnp.float32(0.3)}
    module = nnx.eval_shape(lambda: DartsNetwork(SMALL, Shape(4, 3, 10, image_size=8), auxiliary=False))

    def drawn(count: int, batch: int) -> Any:
        return module.drop_path(None, count, jnp.float32, Pass(batch, True, key, scalars))

    many = np.asarray(drawn(100, 100))
    assert set(np.unique(many)) == {np.float32(0), np.float32(1) / np.float32(0.7)}
    # Four standard deviations of the share kept.
    assert abs((many > 0).mean() - 0.7) < 4 * np.sqrt(0.3 * 0.7 / many.size)

    # The cells are a normal and two reduction cells; only the normal cell's skip is an identity: 1 + 2 + 2 operations.
    weights, _ = net.init(jax.random.key(0))
    images = jax.random.normal(jax.random.key(1), (6, 8, 8, 3))
    (by_probability, none), _ = jax.jit(net.forward)(weights, None, images, key, scalars)
    (by_gates, _), _ = jax.jit(net.forward)(weights, drawn(5, 6), images, key, {})
    np.testing.assert_allclose(by_probability, by_gates, rtol=1e-5, atol=1e-6)
    assert none is None


def test_nb201_network_equals_the_supernet_with_one_operation_an_edge() -> None:
    text = "|nor_conv_3x3~0|+|avg_pool_3x3~0|none~1|+|skip_connect~0|nor_conv_1x1~1|nor_conv_3x3~2|"
    names = [edge.split("~")[0] for edge in text.replace("+", "").strip("|").replace("||", "|").split("|")]
    space, shape = nb201(), Shape(channels=4, cells=1, classes=5, image_size=8, affine=True)
    cell = space.cell("cell")
    columns = [options.index(name) for options, name in zip(cell.operations, names, strict=True)]
    edges = [f"{target}<-{source}" for source, target in cell.edges]
    with jax.enable_x64(True):
        large, small = supernet(space, shape), derived(from_text(text), shape)
        like, rng = jax.eval_shape(large.init, jax.random.key(0))[0], np.random.default_rng(0)
        arrays = {name: rng.normal(size=leaf.shape) for leaf in torch_names(like, space) for name in leaf.names}
        kept = {name: array for name, array in arrays.items() if ".edges." not in name}
        for name, array in arrays.items():
            for row, (edge, column) in enumerate(zip(edges, columns, strict=True)):
                if f".edges.{edge}.{column}." in name:
                    kept[name.replace(f".edges.{edge}.{column}.", f".layers.{row}.")] = array
        images, key = jax.random.normal(jax.random.key(1), (3, 8, 8, 3), jnp.float64), jax.random.key(0)
        mixture = {"cell": jax.nn.one_hot(jnp.array(columns), 5, dtype=jnp.float64)}
        expected, _ = jax.jit(large.forward)(from_state_dict(arrays, like, space), mixture, images, key, {})
        weights = from_state_dict(kept, jax.eval_shape(small.init, jax.random.key(0))[0])
        (logits, auxiliary), _ = jax.jit(small.forward)(weights, None, images, key, {})
        np.testing.assert_allclose(logits, expected, rtol=1e-12)
        assert auxiliary is None


def test_no_two_operations_draw_the_same_noise() -> None:
    genotype = from_text("|none~0|+|noise~0|noise~1|")
    assert isinstance(genotype, Nb201Genotype)
    out = DiscreteNb201Cell(genotype, 4)(jnp.zeros((16, 4, 16 * 8)), Pass(8, True, jax.random.key(0)))
    # The variance of two independent draws is 2, of one draw twice 4; its estimate deviates by 2 * sqrt(2 / size).
    assert abs(float(out.var()) - 2) < 4 * 2 * np.sqrt(2 / out.size)


def test_what_cannot_be_built_is_refused() -> None:
    shape = Shape(4, 3, 10)
    with pytest.raises(UserError, match="28x28 leave 7x7: use images of at least 32"):
        derived(SMALL, dataclasses.replace(shape, image_size=28), auxiliary=True)
    with pytest.raises(UserError, match="at least 3 cells, got 2"):
        derived(SMALL, dataclasses.replace(shape, cells=2))
    with pytest.raises(UserError, match=r"reduce_concat is \[1, 2\]"):
        derived(dataclasses.replace(SMALL, reduce_concat=(1, 2)), shape)
    with pytest.raises(UserError, match="no auxiliary head"):
        derived(from_text("|none~0|"), shape, auxiliary=True)
    imagenet = dataclasses.replace(shape, image_size=192, template="imagenet")
    with pytest.raises(UserError, match="192x192 leave 6x6: use images of at least 224"):
        derived(SMALL, imagenet, auxiliary=True)
    with pytest.raises(UserError, match="NAS-Bench-201's network is built in the template cifar"):
        derived(from_text("|none~0|"), imagenet)
    with pytest.raises(UserError, match="NAS-Bench-201's supernet is built in the template cifar"):
        supernet(nb201(), imagenet)
    with pytest.raises(UserError, match="halves images 5 times.*multiple of 32, got 240"):
        dataclasses.replace(imagenet, image_size=240)
    with pytest.raises(UserError, match="halves images 2 times.*multiple of 4, got 30"):
        dataclasses.replace(shape, image_size=30)
    with pytest.raises(UserError, match="Did you mean imagenet"):
        dataclasses.replace(shape, template="ImageNet")  # pyright: ignore[reportArgumentType]


def test_gates_of_a_wrong_shape_are_refused() -> None:
    net = derived(SMALL, Shape(4, 3, 10, image_size=8))
    weights, _ = jax.eval_shape(net.init, jax.random.key(0))
    with pytest.raises(UserError, match=r"5 operations of this network and 2 images.*shape \(4, 2\)"):
        jax.eval_shape(lambda w: net.forward(w, jnp.ones((4, 2)), jnp.ones((2, 8, 8, 3)), jax.random.key(0), {}), weights)

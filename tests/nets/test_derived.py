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
from jaxnas.spaces import DartsGenotype, Nb201Genotype, from_text, nb201

SHORT = {
    "mp": "max_pool_3x3",
    "ap": "avg_pool_3x3",
    "sk": "skip_connect",
    "s3": "sep_conv_3x3",
    "s5": "sep_conv_5x5",
    "s7": "sep_conv_7x7",
    "d3": "dil_conv_3x3",
}


def genotype(normal: str, reduce: str, normal_concat: Any = (2, 3, 4, 5), reduce_concat: Any = (2, 3, 4, 5)) -> DartsGenotype:
    pairs = [tuple((SHORT[edge[:2]], int(edge[3:])) for edge in cell.split()) for cell in (normal, reduce)]
    return DartsGenotype(pairs[0], normal_concat, pairs[1], reduce_concat)


DARTS_V1 = genotype("s3:1 s3:0 sk:0 s3:1 sk:0 s3:1 s3:0 sk:2", "mp:0 mp:1 sk:2 mp:0 mp:0 sk:2 sk:2 ap:0")
DARTS_V2 = genotype("s3:0 s3:1 s3:0 s3:1 s3:1 sk:0 sk:0 d3:2", "mp:0 mp:1 sk:2 mp:1 mp:0 sk:2 sk:2 mp:1")
NASNET = genotype(
    "s5:1 s3:0 s5:0 s3:0 ap:1 sk:0 ap:0 ap:0 s3:1 sk:1",
    "s5:1 s7:0 mp:1 s7:0 ap:1 s5:0 sk:3 ap:2 s3:2 mp:1",
    (2, 3, 4, 5, 6),
    (4, 5, 6),
)
SMALL = genotype("s3:0 sk:1", "sk:0 mp:1", (2,), (2,))


@pytest.mark.parametrize(
    ("cells", "channels", "count"),
    [(DARTS_V1, 36, 3169414), (DARTS_V2, 36, 3349342), (DARTS_V2, 16, 710682), (NASNET, 33, 3245989)],
)
def test_published_parameter_counts(cells: DartsGenotype, channels: int, count: int) -> None:
    assert derived(cells, Shape(channels, 20, 10)).parameters == count


def test_the_auxiliary_head_is_not_counted() -> None:
    plain = derived(SMALL, Shape(36, 3, 10))
    assert derived(SMALL, Shape(36, 3, 10), auxiliary=True).parameters == plain.parameters
    # AuxiliaryHeadCIFAR at 576 channels has 476,426 weights; this cell gives 144, which its first convolution alone sees.
    weights, _ = jax.eval_shape(derived(SMALL, Shape(36, 3, 10), auxiliary=True).init, jax.random.key(0))
    size = sum(leaf.size for leaf in jax.tree.leaves(weights["auxiliary_head"]))
    assert size == 476426 - 128 * (576 - 144)


@pytest.mark.parametrize(
    "text",
    [
        "|none~0|+|none~0|none~1|+|none~0|none~1|none~2|",
        "|nor_conv_3x3~0|+|nor_conv_1x1~0|skip_connect~1|+|avg_pool_3x3~0|nor_conv_3x3~1|nor_conv_1x1~2|",
    ],
)
def test_nb201_parameter_counts_follow_the_closed_form(text: str) -> None:
    expected = 73306 + 243040 * text.count("3x3~") + 28000 * text.count("1x1") - 243040 * text.count("pool")
    assert derived(from_text(text), Shape(16, 5, 10)).parameters == expected


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
    net = derived(DARTS_V2, Shape(channels=4, cells=5, classes=10), auxiliary=True)
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


def test_gates_of_a_wrong_shape_are_refused() -> None:
    net = derived(SMALL, Shape(4, 3, 10, image_size=8))
    weights, _ = jax.eval_shape(net.init, jax.random.key(0))
    with pytest.raises(UserError, match=r"5 operations of this network and 2 images.*shape \(4, 2\)"):
        jax.eval_shape(lambda w: net.forward(w, jnp.ones((4, 2)), jnp.ones((2, 8, 8, 3)), jax.random.key(0), {}), weights)

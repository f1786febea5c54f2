"""Every format gives the outputs of the run's network, for every kind of network; fresh processes are in tests/commands."""

from __future__ import annotations

import ast
import dataclasses
import inspect
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy

from jaxnas.errors import UserError
from jaxnas.export import Export, TrainedNetwork, check_formats, export, formats, plain
from jaxnas.export.flax_file import network_source
from jaxnas.export.onnx_graph import onnx_bytes
from jaxnas.interop import from_state_dict
from jaxnas.nets import ChainShape, Shape, derived
from jaxnas.nets.operations import BUILDERS
from jaxnas.spaces import PUBLISHED, BlockGenotype, DartsGenotype, Genotype, Nb201Genotype, from_text

OPERATIONS = (
    "none", "skip_connect", "max_pool_3x3", "avg_pool_3x3", "sep_conv_3x3", "sep_conv_5x5", "sep_conv_7x7", "dil_conv_3x3",
    "dil_conv_5x5", "conv_7x1_1x7", "conv_3x1_1x3", "nor_conv_1x1", "nor_conv_3x3", "skip_connect",
)  # fmt: skip
EVERY = tuple((name, i % 2) for i, name in enumerate(OPERATIONS))  # With stride 1 in normal cells, 2 in reduction cells.
SOME = (("sep_conv_3x3", 0), ("skip_connect", 1), ("max_pool_3x3", 2), ("skip_connect", 0))

NETWORKS: dict[str, tuple[Genotype, Shape | ChainShape]] = {
    "every operation": (DartsGenotype(EVERY, tuple(range(2, 9)), EVERY, tuple(range(2, 9))), Shape(4, 3, 10, 8)),
    "imagenet": (DartsGenotype(SOME, (2, 3), SOME, (2, 3)), Shape(4, 3, 10, 256, template="imagenet")),
    "nb201": (
        from_text("|nor_conv_3x3~0|+|avg_pool_3x3~0|none~1|+|skip_connect~0|nor_conv_1x1~1|none~2|"),
        Shape(4, 1, 10, 8),
    ),
    "proxyless": (
        BlockGenotype("proxyless", (8, 2), (("3x3_MBConv1", 8, 1), ("5x5_MBConv3", 16, 2), ("none", 16, 1)), 32),
        ChainShape(10, 8),
    ),
    "fbnet": (
        BlockGenotype("fbnet", (8, 1), (("k5_e1_g2", 16, 2), ("skip_connect", 16, 1), ("skip_connect", 24, 2)), 32),
        ChainShape(10, 8),
    ),
}  # fmt: skip


def trained(name: str, dtype: Any = np.float32) -> TrainedNetwork:
    """A network with weights and running statistics of random values, none at its start."""
    genotype, shape = NETWORKS[name]
    rng = np.random.default_rng(0)
    weights, statistics = jax.tree.map(
        lambda leaf: (np.asarray(leaf) + 0.1 * np.abs(rng.normal(size=leaf.shape))).astype(dtype),
        derived(genotype, shape).init(jax.random.key(0)),
    )
    return TrainedNetwork(genotype, shape, weights, statistics, (0.5, 0.4, 0.3), (0.2, 0.3, 0.4), tuple("abcdefghij"))


def images(name: str, count: int = 3) -> np.ndarray:
    size = NETWORKS[name][1].image_size
    return np.random.default_rng(1).normal(size=(count, size, size, 3)).astype(np.float32)


def quick(*names: str) -> list[Any]:
    """All networks, of which the others are for the slow tests: each is traced and compiled several times."""
    return [pytest.param(name, marks=[] if name in names else pytest.mark.slow) for name in NETWORKS]


@pytest.mark.parametrize("name", quick("nb201"))
def test_every_format_of_every_kind_of_network(name: str) -> None:
    exported = export(trained(name), ["flax", "stablehlo", "onnx"], images(name))
    assert exported.differences.keys() == {"flax", "stablehlo", "onnx"}
    assert all(0 < difference < 3e-6 for difference in exported.differences.values())
    # The ONNX file's batch is open: of one image alone its outputs are the same.
    one = formats.run_onnx(exported.files["network.onnx"], images(name)[:1])
    np.testing.assert_allclose(one, formats.run_onnx(exported.files["network.onnx"], images(name))[:1], rtol=1e-5, atol=1e-5)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("name", quick("nb201", "proxyless", "fbnet"))
def test_the_plain_network_is_the_same_function(name: str) -> None:
    """In float64 nothing is left of the differences, with batch norms as they are and folded."""
    network = trained(name, np.float64)
    plain = formats._network(network_source(network, "weights.safetensors"), network.arrays())
    x = images(name).astype(np.float64)
    expected = jax.jit(network.logits)(x)
    for change in (lambda: None, lambda: formats.fold(plain)):
        change()
        np.testing.assert_allclose(jax.jit(formats._function(plain))(x), expected, rtol=0, atol=1e-12 * np.abs(expected).max())


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize(
    "record", ["darts_network_cifar_DARTS_V2", pytest.param("darts_network_imagenet_AmoebaNet", marks=pytest.mark.slow)]
)
def test_the_plain_network_is_the_references(golden_dir: Path, record: str) -> None:
    """With the recorded weights of PyTorch it gives the recorded outputs, batch norms as they are and folded."""
    recorded = np.load(golden_dir / f"{record}.npz")
    meta = ast.literal_eval(str(recorded["meta"]))
    genotype, shape = PUBLISHED[meta["genotype"]], Shape(meta["C"], meta["layers"], meta["classes"], meta["size"])
    shape = dataclasses.replace(shape, template=meta["network"])
    arrays = {name.partition("/")[2]: recorded[name] for name in recorded if name.startswith(("weight/", "after_one_forward/"))}
    names = tuple(map(str, range(shape.classes)))
    network = TrainedNetwork(genotype, shape, {}, {}, (0.5,) * 3, (0.5,) * 3, names)
    plain = formats._network(network_source(network, "weights.safetensors"), arrays)
    x, expected = recorded["x_nchw"].transpose(0, 2, 3, 1).astype(np.float64), recorded["eval/logits"]
    for change in (lambda: None, lambda: formats.fold(plain)):
        change()
        np.testing.assert_allclose(jax.jit(formats._function(plain))(x), expected, rtol=0, atol=1e-9 * np.abs(expected).max())


def test_the_file_has_no_more_than_its_network_uses() -> None:
    source = network_source(trained("nb201"), "weights.safetensors")
    assert "def avg_pool_3x3(" in source and "class NasBench201(" in source
    assert not any(f"def {name}(" in source for name in ("sep_conv_3x3", "max_pool_3x3", "mbconv"))
    assert not any(f"class {name}(" in source for name in ("Cell", "DartsCifar", "MobileNetwork"))
    assert "import jaxnas" not in source and "from jaxnas" not in source


def test_weights_have_the_references_names() -> None:
    network = trained("nb201")
    exported = export(network, ["safetensors"], images("nb201"))
    arrays = safetensors.numpy.load(exported.files["weights.safetensors"])
    assert {"stem.0.weight", "cells.0.layers.0.op.1.weight", "cells.0.layers.0.op.2.running_var"} <= arrays.keys()
    like = (network.weights, network.statistics)
    for tree in like:
        jax.tree.map(np.testing.assert_array_equal, from_state_dict(arrays, tree), tree)


def test_what_differs_does_not_pass() -> None:
    assert Export({}, {"flax": 1e-6, "onnx": 9e-5}).passed
    assert not Export({}, {"flax": 1e-6, "onnx": 1.1e-4}).passed
    assert not Export({}, {"onnx": float("nan")}).passed


def test_noise_is_no_function_of_images() -> None:
    genotype = Nb201Genotype(((("noise", 0),),))
    weights, statistics = derived(genotype, Shape(4, 1, 10, 8)).init(jax.random.key(0))
    network = TrainedNetwork(genotype, Shape(4, 1, 10, 8), weights, statistics, (0.5,) * 3, (0.5,) * 3, tuple("abcdefghij"))
    with pytest.raises(UserError, match="'noise', which draws its outputs anew"):
        export(network, ["onnx"], images("nb201"))
    assert export(network, ["safetensors"], images("nb201")).differences == {}


@pytest.mark.parametrize("own", ["swish", "pair"])  # A pair is also a helper of the plain file.
def test_an_operation_of_ones_own_is_not_written(own: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jaxnas.spaces.genotype.OPERATIONS", [own])
    monkeypatch.setitem(BUILDERS, own, BUILDERS["nor_conv_1x1"])
    genotype, shape = Nb201Genotype((((own, 0),),)), Shape(4, 1, 10, 8)
    weights, statistics = derived(genotype, shape).init(jax.random.key(0))
    network = TrainedNetwork(genotype, shape, weights, statistics, (0.5,) * 3, (0.5,) * 3, tuple("abcdefghij"))
    for name in ("flax", "stablehlo", "onnx"):
        with pytest.raises(UserError, match=f"'{own}' of your own, which cannot be written"):
            export(network, [name], images("nb201"))
    assert export(network, ["genotype", "safetensors"], images("nb201")).differences == {}


def test_every_operation_that_is_written_is_compared() -> None:
    """So no user's network has a primitive that ONNX is not written for: such a one is refused by its name."""
    cells = {name for name, function in vars(plain).items() if signature(function) == ("channels", "stride", "rngs")}
    assert cells == set(OPERATIONS)
    with pytest.raises(NotImplementedError, match="primitive sin"):
        onnx_bytes(lambda x: jnp.sin(x).mean((1, 2)), (8, 8, 3), "network")


def signature(function: Any) -> tuple[str, ...]:
    return tuple(inspect.signature(function).parameters) if inspect.isfunction(function) else ()


def test_formats_that_are_none() -> None:
    with pytest.raises(UserError, match="Unknown format 'onyx'. Did you mean onnx"):
        check_formats(["onyx"])
    with pytest.raises(UserError, match="one or more of genotype, safetensors"):
        check_formats([])


def test_onnx_without_its_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(formats.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match="The format onnx needs onnx. Run: pip install onnx onnxruntime"):
        check_formats(["onnx"])
    assert check_formats(["flax"]) == ["flax"]

"""Networks of blocks against plain convolutions on images, and the supernet against the networks of its genotypes."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import Array, lax

from jaxnas.derive import one_hot_mixture
from jaxnas.errors import UserError
from jaxnas.nets import ChainShape, Shape, derived, supernet
from jaxnas.nets.chains import equal_blocks
from jaxnas.spaces import (
    FBNET_SMALL_STRIDES,
    PUBLISHED,
    Block,
    BlockGenotype,
    BlockSpace,
    block_genotype,
    darts,
    fbnet,
    from_text,
    proxyless,
)
from jaxnas.spaces.blocks import mbconv

RNG = np.random.default_rng(0)
SHAPE, N = ChainShape(classes=3, image_size=6), 2
SPACES = {
    "proxyless": BlockSpace(
        "small",
        "proxyless",
        stem=(4, 2),
        fixed=(("3x3_MBConv1", 4, 1),),
        blocks=(
            Block(6, 2, ("3x3_MBConv2",)),
            Block(6, 1, ("3x3_MBConv1", "none")),
            Block(6, 1, ("3x3_MBConv1", "none")),
        ),
        head=5,
    ),
    "fbnet": BlockSpace(
        "small",
        "fbnet",
        stem=(4, 1),
        fixed=(),
        blocks=(
            Block(4, 1, ("k3_e1_g2", "skip_connect")),
            Block(4, 1, ("k3_e1_g2", "skip_connect")),
            Block(6, 2, ("skip_connect", "k5_e2")),
        ),
        head=5,
    ),
}


# The same networks, written on images [N, H, W, C] with XLA's own convolutions.


def convolved(x: Array, kernel_OIKL: Array, stride: int, groups: int) -> Array:
    half = kernel_OIKL.shape[-1] // 2
    return lax.conv_general_dilated(
        x,
        kernel_OIKL.transpose(2, 3, 1, 0),
        (stride, stride),
        [(half, half)] * 2,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=groups,
    )


def layer(x: Array, w: Any, style: str, stride: int = 1, groups: int = 1, activate: bool = True) -> Array:
    kernel = w["conv"]["weight"]
    y = convolved(x, kernel if kernel.ndim == 4 else kernel[:, None], stride, groups)
    mean, variance = y.mean((0, 1, 2)), y.var((0, 1, 2))
    y = (y - mean) / jnp.sqrt(variance + {"proxyless": 1e-3, "fbnet": 1e-5}[style]) * w["bn"]["weight"] + w["bn"]["bias"]
    if not activate:
        return y
    return jnp.clip(y, 0, 6) if style == "proxyless" else jnp.maximum(y, 0)


def candidate(name: str, w: Any, x: Array, c_out: int, stride: int, style: str) -> Array:
    """What a candidate gives, without the input that ProxylessNAS's blocks add."""
    same = stride == 1 and x.shape[-1] == c_out
    if name == "none":
        return jnp.zeros_like(x)
    if name == "skip_connect":
        return x if same else layer(x, w, style, stride)
    operation = mbconv(name)
    assert operation is not None
    y, groups = x, operation.groups
    if style == "fbnet" or operation.expansion > 1:
        y = layer(y, w["inverted_bottleneck"], style, groups=groups)
        order = np.arange(y.shape[-1]).reshape(groups, -1).T.ravel()
        y = y[..., order]
    y = layer(y, w["depth_conv"], style, stride, groups=y.shape[-1])
    y = layer(y, w["point_linear"], style, groups=groups, activate=False)
    return y + x if style == "fbnet" and same else y


def whole(style: str, weights: Any, stem_stride: int, blocks: Any, images: Array) -> Array:
    """Logits; each block is a stride, its channels, and a function of its input."""
    x = layer(images, weights["first_conv"], style, stem_stride)
    for c_out, stride, mixed in blocks:
        y = mixed(x)
        x = x + y if style == "proxyless" and stride == 1 and x.shape[-1] == c_out else y
    x = layer(x, weights["feature_mix_layer"], style).mean((1, 2))
    return x @ weights["classifier"]["weight"].T + weights["classifier"]["bias"]


def discrete(genotype: BlockGenotype, weights: Any, images: Array) -> Array:
    """Logits of a genotype's network with the weights of our own."""
    blocks = [
        (c, s, lambda x, i=i, n=n, c=c, s=s: candidate(n, operation_of(weights["blocks"], i), x, c, s, genotype.style))
        for i, (n, c, s) in enumerate(genotype.blocks)
    ]
    return whole(genotype.style, weights, genotype.stem[1], blocks, images)


def operation_of(blocks: Any, i: int) -> Any:
    """The weights of a discrete block's operation, if it has any."""
    return blocks.get(i, blocks.get(str(i), {})).get("mobile_inverted_conv")


def mixed(space: BlockSpace, weights: Any, mixture: Array, images: Array) -> Array:
    """Logits of the supernet: every candidate of every block computed on its own, then summed."""
    style = space.style

    def searched(row: int, x: Array) -> Array:
        block = space.blocks[row]
        outputs = [
            candidate(n, sliced(space, weights, row, n), x, block.channels, block.stride, style) for n in block.operations
        ]
        return sum((weight * y for weight, y in zip(mixture[row], outputs, strict=False)), jnp.zeros(()))

    fixed = [
        (c, s, lambda x, i=i, n=n, c=c, s=s: candidate(n, operation_of(weights["fixed"], i), x, c, s, style))
        for i, (n, c, s) in enumerate(space.fixed)
    ]
    rest = [(block.channels, block.stride, lambda x, row=row: searched(row, x)) for row, block in enumerate(space.blocks)]
    return whole(style, weights, space.stem[1], fixed + rest, images)


def sliced(space: BlockSpace, weights: Any, row: int, name: str) -> Any:
    """The weights of one candidate of a searched block; None where it has none."""
    at = next(i for i, rows in enumerate(equal_blocks(space)) if row in rows)
    stacks = weights["stages"][at]["edges"].get("stacks", {})
    if name not in stacks:
        return None
    return jax.tree.map(lambda a: a[row - equal_blocks(space)[at].start], stacks[name])


def drawn(net: Any) -> Any:
    """Random weights."""
    like, _ = jax.eval_shape(net.init, jax.random.key(0))
    return jax.tree.map(lambda a: RNG.normal(size=a.shape), like)


def test_blocks_of_equal_shape_and_candidates_share_a_body() -> None:
    assert [list(rows) for rows in equal_blocks(SPACES["proxyless"])] == [[0], [1, 2]]
    assert [list(rows) for rows in equal_blocks(SPACES["fbnet"])] == [[0, 1], [2]]
    assert len(equal_blocks(proxyless())) == 11
    # 16 to 16 and then 24: the first stage of FBNet is alone. Blocks that halve never share one.
    assert [len(rows) for rows in equal_blocks(fbnet())] == [1, *(1, 3) * 5, 1]
    halving = BlockSpace("x", "fbnet", (4, 1), (), (Block(4, 2, ("k3_e1",)), Block(4, 2, ("k3_e1",))), 4)
    assert len(equal_blocks(halving)) == 2


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("style", SPACES)
def test_the_supernet_is_the_sum_of_its_candidates_in_value_and_gradient(style: str) -> None:
    space = SPACES[style]
    net = supernet(space, SHAPE)
    weights, images = drawn(net), RNG.normal(size=(N, 6, 6, 3))
    mixture = RNG.normal(size=(3, 2))
    toward = RNG.normal(size=(N, 3))

    def value_and_gradient(logits: Any) -> Any:
        return jax.value_and_grad(lambda w, m, x: (toward * jnp.sin(logits(w, m, x))).sum(), (0, 1, 2))

    @jax.jit
    def both(*args: Any) -> Any:
        ours = value_and_gradient(lambda w, m, x: net.forward(w, {"blocks": m}, x, jax.random.key(0), {})[0])
        return ours(*args), value_and_gradient(lambda w, m, x: mixed(space, w, m, x))(*args)

    ours, plain = both(weights, mixture, images)
    # A shift before a 1x1 convolution and its batch norm has no gradient but rounding.
    scale = max(float(np.abs(leaf).max()) for leaf in jax.tree.leaves(plain))
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(plain), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-8, atol=1e-10 * scale)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize(
    ("style", "names"),
    [("proxyless", ["3x3_MBConv2", "none", "3x3_MBConv1"]), ("fbnet", ["skip_connect", "k3_e1_g2", "skip_connect"])],
)
def test_a_one_hot_mixture_computes_the_derived_network_which_is_plain_convolutions(style: str, names: list[str]) -> None:
    space = SPACES[style]
    genotype = block_genotype(space, names)
    large, small = supernet(space, SHAPE), derived(genotype, SHAPE)
    weights = drawn(large)
    found = {row: sliced(space, weights, row, name) for row, name in enumerate(names)}
    blocks = {i: weights["fixed"][i] for i in range(len(space.fixed))}
    blocks |= {len(space.fixed) + row: {"mobile_inverted_conv": w} for row, w in found.items() if w is not None}
    fewer = {name: weights[name] for name in ("first_conv", "feature_mix_layer", "classifier")} | {"blocks": blocks}
    like, _ = jax.eval_shape(small.init, jax.random.key(0))
    assert jax.tree.map(jnp.shape, fewer) == jax.tree.map(jnp.shape, like)
    images = RNG.normal(size=(N, 6, 6, 3))
    one_hot = {"blocks": jnp.asarray(one_hot_mixture(space, genotype)["blocks"])}
    sampled = {"blocks": {"weights": one_hot["blocks"], "active": one_hot["blocks"] > 0}}
    # Where a candidate is not active nothing runs: what its weights are makes no difference.
    broken = jax.tree.map(jnp.asarray, weights)
    for row, block in enumerate(space.blocks):
        at = next(i for i, rows in enumerate(equal_blocks(space)) if row in rows)
        for name in set(block.operations) - {names[row]}:
            stacks = broken["stages"][at]["edges"]["stacks"]
            if name in stacks:
                nth = row - equal_blocks(space)[at].start
                stacks[name] = jax.tree.map(lambda a, nth=nth: a.at[nth].set(jnp.nan), stacks[name])

    @jax.jit
    def all_four(weights: Any, broken: Any, fewer: Any, images: Any) -> Any:
        key = jax.random.key(0)
        return (
            large.forward(weights, one_hot, images, key, {})[0],
            large.forward(broken, sampled, images, key, {})[0],
            small.forward(fewer, None, images, key, {})[0][0],
            discrete(genotype, fewer, images),
        )

    dense, path, network, plain = all_four(weights, broken, fewer, images)
    for logits in (dense, path, network):
        np.testing.assert_allclose(logits, plain, rtol=1e-9)


@pytest.mark.usefixtures("float64")
def test_evaluation_uses_the_statistics_that_are_given() -> None:
    net = derived(block_genotype(SPACES["proxyless"], ["3x3_MBConv2", "none", "none"]), SHAPE)
    weights, images = drawn(net), RNG.normal(size=(N, 6, 6, 3))
    forward = jax.jit(net.forward)
    (logits, auxiliary), moments = forward(weights, None, images, jax.random.key(0), {})
    assert auxiliary is None
    pixels = {"first_conv": 3 * 3, "blocks": {0: 3 * 3, 1: 2 * 2}, "feature_mix_layer": 2 * 2}
    # The middle of block 1 is not yet halved at its first convolution.
    biased = {
        "first_conv": as_biased(moments["first_conv"], pixels["first_conv"]),
        "feature_mix_layer": as_biased(moments["feature_mix_layer"], pixels["feature_mix_layer"]),
        "blocks": {
            i: {
                "mobile_inverted_conv": {
                    part: as_biased(found, 9 if (i, part) == (1, "inverted_bottleneck") else pixels["blocks"][int(i)])
                    for part, found in block["mobile_inverted_conv"].items()
                }
            }
            for i, block in moments["blocks"].items()
        },
    }
    np.testing.assert_allclose(forward(weights, None, images, jax.random.key(0), {}, biased)[0][0], logits, rtol=1e-9)


def as_biased(moments: Any, pixels: int) -> Any:
    n = N * pixels
    return jax.tree.map(lambda a: a, moments) | {"bn": moments["bn"] | {"var": moments["bn"]["var"] * (n - 1) / n}}


def closed_form(space: BlockSpace, classes: int) -> int:
    """Weights of a supernet, counted block by block."""
    style, stem = space.style, space.stem[0]

    def block(name: str, c: int, out: int, stride: int) -> int:
        if name == "none":
            return 0
        if name == "skip_connect":
            return 0 if stride == 1 and c == out else c * out + 2 * out
        operation = mbconv(name)
        assert operation is not None
        k, middle, groups = operation.kernel, c * operation.expansion, operation.groups
        first = c * middle // groups + 2 * middle if style == "fbnet" or operation.expansion > 1 else 0
        return first + (k * k + 2) * middle + middle * out // groups + 2 * out

    total, c = 27 * stem + 2 * stem, stem
    for name, out, stride in space.fixed:
        total, c = total + block(name, c, out, stride), out
    for searched in space.blocks:
        total += sum(block(name, c, searched.channels, searched.stride) for name in searched.operations)
        c = searched.channels
    return total + c * space.head + 2 * space.head + space.head * classes + classes


@pytest.mark.parametrize(
    "space",
    [*SPACES.values(), proxyless(), proxyless(0.35), fbnet(1.4), fbnet(strides=FBNET_SMALL_STRIDES, head=1504)],
    ids=lambda space: space.name,
)
def test_the_weights_of_supernets_follow_the_closed_form(space: BlockSpace) -> None:
    assert supernet(space, ChainShape(classes=7)).parameters == closed_form(space, 7)


@pytest.mark.quick
@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("proxyless_mobile", 4_080_512),
        ("proxyless_cpu", 4_361_648),
        ("proxyless_gpu", 7_119_848),
        ("proxyless_mobile_14", 6_857_568),
    ],
)
def test_published_parameter_counts(name: str, count: int) -> None:
    assert derived(PUBLISHED[name], ChainShape(classes=1000)).parameters == count


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: ChainShape(1), "classes must be at least 2, got 1"),
        (lambda: ChainShape(10, 3), "image_size must be at least 4, got 3"),
        (lambda: supernet(SPACES["fbnet"], Shape(4, 3, 10)), "have a ChainShape"),
        (lambda: supernet(darts(), SHAPE), "have a Shape"),
        (lambda: derived(PUBLISHED["FBNet_A"], Shape(4, 3, 10)), "have a ChainShape"),
        (lambda: derived(from_text("|none~0|"), SHAPE), "have a Shape"),
        (lambda: derived(PUBLISHED["FBNet_A"], SHAPE, auxiliary=True), "auxiliary=False"),
    ],
)
def test_what_cannot_be_built_is_refused(build: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        build()

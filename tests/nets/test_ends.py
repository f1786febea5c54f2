"""Stems, pooling before the classifier and auxiliary heads against their definitions on images."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnas.nets import Shape, derived, supernet
from jaxnas.nets.ends import UnpaddedPool, whole_windows
from jaxnas.nets.operations import Pass
from jaxnas.nets.rows import from_rows, to_rows
from jaxnas.spaces import DartsGenotype, darts_family

N = 2
CONTEXT: Any = Pass(N, True, jax.random.key(0))


def average_pool(images: np.ndarray, size: int, stride: int) -> np.ndarray:
    """PyTorch's AvgPool2d without padding, window by window."""
    n, height, width, c = images.shape
    pooled = np.zeros((n, (height - size) // stride + 1, (width - size) // stride + 1, c))
    for i, j in np.ndindex(pooled.shape[1:3]):
        top, left = i * stride, j * stride
        pooled[:, i, j] = images[:, top : top + size, left : left + size].mean((1, 2))
    return pooled


@pytest.mark.parametrize(("size", "stride"), [(8, 3), (7, 2), (9, 2)])
def test_pooling_of_the_auxiliary_heads(size: int, stride: int) -> None:
    images = np.random.default_rng(0).normal(size=(N, size, size, 3))
    with jax.enable_x64(True):
        found = from_rows(UnpaddedPool(stride)(to_rows(jnp.asarray(images)), CONTEXT), N)
        np.testing.assert_allclose(found, average_pool(images, 5, stride), rtol=1e-12)


@pytest.mark.parametrize("size", [7, 8, 13, 14])
def test_whole_windows_are_what_average_pooling_reads(size: int) -> None:
    images = np.random.default_rng(0).normal(size=(N, size, size, 3))
    with jax.enable_x64(True):
        read = from_rows(whole_windows(to_rows(jnp.asarray(images)), N, 7), N)
        # Windows of one size: their means' mean is the mean of all that they read.
        np.testing.assert_allclose(read.mean((1, 2)), average_pool(images, 7, 7).mean((1, 2)), rtol=1e-12)


def test_a_map_smaller_than_the_window_is_read_whole() -> None:
    rows = to_rows(jnp.arange(float(N * 6 * 6 * 3)).reshape(N, 6, 6, 3))
    np.testing.assert_array_equal(whole_windows(rows, N, 7), rows)


def convolved(x: Any, kernel: Any) -> Any:
    """XLA's own convolution with PyTorch's padding of a 3x3 kernel, stride 2."""
    return jax.lax.conv_general_dilated(x, kernel, (2, 2), [(1, 1), (1, 1)], dimension_numbers=("NHWC", "OIHW", "NHWC"))


def normalised(x: Any, weights: Any) -> Any:
    unit = (x - x.mean((0, 1, 2))) / jnp.sqrt(x.var((0, 1, 2)) + 1e-5)
    return unit * weights["weight"] + weights["bias"]


SKIPS = (("skip_connect", 0), ("skip_connect", 1))
SPACE = darts_family("skips", ("skip_connect",), nodes=1)
# A network for ImageNet with its mixture, and the width of its stems: a supernet's is that of three cells.
FOR_IMAGENET = {
    "derived": (derived(DartsGenotype(SKIPS, (2,), SKIPS, (2,)), Shape(4, 3, 5, 32, template="imagenet")), None, 4),
    "supernet": (
        supernet(SPACE, Shape(4, 3, 5, 32, template="imagenet")),
        {kind: np.full((2, 1), 0.5) for kind in ("normal", "reduce")},
        12,
    ),
}


@pytest.mark.parametrize("kind", FOR_IMAGENET)
def test_the_first_cell_reads_both_stems_for_imagenet(kind: str) -> None:
    net, mixture, width = FOR_IMAGENET[kind]
    with jax.enable_x64(True):
        weights, _ = jax.tree.map(lambda leaf: leaf.astype(jnp.float64), net.init(jax.random.key(0)))
        images = jax.random.normal(jax.random.key(1), (N, 32, 32, 3), jnp.float64)
        _, moments = jax.jit(net.forward)(weights, mixture, images, jax.random.key(0), {})

        stem0, stem1 = weights["stem0"]["layers"], weights["stem1"]["layers"]
        x = jax.nn.relu(normalised(convolved(images, stem0[0]["weight"]), stem0[1]))
        s0 = normalised(convolved(x, stem0[3]["weight"]), stem0[4])
        s1 = normalised(convolved(jax.nn.relu(s0), stem1[1]["weight"]), stem1[2])
        assert (s0.shape, s1.shape) == ((N, 8, 8, width), (N, 4, 4, width))

        cell = weights["cells"][0]
        kernels = (cell["preprocess0"][name]["weight"][:, :, 0, 0] for name in ("conv_1", "conv_2"))
        phases = (jax.nn.relu(s0)[:, i::2, i::2] for i in (0, 1))
        halves = [jnp.einsum("nhwc,oc->nhwo", phase, kernel) for phase, kernel in zip(phases, kernels, strict=True)]
        found = moments["cells"][0]["preprocess0"]["bn"]["mean"]
        np.testing.assert_allclose(found, jnp.concatenate(halves, -1).mean((0, 1, 2)), rtol=1e-9, atol=1e-12)
        kernel = cell["preprocess1"]["op"][1]["weight"][:, :, 0, 0]
        expected = jnp.einsum("nhwc,oc->nhwo", jax.nn.relu(s1), kernel).mean((0, 1, 2))
        np.testing.assert_allclose(moments["cells"][0]["preprocess1"]["op"][2]["mean"], expected, rtol=1e-9, atol=1e-12)

"""Operations that no search space of the references holds, against XLA's own convolution."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnas.nets.operations import Pass, Style, build_operation
from jaxnas.nets.rows import from_rows, to_rows

N, C = 2, 3


def pair(x: Any, first: Any, second: Any, stride: int) -> Any:
    """ReLU, 1 x K of stride (1, s), K x 1 of stride (s, 1), batch norm, with PyTorch's padding."""
    half = first.shape[3] // 2
    numbers = ("NHWC", "OIHW", "NHWC")
    x = jax.lax.conv_general_dilated(jax.nn.relu(x), first, (1, stride), [(0, 0), (half, half)], dimension_numbers=numbers)
    x = jax.lax.conv_general_dilated(x, second, (stride, 1), [(half, half), (0, 0)], dimension_numbers=numbers)
    return (x - x.mean((0, 1, 2))) / jnp.sqrt(x.var((0, 1, 2)) + 1e-5)


@pytest.mark.parametrize(("name", "size"), [("conv_7x1_1x7", 7), ("conv_3x1_1x3", 3)])
@pytest.mark.parametrize("stride", [1, 2])
def test_pairs_of_kernels_one_pixel_high_and_wide(name: str, size: int, stride: int) -> None:
    rng = np.random.default_rng(0)
    with jax.enable_x64(True):
        images = jnp.asarray(rng.normal(size=(N, 6, 8, C)))
        first, second = (jnp.asarray(rng.normal(size=(C, C, *shape))) for shape in ((1, size), (size, 1)))
        operation = build_operation(name, C, stride, Style(affine=False))
        convolutions = (operation.layers if size == 7 else operation.op)[1:3]
        for convolution, kernel in zip(convolutions, (first, second), strict=True):
            assert convolution.weight.get_value().shape == kernel.shape
            convolution.weight.set_value(kernel)
        found = from_rows(operation(to_rows(images), Pass(N, True, jax.random.key(0))), N)
        np.testing.assert_allclose(found, pair(images, first, second, stride), rtol=1e-9, atol=1e-12)


def test_dropout_behind_skip_connections() -> None:
    """As torch.nn.Dropout, element by element; behind the identity alone, in training alone, where the scalar is given."""
    style, key = Style(affine=False), jax.random.key(1)
    x = jnp.asarray(np.random.default_rng(0).normal(size=(20, 16, 20 * N)), jnp.float32) + 5
    identity, reduce = (build_operation("skip_connect", 16, stride, style) for stride in (1, 2))

    def run(operation: Any, training: bool, rate: float | None) -> np.ndarray:
        scalars = {} if rate is None else {"skip_dropout": jnp.asarray(rate)}
        return np.asarray(operation(x, Pass(N, training, key, scalars)))

    dropped = run(identity, True, 0.4)
    gone = dropped == 0
    assert abs(gone.mean() - 0.4) < 4 * np.sqrt(0.4 * 0.6 / gone.size)
    np.testing.assert_allclose(dropped[~gone], np.asarray(x)[~gone] / 0.6, rtol=1e-6)
    np.testing.assert_array_equal(run(identity, True, 0.0), x)
    np.testing.assert_array_equal(run(identity, True, None), x)
    np.testing.assert_array_equal(run(identity, False, 0.4), x)
    np.testing.assert_array_equal(run(reduce, True, 0.4), run(reduce, True, None))

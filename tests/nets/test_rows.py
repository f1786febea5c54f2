"""Rows and the moves within them against slices of the images."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import Array

from jaxnas.nets.rows import dilate, from_rows, subsample, to_rows, windows

RNG = np.random.default_rng(0)
N, C = 2, 3


pytestmark = pytest.mark.usefixtures("float64")


@pytest.mark.quick
def test_rows_hold_columns_and_batch_the_batch_fastest() -> None:
    images = RNG.normal(size=(3, 4, 5, 2))
    rows = np.asarray(to_rows(jnp.asarray(images)))
    assert rows.shape == (4, 2, 15)
    for n, h, w, c in np.ndindex(images.shape):
        assert rows[h, c, w * 3 + n] == images[n, h, w, c]
    np.testing.assert_array_equal(from_rows(jnp.asarray(rows), 3), images)


@pytest.mark.parametrize(
    ("image", "kernel", "stride", "dilation", "padding", "fill"),
    [
        ((5, 5), (3, 3), (1, 1), 1, (1, 1), -7.0),
        ((5, 6), (3, 2), (1, 1), 2, (2, 1), 0.5),
        ((5, 5), (3, 3), (2, 2), 1, (1, 1), -7.0),
        ((8, 6), (5, 5), (2, 2), 2, (4, 4), 2.0),
        ((8, 8), (5, 5), (3, 3), 1, (0, 0), 0.0),
        ((6, 5), (2, 2), (2, 2), 1, (0, 0), 0.0),
        ((6, 8), (1, 7), (1, 2), 1, (0, 3), 0.0),
        ((8, 6), (7, 1), (2, 1), 1, (3, 0), -7.0),
        ((7, 5), (3, 2), (3, 2), 2, (1, 2), 0.5),
    ],
)
def test_windows(
    image: tuple[int, int],
    kernel: tuple[int, int],
    stride: tuple[int, int],
    dilation: int,
    padding: tuple[int, int],
    fill: float,
) -> None:
    images = RNG.normal(size=(N, *image, C))

    @jax.jit
    def views_of(x: Any) -> list[Array]:
        return [from_rows(view, N) for view in windows(to_rows(x), kernel, N, stride, dilation, padding, fill)]

    views = views_of(images)
    padded = np.full((N, image[0] + 2 * padding[0], image[1] + 2 * padding[1], C), fill)
    padded[:, padding[0] : padding[0] + image[0], padding[1] : padding[1] + image[1]] = images
    height, width = (
        (size - dilation * (k - 1) - 1) // s + 1 for size, k, s in zip(padded.shape[1:3], kernel, stride, strict=True)
    )
    assert len(views) == kernel[0] * kernel[1]
    for view, (a, b) in zip(views, np.ndindex(*kernel), strict=True):
        expected = padded[:, a * dilation :: stride[0], b * dilation :: stride[1]][:, :height, :width]
        np.testing.assert_array_equal(view, expected)


@pytest.mark.parametrize(("stride", "size"), [((1, 1), (3, 4)), ((2, 2), (5, 8)), ((1, 3), (3, 10)), ((2, 1), (6, 5))])
def test_dilate(stride: tuple[int, int], size: tuple[int, int]) -> None:
    images = RNG.normal(size=(N, 3, 4, C))
    expected = np.zeros((N, *size, C))
    expected[:, : 3 * stride[0] : stride[0], : 4 * stride[1] : stride[1]] = images
    found = jax.jit(lambda x: from_rows(dilate(to_rows(x), N, stride, *size), N))(images)
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(("image", "stride", "offset"), [((6, 8), 2, 0), ((6, 8), 2, 1), ((5, 5), 2, 0), ((5, 5), 2, 1)])
def test_subsample(image: tuple[int, int], stride: int, offset: int) -> None:
    images = RNG.normal(size=(N, *image, C))
    found = jax.jit(lambda x: from_rows(subsample(to_rows(x), N, stride, offset), N))(images)
    np.testing.assert_array_equal(found, images[:, offset::stride, offset::stride])

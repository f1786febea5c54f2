"""Random resized crop against Pillow, against loops in float64, and its boxes against torchvision's rule."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image

from jaxnas.data.resized_crop import crop_and_resize, draw_boxes

PIXELS, SIZE = 20, 7
IMAGES = np.random.default_rng(0).integers(0, 256, (6, PIXELS, PIXELS, 3), dtype=np.uint8)
# Top, left, height, width: the whole; shrunk and enlarged; at the borders; one pixel.
BOXES = np.array([[0, 0, 20, 20], [3, 5, 9, 12], [18, 0, 2, 3], [0, 15, 16, 5], [6, 6, 7, 7], [19, 19, 1, 1]], np.int32)


def slow_axis(rows: np.ndarray, size: int) -> np.ndarray:
    """Bilinear with antialiasing, along the first axis: a triangle as wide as the shrinking, cut at the borders."""
    length = len(rows)
    scale = length / size
    out = []
    for s in range(size):
        centre, total, weight = (s + 0.5) * scale, 0.0, 0.0
        for i in range(length):
            w = max(0.0, 1 - abs(i + 0.5 - centre) / max(scale, 1.0))
            total, weight = total + w * rows[i].astype(float), weight + w
        out.append(total / weight)
    return np.array(out)


def test_agrees_with_loops_and_with_pillow() -> None:
    found = jax.jit(crop_and_resize, static_argnums=2)(IMAGES, BOXES, SIZE)
    assert found.shape == (6, SIZE, SIZE, 3) and found.dtype == jnp.float32
    for image, (top, left, height, width), ours in zip(IMAGES, BOXES.tolist(), np.asarray(found), strict=True):
        box = image[top : top + height, left : left + width]
        exact = slow_axis(slow_axis(box, SIZE).swapaxes(0, 1), SIZE).swapaxes(0, 1)
        np.testing.assert_allclose(ours, exact, atol=1e-3)
        pillows = Image.fromarray(box).resize((SIZE, SIZE), Image.Resampling.BILINEAR)
        np.testing.assert_allclose(ours, np.asarray(pillows, float), atol=1.01)  # It rounds twice.


def slow_box(rng: np.random.Generator, size: int) -> tuple[int, int]:
    """torchvision's get_params: height and width."""
    for _ in range(10):
        area = size * size * rng.uniform(0.08, 1.0)
        ratio = math.exp(rng.uniform(math.log(3 / 4), math.log(4 / 3)))
        width, height = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < width <= size and 0 < height <= size:
            return height, width
    return size, size


def test_boxes_are_distributed_as_torchvisions() -> None:
    count, size = 20_000, 50
    top, left, height, width = np.asarray(draw_boxes(jax.random.key(0), count, size)).T
    assert (np.minimum(height, width) > 0).all()
    assert (np.stack([top, left]) >= 0).all() and (top + height <= size).all() and (left + width <= size).all()
    rng = np.random.default_rng(0)
    theirs = np.array([slow_box(rng, size) for _ in range(count)])
    for ours, their in zip((height, width, height * width), (*theirs.T, theirs.prod(1)), strict=True):
        quantiles = np.linspace(0.1, 0.9, 9)
        shares = [(ours <= q).mean() - (their <= q).mean() for q in np.quantile(their, quantiles)]
        assert np.abs(shares).max() < 5 * np.sqrt(2 * 0.25 / count)
    # Corners are uniform among those that keep the box inside, and independent.
    for corner, side in ((top, height), (left, width)):
        place = ((corner + 0.5) / (size - side + 1))[side < 40]
        assert abs(place.mean() - 0.5) < 5 * np.sqrt(1 / 12 / len(place))
    small = (height < 40) & (width < 40)
    assert abs(np.corrcoef(top[small] / (50 - height[small]), left[small] / (50 - width[small]))[0, 1]) < 5 / np.sqrt(
        small.sum()
    )


def test_what_never_fits_is_the_whole_image() -> None:
    boxes = np.asarray(draw_boxes(jax.random.key(0), 1000, 1))
    np.testing.assert_array_equal(boxes, np.tile([0, 0, 1, 1], (1000, 1)))

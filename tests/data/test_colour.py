"""Colour jitter against the standard library's colours, one pixel at a time, and against Pillow."""

from __future__ import annotations

import colorsys
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image, ImageEnhance

from jaxnas.data.colour import Colours, draw_colours, jitter

ORDERS = list(itertools.permutations(range(4)))  # 0..2: the factors; 3: the hue.
N = len(ORDERS)
IMAGES = np.random.default_rng(0).integers(0, 256, (N, 3, 4, 3), dtype=np.uint8)
IMAGES[:, 0, 0] = 77  # Grey: no hue.
IMAGES[:, 0, 1] = 0
COLOURS = draw_colours(jax.random.key(0), N, 0.4, 0.4, 0.4, 0.2)


def grey(pixel: np.ndarray) -> float:
    return 0.2989 * pixel[0] + 0.587 * pixel[1] + 0.114 * pixel[2]


def slow(image: np.ndarray, order: tuple[int, ...], factors: np.ndarray, turn: float) -> np.ndarray:
    """torchvision's four functions, in float64."""
    image = image.astype(float)
    rows = [(i, j) for i in range(image.shape[0]) for j in range(image.shape[1])]
    for change in order:
        mean = float(np.mean([grey(image[at]) for at in rows]))
        for at in rows:
            pixel = image[at]
            if change == 3:
                hue, saturation, value = colorsys.rgb_to_hsv(*pixel / 255)
                image[at] = np.array(colorsys.hsv_to_rgb((hue + turn) % 1, saturation, value)) * 255
            else:
                other = (0.0, mean, grey(pixel))[change]
                image[at] = np.clip(factors[change] * pixel + (1 - factors[change]) * other, 0, 255)
    return image


def test_every_order_agrees_with_a_pixel_by_pixel_implementation() -> None:
    colours = COLOURS._replace(
        order=jnp.array([[change for change in order if change < 3] for order in ORDERS]),
        hue_after=jnp.array([order.index(3) for order in ORDERS]),
    )
    found = jax.jit(jitter)(IMAGES, colours)
    assert found.dtype == jnp.float32
    factors, turns = np.asarray(colours.factors, float), np.asarray(colours.turns, float)
    for n, order in enumerate(ORDERS):
        np.testing.assert_allclose(found[n], slow(IMAGES[n], order, factors[n], turns[n]), atol=2e-3, err_msg=str(order))
    assert ((np.asarray(found) == 255).sum() > N) and len({image.tobytes() for image in np.asarray(found)}) == N


@pytest.mark.parametrize(
    ("change", "enhance"), ((0, ImageEnhance.Brightness), (1, ImageEnhance.Contrast), (2, ImageEnhance.Color))
)
def test_each_blend_is_pillows_but_for_its_rounding(change: int, enhance: type) -> None:
    factors = np.ones((2, 3), np.float32)
    factors[:, change] = 0.6, 1.4
    still = Colours(jnp.asarray(factors), jnp.zeros(2), jnp.tile(jnp.arange(3), (2, 1)), jnp.zeros(2, jnp.int32))
    found = jitter(jnp.asarray(IMAGES[:2]), still)
    for n in range(2):
        expected = np.asarray(enhance(Image.fromarray(IMAGES[n])).enhance(float(factors[n, change])), float)
        np.testing.assert_allclose(found[n], expected, atol=1.5)  # It rounds the grey, and cuts off the result's fraction.


def test_draws_are_uniform_and_all_orders_alike() -> None:
    count = 24_000
    drawn = jax.tree.map(np.asarray, draw_colours(jax.random.key(1), count, 0.4, 1.5, 0.0, 0.2))
    for values, low, high in ((drawn.factors[:, 0], 0.6, 1.4), (drawn.factors[:, 1], 0, 2.5), (drawn.turns, -0.2, 0.2)):
        share = np.histogram(values, 10, (low, high))[0] / count
        np.testing.assert_allclose(share, 0.1, atol=5 * np.sqrt(0.09 / count))
    assert (drawn.factors[:, 2] == 1).all()
    orders = np.insert(drawn.order.astype(object), 0, drawn.hue_after, axis=1)
    seen = [orders.tolist().count(list(order)) for order in {tuple(row) for row in orders.tolist()}]
    assert len(seen) == 24
    np.testing.assert_allclose(seen, count / 24, atol=5 * np.sqrt(count / 24))
    columns = np.stack([drawn.factors[:, 0], drawn.factors[:, 1], drawn.turns, drawn.hue_after, drawn.order[:, 0]])
    assert np.abs(np.corrcoef(columns) - np.eye(5)).max() < 5 / np.sqrt(count)


def test_one_change_leaves_the_draws_of_the_others() -> None:
    without = draw_colours(jax.random.key(0), N, 0.0, 0.4, 0.4, 0.2)
    np.testing.assert_array_equal(without.factors[:, 1:], COLOURS.factors[:, 1:])
    for name in ("turns", "order", "hue_after"):
        np.testing.assert_array_equal(getattr(without, name), getattr(COLOURS, name))

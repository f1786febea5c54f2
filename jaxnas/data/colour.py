"""Colour jitter: brightness, contrast, saturation and hue of each image, in an order of its own."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

BLENDS = 3  # Brightness, contrast, saturation.


class Colours(NamedTuple):
    """The random part of a colour jitter, one row per image.

    Attributes:
      factors: float32 ``[N, 3]``, of brightness, contrast and saturation.
      turns: float32 ``[N]``, of the hue, in parts of the circle.
      order: int32 ``[N, 3]``, the order of the three.
      hue_after: int32 ``[N]``, how many of the three come before the hue.
    """

    factors: Array
    turns: Array
    order: Array
    hue_after: Array


def draw_colours(key: Array, count: int, brightness: float, contrast: float, saturation: float, hue: float) -> Colours:
    """Draws for ``count`` images: factors uniform about 1, not below 0; turns uniform about 0; all 24 orders alike.

    >>> draw_colours(jax.random.key(0), 5, 0.4, 0.4, 0.4, 0.2).order.shape
    (5, 3)
    """
    keys = jax.random.split(key, 6)
    reaches = (brightness, contrast, saturation)
    factors = [
        jax.random.uniform(factor_key, (count,), jnp.float32, max(0.0, 1 - reach), 1 + reach)
        for factor_key, reach in zip(keys, reaches, strict=False)
    ]
    return Colours(
        factors=jnp.stack(factors, 1),
        turns=jax.random.uniform(keys[3], (count,), jnp.float32, -hue, hue),
        order=jax.random.permutation(
            keys[4], jnp.broadcast_to(jnp.arange(BLENDS, dtype=jnp.int32), (count, BLENDS)), axis=1, independent=True
        ),
        hue_after=jax.random.randint(keys[5], (count,), 0, BLENDS + 1, jnp.int32),
    )


def jitter(images: Array, colours: Colours) -> Array:
    """Images ``[N, H, W, 3]``, values 0..255, with the four changes in each image's order; float32.

    Brightness is a blend with black, contrast with the image's mean grey, saturation with its grey; each result is clipped.

    Source: torchvision, ``transforms.ColorJitter``, on float images.

    >>> grey = jnp.full((1, 2, 2, 3), 100.0)
    >>> colours = Colours(jnp.array([[1.5, 2.0, 0.0]]), jnp.array([0.3]), jnp.array([[2, 0, 1]]), jnp.array([1]))
    >>> jitter(grey, colours)[0, 0, 0].round().tolist()
    [150.0, 150.0, 150.0]
    """
    x = images.astype(jnp.float32)
    # Any order is some of the blends, the hue, and the other blends: the hue, which costs most, is turned once.
    for place in range(BLENDS):
        x = _blend(x, colours, place, place < colours.hue_after)
    x = turn_hue(x, colours.turns[:, None, None])
    for place in range(BLENDS):
        x = _blend(x, colours, place, place >= colours.hue_after)
    return x


def _blend(x: Array, colours: Colours, place: int, now: Array) -> Array:
    """The change that stands at a place of each image's order, for those images whose turn it is."""
    kind = colours.order[:, place]
    factor = jnp.where(now, jnp.take_along_axis(colours.factors, kind[:, None], axis=1)[:, 0], 1.0)
    kind, factor = kind[:, None, None, None], factor[:, None, None, None]
    grey = _grey(x)
    other = jnp.where(kind == 0, 0.0, jnp.where(kind == 1, grey.mean((1, 2, 3), keepdims=True), grey))
    return jnp.clip(factor * x + (1 - factor) * other, 0, 255)


def _grey(x: Array) -> Array:
    """Luma by ITU-R 601, with torchvision's digits: ``[N, H, W, 1]``."""
    return 0.2989 * x[..., :1] + 0.587 * x[..., 1:2] + 0.114 * x[..., 2:]


def turn_hue(x: Array, turns: Array) -> Array:
    """Colours with their hue turned, in HSV: value and saturation stay.

    Args:
      x: ``[..., 3]``, red, green and blue.
      turns: in parts of the circle; one for all pixels, or broadcast against ``[...]``.

    >>> turn_hue(jnp.array([200.0, 50.0, 50.0]), jnp.array(1 / 3)).round().tolist()
    [50.0, 200.0, 50.0]
    """
    value, least = x.max(-1), x.min(-1)
    spread = value - least
    red, green, blue = (x[..., i] for i in range(3))
    safe = jnp.where(spread > 0, spread, 1)  # Of grey, which has no hue, any will do.
    hue = jnp.where(
        value == red,
        (green - blue) / safe,
        jnp.where(value == green, 2 + (blue - red) / safe, 4 + (red - green) / safe),
    )
    # In sixths of the circle, each channel is a trapezoid of the hue: full within 1 of its own, nothing beyond 2.
    turned = hue + 6 * turns
    return jnp.stack(
        [value - spread * jnp.clip(jnp.minimum((n + turned) % 6, 4 - (n + turned) % 6), 0, 1) for n in (5, 3, 1)], -1
    )

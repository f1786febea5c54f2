"""Random resized crop: a random box of each image, resized to one size as Pillow does."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
from jax import Array

AREAS = (0.08, 1.0)  # Of the box, in parts of the image's.
RATIOS = (3 / 4, 4 / 3)  # Of its width to its height.
ATTEMPTS = 10


def draw_boxes(key: Array, count: int, size: int) -> Array:
    """Boxes in images of ``size`` x ``size`` pixels: int32 ``[count, 4]``, top, left, height and width.

    The area is uniform, the logarithm of the ratio is uniform; what does not fit is drawn again. After ten attempts it is the
    whole image.

    Source: torchvision, ``transforms.RandomResizedCrop.get_params``.

    >>> draw_boxes(jax.random.key(0), 3, 32).shape
    (3, 4)
    """
    area_key, ratio_key, top_key, left_key = jax.random.split(key, 4)
    shape = (count, ATTEMPTS)
    areas = size**2 * jax.random.uniform(area_key, shape, jnp.float32, *AREAS)
    ratios = jnp.exp(jax.random.uniform(ratio_key, shape, jnp.float32, *(math.log(ratio) for ratio in RATIOS)))
    sides = jnp.stack([jnp.sqrt(areas / ratios), jnp.sqrt(areas * ratios)], -1).round().astype(jnp.int32)
    fits = ((sides > 0) & (sides <= size)).all(-1)
    first = jnp.take_along_axis(sides, fits.argmax(1)[:, None, None], axis=1)[:, 0]
    sides_Nx2 = jnp.where(fits.any(1)[:, None], first, size)
    corners = [
        jax.random.randint(corner_key, (count,), 0, size - sides_Nx2[:, axis] + 1, jnp.int32)
        for axis, corner_key in enumerate((top_key, left_key))
    ]
    return jnp.concatenate([jnp.stack(corners, 1), sides_Nx2], axis=1)


def crop_and_resize(images: Array, boxes: Array, size: int) -> Array:
    """Each image's box, resized to ``size`` x ``size`` pixels: ``[N, H, W, 3]``, 0..255, to float32.

    Bilinear, the kernel as wide as the shrinking asks for (antialiased), and no pixel outside the box counts: crop and resize
    of Pillow but for its rounding to whole numbers. jax.image.scale_and_translate would let the neighbours of the box in.

    >>> ramp = jnp.broadcast_to(jnp.arange(4.0)[:, None, None], (1, 4, 4, 3))
    >>> crop_and_resize(ramp, jnp.array([[1, 0, 2, 2]]), 4)[0, :, 0, 0].tolist()
    [1.0, 1.25, 1.75, 2.0]
    """
    height, width = images.shape[1:3]
    rows = _weights(boxes[:, 0], boxes[:, 2], height, size)
    columns = _weights(boxes[:, 1], boxes[:, 3], width, size)
    exact = jax.lax.Precision.HIGHEST  # Half precision, the default of some devices, does not hold 256 pixel values apart.
    half = jnp.einsum("nsh,nhwc->nswc", rows, images.astype(jnp.float32), precision=exact)
    return jnp.einsum("ntw,nswc->nstc", columns, half, precision=exact)


def _weights(start_N: Array, length_N: Array, pixels: int, size: int) -> Array:
    """What every pixel of an axis adds to each of the resized ones, ``[N, size, pixels]``."""
    start, length = start_N[:, None, None].astype(jnp.float32), length_N[:, None, None].astype(jnp.float32)
    scale = length / size
    centre = start + (jnp.arange(size, dtype=jnp.float32)[:, None] + 0.5) * scale
    pixel = jnp.arange(pixels, dtype=jnp.float32)
    triangle = jnp.maximum(0, 1 - jnp.abs(pixel + 0.5 - centre) / jnp.maximum(scale, 1))
    weights = jnp.where((pixel >= start) & (pixel < start + length), triangle, 0)
    return weights / weights.sum(-1, keepdims=True)

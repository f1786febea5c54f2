"""Augmentation as pure functions that run inside jit: uint8 images in, float32 images out.

Every draw comes from one key, folded by purpose: switching one augmentation on or off leaves the draws of the others.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax

from jaxnas.data.colour import draw_colours, jitter
from jaxnas.data.resized_crop import crop_and_resize, draw_boxes
from jaxnas.errors import UserError
from jaxnas.named_axis import drawn


@dataclasses.dataclass(frozen=True)
class Augmentation:
    """What is done to a training image; nothing by default.

    Attributes:
      crop_padding: pixels of zeros added on every side before a crop of the image's own size is taken; 0 for no crop.
      flip: whether to mirror left and right with probability 1/2.
      cutout: side in pixels of the square that is erased, 0 for none. An odd side counts as the even one below, as in
        the reference.
      resized_crop: side in pixels of the image that a random part of the original, of 8 to 100 % of its area and between 3:4
        and 4:3, is resized to; 0 for none.
      brightness, contrast, saturation: how far the factor by which each is changed may be from 1; 0 for no change.
      hue: how far the hue may be turned to either side, in parts of the full circle, at most a half.

    Raises:
      UserError: for a negative or infinite number, two kinds of crop, a hue over a half.

    >>> Augmentation(crop_padding=4, flip=True, cutout=16).resized_crop
    0
    """

    crop_padding: int = 0
    flip: bool = False
    cutout: int = 0
    resized_crop: int = 0
    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    hue: float = 0.0

    def __post_init__(self) -> None:
        for name in ("crop_padding", "cutout", "resized_crop"):
            if getattr(self, name) < 0:
                raise UserError(f"{name} is a number of pixels, got {getattr(self, name)}. Give 0 to switch it off.")
        for name in ("brightness", "contrast", "saturation", "hue"):
            if not 0 <= getattr(self, name) < math.inf:
                raise UserError(f"{name} must not be negative or infinite, got {getattr(self, name)}. Give 0 to switch it off.")
        if self.hue > 0.5:
            raise UserError(f"hue is at most 0.5, half the circle, got {self.hue}.")
        if self.crop_padding and self.resized_crop:
            raise UserError(f"Give crop_padding={self.crop_padding} or resized_crop={self.resized_crop}, and 0 for the other.")


# What a key is folded with, after the purposes of :func:`draw`.
RESIZED_CROP, COLOUR = 3, 4


class Draws(NamedTuple):
    """The random part of an augmentation, one row per image.

    Attributes:
      offsets: int32 ``[N, 2]``, top row and left column of the crop in the padded image, ``0 .. 2 * crop_padding``.
      flips: bool ``[N]``.
      centres: int32 ``[N, 2]``, row and column of the cutout's centre, ``0 .. size - 1``.
    """

    offsets: Array
    flips: Array
    centres: Array


def draw(key: Array, count: int, size: int, crop_padding: int) -> Draws:
    """Draws for ``count`` images of ``size`` x ``size`` pixels, all uniform and independent.

    >>> draw(jax.random.key(0), 5, 32, 4).offsets.shape
    (5, 2)
    """
    crop, flip, cutout = (jax.random.fold_in(key, purpose) for purpose in range(3))
    return Draws(
        offsets=jax.random.randint(crop, (count, 2), 0, 2 * crop_padding + 1, jnp.int32),
        flips=jax.random.bernoulli(flip, jnp.float32(0.5), (count,)),  # a bare 0.5 would draw other flips with 64 bits on
        centres=jax.random.randint(cutout, (count, 2), 0, size, jnp.int32),
    )


def normalise(images: Array, mean: Sequence[float], std: Sequence[float]) -> Array:
    """``(x / 255 - mean) / std`` for each channel: ``[N, H, W, 3]``, values 0..255, to float32 of the same shape.

    >>> normalise(jnp.full((1, 1, 1, 3), 255, jnp.uint8), (0.5, 0.5, 0.5), (0.25, 0.5, 1.0)).tolist()
    [[[[2.0, 1.0, 0.5]]]]
    """
    scaled = images.astype(jnp.float32) / 255
    return (scaled - jnp.asarray(mean, jnp.float32)) / jnp.asarray(std, jnp.float32)


def augment(
    key: Array,
    images_uint8: Array,
    augmentation: Augmentation,
    mean: Sequence[float],
    std: Sequence[float],
    axis: str | None = None,
) -> Array:
    """Randomly cropped, mirrored, recoloured, normalised images with a square cut out, drawn anew for each image.

    The order is that of the reference's transforms: the padding of the crop is black, thus not zero after the
    normalisation, while the cutout (DeVries and Taylor 2017) follows it and sets to zero.

    Args:
      key: of this step; the same key gives the same images.
      images_uint8: ``[N, S, S, 3]``.
      augmentation: what to do; static under jit.
      mean, std: of each channel, of pixel values scaled to 0..1.
      axis: name of the mapped axis that the batch is split over; what is drawn for an image follows its place in the whole
        batch, so that on any number of devices it is the same.

    Returns:
      float32 ``[N, S, S, 3]``, or of the size of the resized crop.

    Source: quark0/darts, cnn/utils.py, ``_data_transforms_cifar10`` and ``Cutout``; cnn/train_imagenet.py.

    >>> images = jnp.zeros((2, 8, 8, 3), jnp.uint8)
    >>> augment(jax.random.key(0), images, Augmentation(crop_padding=1, flip=True), (0.5,) * 3, (0.25,) * 3)[0, 0, 0].tolist()
    [-2.0, -2.0, -2.0]
    """
    count, size = images_uint8.shape[:2]
    side = augmentation.resized_crop or size
    draws = drawn(axis, lambda n: draw(key, n, side, augmentation.crop_padding), count)
    images = images_uint8
    if augmentation.crop_padding:
        images = _crop(images, draws.offsets, augmentation.crop_padding)
    if augmentation.resized_crop:
        key_of_boxes = jax.random.fold_in(key, RESIZED_CROP)
        boxes = drawn(axis, lambda n: draw_boxes(key_of_boxes, n, images_uint8.shape[1]), count)
        images, size = crop_and_resize(images, boxes, side), side
    if augmentation.flip:
        images = jnp.where(draws.flips[:, None, None, None], images[:, :, ::-1], images)
    reaches = (augmentation.brightness, augmentation.contrast, augmentation.saturation, augmentation.hue)
    if any(reaches):
        key_of_colours = jax.random.fold_in(key, COLOUR)
        images = jitter(images, drawn(axis, lambda n: draw_colours(key_of_colours, n, *reaches), count))
    x = normalise(images, mean, std)
    if augmentation.cutout:
        # Beyond the border there is nothing to erase: the reference's clipping needs no counterpart.
        pixel, reach = jnp.arange(size), augmentation.cutout // 2
        inside = (pixel >= draws.centres[..., None] - reach) & (pixel < draws.centres[..., None] + reach)
        x = jnp.where((inside[:, 0, :, None] & inside[:, 1, None, :])[..., None], 0.0, x)
    return x


def centre_crop(images: Array, size: int) -> Array:
    """The middle ``size`` x ``size`` pixels of each image; of an odd rest the half is rounded to even, as in torchvision.

    >>> centre_crop(jnp.arange(16).reshape(1, 4, 4, 1), 2).ravel().tolist()
    [5, 6, 9, 10]
    """
    top, left = (round((side - size) / 2) for side in images.shape[1:3])
    return images[:, top : top + size, left : left + size]


def _crop(images: Array, offsets: Array, padding: int) -> Array:
    """From each zero-padded image the window of the image's own size at its offset."""
    padded = jnp.pad(images, ((0, 0), (padding, padding), (padding, padding), (0, 0)))
    return jax.vmap(lambda image, offset: lax.dynamic_slice(image, (*offset, jnp.int32(0)), images.shape[1:]))(padded, offsets)

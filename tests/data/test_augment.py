"""Augmentation against a slow NumPy implementation of the reference's transforms, one image and one pixel at a time."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnas.data import Augmentation, augment, draw, normalise
from jaxnas.data.augment import COLOUR, RESIZED_CROP, centre_crop
from jaxnas.data.colour import draw_colours, jitter
from jaxnas.data.resized_crop import crop_and_resize, draw_boxes
from jaxnas.errors import UserError

MEAN, STD = (0.49, 0.48, 0.45), (0.25, 0.24, 0.26)
N, SIZE = 24, 8
IMAGES = np.random.default_rng(0).integers(0, 256, (N, SIZE, SIZE, 3), dtype=np.uint8)

compiled = jax.jit(augment, static_argnums=(2, 3, 4))


def slow(images: np.ndarray, key: jax.Array, augmentation: Augmentation) -> np.ndarray:
    """torchvision's RandomCrop, RandomHorizontalFlip, ToTensor, Normalize and DARTS's Cutout at the draws of ``key``."""
    offsets, flips, centres = (np.asarray(x) for x in draw(key, len(images), images.shape[1], augmentation.crop_padding))
    out = np.zeros(images.shape)
    size, pad = images.shape[1], augmentation.crop_padding
    for n, image in enumerate(images):
        for row in range(size):
            for column in range(size):
                mirrored = size - 1 - column if augmentation.flip and flips[n] else column
                i, j = row + offsets[n, 0] - pad, mirrored + offsets[n, 1] - pad
                inside = 0 <= i < size and 0 <= j < size
                out[n, row, column] = ((image[i, j] if inside else 0) / 255 - np.array(MEAN)) / np.array(STD)
        mask = np.ones((size, size, 1))
        y1, y2 = (np.clip(centres[n, 0] + d, 0, size) for d in (-(augmentation.cutout // 2), augmentation.cutout // 2))
        x1, x2 = (np.clip(centres[n, 1] + d, 0, size) for d in (-(augmentation.cutout // 2), augmentation.cutout // 2))
        mask[y1:y2, x1:x2] = 0.0
        out[n] *= mask
    return out


@pytest.mark.parametrize(
    "augmentation",
    [
        Augmentation(),
        Augmentation(crop_padding=2),
        Augmentation(flip=True),
        Augmentation(cutout=4),
        Augmentation(cutout=5),
        Augmentation(crop_padding=4, flip=True, cutout=6),
    ],
    ids=("nothing", "crop", "flip", "cutout", "odd cutout", "all"),
)
def test_agrees_with_a_pixel_by_pixel_implementation(augmentation: Augmentation) -> None:
    key = jax.random.key(3)
    found = compiled(key, IMAGES, augmentation, MEAN, STD)
    assert found.dtype == jnp.float32
    np.testing.assert_allclose(found, slow(IMAGES, key, augmentation), rtol=1e-5, atol=1e-6)


def test_the_comparison_meets_every_case() -> None:
    offsets, flips, centres = draw(jax.random.key(3), N, SIZE, 4)
    assert {0, 8} <= set(np.asarray(offsets).ravel().tolist())
    assert 0 < np.asarray(flips).sum() < N
    assert {0, SIZE - 1} <= set(np.asarray(centres).ravel().tolist())


def test_draws_are_uniform_over_their_whole_range_and_independent() -> None:
    count = 40_000  # a crop and a centre have equal ranges here: drawn from one key they would be the same
    offsets, flips, centres = (np.asarray(x) for x in draw(jax.random.key(1), count, 5, 2))
    columns = [(offsets[:, 0], 5), (offsets[:, 1], 5), (flips.astype(int), 2), (centres[:, 0], 5), (centres[:, 1], 5)]
    for k, (values, choices) in enumerate(columns):
        np.testing.assert_allclose(np.bincount(values, minlength=choices) / count, 1 / choices, atol=0.0125)  # 5 sigma
        for others, _ in columns[:k]:
            assert abs(np.corrcoef(values, others)[0, 1]) < 5 / np.sqrt(count)


def test_padding_is_black_and_cutout_is_zero() -> None:
    white = np.full((200, 4, 4, 3), 255, np.uint8)
    black, full = (np.asarray(normalise(jnp.full((3,), v, jnp.uint8), MEAN, STD)) for v in (0, 255))
    cropped = np.asarray(augment(jax.random.key(0), jnp.asarray(white), Augmentation(crop_padding=2), MEAN, STD))[..., 0]
    assert set(np.unique(cropped)) == {black[0], full[0]}
    erased = np.asarray(augment(jax.random.key(0), jnp.asarray(white), Augmentation(cutout=2), MEAN, STD))[..., 0]
    assert set(np.unique(erased)) == {np.float32(0.0), full[0]}
    assert set((erased == 0).sum((1, 2)).tolist()) == {1, 2, 4}  # in a corner, at a border, inside


def test_one_key_gives_one_result_and_another_key_another() -> None:
    augmentation = Augmentation(crop_padding=4, flip=True, cutout=6)
    first, again, other = (np.asarray(compiled(jax.random.key(k), IMAGES, augmentation, MEAN, STD)) for k in (7, 7, 8))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any((1, 2, 3)).all()


def test_64_bits_change_nothing() -> None:
    augmentation = Augmentation(crop_padding=4, flip=True, cutout=6)
    narrow = compiled(jax.random.key(0), IMAGES, augmentation, MEAN, STD)
    with jax.enable_x64(True):
        wide = jax.jit(augment, static_argnums=(2, 3, 4))(jax.random.key(0), IMAGES, augmentation, MEAN, STD)
        assert wide.dtype == jnp.float32
    np.testing.assert_array_equal(wide, narrow)


def test_the_augmentation_of_imagenet() -> None:
    """Resized crop, mirror, colours, normalisation, in this order and with the purposes' own keys."""
    key, size = jax.random.key(5), 6
    augmentation = Augmentation(flip=True, resized_crop=size, brightness=0.4, contrast=0.4, saturation=0.4, hue=0.2)
    found = compiled(key, IMAGES, augmentation, MEAN, STD)
    boxes = draw_boxes(jax.random.fold_in(key, RESIZED_CROP), N, SIZE)
    x = np.asarray(crop_and_resize(jnp.asarray(IMAGES), boxes, size))
    flips = np.asarray(draw(key, N, SIZE, 0).flips)
    x = np.array([image[:, ::-1] if flip else image for image, flip in zip(x, flips, strict=True)])
    x = np.asarray(jitter(jnp.asarray(x), draw_colours(jax.random.fold_in(key, COLOUR), N, 0.4, 0.4, 0.4, 0.2)))
    np.testing.assert_allclose(found, (x / 255 - MEAN) / STD, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("pixels", "size", "start"), ((256, 224, 16), (8, 8, 0), (9, 8, 0), (11, 8, 2), (13, 8, 2)))
def test_centre_crop_is_torchvisions(pixels: int, size: int, start: int) -> None:
    # int(round((pixels - size) / 2.0)): a half goes to the even number.
    rows = np.arange(pixels)[None, :, None, None] * 1000 + np.arange(pixels)[:, None]
    expected = rows[:, start : start + size, start : start + size]
    np.testing.assert_array_equal(centre_crop(jnp.asarray(rows), size), expected)


@pytest.mark.parametrize(
    ("values", "message"),
    (
        ({"crop_padding": -1}, "crop_padding.*-1"),
        ({"cutout": -2}, "cutout.*-2"),
        ({"resized_crop": -3}, "resized_crop.*-3"),
        ({"contrast": -0.4}, "contrast.*-0.4"),
        ({"hue": 0.6}, "at most 0.5.*0.6"),
        ({"brightness": float("nan")}, "brightness.*nan"),
        ({"crop_padding": 4, "resized_crop": 8}, "crop_padding=4 or resized_crop=8"),
    ),
)
def test_refused_values(values: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        Augmentation(**values)

"""A fingerprint is of the images and labels of a part, in their order."""

from __future__ import annotations

import dataclasses

import numpy as np

from jaxnas.data import Split, fingerprints, load
from jaxnas.data.fingerprint import of_split


def test_one_pixel_one_label_or_another_order_is_another_fingerprint() -> None:
    images = np.random.Generator(np.random.PCG64(0)).integers(0, 256, (1500, 4, 4, 3), np.uint8)
    labels = np.arange(1500, dtype=np.int32) % 10
    pixel, label = images.copy(), labels.copy()
    pixel[1400, 3, 3, 2] ^= 1
    label[0] = 9
    splits = (Split(images, labels), Split(pixel, labels), Split(images, label), Split(images[::-1], labels[::-1]))
    assert len({of_split(split) for split in splits}) == 4
    assert of_split(Split(images.copy(order="F"), labels.astype(np.int64))) == of_split(
        splits[0]
    )  # How they lie does not count.


def test_each_part_has_its_own() -> None:
    digits = load("digits")
    before = fingerprints(digits)
    assert len(set(before.values())) == 4
    after = fingerprints(dataclasses.replace(digits, test=digits.search_valid))
    assert after == before | {"test": before["search_valid"]}

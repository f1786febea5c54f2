"""Fingerprints of data: whether two runs had the same images, in the same parts."""

from __future__ import annotations

import hashlib

import numpy as np

from jaxnas.data.dataset import Dataset, Split

PARTS = ("search_train", "search_valid", "train", "test")
_AT_ONCE = 1000


def fingerprints(dataset: Dataset) -> dict[str, str]:
    """SHA-256 of each part's images and labels, in their order; of images that are not in memory the labels alone count.

    >>> from jaxnas.data import load
    >>> sorted(fingerprints(load("digits")))
    ['search_train', 'search_valid', 'test', 'train']
    """
    return {name: of_split(getattr(dataset, name)) for name in PARTS}


def in_memory(dataset: Dataset) -> bool:
    """Whether the fingerprints are of the images, too."""
    return isinstance(dataset.train.images, np.ndarray)


def of_split(split: Split) -> str:
    """SHA-256 of shapes, labels and images, as hexadecimal digits.

    >>> images, labels = np.zeros((2, 4, 4, 3), np.uint8), np.arange(2, dtype=np.int32)
    >>> of_split(Split(images, labels)) == of_split(Split(images, labels[::-1]))
    False
    """
    digest = hashlib.sha256(repr(tuple(split.images.shape)).encode())
    digest.update(np.ascontiguousarray(split.labels, "<i4").tobytes())
    if isinstance(split.images, np.ndarray):
        for at in range(0, len(split.images), _AT_ONCE):  # What is sliced may be no contiguous memory.
            digest.update(np.ascontiguousarray(split.images[at : at + _AT_ONCE]).data)
    return digest.hexdigest()

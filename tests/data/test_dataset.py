"""What every source passes through: the checks, the halves of a search, the counts of the classes, the moments."""

from __future__ import annotations

import numpy as np
import pytest

from jaxnas.data import check, class_counts, imbalance
from jaxnas.data.dataset import Split, halved, moments
from jaxnas.errors import UserError

HALF = (0.5, 0.5, 0.5)
IMAGES, LABELS = np.zeros((4, 8, 8, 3), np.uint8), np.array([0, 1, 2, 1])


@pytest.mark.parametrize(
    ("images", "labels", "words"),
    [
        (IMAGES.astype(np.float32), LABELS, "uint8.*float32"),
        (IMAGES[0], LABELS, r"\[N, H, W, 3\], got \[8, 8, 3\]"),
        (IMAGES[..., :1], LABELS, r"got \[4, 8, 8, 1\]"),
        (IMAGES[:, :4], LABELS, "square.*got 4x8"),
        (IMAGES[:, :6, :6], LABELS, "multiple of 4, got 6x6"),
        (IMAGES[:, :0, :0], LABELS, "multiple of 4, got 0x0"),
        (IMAGES, LABELS.astype(np.float64), "whole numbers, got float64"),
        (IMAGES, LABELS[:3], r"4 images but labels of shape \[3\]"),
        (IMAGES, LABELS[:, None], r"4 images but labels of shape \[4, 1\]"),
        (IMAGES[:0], LABELS[:0], "no images"),
        (IMAGES, np.array([0, 1, 3, 1]), r"label 3 of image 2 is not in 0\.\.2"),
        (IMAGES, np.array([0, -1, 2, 1]), r"label -1 of image 1 is not in 0\.\.2"),
    ],
)
def test_check_names_what_is_wrong(images: np.ndarray, labels: np.ndarray, words: str) -> None:
    check(IMAGES, LABELS, 3, "my images")
    with pytest.raises(UserError, match=f"my images.*{words}"):
        check(images, labels, 3, "my images")


def test_halves_of_a_search_are_the_training_images_and_no_test_image() -> None:
    """Every image has pixels of its own, which say where it came from."""
    own = np.repeat(np.arange(11, dtype=np.uint8), 48).reshape(11, 4, 4, 3)
    train, test = Split(own[:7], np.array([0, 1, 1, 0, 1, 1, 1])), Split(own[7:], np.array([1, 1, 1, 1]))
    found = halved("mine", train, test, HALF, HALF, ("a", "b"))
    parts = [split.images[:, 0, 0, 0].tolist() for split in (found.search_train, found.search_valid, found.test)]
    assert parts == [[0, 1, 2], [3, 4, 5, 6], [7, 8, 9, 10]]
    assert found.train is train and np.shares_memory(found.search_valid.images, train.images)
    assert class_counts(found) == {"search_train": (1, 2), "search_valid": (1, 3), "train": (2, 5), "test": (0, 4)}
    assert [imbalance(counts) for counts in class_counts(found).values()] == [2.0, 3.0, 2.5, float("inf")]
    with pytest.raises(UserError, match="training images are 4x4 but test images 8x8"):
        halved("mine", train, Split(own[:1].repeat(2, 1).repeat(2, 2), np.array([0])), HALF, HALF, ("a", "b"))
    with pytest.raises(UserError, match="one training image"):
        halved("mine", Split(own[:1], np.array([0])), test, HALF, HALF, ("a", "b"))


def test_moments_are_those_of_float64() -> None:
    images = np.random.default_rng(0).integers(0, 256, (2003, 4, 4, 3), dtype=np.uint8)  # more than one block
    scaled = images.astype(np.float64) / 255
    mean, std = moments(images, "mine")
    np.testing.assert_allclose(mean, scaled.mean((0, 1, 2)), rtol=1e-12)
    np.testing.assert_allclose(std, scaled.std((0, 1, 2)), rtol=1e-12)
    images[..., 1] = 51
    with pytest.raises(UserError, match="mine: channel 1 is 51 everywhere"):
        moments(images, "mine")

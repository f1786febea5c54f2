"""Shares of every class for the two parts of a search: how many, which, and what is refused."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from jaxnas.data import Dataset, Split, class_counts, from_arrays, load, with_shares
from jaxnas.errors import UserError

SIZES = (1300, 732, 40, 1001)
LABELS = np.random.default_rng(0).permutation(np.repeat(np.arange(4), SIZES))


def numbered() -> Dataset:
    """Grey images that tell their number, of the classes of LABELS."""
    images = np.zeros((len(LABELS) + 4, 4, 4), np.uint8)
    images[:, 0, 0], images[:, 0, 1] = np.divmod(np.arange(len(images)), 256)
    return from_arrays("mine", images[:-4], LABELS, images[-4:], np.arange(4))


DATASET = numbered()


def numbers(split: Split) -> list[int]:
    images = split.images.astype(int)
    return (images[:, 0, 0, 0] * 256 + images[:, 0, 1, 0]).tolist()


def rounded(number: Fraction) -> int:
    """Halves upwards."""
    return int(number + Fraction(1, 2))


@pytest.mark.parametrize("shares", [("0.1", "0.025"), ("0.8", "0.2"), ("0.25", "0.5"), ("0.5", "0.25")])
def test_of_every_class_the_shares_that_are_asked_for(shares: tuple[str, str]) -> None:
    first, second = (Fraction(share) for share in shares)
    found = with_shares(DATASET, float(first), float(second), seed=3)
    train = tuple(rounded(first * size) for size in SIZES)
    valid = tuple(rounded((first + second) * size) - one for size, one in zip(SIZES, train, strict=True))
    counts = class_counts(found)
    assert (counts["search_train"], counts["search_valid"]) == (train, valid)
    used = numbers(found.search_train) + numbers(found.search_valid)
    assert len(set(used)) == len(used)
    for split in (found.search_train, found.search_valid):
        np.testing.assert_array_equal(split.labels, LABELS[numbers(split)])
    if first + second == 1:
        assert sorted(used) == list(range(len(LABELS)))
    assert found.train is DATASET.train and found.test is DATASET.test


def test_the_seed_alone_decides_which_images() -> None:
    drawn = [numbers(with_shares(DATASET, 0.1, 0.025, seed).search_train) for seed in (3, 3, 4)]
    assert drawn[0] == drawn[1] != drawn[2]
    # Of two independent draws of a tenth, a hundredth of the 3073 images is in both: 31, with a deviation of 5.
    assert abs(len(set(drawn[0]) & set(drawn[2])) - 31) < 5 * 5


def test_every_image_is_drawn_as_often_as_another() -> None:
    """Over many seeds each is in the first part in its share of the draws: 0.25 of 400."""
    times = np.zeros(len(LABELS))
    for seed in range(400):
        times[numbers(with_shares(DATASET, 0.25, 0.25, seed).search_train)] += 1
    # Of 3073 binomials of deviation 8.7 none is expected beyond 5 deviations.
    assert np.abs(times - 100).max() < 5 * 8.7


def test_a_class_that_would_have_none_is_refused() -> None:
    with pytest.raises(UserError, match="valid_share=0.01 leaves class '2' of mine, which has 40 training images, without one"):
        with_shares(DATASET, 0.1, 0.01, seed=0)
    digits = load("digits")
    with pytest.raises(UserError, match="train_share=0.001 leaves class"):
        with_shares(digits, 0.001, 0.5, seed=0)

"""A user's arrays: which images are taken, how a split is made, and what is said about the rest."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jaxnas.data import Dataset, class_counts, from_arrays, load, npz
from jaxnas.errors import UserError

SIZES = (50, 3, 12, 7)
CLASS_AFTER_CLASS = np.repeat(np.arange(4), SIZES)


def numbered(count: int, first: int = 0) -> np.ndarray:
    """Grey images that tell their number."""
    images = np.zeros((count, 4, 4), np.uint8)
    images[:, 0, 0], images[:, 0, 1] = np.divmod(np.arange(first, first + count), 256)
    return images


def numbers(split: Any) -> list[int]:
    return (split.images[:, 0, 0, 0].astype(int) * 256 + split.images[:, 0, 1, 0]).tolist()


def test_without_a_test_split_a_fifth_of_every_class_is_set_aside_and_the_halves_are_even() -> None:
    found = from_arrays("mine", numbered(72), CLASS_AFTER_CLASS)
    parts = [numbers(split) for split in (found.search_train, found.search_valid, found.test)]
    assert sorted(sum(parts, [])) == list(range(72))  # each image in one part, and once
    assert numbers(found.train) == parts[0] + parts[1]
    for split in (found.train, found.test):
        np.testing.assert_array_equal(split.labels, CLASS_AFTER_CLASS[numbers(split)])
    counts = class_counts(found)
    assert counts["test"] == tuple(round(size / 5) or 1 for size in SIZES) == (10, 1, 2, 1)
    for one, other in zip(counts["search_train"], counts["search_valid"], strict=True):
        assert abs(one - other) <= 1


def test_the_split_never_changes() -> None:
    """Pinned, as a change would move test images into training."""
    assert numbers(from_arrays("mine", numbered(15), np.repeat([0, 1, 2], 5)).test) == [3, 8, 11]


def test_the_split_depends_on_nothing_but_the_labels() -> None:
    one = from_arrays("mine", numbered(72), CLASS_AFTER_CLASS)
    other = from_arrays("other", numbered(72, 1000), np.array(["a", "b", "c", "d"])[CLASS_AFTER_CLASS])
    assert [n + 1000 for n in numbers(one.test)] == numbers(other.test)
    assert [n + 1000 for n in numbers(one.train)] == numbers(other.train)


def test_a_given_test_split_is_kept_as_it_is_and_nothing_of_it_is_trained_on() -> None:
    y_test = np.array([3, 0, 1])
    found = from_arrays("mine", numbered(72), CLASS_AFTER_CLASS, numbered(3, 500), y_test)
    assert (numbers(found.test), found.test.labels.tolist()) == ([500, 501, 502], [3, 0, 1])
    assert sorted(numbers(found.train)) == list(range(72))
    np.testing.assert_array_equal(found.train.labels, CLASS_AFTER_CLASS[numbers(found.train)])
    assert class_counts(found)["search_train"][1] in (1, 2)  # though the class is 3 images in a row of 72


def test_normalisation_is_from_the_training_images_alone() -> None:
    rng = np.random.default_rng(0)
    x = rng.integers(0, 100, (20, 4, 4, 3), dtype=np.uint8)
    found = from_arrays("mine", x, np.arange(20) % 2, x + 100, np.arange(20) % 2)
    scaled = x.astype(np.float64) / 255
    np.testing.assert_allclose(found.mean, scaled.mean((0, 1, 2)), rtol=1e-12)
    np.testing.assert_allclose(found.std, scaled.std((0, 1, 2)), rtol=1e-12)


BYTES = np.random.default_rng(1).integers(0, 256, (6, 4, 4, 3), dtype=np.uint8)
BYTES[0, 0, 0] = (0, 1, 255)
Y = np.array([0, 1] * 3)


@pytest.mark.parametrize(
    "images",
    [BYTES.astype(np.int64), BYTES.astype(np.uint16), BYTES.astype(np.float64), BYTES / 255, (BYTES / 255).astype(np.float16)],
)
def test_the_scale_of_pixels_is_told_from_their_type_and_range(images: np.ndarray) -> None:
    found = from_arrays("mine", images, Y, images[::-1] * 0, Y)
    plain = from_arrays("mine", BYTES, Y, BYTES[::-1] * 0, Y)
    np.testing.assert_array_equal(found.train.images, plain.train.images)
    assert found.train.images.dtype == np.uint8


def test_grey_images_get_three_equal_channels() -> None:
    grey = BYTES[..., :1]
    for images in (grey, grey[..., 0]):
        found = from_arrays("mine", images, Y, images[:2] // 2, Y[:2])
        np.testing.assert_array_equal(found.test.images, np.repeat(grey[:2] // 2, 3, -1))


def refusal(**arrays: Any) -> str:
    given: dict[str, Any] = {"x_train": BYTES, "y_train": Y, "x_test": BYTES // 2, "y_test": Y}
    with pytest.raises(UserError) as error:
        from_arrays("mine", **{**given, **arrays})
    assert "mine" in str(error.value)
    return str(error.value)


def with_pixel(value: float, kind: Any = np.float64) -> np.ndarray:
    images = (BYTES / 255).astype(kind)
    images[2, 1, 1, 1] = value
    return images


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"x_train": with_pixel(np.nan), "x_test": BYTES / 255}, "image 2 (counted from 0) has NaN"),
        ({"x_train": with_pixel(-0.1), "x_test": BYTES / 255}, "go from -0.1 to 1.0, but must be in 0..255"),
        ({"x_train": with_pixel(np.inf), "x_test": BYTES / 255}, "or infinite pixels"),
        ({"x_train": with_pixel(1.01), "x_test": BYTES / 255}, "go up to 1.01 but are not whole numbers"),
        ({"x_train": BYTES.astype(int) + 1, "x_test": BYTES.astype(int)}, "go from 0 to 256"),
        ({"x_train": BYTES.astype(int) // 255, "x_test": BYTES.astype(int) * 0}, "whether 1 is white or nearly black"),
        ({"x_train": BYTES > 7, "x_test": BYTES > 9}, "got type bool"),
        ({"x_train": BYTES.astype(str), "x_test": BYTES.astype(str)}, "got type <U"),
        ({"x_train": BYTES / 255}, "different types, float64 and uint8"),
        (
            {"x_train": BYTES.transpose(0, 3, 1, 2)},
            "The channels come last: use images.transpose(0, 2, 3, 1)",
        ),
        ({"x_train": BYTES[..., :2]}, "got [6, 4, 4, 2]. Convert them first"),
        ({"x_train": BYTES.reshape(6, -1)}, "got [6, 48]"),
        ({"x_train": BYTES[:, :3, :3]}, "multiple of 4, got 3x3. Crop or pad them first"),
        ({"x_train": BYTES[:, :2]}, "square with a size that is a multiple of 4, got 2x4"),
        ({"x_test": np.zeros((6, 8, 8, 3), np.uint8)}, "training images are 4x4 but test images 8x8"),
        ({"x_train": BYTES[:0], "y_train": Y[:0]}, "no images"),
        ({"x_train": BYTES * 0}, "0 everywhere"),
        ({"x_train": BYTES * 0 + 7, "x_test": None, "y_test": None}, "channel 0 is 7 everywhere"),
        ({"y_train": Y[:5]}, "training images of shape [6, 4, 4, 3] but labels [5]"),
        ({"y_test": Y[0]}, "test images of shape [6, 4, 4, 3] but labels []"),
        ({"x_train": np.array(5)}, "training images of shape [] but labels [6]"),
        ({"y_test": None}, "of the test split, only images or only labels are given"),
        ({"y_train": Y + 0.5}, "label 0.5 of image 0"),
        ({"x_test": BYTES[2:4], "y_test": Y[2:4]}, "every one of the 2 test images is also a training image"),
        ({"x_test": None, "y_test": None, "y_train": np.array([0, 0, 0, 0, 1, 1])}, "class '1' has 2 images: at least 3"),
        ({"class_names": ("a",)}, "label 1 of image 1 is not in 0..0"),
        ({"class_names": ("a", "b"), "y_train": Y + 0.5}, "labels must be whole numbers, got float64"),
    ],
)
def test_arrays_that_cannot_be_searched_on_are_refused(arrays: dict[str, Any], words: str) -> None:
    from_arrays("mine", BYTES, Y, BYTES // 2, Y)
    assert words in refusal(**arrays)


def same(one: Dataset, other: Dataset) -> None:
    assert (one.class_names, one.mean, one.std) == (other.class_names, other.mean, other.std)
    for name in ("train", "test", "search_train", "search_valid"):
        np.testing.assert_array_equal(getattr(one, name).images, getattr(other, name).images)
        np.testing.assert_array_equal(getattr(one, name).labels, getattr(other, name).labels)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_a_file_of_arrays_is_the_arrays(tmp_path: Path, save: Any) -> None:
    path = tmp_path / "mine.npz"
    names = np.array(["dog", "cat"])
    save(path, x_train=BYTES, y_train=names[Y], x_test=BYTES // 2, y_test=names[Y])
    same(load(str(path)), from_arrays("mine", BYTES, names[Y], BYTES // 2, names[Y]))
    save(path, x_train=BYTES, y_train=Y)
    same(load("mine.npz", tmp_path), from_arrays("mine", BYTES, Y))
    assert load(str(path)).name == "mine"


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"x_train": BYTES}, "lacks y_train; it holds x_train"),
        ({}, "lacks x_train and y_train; it holds nothing"),
        ({"x_train": BYTES, "y_train": Y, "x_test": BYTES}, "lacks y_test; it holds x_train, y_train, x_test"),
        ({"x_train": BYTES, "y_train": Y, "y_tset": Y}, "holds 'y_tset', which is not used here. Did you mean y_test?"),
        ({"x_train": BYTES, "y_train": np.array([None] * 6)}, "holds Python objects"),
        ({"x_train": BYTES, "y_train": np.array(["cat", "dog"] * 3, object)}, "as pandas has it, becomes text by .astype(str)"),
    ],
)
def test_a_file_with_other_arrays_is_refused(tmp_path: Path, arrays: dict[str, Any], words: str) -> None:
    path = tmp_path / "mine.npz"
    np.savez(path, **arrays)
    with pytest.raises(UserError) as error:
        npz(path)
    assert str(path) in str(error.value) and words in str(error.value) and "numpy.savez" in str(error.value)


def test_a_file_that_is_missing_damaged_or_no_archive_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "mine.npz"
    with pytest.raises(UserError, match="does not exist"):
        load(str(path))
    np.savez_compressed(path, x_train=BYTES, y_train=Y)
    whole = path.read_bytes()
    flipped = bytearray(whole)
    flipped[len(whole) // 3] ^= 0xFF
    for content in (b"", whole[:10], whole[: len(whole) // 2], whole[:-1], bytes(flipped), b"not an archive at all"):
        path.write_bytes(content)
        with pytest.raises(UserError, match=r"mine\.npz cannot be read as arrays"):
            npz(path)
    with path.open("wb") as file:
        np.save(file, BYTES)
    with pytest.raises(UserError, match="holds a single array"):
        npz(path)
    endless = io.BytesIO()  # Its header tells of more than any memory holds.
    np.lib.format.write_array_header_1_0(endless, {"descr": "|u1", "fortran_order": False, "shape": (10**15,)})
    for member in (endless.getvalue(), np.lib.format.magic(1, 0)):
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("x_train.npy", member)
        with pytest.raises(UserError, match=r"mine\.npz cannot be read as arrays"):
            npz(path)
    encrypted = bytearray(whole)
    for start in (whole.index(b"PK\1\2") + 8, whole.index(b"PK\3\4") + 6):  # The flags of the first file, in both places.
        encrypted[start] |= 1
    path.write_bytes(encrypted)
    with pytest.raises(UserError, match="encrypted"):
        npz(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x_train.txt", "text")
    with pytest.raises(UserError):
        npz(path)

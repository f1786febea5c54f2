"""Image sets: the splits, the decoding of the official files, and what is said about files that are wrong."""

from __future__ import annotations

import os
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest

from jaxnas.data import Dataset, check, cifar10, load
from jaxnas.errors import UserError

RECORDS = 6
FILES = [*(f"data_batch_{k}.bin" for k in range(1, 6)), "test_batch.bin"]


def real_folder() -> Path | None:
    given = Path(os.environ.get("JAXNAS_DATA") or "nowhere")
    return next((folder for folder in (given, given / "cifar-10-batches-bin") if (folder / FILES[0]).exists()), None)


needs_cifar10 = pytest.mark.skipif(real_folder() is None, reason="CIFAR-10 (binary version) is not in the folder JAXNAS_DATA")


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return load("digits")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Six files in the official format with ``RECORDS`` random images each."""
    rng = np.random.default_rng(0)
    folder = tmp_path / "cifar-10-batches-bin"
    folder.mkdir()
    for name in FILES:
        labels = rng.integers(0, 10, (RECORDS, 1), dtype=np.uint8)
        (folder / name).write_bytes(np.hstack([labels, rng.integers(0, 256, (RECORDS, 3072), dtype=np.uint8)]).tobytes())
    return folder


def refusal(folder: Path, records: int = RECORDS) -> str:
    with pytest.raises(UserError) as error:
        cifar10(folder, records)
    assert "cs.toronto.edu/~kriz/cifar.html" in str(error.value) and "--data-dir" in str(error.value)
    return str(error.value)


def test_digits_holds_every_image_of_scikit_learn_exactly_once(digits: Dataset) -> None:
    from sklearn.datasets import load_digits

    pixels, labels = load_digits(return_X_y=True)
    parts = [digits.search_train, digits.search_valid, digits.test]
    assert [len(part.labels) for part in parts] == [648, 649, 500]
    images = np.concatenate([part.images for part in parts])
    assert images.dtype == np.uint8 and images.shape == (1797, 8, 8, 3)
    assert (images[..., :1] == images).all()
    found = np.column_stack([images[..., 0].reshape(1797, 64), np.concatenate([part.labels for part in parts])])
    expected = [(*(round(v * 255 / 16) for v in row), label) for row, label in zip(pixels, labels, strict=True)]
    assert len(set(expected)) == 1797  # no two are equal, so one of each means disjoint splits
    assert sorted(map(tuple, found)) == sorted(expected)


def test_digits_training_split_is_both_search_splits_in_order(digits: Dataset) -> None:
    np.testing.assert_array_equal(digits.train.images, np.concatenate([digits.search_train.images, digits.search_valid.images]))
    np.testing.assert_array_equal(digits.train.labels, np.concatenate([digits.search_train.labels, digits.search_valid.labels]))
    scaled = digits.train.images.astype(np.float64) / 255
    np.testing.assert_allclose(digits.mean, scaled.mean((0, 1, 2)), rtol=1e-12)
    np.testing.assert_allclose(digits.std, scaled.std((0, 1, 2)), rtol=1e-12)
    for part in (digits.search_train, digits.search_valid, digits.test):
        assert np.bincount(part.labels, minlength=10).min() > 0.07 * len(part.labels)


def test_digits_split_never_changes(digits: Dataset) -> None:
    """NumPy does not promise the permutations of a Generator across releases: a change would move test images into training."""
    assert zlib.crc32(digits.train.images.tobytes()) == 3931767690
    assert zlib.crc32(digits.test.images.tobytes()) == 2890359438
    assert digits.train.labels[:10].tolist() == [6, 6, 6, 2, 5, 6, 6, 2, 2, 1]


def test_digits_without_scikit_learn_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(UserError, match="pip install scikit-learn"):
        load("digits")


def test_an_unknown_name_is_answered_with_the_nearest() -> None:
    with pytest.raises(UserError, match="'cifar-10'.*Did you mean cifar10.*Known: digits, cifar10"):
        load("cifar-10")


def test_cifar10_decodes_planar_records_and_halves_the_training_images(folder: Path) -> None:
    found = cifar10(folder, RECORDS)
    raw = [np.frombuffer((folder / name).read_bytes(), np.uint8) for name in FILES]
    for split, files in ((found.train, raw[:5]), (found.test, raw[5:])):
        assert len(split.labels) == RECORDS * len(files)
        for n, (image, label) in enumerate(zip(split.images, split.labels, strict=True)):
            record = files[n // RECORDS][n % RECORDS * 3073 :][:3073]
            assert label == record[0]
            for channel in range(3):
                for row in range(32):
                    np.testing.assert_array_equal(image[row, :, channel], record[1 + 1024 * channel + 32 * row :][:32])
    np.testing.assert_array_equal(found.search_train.images, found.train.images[:15])
    np.testing.assert_array_equal(found.search_valid.images, found.train.images[15:])
    np.testing.assert_array_equal(found.search_train.labels, found.train.labels[:15])
    np.testing.assert_array_equal(found.search_valid.labels, found.train.labels[15:])
    assert (found.image_size, found.classes, found.train.labels.dtype) == (32, 10, np.int32)


def test_cifar10_takes_the_folder_or_its_parent(folder: Path) -> None:
    np.testing.assert_array_equal(cifar10(folder, RECORDS).test.images, cifar10(folder.parent, RECORDS).test.images)


def test_cifar10_without_a_folder_asks_for_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("JAXNAS_DATA", raising=False)
    with pytest.raises(UserError, match="kriz/cifar.html.*--data-dir.*JAXNAS_DATA"):
        load("cifar10")


def test_cifar10_looks_where_the_environment_says_unless_told(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JAXNAS_DATA", str(folder.parent / "from_environment"))
    with pytest.raises(UserError, match="from_environment, .* does not exist"):
        load("cifar10")
    with pytest.raises(UserError, match="told, .* does not exist"):
        load("cifar10", folder.parent / "told")


def test_cifar10_refuses_an_archive_that_is_not_unpacked(folder: Path) -> None:
    assert "is not a folder" in refusal(folder / FILES[0])


@pytest.mark.parametrize("name", FILES)
def test_cifar10_names_a_missing_file(folder: Path, name: str) -> None:
    (folder / name).unlink()
    assert f"{folder / name} is missing" in refusal(folder)


def test_cifar10_names_the_first_file_in_an_empty_folder(tmp_path: Path) -> None:
    assert f"{tmp_path / FILES[0]} is missing" in refusal(tmp_path)


@pytest.mark.parametrize(("size", "words"), [(18_433, "5 records and 3,068 bytes"), (15_365, "5 records"), (0, "0 records")])
def test_cifar10_refuses_a_truncated_file(folder: Path, size: int, words: str) -> None:
    path = folder / "data_batch_3.bin"
    path.write_bytes(path.read_bytes()[:size])
    assert f"{path} has {size:,} bytes ({words}), expected 18,438" in refusal(folder)


def test_cifar10_refuses_another_number_of_records_than_the_official_one(folder: Path) -> None:
    assert "18,438 bytes (6 records), expected 30,730,000 (10,000 records" in refusal(folder, records=10_000)


def test_cifar10_names_the_record_with_a_label_over_9(folder: Path) -> None:
    path = folder / "data_batch_2.bin"
    data = bytearray(path.read_bytes())
    data[4 * 3073] = 10
    path.write_bytes(data)
    assert f"{path}: record 4 (counted from 0) has label 10" in refusal(folder)


@pytest.mark.parametrize("parent", [False, True])
def test_cifar10_recognises_the_python_version(tmp_path: Path, parent: bool) -> None:
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    (folder / "data_batch_1").write_bytes(b"a pickle")
    message = refusal(tmp_path if parent else folder)
    assert f"{folder} holds the Python version of CIFAR-10; the binary version is needed" in message


@needs_cifar10
def test_cifar10_is_the_published_data_set() -> None:
    found = load("cifar10", real_folder())
    assert (len(found.search_train.labels), len(found.search_valid.labels)) == (25_000, 25_000)
    assert np.bincount(found.train.labels).tolist() == [5_000] * 10
    assert np.bincount(found.test.labels).tolist() == [1_000] * 10
    for channel in range(3):
        shares = np.bincount(found.train.images[..., channel].ravel(), minlength=256) / (50_000 * 1024)
        values = np.arange(256) / 255
        mean = (shares * values).sum()
        np.testing.assert_allclose(found.mean[channel], mean, rtol=0, atol=1e-5)
        np.testing.assert_allclose(found.std[channel], np.sqrt((shares * (values - mean) ** 2).sum()), rtol=0, atol=1e-5)


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

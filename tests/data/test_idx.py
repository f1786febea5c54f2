"""MNIST and Fashion-MNIST: the IDX format, plain and gzipped, and what is said about files that are wrong."""

from __future__ import annotations

import gzip
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from jaxnas.data import Dataset, fashion_mnist, mnist
from jaxnas.errors import UserError

TRAIN, TEST = 20, 5
FILES = [f"{half}-{kind}-ubyte" for half in ("train", "t10k") for kind in ("images-idx3", "labels-idx1")]


def idx(values: np.ndarray) -> bytes:
    """The official format, written from its description."""
    return struct.pack(f">BBBB{values.ndim}I", 0, 0, 8, values.ndim, *values.shape) + values.astype(np.uint8).tobytes()


def content(even: bool) -> dict[str, np.ndarray]:
    """Four arrays; equally many training images of every class or not."""
    rng = np.random.default_rng(0)
    labels = rng.permutation(TRAIN) % 10
    if not even:
        labels[labels == 0] = 1
    return {
        FILES[0]: rng.integers(0, 256, (TRAIN, 28, 28), dtype=np.uint8),
        FILES[1]: labels.astype(np.uint8),
        FILES[2]: rng.integers(0, 256, (TEST, 28, 28), dtype=np.uint8),
        FILES[3]: rng.integers(0, 10, TEST, dtype=np.uint8),
    }


def write(folder: Path, arrays: dict[str, np.ndarray], zipped: bool = False) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, values in arrays.items():
        data = idx(values)
        (folder / (f"{name}.gz" if zipped else name)).write_bytes(gzip.compress(data, 1) if zipped else data)
    return folder


def small_mnist(folder: Path) -> Dataset:
    return mnist(folder, TRAIN, TEST)


def small_fashion(folder: Path) -> Dataset:
    return fashion_mnist(folder, TRAIN, TEST)


def refusal(folder: Path, read: Callable[[Path], Dataset] = small_mnist) -> str:
    with pytest.raises(UserError) as error:
        read(folder)
    assert "train-images-idx3-ubyte" in str(error.value) and "--data-dir" in str(error.value)
    return str(error.value)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write(tmp_path, content(even=False))


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize(("read", "even"), [(small_mnist, False), (small_fashion, True)])
def test_images_arrive_grey_in_three_channels(
    tmp_path: Path, read: Callable[[Path], Dataset], even: bool, zipped: bool
) -> None:
    arrays = content(even)
    found = read(write(tmp_path, arrays, zipped))
    for split, half in ((found.train, "train"), (found.test, "t10k")):
        for channel in range(3):
            np.testing.assert_array_equal(split.images[..., channel], arrays[f"{half}-images-idx3-ubyte"])
        np.testing.assert_array_equal(split.labels, arrays[f"{half}-labels-idx1-ubyte"])
    np.testing.assert_array_equal(found.search_train.images, found.train.images[: TRAIN // 2])
    np.testing.assert_array_equal(found.search_valid.images, found.train.images[TRAIN // 2 :])
    scaled = arrays[FILES[0]].astype(np.float64) / 255
    np.testing.assert_allclose(found.mean, [scaled.mean()] * 3, rtol=1e-12)
    np.testing.assert_allclose(found.std, [scaled.std()] * 3, rtol=1e-12)
    assert (found.classes, found.image_size, found.train.labels.dtype) == (10, 28, np.int32)
    assert found.class_names[9] == ("Ankle boot" if even else "9")


@pytest.mark.parametrize(
    ("read", "even", "inside"),
    [
        (small_mnist, False, "mnist"),
        (small_mnist, False, "MNIST/raw"),
        (small_fashion, True, "fashion_mnist"),
        (small_fashion, True, "FashionMNIST/raw"),
    ],
)
def test_the_folder_called_as_the_set_is_found_in_a_folder_of_sets(
    tmp_path: Path, read: Callable[[Path], Dataset], even: bool, inside: str
) -> None:
    write(tmp_path, content(not even))
    arrays = content(even)
    write(tmp_path / inside, arrays)
    np.testing.assert_array_equal(read(tmp_path).train.labels, arrays[FILES[1]])


def test_each_set_is_told_from_the_other_by_its_counts(tmp_path: Path) -> None:
    mnist_folder, fashion_folder = write(tmp_path / "a", content(even=False)), write(tmp_path / "b", content(even=True))
    assert "Use data set 'fashion_mnist'" in refusal(fashion_folder)
    assert "Use data set 'mnist'" in refusal(mnist_folder, small_fashion)


def test_a_folder_that_is_none_or_lacks_a_file_is_refused(folder: Path) -> None:
    assert "does not exist" in refusal(folder / "there")
    assert "is not a folder" in refusal(folder / FILES[0])
    for name in FILES:
        data = (folder / name).read_bytes()
        (folder / name).unlink()
        assert f"{folder / name} is missing, and so is {name}.gz" in refusal(folder)
        (folder / name).write_bytes(data)
    small_mnist(folder)


@pytest.mark.parametrize(
    ("name", "change", "words"),
    [
        (FILES[0], lambda data: data[:-1], "15,679 bytes after its header, which says 20x28x28 = 15,680: it is cut short"),
        (FILES[0], lambda data: data + b"\0", "15,681 bytes after its header"),
        (FILES[1], lambda data: data[:9], "1 bytes after its header, which says 20 = 20"),
        (FILES[0], lambda data: data[:10], "its header has 10 bytes, expected 16"),
        (FILES[0], lambda data: b"", "begins with nothing, expected 00000803"),
        (FILES[0], lambda data: b"\0\0\x0d\x03" + data[4:], "begins with 00000d03, expected 00000803"),  # floats
        (FILES[1], lambda data: b"\0\0\x08\x03" + data[4:], "begins with 00000803, expected 00000801"),
        (FILES[1], lambda data: gzip.compress(data), "begins with 1f8b"),
        (FILES[3], lambda data: data[:-1] + b"\x0a", "label 10 of t10k image 4 (counted from 0) is not in 0..9"),
        (FILES[1], lambda data: idx(np.zeros(19)), "images [20, 28, 28] and 19 labels, expected [20, 28, 28] and 20"),
        (FILES[2], lambda data: idx(np.zeros((5, 32, 32))), "images [5, 32, 32] and 5 labels, expected [5, 28, 28]"),
        (FILES[2], lambda data: idx(np.zeros((0, 28, 28))), "images [0, 28, 28] and 5 labels"),
    ],
)
def test_a_damaged_file_is_refused(folder: Path, name: str, change: Callable[[bytes], bytes], words: str) -> None:
    (folder / name).write_bytes(change((folder / name).read_bytes()))
    message = refusal(folder)
    assert words in message and str(folder) in message


@pytest.mark.parametrize("cut", [0, 5, 15, 300, -1])
def test_a_damaged_gzip_file_is_refused(tmp_path: Path, cut: int) -> None:
    folder = write(tmp_path, content(even=False), zipped=True)
    path = folder / f"{FILES[0]}.gz"
    path.write_bytes(path.read_bytes()[:cut])
    refusal(folder)
    path.write_bytes(b"\x1f\x8b\x08\0\0\0\0\0\0\0" + b"\xff" * 50)
    assert f"{path} is no gzip file or is cut short" in refusal(folder)


def test_other_numbers_of_images_than_the_official_ones_are_refused(folder: Path) -> None:
    assert "images [20, 28, 28] and 20 labels, expected [60000, 28, 28] and 60,000" in refusal(folder, mnist)

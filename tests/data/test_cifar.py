"""CIFAR-10 and CIFAR-100 in both official versions: decoding, splits, and what is said about files that are wrong."""

from __future__ import annotations

import io
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from jaxnas.data import Dataset, class_counts, load
from jaxnas.data.cifar import CIFAR10_NAMES, CIFAR100_MEAN, CIFAR100_STD, cifar10, cifar100
from jaxnas.errors import UserError

RECORDS = 6
BATCHES = [*(f"data_batch_{k}" for k in range(1, 6)), "test_batch"]
FILES = [f"{name}.bin" for name in BATCHES]
FINE = [f"fine_{n}" for n in range(100)]


PICKLER: Any = pickle._Pickler  # type: ignore[attr-defined]  # the one of the two that can be extended by type


class Python2Pickler(PICKLER):
    """Writes protocol 2 as Python 2 did, which the official files are: text is bytes, and NumPy's module has its old name."""

    dispatch: ClassVar[dict[type, Any]] = dict(PICKLER.dispatch)

    def save_text(self, text: str | bytes) -> None:
        data = text.encode() if isinstance(text, str) else text
        self.write(pickle.BINSTRING + len(data).to_bytes(4, "little") + data)
        self.memoize(text)

    dispatch[str] = dispatch[bytes] = save_text


def python2_pickle(content: dict[str, Any]) -> bytes:
    file = io.BytesIO()
    Python2Pickler(file, 2).dump(content)
    return file.getvalue().replace(b"cnumpy._core.multiarray\n", b"cnumpy.core.multiarray\n")


def records(seed: int, classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Pixels ``[RECORDS, 3072]`` and labels."""
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (RECORDS, 3072), dtype=np.uint8), rng.integers(0, classes, RECORDS, dtype=np.uint8)


def write_binary10(parent: Path) -> Path:
    folder = parent / "cifar-10-batches-bin"
    folder.mkdir()
    for seed, name in enumerate(FILES):
        pixels, labels = records(seed, 10)
        (folder / name).write_bytes(np.hstack([labels[:, None], pixels]).tobytes())
    return folder


def write_python10(parent: Path) -> Path:
    folder = parent / "cifar-10-batches-py"
    folder.mkdir()
    for seed, name in enumerate(BATCHES):
        pixels, labels = records(seed, 10)
        content = {"batch_label": name, "labels": labels.tolist(), "data": pixels, "filenames": ["a.png"] * RECORDS}
        (folder / name).write_bytes(python2_pickle(content))
    return folder


def write_binary100(parent: Path) -> Path:
    folder = parent / "cifar-100-binary"
    folder.mkdir()
    for seed, name in enumerate(["train.bin", "test.bin"]):
        pixels, labels = records(seed, 100)
        (folder / name).write_bytes(np.hstack([99 - labels[:, None], labels[:, None], pixels]).tobytes())
    (folder / "fine_label_names.txt").write_text("\n".join(FINE) + "\n")
    return folder


def write_python100(parent: Path) -> Path:
    folder = parent / "cifar-100-python"
    folder.mkdir()
    for seed, name in enumerate(["train", "test"]):
        pixels, labels = records(seed, 100)
        content = {"fine_labels": labels.tolist(), "coarse_labels": (99 - labels).tolist(), "data": pixels}
        (folder / name).write_bytes(python2_pickle(content))
    (folder / "meta").write_bytes(python2_pickle({"fine_label_names": FINE, "coarse_label_names": ["x"] * 20}))
    return folder


def small10(folder: Path) -> Dataset:
    return cifar10(folder, RECORDS)


def small100(folder: Path) -> Dataset:
    return cifar100(folder, RECORDS, RECORDS)


VERSIONS = [(write_binary10, small10), (write_python10, small10), (write_binary100, small100), (write_python100, small100)]


def refusal(read: Callable[[Path], Dataset], folder: Path) -> str:
    with pytest.raises(UserError) as error:
        read(folder)
    assert "cs.toronto.edu/~kriz/cifar.html" in str(error.value) and "--data-dir" in str(error.value)
    return str(error.value)


@pytest.mark.parametrize(("write", "read"), VERSIONS)
def test_planes_are_decoded_and_the_training_images_halved(
    tmp_path: Path, write: Callable[[Path], Path], read: Callable[[Path], Dataset]
) -> None:
    folder = write(tmp_path)
    found = read(folder)
    batches, classes = (6, 10) if read is small10 else (2, 100)
    raw = [records(seed, classes) for seed in range(batches)]
    for split, files in ((found.train, raw[:-1]), (found.test, raw[-1:])):
        assert len(split.labels) == RECORDS * len(files)
        for n, (image, label) in enumerate(zip(split.images, split.labels, strict=True)):
            pixels, labels = (part[n % RECORDS] for part in files[n // RECORDS])
            assert label == labels
            for channel in range(3):
                for row in range(32):
                    np.testing.assert_array_equal(image[row, :, channel], pixels[1024 * channel + 32 * row :][:32])
    half = len(found.train.labels) // 2
    np.testing.assert_array_equal(found.search_train.images, found.train.images[:half])
    np.testing.assert_array_equal(found.search_valid.images, found.train.images[half:])
    np.testing.assert_array_equal(found.search_train.labels, found.train.labels[:half])
    np.testing.assert_array_equal(found.search_valid.labels, found.train.labels[half:])
    assert (found.image_size, found.classes, found.train.labels.dtype) == (32, classes, np.int32)
    assert found.class_names == (CIFAR10_NAMES if classes == 10 else tuple(FINE))
    np.testing.assert_array_equal(read(folder.parent).test.images, found.test.images)


def test_the_binary_version_is_preferred_where_both_are(tmp_path: Path) -> None:
    write_python10(tmp_path)
    folder = write_binary10(tmp_path)
    pixels = bytearray((folder / "test_batch.bin").read_bytes())
    pixels[1] ^= 1
    (folder / "test_batch.bin").write_bytes(pixels)
    assert small10(tmp_path).test.images[0, 0, 0, 0] == pixels[1]


def test_normalisation_of_cifar100_is_the_references() -> None:
    np.testing.assert_allclose(np.array(CIFAR100_MEAN) * 255, [129.3, 124.1, 112.4])
    np.testing.assert_allclose(np.array(CIFAR100_STD) * 255, [68.2, 65.4, 70.4])


@pytest.mark.parametrize(("write", "read"), VERSIONS)
def test_an_archive_that_is_not_unpacked_is_refused(
    tmp_path: Path, write: Callable[[Path], Path], read: Callable[[Path], Dataset]
) -> None:
    assert "is not a folder" in refusal(read, next(write(tmp_path).iterdir()))


@pytest.mark.parametrize(("write", "read"), VERSIONS)
def test_a_missing_file_is_named(tmp_path: Path, write: Callable[[Path], Path], read: Callable[[Path], Dataset]) -> None:
    folder = write(tmp_path)
    for path in sorted(folder.iterdir()):
        if path.name not in ("data_batch_1", "train"):  # what the Python version is recognised by
            content = path.read_bytes()
            path.unlink()
            assert f"{path} is missing" in refusal(read, folder)
            path.write_bytes(content)
    read(folder)


def test_an_empty_folder_lacks_the_first_file(tmp_path: Path) -> None:
    assert f"{tmp_path / FILES[0]} is missing" in refusal(small10, tmp_path)
    assert f"{tmp_path / 'train.bin'} is missing" in refusal(small100, tmp_path)


@pytest.mark.parametrize(("size", "words"), [(18_433, "5 records and 3,068 bytes"), (15_365, "5 records"), (0, "0 records")])
def test_a_truncated_binary_file_is_refused(tmp_path: Path, size: int, words: str) -> None:
    folder = write_binary10(tmp_path)
    path = folder / "data_batch_3.bin"
    path.write_bytes(path.read_bytes()[:size])
    assert f"{path} has {size:,} bytes ({words}), expected 18,438" in refusal(small10, folder)


def test_another_number_of_records_than_the_official_one_is_refused(tmp_path: Path) -> None:
    assert "18,438 bytes (6 records), expected 30,730,000 (10,000 records" in refusal(cifar10, write_binary10(tmp_path))
    assert "18,444 bytes (6 records), expected 153,700,000 (50,000 records" in refusal(cifar100, write_binary100(tmp_path))
    assert "of shape [6, 3072], expected [10000, 3072]" in refusal(
        cifar10, write_python10(tmp_path).parent / "cifar-10-batches-py"
    )
    assert "of shape [6, 3072], expected [50000, 3072]" in refusal(cifar100, write_python100(tmp_path))


def test_binary_records_of_the_other_set_are_refused(tmp_path: Path) -> None:
    """A record of CIFAR-100 is one byte longer."""
    folder, other = write_binary10(tmp_path), write_binary100(tmp_path)
    (other / "train.bin").write_bytes((folder / FILES[0]).read_bytes())
    assert "18,438 bytes (5 records and 3,068 bytes), expected 18,444" in refusal(small100, other)


def test_the_binary_record_with_a_label_out_of_range_is_named(tmp_path: Path) -> None:
    for write, read, name, record, top in (
        (write_binary10, small10, "data_batch_2.bin", 3073, 9),
        (write_binary100, small100, "test.bin", 3074, 99),
    ):
        folder = write(tmp_path)
        data = bytearray((folder / name).read_bytes())
        data[4 * record + record - 3073] = top + 1
        (folder / name).write_bytes(data)
        message = f"{folder / name}: record 4 (counted from 0) has label {top + 1}, but labels are 0..{top}"
        assert message in refusal(read, folder)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"labels": [0, 1, 2, 3, 10, 5]}, "record 4 (counted from 0) has label 10, but labels are 0..9"),
        ({"labels": [0, -1, 2, 3, 4, 5]}, "record 1 (counted from 0) has label -1"),
        ({"labels": [0, 1, 2]}, "its labels are not a list of 6 whole numbers"),
        ({"labels": [0, 1, 2, 3, 4, 5.5]}, "its labels are not a list of 6 whole numbers"),
        ({"labels": [True] * 6}, "its labels are not a list of 6 whole numbers"),
        ({"data": np.zeros((6, 3071), np.uint8)}, "of shape [6, 3071], expected [6, 3072]"),
        ({"data": [0]}, "of shape [], expected [6, 3072]"),
        ({"data": np.zeros((6, 3072), np.float32)}, "an array is of type 'f4', not uint8"),
        ({"data": os.system}, "asks for posix.system"),
    ],
)
def test_a_pickle_with_other_content_is_refused(tmp_path: Path, change: dict[str, Any], words: str) -> None:
    folder = write_python10(tmp_path)
    pixels, labels = records(2, 10)
    path = folder / "data_batch_3"
    path.write_bytes(pickle.dumps({"data": pixels, "labels": labels.tolist(), **change}))
    message = refusal(small10, folder)
    assert str(path) in message and words in message


def test_a_pickle_without_an_entry_or_cut_short_is_refused(tmp_path: Path) -> None:
    folder = write_python100(tmp_path)
    (folder / "test").write_bytes(python2_pickle({"data": records(1, 100)[0], "labels": []}))
    assert "has no entry 'fine_labels': it is not of CIFAR-100" in refusal(small100, folder)
    (folder / "test").write_bytes((folder / "train").read_bytes()[:-700])
    assert "cut short or damaged" in refusal(small100, folder)


def test_names_of_the_fine_labels_are_a_hundred_different_ones(tmp_path: Path) -> None:
    binary, python = write_binary100(tmp_path), write_python100(tmp_path)
    (binary / "fine_label_names.txt").write_text("apple bear")
    (python / "meta").write_bytes(python2_pickle({"fine_label_names": FINE[:99] + FINE[:1]}))
    assert "has 2 different names of labels, expected 100" in refusal(small100, binary)
    assert "has 99 different names of labels, expected 100" in refusal(small100, python)


def real_folder() -> Path | None:
    given = Path(os.environ.get("JAXNAS_DATA") or "nowhere")
    return next((folder for folder in (given, given / "cifar-10-batches-bin") if (folder / FILES[0]).exists()), None)


@pytest.mark.skipif(real_folder() is None, reason="CIFAR-10 (binary version) is not in the folder JAXNAS_DATA")
def test_cifar10_is_the_published_data_set() -> None:
    found = load("cifar10", real_folder())
    assert (len(found.search_train.labels), len(found.search_valid.labels)) == (25_000, 25_000)
    assert class_counts(found)["train"] == (5_000,) * 10
    assert class_counts(found)["test"] == (1_000,) * 10
    for channel in range(3):
        shares = np.bincount(found.train.images[..., channel].ravel(), minlength=256) / (50_000 * 1024)
        values = np.arange(256) / 255
        mean = (shares * values).sum()
        np.testing.assert_allclose(found.mean[channel], mean, rtol=0, atol=1e-5)
        np.testing.assert_allclose(found.std[channel], np.sqrt((shares * (values - mean) ** 2).sum()), rtol=0, atol=1e-5)

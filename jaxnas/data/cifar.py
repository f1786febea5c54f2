"""CIFAR-10 and CIFAR-100 from their official files, in the binary and in the Python version.

Source: both formats are described at https://www.cs.toronto.edu/~kriz/cifar.html.
"""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Any

import numpy as np

from jaxnas.data.dataset import Dataset, Split, halved
from jaxnas.errors import UserError
from jaxnas.pickles import read_pickle

# Those of the reference (quark0/darts, cnn/utils.py), not recomputed: they differ from the exact moments in the seventh place.
CIFAR10_MEAN = (0.49139968, 0.48215827, 0.44653124)
CIFAR10_STD = (0.24703233, 0.24348505, 0.26158768)
# Those of D-X-Y/AutoDL-Projects, of pixel values 0..255.
CIFAR100_MEAN = (129.3 / 255, 124.1 / 255, 112.4 / 255)
CIFAR100_STD = (68.2 / 255, 65.4 / 255, 70.4 / 255)
CIFAR10_NAMES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
PIXELS = 3072


@dataclasses.dataclass(frozen=True)
class _Published:
    """How one of the two sets is published; a file is named alike in both versions, but for ``.bin``.

    Attributes:
      title, name: for people; of the dataset.
      binary, python: the folders of both versions.
      train, test: the files without ``.bin``.
      label_bytes: before the pixels of a binary record; the last of them is the label.
      label_key: the labels' key in a pickle.
      classes: number of labels.
    """

    title: str
    name: str
    binary: str
    python: str
    train: tuple[str, ...]
    test: str
    label_bytes: int
    label_key: str
    classes: int

    @property
    def help(self) -> str:
        """Where to get the files and how to say where they are."""
        return (
            f"Get the binary or the Python version of {self.title} from https://www.cs.toronto.edu/~kriz/cifar.html, unpack "
            "it, and give the folder with --data-dir (data_dir=...) or the environment variable JAXNAS_DATA."
        )


CIFAR10 = _Published(
    title="CIFAR-10",
    name="cifar10",
    binary="cifar-10-batches-bin",
    python="cifar-10-batches-py",
    train=tuple(f"data_batch_{k}" for k in range(1, 6)),
    test="test_batch",
    label_bytes=1,
    label_key="labels",
    classes=10,
)
CIFAR100 = _Published(
    title="CIFAR-100",
    name="cifar100",
    binary="cifar-100-binary",
    python="cifar-100-python",
    train=("train",),
    test="test",
    label_bytes=2,  # the coarse label comes first
    label_key="fine_labels",
    classes=100,
)


def cifar10(data_dir: str | os.PathLike[str], records: int = 10_000) -> Dataset:
    """CIFAR-10 from its official files, split as DARTS does: the first half of the training images fits the weights.

    Args:
      data_dir: the folder ``cifar-10-batches-bin`` or ``cifar-10-batches-py``, or their parent, where the first is preferred.
      records: images in each of the six files; the official number unless a test writes smaller ones.

    Raises:
      UserError: if the folder or a file is missing, is damaged, has another size, or holds a label over 9.

    Source: the normalisation is that of quark0/darts, cnn/utils.py.
    """
    train, test = _read(CIFAR10, *_locate(CIFAR10, data_dir), records, records)
    return halved("cifar10", train, test, CIFAR10_MEAN, CIFAR10_STD, CIFAR10_NAMES)


def cifar100(data_dir: str | os.PathLike[str], train_records: int = 50_000, test_records: int = 10_000) -> Dataset:
    """CIFAR-100 with its 100 fine labels from its official files; the first half of the training images fits the weights.

    Args:
      data_dir: the folder ``cifar-100-binary`` or ``cifar-100-python``, or their parent, where the first is preferred.
      train_records, test_records: images in the two files; the official numbers unless a test writes smaller ones.

    Raises:
      UserError: if the folder or a file is missing, is damaged, has another size, or holds a label over 99.

    Source: the normalisation is that of D-X-Y/AutoDL-Projects for NAS-Bench-201.
    """
    folder, binary = _locate(CIFAR100, data_dir)
    train, test = _read(CIFAR100, folder, binary, train_records, test_records)
    return halved("cifar100", train, test, CIFAR100_MEAN, CIFAR100_STD, _fine_names(folder, binary))


def _locate(published: _Published, data_dir: str | os.PathLike[str]) -> tuple[Path, bool]:
    """The folder that should hold the files, the one given or an official one in it, and whether in the binary version."""
    given = Path(data_dir).expanduser()
    if not given.is_dir():
        problem = "is not a folder" if given.exists() else "does not exist"
        raise UserError(f"{given}, the folder of data set '{published.name}', {problem}. {published.help}")
    first = published.train[0]
    binary = given / published.binary if (given / published.binary).is_dir() else given
    if not (binary / f"{first}.bin").is_file():
        for folder in (given, given / published.python):
            if (folder / first).is_file():
                return folder, False
    return binary, True


def _read(published: _Published, folder: Path, binary: bool, train: int, test: int) -> tuple[Split, Split]:
    """Training images, of all files in their order, and test images."""
    read, suffix = (_binary_file, ".bin") if binary else (_python_file, "")
    parts = [read(published, folder / f"{name}{suffix}", train) for name in published.train]
    whole = Split(np.concatenate([part.images for part in parts]), np.concatenate([part.labels for part in parts]))
    return whole, read(published, folder / f"{published.test}{suffix}", test)


def _binary_file(published: _Published, path: Path, records: int) -> Split:
    """Records of label bytes and 3,072 pixel bytes."""
    _require(published, path)
    size = published.label_bytes + PIXELS
    found, expected = path.stat().st_size, records * size
    if found != expected:
        cut = f"{found // size:,} records and {found % size:,} bytes" if found % size else f"{found // size:,} records"
        raise UserError(
            f"{path} has {found:,} bytes ({cut}), expected {expected:,} ({records:,} records of {size:,} bytes): it is cut "
            f"short or is not the binary version. Download and unpack it again. {published.help}"
        )
    bytes_NxR = np.fromfile(path, np.uint8).reshape(records, size)
    pixels_at = published.label_bytes
    return _split(published, path, bytes_NxR[:, pixels_at:], bytes_NxR[:, pixels_at - 1].astype(np.int32))


def _python_file(published: _Published, path: Path, records: int) -> Split:
    """A pickled dictionary with an array of 3,072 pixel bytes a row and a list of labels."""
    _require(published, path)
    content = _pickle(published, path)
    for key in ("data", published.label_key):
        if key not in content:
            raise UserError(f"{path} has no entry {key!r}: it is not of {published.title}. {published.help}")
    pixels, labels = content["data"], content[published.label_key]
    shape = list(getattr(pixels, "shape", ()))
    if shape != [records, PIXELS]:
        raise UserError(
            f"{path}: its images are of shape {shape}, expected {[records, PIXELS]}: it is not the official file. "
            f"{published.help}"
        )
    if not isinstance(labels, list) or len(labels) != records or not all(type(label) is int for label in labels):
        raise UserError(f"{path}: its labels are not a list of {records:,} whole numbers. {published.help}")
    return _split(published, path, pixels, np.array(labels))


def _pickle(published: _Published, path: Path) -> dict[str, Any]:
    try:
        return read_pickle(path)
    except UserError as error:
        raise UserError(f"{error} {published.help}") from error


def _require(published: _Published, path: Path) -> None:
    if not path.is_file():
        raise UserError(f"{path} is missing. {published.help}")


def _split(published: _Published, path: Path, planes_Nx3072: np.ndarray, labels: np.ndarray) -> Split:
    """Images from their red, green and blue planes, with labels that are in range."""
    top = published.classes - 1
    wrong = np.flatnonzero((labels < 0) | (labels > top))
    if wrong.size:
        raise UserError(
            f"{path}: record {wrong[0]} (counted from 0) has label {labels[wrong[0]]}, but labels are 0..{top}: this is "
            f"another format or a damaged file. {published.help}"
        )
    images = np.ascontiguousarray(planes_Nx3072.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1))
    return Split(images, labels.astype(np.int32))


def _fine_names(folder: Path, binary: bool) -> tuple[str, ...]:
    """CIFAR-100's names of the fine labels, from the file that each version has for them."""
    path = folder / ("fine_label_names.txt" if binary else "meta")
    _require(CIFAR100, path)
    if binary:
        names = path.read_text(encoding="utf-8", errors="replace").split()
    else:
        found = _pickle(CIFAR100, path).get("fine_label_names")
        names = [name.decode("utf-8", "replace") if isinstance(name, bytes) else str(name) for name in found or ()]
    if len(set(names)) != CIFAR100.classes:
        raise UserError(f"{path} has {len(set(names))} different names of labels, expected {CIFAR100.classes}. {CIFAR100.help}")
    return tuple(names)

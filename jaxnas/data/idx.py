"""MNIST and Fashion-MNIST from their official IDX files, gzipped or not.

Source: the format is described with the files of MNIST: a magic number (two zero bytes, the type of the elements, the number
of axes), the length of every axis as a big-endian 32-bit integer, then the elements.
"""

from __future__ import annotations

import gzip
import math
import os
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from jaxnas.data.dataset import Dataset, Split, halved, moments
from jaxnas.errors import UserError

UNSIGNED_BYTES = 8
FASHION_NAMES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)
HELP = (
    "Get train-images-idx3-ubyte, train-labels-idx1-ubyte, t10k-images-idx3-ubyte and t10k-labels-idx1-ubyte, each as it is or "
    "with .gz, from {where}, and give their folder with --data-dir (data_dir=...) or the environment variable JAXNAS_DATA."
)
MNIST_HELP = HELP.format(where="https://storage.googleapis.com/cvdf-datasets/mnist/")
FASHION_HELP = HELP.format(where="https://github.com/zalandoresearch/fashion-mnist")


def mnist(data_dir: str | os.PathLike[str], train_images: int = 60_000, test_images: int = 10_000) -> Dataset:
    """MNIST's handwritten digits, 28x28 pixels, grey, here in three equal channels; normalised by the training images' moments.

    Args:
      data_dir: the folder of the four files, or its parent if it is called ``mnist`` or ``MNIST/raw``.
      train_images, test_images: the official numbers unless a test writes smaller files.

    Raises:
      UserError: if the folder or a file is missing, is damaged, is not of its type or size, or is Fashion-MNIST's.
    """
    folder = _locate("mnist", Path(data_dir).expanduser(), ("mnist", "MNIST/raw"), MNIST_HELP)
    train, test = _read(folder, train_images, test_images, MNIST_HELP)
    if _even(train):
        raise UserError(
            f"{folder} has equally many training images of every class, as Fashion-MNIST and not MNIST has; both name their "
            f"files alike. Use data set 'fashion_mnist', or another folder. {MNIST_HELP}"
        )
    return halved("mnist", train, test, *moments(train.images, str(folder)), tuple("0123456789"))


def fashion_mnist(data_dir: str | os.PathLike[str], train_images: int = 60_000, test_images: int = 10_000) -> Dataset:
    """Fashion-MNIST, 28x28 pixels, grey, here in three equal channels; normalised by the training images' moments.

    Args:
      data_dir: the folder of the four files, or its parent if it is called ``fashion_mnist`` or ``FashionMNIST/raw``.
      train_images, test_images: the official numbers unless a test writes smaller files.

    Raises:
      UserError: if the folder or a file is missing, is damaged, is not of its type or size, or is MNIST's.
    """
    folder = _locate("fashion_mnist", Path(data_dir).expanduser(), ("fashion_mnist", "FashionMNIST/raw"), FASHION_HELP)
    train, test = _read(folder, train_images, test_images, FASHION_HELP)
    if not _even(train):
        raise UserError(
            f"{folder} has not equally many training images of every class, but Fashion-MNIST has; MNIST names its files "
            f"alike. Use data set 'mnist', or another folder. {FASHION_HELP}"
        )
    return halved("fashion_mnist", train, test, *moments(train.images, str(folder)), FASHION_NAMES)


def read_idx(path: Path, axes: int, what_to_do: str) -> np.ndarray:
    """The unsigned bytes of an IDX file.

    Args:
      path: of the file; gzipped if it ends in ``.gz``.
      axes: the number that the file must have.
      what_to_do: ends the message of an error.

    Raises:
      UserError: the magic number is another, or there are fewer or more elements than the header says.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "labels-idx1-ubyte"
    >>> _ = path.write_bytes(bytes([0, 0, 8, 1, 0, 0, 0, 2, 7, 9]))
    >>> read_idx(path, 1, "").tolist()
    [7, 9]
    """
    try:
        data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise UserError(f"{path} is no gzip file or is cut short ({error}). Download it again. {what_to_do}") from error
    magic, expected = data[:4].hex(), bytes([0, 0, UNSIGNED_BYTES, axes]).hex()
    if magic != expected:
        raise UserError(
            f"{path} begins with {magic or 'nothing'}, expected {expected}: it is not an IDX file of unsigned bytes with "
            f"{axes} axes. {what_to_do}"
        )
    header = 4 + 4 * axes
    if len(data) < header:
        raise UserError(f"{path} is cut short: its header has {len(data)} bytes, expected {header}. {what_to_do}")
    shape = struct.unpack(f">{axes}I", data[4:header])
    if len(data) - header != math.prod(shape):
        raise UserError(
            f"{path} has {len(data) - header:,} bytes after its header, which says {'x'.join(map(str, shape))} = "
            f"{math.prod(shape):,}: it is cut short or damaged. Download it again. {what_to_do}"
        )
    return np.frombuffer(data, np.uint8, offset=header).reshape(shape)


def _locate(name: str, given: Path, subfolders: Sequence[str], what_to_do: str) -> Path:
    """The folder of the files: one inside the given folder that is called as the data set, before the given folder itself."""
    if not given.is_dir():
        problem = "is not a folder" if given.exists() else "does not exist"
        raise UserError(f"{given}, the folder of data set '{name}', {problem}. {what_to_do}")
    return next((given / subfolder for subfolder in subfolders if (given / subfolder).is_dir()), given)


def _read(folder: Path, train_images: int, test_images: int, what_to_do: str) -> tuple[Split, Split]:
    """Training and test images."""
    return _half(folder, "train", train_images, what_to_do), _half(folder, "t10k", test_images, what_to_do)


def _half(folder: Path, half: str, count: int, what_to_do: str) -> Split:
    images, labels = (
        read_idx(_file(folder, f"{half}-{kind}-ubyte", what_to_do), axes, what_to_do)
        for kind, axes in (("images-idx3", 3), ("labels-idx1", 1))
    )
    if images.shape != (count, 28, 28) or labels.shape != (count,):
        raise UserError(
            f"{folder}: the {half} files hold images {list(images.shape)} and {len(labels):,} labels, expected "
            f"{[count, 28, 28]} and {count:,}: they are not the official ones. {what_to_do}"
        )
    wrong = np.flatnonzero(labels > 9)
    if wrong.size:
        raise UserError(
            f"{folder}: label {labels[wrong[0]]} of {half} image {wrong[0]} (counted from 0) is not in 0..9: the file is "
            f"damaged or another set's. {what_to_do}"
        )
    return Split(np.repeat(images[..., None], 3, axis=-1), labels.astype(np.int32))


def _file(folder: Path, name: str, what_to_do: str) -> Path:
    for path in (folder / name, folder / f"{name}.gz"):
        if path.is_file():
            return path
    raise UserError(f"{folder / name} is missing, and so is {name}.gz. {what_to_do}")


def _even(train: Split) -> bool:
    """Whether every class has as many images as the others: the two sets differ in nothing else that is simple to see."""
    return np.ptp(np.bincount(train.labels, minlength=10)) == 0

"""Image sets for searching and training, as arrays in memory: scikit-learn's digits, and CIFAR-10 from its official files."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import numpy as np

from jaxnas.errors import UserError, did_you_mean

CIFAR10_FOLDER = "cifar-10-batches-bin"
CIFAR10_HELP = (
    "Get the binary version of CIFAR-10 from https://www.cs.toronto.edu/~kriz/cifar.html, unpack it, and give the folder with "
    "--data-dir (data_dir=...) or the environment variable JAXNAS_DATA."
)
# Those of the reference (quark0/darts, cnn/utils.py), not recomputed: they differ from the exact moments in the seventh place.
CIFAR10_MEAN = (0.49139968, 0.48215827, 0.44653124)
CIFAR10_STD = (0.24703233, 0.24348505, 0.26158768)


@dataclasses.dataclass(frozen=True, eq=False)
class Split:
    """Images with their labels.

    Attributes:
      images: uint8 ``[N, H, W, 3]``.
      labels: int32 ``[N]``, from 0.
    """

    images: np.ndarray
    labels: np.ndarray


@dataclasses.dataclass(frozen=True, eq=False)
class Dataset:
    """A set of images, split once and for all.

    Attributes:
      name: for reports.
      classes: number of labels.
      search_train: what a search fits the weights on.
      search_valid: what a search fits the architecture on.
      train: ``search_train`` followed by ``search_valid``, what a derived network is trained on.
      test: what a derived network is judged on, and nothing else.
      mean, std: of each channel, of pixel values scaled to 0..1.

    >>> digits = load("digits")
    >>> digits.classes, digits.image_size, len(digits.train.labels), len(digits.test.labels)
    (10, 8, 1297, 500)
    """

    name: str
    classes: int
    search_train: Split
    search_valid: Split
    train: Split
    test: Split
    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    @property
    def image_size(self) -> int:
        """Height and width of every image, in pixels."""
        return self.train.images.shape[1]


def load(name: str, data_dir: str | os.PathLike[str] | None = None) -> Dataset:
    """An image set by name.

    Args:
      name: ``digits`` (comes with scikit-learn) or ``cifar10``.
      data_dir: for ``cifar10`` the folder ``cifar-10-batches-bin`` or its parent; the environment variable JAXNAS_DATA
        when not given.

    Raises:
      UserError: for an unknown name, and for files that are missing or not those of the official binary version.

    >>> load("digits").search_train.images.shape
    (648, 8, 8, 3)
    """
    if name == "digits":
        return digits()
    if name == "cifar10":
        found = data_dir or os.environ.get("JAXNAS_DATA")
        if not found:
            raise UserError(f"No folder is given for data set 'cifar10'. {CIFAR10_HELP}")
        return cifar10(found)
    raise UserError(f"Unknown data set {name!r}. {did_you_mean(name, ('digits', 'cifar10'))}")


def digits() -> Dataset:
    """The 1,797 handwritten digits of scikit-learn: 8x8 pixels, grey, here in three equal channels.

    The split is our own, there is no official one: after the fixed permutation of ``Generator(PCG64(0))`` the first 648
    images are ``search_train``, the next 649 ``search_valid``, the last 500 ``test``. The values 0..16 are scaled to 0..255.

    Raises:
      UserError: if scikit-learn is not installed.

    >>> digits().test.labels[:5].dtype
    dtype('int32')
    """
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise UserError("Data set 'digits' needs scikit-learn. Run: pip install scikit-learn") from error
    pixels, labels = load_digits(return_X_y=True)
    order = np.random.Generator(np.random.PCG64(0)).permutation(len(labels))
    grey = np.rint(pixels[order] * (255 / 16)).astype(np.uint8).reshape(-1, 8, 8, 1)
    images = np.repeat(grey, 3, axis=-1)
    labels = labels[order].astype(np.int32)
    mean = float(grey[:1297].mean() / 255)
    std = float(grey[:1297].std() / 255)
    train, test = Split(images[:1297], labels[:1297]), Split(images[1297:], labels[1297:])
    return _dataset("digits", 10, train, test, (mean, mean, mean), (std, std, std))


def cifar10(data_dir: str | os.PathLike[str], records: int = 10_000) -> Dataset:
    """CIFAR-10 from the official binary version, split as DARTS does: the first half of the training images fits the weights.

    Args:
      data_dir: the folder ``cifar-10-batches-bin`` or its parent.
      records: images in each of the six files; the official number unless a test writes smaller ones.

    Raises:
      UserError: if the folder or a file is missing, has another size, or holds a label over 9.

    Source: the file format is described at https://www.cs.toronto.edu/~kriz/cifar.html.
    """
    folder = _cifar10_folder(Path(data_dir).expanduser())
    batches = [_cifar10_batch(folder / f"data_batch_{k}.bin", records) for k in range(1, 6)]
    train = Split(np.concatenate([batch.images for batch in batches]), np.concatenate([batch.labels for batch in batches]))
    return _dataset("cifar10", 10, train, _cifar10_batch(folder / "test_batch.bin", records), CIFAR10_MEAN, CIFAR10_STD)


def check(images: np.ndarray, labels: np.ndarray, classes: int, what: str) -> None:
    """Refuses images and labels that the networks here cannot be trained on.

    Args:
      images: must be uint8 ``[N, S, S, 3]``, S a multiple of 4, as two reduction cells halve the size twice.
      labels: must be whole numbers in ``0 .. classes - 1``, one for each image.
      classes: number of labels.
      what: names the arrays in the message.

    Raises:
      UserError: otherwise.

    >>> check(np.zeros((2, 8, 8, 3), np.uint8), np.array([0, 1]), 2, "my training images")
    """
    if images.dtype != np.uint8:
        raise UserError(f"{what}: images must be uint8 (0..255), got {images.dtype}. Scale and convert them first.")
    if images.ndim != 4 or images.shape[-1] != 3:
        raise UserError(f"{what}: images must be [N, H, W, 3], got {list(images.shape)}. Repeat a grey channel three times.")
    if images.shape[1] != images.shape[2] or images.shape[1] % 4 or not images.shape[1]:
        raise UserError(
            f"{what}: images must be square with a size that is a multiple of 4, got {images.shape[1]}x{images.shape[2]}. "
            "Crop or pad them first."
        )
    if not np.issubdtype(labels.dtype, np.integer):
        raise UserError(f"{what}: labels must be whole numbers, got {labels.dtype}. Convert them first.")
    if labels.shape != images.shape[:1]:
        raise UserError(f"{what}: {len(images)} images but labels of shape {list(labels.shape)}. Give one label an image.")
    if not len(images):
        raise UserError(f"{what}: there are no images. Give at least one.")
    wrong = np.flatnonzero((labels < 0) | (labels >= classes))
    if wrong.size:
        raise UserError(
            f"{what}: label {labels[wrong[0]]} of image {wrong[0]} is not in 0..{classes - 1}. Renumber the labels or correct "
            "the number of classes."
        )


def _dataset(
    name: str, classes: int, train: Split, test: Split, mean: tuple[float, float, float], std: tuple[float, float, float]
) -> Dataset:
    """Checks both splits and halves the first for a search; the halves share its memory."""
    check(train.images, train.labels, classes, f"{name}, training images")
    check(test.images, test.labels, classes, f"{name}, test images")
    half = len(train.labels) // 2
    search_train = Split(train.images[:half], train.labels[:half])
    search_valid = Split(train.images[half:], train.labels[half:])
    return Dataset(name, classes, search_train, search_valid, train, test, mean, std)


def _cifar10_folder(given: Path) -> Path:
    """The folder that should hold the six files: the one given or the official folder in it."""
    if not given.is_dir():
        problem = "is not a folder" if given.exists() else "does not exist"
        raise UserError(f"{given}, the folder of data set 'cifar10', {problem}. {CIFAR10_HELP}")
    folder = given / CIFAR10_FOLDER if (given / CIFAR10_FOLDER).is_dir() else given
    if (folder / "data_batch_1.bin").exists():
        return folder
    for other in (folder, given / "cifar-10-batches-py"):
        if (other / "data_batch_1").exists():
            raise UserError(f"{other} holds the Python version of CIFAR-10; the binary version is needed. {CIFAR10_HELP}")
    return folder


def _cifar10_batch(path: Path, records: int) -> Split:
    """One file: records of a label byte and 3,072 pixel bytes, which are the red, the green and the blue plane."""
    if not path.is_file():
        raise UserError(f"{path} is missing. {CIFAR10_HELP}")
    found, expected = path.stat().st_size, records * 3073
    if found != expected:
        cut = f"{found // 3073:,} records and {found % 3073:,} bytes" if found % 3073 else f"{found // 3073:,} records"
        raise UserError(
            f"{path} has {found:,} bytes ({cut}), expected {expected:,} ({records:,} records of 3,073 bytes): it is cut "
            f"short or is not the binary version. Download and unpack it again. {CIFAR10_HELP}"
        )
    bytes_Nx3073 = np.fromfile(path, np.uint8).reshape(records, 3073)
    labels = bytes_Nx3073[:, 0].astype(np.int32)
    wrong = np.flatnonzero(labels > 9)
    if wrong.size:
        raise UserError(
            f"{path}: record {wrong[0]} (counted from 0) has label {labels[wrong[0]]}, but labels are 0..9: this is another "
            f"format or a damaged file. {CIFAR10_HELP}"
        )
    images = np.ascontiguousarray(bytes_Nx3073[:, 1:].reshape(records, 3, 32, 32).transpose(0, 2, 3, 1))
    return Split(images, labels)

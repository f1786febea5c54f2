"""What every source gives: images with labels, split once and for all, and the checks that all of them pass."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from jaxnas.data.pictures import RESIDENT_BYTES, Pictures
from jaxnas.errors import UserError


@dataclasses.dataclass(frozen=True, eq=False)
class Split:
    """Images with their labels.

    Attributes:
      images: uint8 ``[N, H, W, 3]``, an array or :class:`jaxnas.data.Pictures`. Code that takes both makes arrays of what it
        needs: ``numpy.asarray(images[rows])``.
      labels: int32 ``[N]``, from 0.
    """

    images: Any
    labels: np.ndarray


@dataclasses.dataclass(frozen=True, eq=False)
class Dataset:
    """A set of images, split once and for all.

    Attributes:
      name: for reports.
      classes: number of labels.
      search_train: what a search fits the weights on.
      search_valid: what a search fits the architecture on.
      train: what a derived network is trained on; of a dataset as loaded, ``search_train`` followed by ``search_valid``.
      test: what a derived network is judged on, and nothing else.
      mean, std: of each channel, of pixel values scaled to 0..1.
      class_names: what each label stands for, in order; what :func:`jaxnas.data.load` gives always has them.

    >>> from jaxnas.data import load
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
    class_names: tuple[str, ...] = ()

    @property
    def image_size(self) -> int:
        """Height and width of every image, in pixels."""
        return self.train.images.shape[1]

    @property
    def streamed(self) -> bool:
        """Whether the images stay on disk, and are read anew in every epoch."""
        return isinstance(self.train.images, Pictures)

    @property
    def kept(self) -> str:
        """Where the images are, and why, in words."""
        size = (self.train.images.nbytes + self.test.images.nbytes) / 2**20
        if not self.streamed:
            return f"in memory ({size:,.1f} MiB)"
        return f"streamed from disk (decoded {size:,.1f} MiB, over {RESIDENT_BYTES / 2**20:,.0f} MiB)"


def halved(
    name: str,
    train: Split,
    test: Split,
    mean: tuple[float, float, float],
    std: tuple[float, float, float],
    class_names: Sequence[str],
) -> Dataset:
    """A dataset whose search halves are the first and the second half of the training images, and share their memory.

    Raises:
      UserError: as :func:`check`, for either split; where the splits differ in size, or there is but one training image.

    >>> split = Split(np.zeros((4, 8, 8, 3), np.uint8), np.array([0, 1, 0, 1], np.int32))
    >>> halved("black", split, split, (0.5,) * 3, (0.5,) * 3, ("a", "b")).search_valid.labels
    array([0, 1], dtype=int32)
    """
    check(train.images, train.labels, len(class_names), f"{name}, training images")
    check(test.images, test.labels, len(class_names), f"{name}, test images")
    sizes = [f"{split.images.shape[1]}x{split.images.shape[2]}" for split in (train, test)]
    if sizes[0] != sizes[1]:
        raise UserError(f"{name}: training images are {sizes[0]} but test images {sizes[1]}. Resize or crop them to one size.")
    half = len(train.labels) // 2
    if not half:
        raise UserError(f"{name} has one training image, but a search needs two halves. Give more images.")
    search_train = Split(train.images[:half], train.labels[:half])
    search_valid = Split(train.images[half:], train.labels[half:])
    return Dataset(name, len(class_names), search_train, search_valid, train, test, mean, std, tuple(class_names))


def check(images: np.ndarray | Pictures, labels: np.ndarray, classes: int, what: str) -> None:
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


def class_counts(dataset: Dataset) -> dict[str, tuple[int, ...]]:
    """How many images each class has in each split: ``search_train``, ``search_valid``, ``train`` and ``test``.

    >>> from jaxnas.data import load
    >>> class_counts(load("digits"))["test"]
    (55, 53, 57, 39, 58, 53, 51, 41, 42, 51)
    """
    return {
        name: tuple(np.bincount(getattr(dataset, name).labels, minlength=dataset.classes).tolist())
        for name in ("search_train", "search_valid", "train", "test")
    }


def imbalance(counts: Sequence[int]) -> float:
    """The largest class's number of images divided by the smallest's; infinite where a class has none.

    >>> imbalance((50, 20, 100)), imbalance((3, 0))
    (5.0, inf)
    """
    return max(counts) / min(counts) if min(counts) else float("inf")


def moments(images: np.ndarray, what: str) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
    """Mean and standard deviation of each channel, of pixel values scaled to 0..1; for sets without published ones.

    Args:
      images: uint8 ``[N, H, W, 3]``, of the training split.
      what: names them in a message.

    Raises:
      UserError: a channel has the same value everywhere, thus nothing to divide by.

    >>> moments(np.array([0, 255], np.uint8).reshape(1, 1, 2, 1).repeat(3, -1), "black and white")
    ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    """
    counts = np.zeros((3, 256), np.int64)
    for channel in range(3):
        for at in range(0, len(images), 1000):  # bincount makes them int64
            counts[channel] += np.bincount(images[at : at + 1000, :, :, channel].ravel(), minlength=256)
    return moments_of(counts, what)


def moments_of(counts_3x256: np.ndarray, what: str) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
    """The same of how often each value of a pixel occurs in each channel.

    Raises:
      UserError: as :func:`moments`.

    >>> counts = np.zeros((3, 256), int)
    >>> counts[:, [0, 255]] = 1
    >>> moments_of(counts, "black and white")
    ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    """
    values = np.arange(256) / 255
    mean, std = [], []
    for counts in counts_3x256:
        shares = counts / counts.sum()
        mean.append(float(shares @ values))
        std.append(float(np.sqrt(shares @ (values - mean[-1]) ** 2)))
    if 0.0 in std:
        channel = std.index(0.0)
        raise UserError(
            f"{what}: channel {channel} is {mean[channel] * 255:.0f} everywhere, with nothing to learn from. Were the "
            "images read and scaled as they should be?"
        )
    return (mean[0], mean[1], mean[2]), (std[0], std[1], std[2])

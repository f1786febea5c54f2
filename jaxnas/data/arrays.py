"""A user's own arrays: images of several types to one, and a split where none is given."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxnas.data.dataset import Dataset, Split, check, halved, moments, moments_of
from jaxnas.data.labels import number_labels
from jaxnas.data.pictures import Pictures
from jaxnas.data.shares import ranks
from jaxnas.data.streams import survey
from jaxnas.errors import UserError, did_you_mean

KEYS = ("x_train", "y_train", "x_test", "y_test")
NPZ_HELP = "Write it with numpy.savez(path, x_train=..., y_train=..., x_test=..., y_test=...)."


def npz(path: str | os.PathLike[str]) -> Dataset:
    """A user's arrays from a file of NumPy: ``x_train`` and ``y_train``, and ``x_test`` and ``y_test`` or neither.

    Without the latter a fifth of every class is set aside for the test split, as :func:`from_arrays` describes.

    Raises:
      UserError: the file is missing or damaged, lacks an array or has one that is not known, and as :func:`from_arrays`.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "mine.npz"
    >>> x = np.random.Generator(np.random.PCG64(0)).integers(0, 256, (12, 8, 8)).astype(np.uint8)
    >>> np.savez(path, x_train=x, y_train=["cat", "dog"] * 6)
    >>> npz(path).class_names, len(npz(path).test.labels)
    (('cat', 'dog'), 2)
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise UserError(f"{path} does not exist or is no file. {NPZ_HELP}")
    try:
        with path.open("rb") as file:  # NumPy leaves a file open that turns out to be damaged
            stored = np.load(file, allow_pickle=False)
            if isinstance(stored, np.ndarray):
                raise UserError(f"{path} holds a single array, not several with names. {NPZ_HELP}")
            arrays = {key: stored[key] for key in stored.files}
    except UserError:
        raise
    except Exception as error:  # A damaged archive raises whatever its first bad byte leads to, MemoryError too.
        raise UserError(
            f"{path} cannot be read as arrays: {error}. It is cut short, damaged, or holds Python objects in place of "
            f"numbers or text: text in objects, as pandas has it, becomes text by .astype(str). {NPZ_HELP}"
        ) from error
    for key in arrays:
        if key not in KEYS:
            raise UserError(
                f"{path} holds {key!r}, which is not used here. {did_you_mean(key, KEYS)} Rename or remove it. {NPZ_HELP}"
            )
    needed = KEYS if {"x_test", "y_test"} & set(arrays) else KEYS[:2]
    missing = [key for key in needed if key not in arrays]
    if missing:
        raise UserError(f"{path} lacks {' and '.join(missing)}; it holds {', '.join(arrays) or 'nothing'}. {NPZ_HELP}")
    return from_arrays(path.stem, **arrays)


def from_arrays(
    name: str,
    x_train: np.ndarray | Pictures,
    y_train: np.ndarray,
    x_test: np.ndarray | Pictures | None = None,
    y_test: np.ndarray | None = None,
    class_names: Sequence[str] | None = None,
) -> Dataset:
    """A dataset from arrays, normalised by the training images' moments.

    Training images are put in a fixed order in which every class is spread evenly, since a search uses their first and their
    second half, and users' images often come class after class. Without a test split, a fifth of every class (at least one
    image) is set aside for it; which images are, depends on nothing but the labels.

    Args:
      name: for reports.
      x_train: ``[N, S, S]`` or ``[N, S, S, 1]`` (grey, here in three equal channels) or ``[N, S, S, 3]``, S a multiple of 4;
        uint8, or whole numbers of any type in 0..255, or real numbers in 0..1, which are rounded to 256 steps. Or pictures,
        which then stay on disk: each is read once here.
      y_train: ``[N]``, text, booleans or whole numbers, any values; or one-hot ``[N, classes]``.
      x_test, y_test: the same; both or neither.
      class_names: names of labels that already are 0, 1, ...; without them the labels' own values in their order.

    Raises:
      UserError: images or labels of another shape, type or range, a class too small to be split, or a test split that is
        part of the training images.

    >>> x = np.arange(4 * 16, dtype=np.uint8).reshape(4, 4, 4)
    >>> dataset = from_arrays("stripes", x, np.array([3, 3, 5, 5]), x + 100, np.array([5, 3, 5, 3]))
    >>> dataset.class_names, dataset.train.labels.tolist(), dataset.test.labels.tolist()
    (('3', '5'), [1, 0, 1, 0], [1, 0, 1, 0])
    """
    for kind, x, y in (("training", x_train, y_train), ("test", x_test, y_test)):
        if (x is None) != (y is None):
            raise UserError(f"{name}: of the {kind} split, only images or only labels are given. Give both.")
        if x is not None and y is not None and (not x.shape or x.shape[:1] != y.shape[:1]):
            raise UserError(
                f"{name}: {kind} images of shape {list(x.shape)} but labels {list(y.shape)}. Give one label an image."
            )
    images = to_bytes([x for x in (x_train, x_test) if x is not None], name)
    if class_names is None:
        train_labels, test_labels, class_names = number_labels(y_train, y_test, name)
    else:
        train_labels, test_labels = y_train, y_test
    whole = Split(images[0], train_labels)
    check(whole.images, whole.labels, len(class_names), f"{name}, training images")
    if test_labels is None:
        aside = _set_aside(train_labels, class_names, name)
        train, test = _taken(whole, ~aside), _taken(whole, aside)
    else:
        check(images[1], test_labels, len(class_names), f"{name}, test images")
        train, test = whole, Split(images[1], test_labels.astype(np.int32))
    # Moments first: of equal images every test image is one of training.
    if isinstance(x_train, Pictures):
        counts, seen = survey(train.images)
        mean, std = moments_of(counts, f"{name}, training images")
        tested: Iterable[int] = survey(test.images)[1]
    else:
        mean, std = moments(train.images, f"{name}, training images")
        seen, tested = {hash(image.tobytes()) for image in train.images}, (hash(image.tobytes()) for image in test.images)
    _refuse_test_on_training(seen, tested, len(test.labels), name)
    return halved(name, _taken(train, _even_order(train.labels)), test, mean, std, class_names)


def for_training(name: str, images: np.ndarray, labels: np.ndarray, class_names: Sequence[str]) -> Dataset:
    """A dataset all of whose images are for search and training, for who judges on others: its test split is the training one.

    Args:
      name: for reports.
      images: uint8 ``[N, S, S, 3]``, S a multiple of 4.
      labels: whole numbers from 0.
      class_names: what they stand for.

    Raises:
      UserError: as :func:`jaxnas.data.check`, and where a channel is the same everywhere.

    >>> images = np.arange(4 * 48, dtype=np.uint8).reshape(4, 4, 4, 3)
    >>> dataset = for_training("stripes", images, np.array([0, 0, 1, 1]), ("a", "b"))
    >>> dataset.search_train.labels.tolist(), len(dataset.train.labels), dataset.test is dataset.train
    ([1, 0], 4, True)
    """
    check(images, labels, len(class_names), f"{name}, training images")
    mean, std = moments(images, f"{name}, training images")
    train = _taken(Split(images, labels), _even_order(labels))
    return halved(name, train, train, mean, std, class_names)


def _taken(split: Split, where: np.ndarray) -> Split:
    return Split(split.images[where], split.labels[where].astype(np.int32))


def _even_order(labels: np.ndarray) -> np.ndarray:
    """An order of the images in which every stretch holds the classes in nearly the shares that the whole does."""
    places, sizes, draws = ranks(labels)
    return np.lexsort((draws, (2 * places + 1) / (2 * sizes)))


def _set_aside(labels: np.ndarray, class_names: Sequence[str], name: str) -> np.ndarray:
    """Which images become the test split: of every class a fifth, rounded, but at least one."""
    sizes = np.bincount(labels, minlength=len(class_names))
    smallest = class_names[int(sizes.argmin())]
    if sizes.min() < 3:
        raise UserError(
            f"{name} has no test split, and class {smallest!r} has {sizes.min()} images: at least 3 are needed for one in the "
            "test split and one in either half of a search. Give more images or a test split."
        )
    places, sizes, _ = ranks(labels)
    return places < np.maximum(1, (sizes + 2) // 5)


def _refuse_test_on_training(seen: set[int], tested: Iterable[int], count: int, name: str) -> None:
    """A few equal images occur in published sets too; a whole test split of them is a mistake."""
    if all(image in seen for image in tested):
        raise UserError(
            f"{name}: every one of the {count} test images is also a training image, so that a test would say "
            "nothing. Give other test images, or none to have a fifth of the images set aside."
        )


def to_bytes(parts: Sequence[Any], name: str, scale: int | None = None) -> list[Any]:
    """Images as uint8 in three channels; the parts of one set are of one scale, which is told from all of them.

    Args:
      parts: as ``x_train`` of :func:`from_arrays`.
      name: names them in messages.
      scale: that of other images, to which these belong, see :func:`pixel_scale`.

    Raises:
      UserError: images of another shape, type, range or scale.
    """
    if any(isinstance(part, Pictures) for part in parts):
        return list(parts)  # They are.
    types = {str(part.dtype) for part in parts}
    if len(types) > 1:
        raise UserError(f"{name}: training and test images are of different types, {' and '.join(sorted(types))}. Convert one.")
    for part in parts:
        grey = part.ndim == 3 or (part.ndim == 4 and part.shape[-1] == 1)
        if not grey and (part.ndim != 4 or part.shape[-1] != 3):
            planar = part.ndim == 4 and part.shape[1] in (1, 3)
            advice = "The channels come last: use images.transpose(0, 2, 3, 1)." if planar else "Convert them first."
            raise UserError(f"{name}: images must be [N, S, S], [N, S, S, 1] or [N, S, S, 3], got {list(part.shape)}. {advice}")
        if not part.size:
            raise UserError(f"{name}: there are no images in an array of shape {list(part.shape)}. Give at least one.")
    if scale is None:
        scale = pixel_scale(parts, name)
    else:
        _check_scale(parts, name, scale)
    scaled = parts if parts[0].dtype == np.uint8 else [np.rint(part * scale).astype(np.uint8) for part in parts]
    return [np.ascontiguousarray(np.broadcast_to(part.reshape(*part.shape[:3], -1), (*part.shape[:3], 3))) for part in scaled]


def _check_scale(parts: Sequence[np.ndarray], name: str, scale: int) -> None:
    """Refuses pixels that are not of a scale."""
    low, high = min(part.min() for part in parts), max(part.max() for part in parts)
    if scale == 1:
        fits, form = high <= 255 and all((part == np.floor(part)).all() for part in parts), "whole numbers in 0..255"
    else:
        fits, form = high <= 1 and parts[0].dtype.kind == "f", "real numbers in 0..1"
    if not (fits and low >= 0):  # False for NaN too.
        raise UserError(f"{name}: pixels must be {form}, as they were in training; these go from {low} to {high}.")


def pixel_scale(parts: Sequence[np.ndarray], name: str) -> int:
    """What pixel values are multiplied with to reach 0..255: 1, or 255.

    Raises:
      UserError: values from which it cannot be told.

    >>> pixel_scale([np.array([0.0, 0.5])], "mine"), pixel_scale([np.array([0, 200])], "mine")
    (255, 1)
    """
    kind = parts[0].dtype.kind
    if kind not in "iuf":
        raise UserError(f"{name}: pixels must be numbers, got type {parts[0].dtype}. Convert the images to uint8, 0..255.")
    for part in parts:
        if kind == "f" and not np.isfinite(part).all():
            at = int(np.flatnonzero(~np.isfinite(part.reshape(len(part), -1)).all(1))[0])
            raise UserError(f"{name}: image {at} (counted from 0) has NaN or infinite pixels. Fill them in, or leave it out.")
    low, high = min(part.min() for part in parts), max(part.max() for part in parts)
    if not 0 <= low <= high <= 255:  # false for NaN too
        raise UserError(
            f"{name}: pixel values go from {low} to {high}, but must be in 0..255, or real numbers in 0..1. Were the images "
            "normalised? Undo that: normalisation is done here."
        )
    if parts[0].dtype == np.uint8:
        return 1
    if high <= 1:
        if kind == "f":
            return 255
        raise UserError(
            f"{name}: pixels are whole numbers of type {parts[0].dtype} and none is over {high}: it cannot be told whether 1 "
            "is white or nearly black. Convert the images to uint8, 0..255."
        )
    if kind == "f" and any((part != np.floor(part)).any() for part in parts):
        raise UserError(
            f"{name}: pixels go up to {high} but are not whole numbers: it cannot be told what is white. Divide by 255 for "
            "0..1, or round to whole numbers in 0..255."
        )
    return 1

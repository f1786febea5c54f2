"""Image sets by name: what a recipe or a command line calls them."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from jaxnas.data.arrays import npz
from jaxnas.data.augment import Augmentation
from jaxnas.data.cifar import (
    CIFAR10,
    CIFAR10_MEAN,
    CIFAR10_STD,
    CIFAR100,
    CIFAR100_MEAN,
    CIFAR100_STD,
    cifar10,
    cifar100,
)
from jaxnas.data.dataset import Dataset, Split, halved
from jaxnas.data.folder import image_folder
from jaxnas.data.idx import FASHION_HELP, MNIST_HELP, fashion_mnist, mnist
from jaxnas.data.tfds import from_tfds
from jaxnas.errors import UserError, did_you_mean

# What reads the official files of each set, and where to get them.
OFFICIAL = {
    "cifar10": (cifar10, CIFAR10.help),
    "cifar100": (cifar100, CIFAR100.help),
    "mnist": (mnist, MNIST_HELP),
    "fashion_mnist": (fashion_mnist, FASHION_HELP),
}
# Training and test images, pixels a side, classes.
SHAPES = {
    "cifar10": (50_000, 10_000, 32, 10),
    "cifar100": (50_000, 10_000, 32, 100),
    "mnist": (60_000, 10_000, 28, 10),
    "fashion_mnist": (60_000, 10_000, 28, 10),
}
NORMALISATION = {"cifar10": (CIFAR10_MEAN, CIFAR10_STD), "cifar100": (CIFAR100_MEAN, CIFAR100_STD)}
NAMES = ("digits", *OFFICIAL)
# What the recipes for ImageNet call it. It has no official small form: everybody decodes and resizes it.
IMAGENET = "imagenet"
IMAGENET_HELP = (
    "Give --dataset FOLDER with FOLDER/train/CLASS/*.jpg and FOLDER/val/CLASS/*.jpg (or the folder that holds imagenet/ as "
    "--data-dir), or --dataset tfds:NAME. Images are read at 256x256 pixels by the recipes, which crop and resize them to "
    "224x224; they stay on disk."
)
TFDS_PREFIX = "tfds:"
# What a run calls images that were given in Python. It keeps none of them.
ARRAYS = "arrays"


def load(name: str, data_dir: str | os.PathLike[str] | None = None, size: int | None = None) -> Dataset:
    """An image set by name, or a user's own by its path.

    Args:
      name: one of

        - ``digits``, which comes with scikit-learn;
        - ``cifar10``, ``cifar100``, ``mnist``, ``fashion_mnist``, from their official files;
        - ``tfds:NAME``, a dataset that TensorFlow Datasets prepared, see :func:`jaxnas.data.from_tfds`;
        - the path of an ``.npz`` file, see :func:`jaxnas.data.npz`;
        - the path of a folder of images by class, see :func:`jaxnas.data.image_folder`.
      data_dir: for official files their folder or its parent, the environment variable JAXNAS_DATA when not given; for
        ``tfds:NAME`` the folder that it was prepared in; for a relative path the folder that it starts from.
      size: pixels a side that the images of a folder or of TensorFlow Datasets are brought to, see :func:`size_for`; without
        it they must be squares of one size.

    Raises:
      UserError: for an unknown name, and for files that are missing, damaged or not what they should be.

    >>> load("digits").search_train.images.shape
    (648, 8, 8, 3)
    """
    if name == "digits":
        return digits()
    if name in OFFICIAL:
        read, what_to_do = OFFICIAL[name]
        found = data_dir or os.environ.get("JAXNAS_DATA")
        if not found:
            raise UserError(f"No folder is given for data set '{name}'. {what_to_do}")
        return read(found)
    if name.startswith(TFDS_PREFIX):
        return from_tfds(name.removeprefix(TFDS_PREFIX), data_dir, size)
    path = (Path(data_dir or "") / Path(name).expanduser()).expanduser()
    if name.endswith(".npz"):
        return npz(path)
    if name and path.is_dir():
        return image_folder(path, size)
    if name == IMAGENET:
        raise UserError(f"ImageNet is read from a folder of images by class, and there is no folder {path}. {IMAGENET_HELP}")
    if name == ARRAYS:
        raise UserError(
            "The run's images were arrays, given in Python, and a run keeps no images. What needs them is done there, by the "
            "result of jaxnas.search or the fitted estimator. For a run that the commands can go on with, write the arrays as "
            "FILE.npz (x_train, y_train, x_test, y_test) and search with --dataset FILE.npz, or x='FILE.npz' in Python."
        )
    raise UserError(
        f"Unknown data set {name!r}: there is no folder {path} either. {did_you_mean(name, NAMES)} Or tfds:NAME, the path of "
        "an .npz file, or that of a folder of images by class."
    )


def size_for(*augmentations: Augmentation) -> int | None:
    """The size at which images are read: 8/7 of the largest resized crop, as a multiple of 4; None, as they are, without.

    Source: 256 pixels for crops of 224, as everywhere for ImageNet (quark0/darts, cnn/train_imagenet.py).

    >>> size_for(Augmentation(resized_crop=224)), size_for(Augmentation(crop_padding=4))
    (256, None)
    """
    crop = max(augmentation.resized_crop for augmentation in augmentations)
    return 4 * round(crop * 2 / 7) if crop else None


def stand_in(name: str) -> Dataset | None:
    """The shapes of an official set without its files, to plan with; None where the name is not of one.

    Every image is black and the arrays take no memory. The normalisation is the set's where that is published, else none.

    >>> stand_in("cifar10").search_train.images.shape
    (25000, 32, 32, 3)
    """
    if name not in SHAPES:
        return None
    train, test, size, classes = SHAPES[name]
    black, zero = np.zeros((), np.uint8), np.zeros((), np.int32)
    splits = [Split(np.broadcast_to(black, (count, size, size, 3)), np.broadcast_to(zero, count)) for count in (train, test)]
    mean, std = NORMALISATION.get(name, ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)))
    return halved(name, splits[0], splits[1], mean, std, [str(label) for label in range(classes)])


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
    pixels, labels = map(np.asarray, load_digits(return_X_y=True))
    order = np.random.Generator(np.random.PCG64(0)).permutation(len(labels))
    grey = np.rint(pixels[order] * (255 / 16)).astype(np.uint8).reshape(-1, 8, 8, 1)
    images = np.repeat(grey, 3, axis=-1)
    labels = labels[order].astype(np.int32)
    mean = float(grey[:1297].mean() / 255)
    std = float(grey[:1297].std() / 255)
    train, test = Split(images[:1297], labels[:1297]), Split(images[1297:], labels[1297:])
    return halved("digits", train, test, (mean, mean, mean), (std, std, std), tuple("0123456789"))

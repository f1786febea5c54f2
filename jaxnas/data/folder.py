"""A folder of PNG or JPEG images by class."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from jaxnas.data.arrays import from_arrays
from jaxnas.data.dataset import Dataset
from jaxnas.data.pictures import decoded_if_it_fits, pictures_of
from jaxnas.errors import UserError

SUFFIXES = (".png", ".jpg", ".jpeg")
TEST, VALIDATION = ("test",), ("val", "valid", "validation")
LAYOUT = (
    "Expected FOLDER/train/CLASS/*.png (or .jpg) with FOLDER/test/CLASS/ or FOLDER/val/CLASS/ beside it, or FOLDER/CLASS/*.png "
    "alone, of which a fifth of every class becomes the test split."
)


def image_folder(path: str | os.PathLike[str], size: int | None = None) -> Dataset:
    """Images by class: ``train/CLASS/*`` with ``test/CLASS/*`` or ``val/CLASS/*``, or ``CLASS/*`` alone.

    Without a test folder, ``val`` is the test split; beside one, its images are training images, as a search makes its own
    validation split from these. With neither, :func:`jaxnas.data.from_arrays` sets a fifth aside. Classes are the folders'
    names in alphabetical order; grey images get three equal channels; normalised by the training images' moments.

    Images that would take more than ``jaxnas.data.pictures.RESIDENT_BYTES`` stay on disk; the splits are the same.

    Args:
      path: of the folder.
      size: pixels a side that every image is brought to, its shorter side resized and then its centre cropped; without it they
        must be squares of one size.

    Raises:
      UserError: another layout, a file that is no image or is damaged, images of different sizes, a class without images or
        one that training does not have, and as :func:`jaxnas.data.from_arrays`.
    """
    root = Path(path).expanduser()
    if not root.is_dir():
        raise UserError(f"{root} does not exist or is no folder. {LAYOUT}")
    inside = {folder.name: folder for folder in _folders(root)}
    test = [inside[name] for name in TEST if name in inside]
    validation = [inside[name] for name in VALIDATION if name in inside]
    if "train" not in inside:
        if test or validation:
            raise UserError(f"{root} has a folder {(test + validation)[0].name} but no folder train. {LAYOUT}")
        train_folders, test_folders = [root], []
    else:
        train_folders = [inside["train"], *(validation if test else ())]
        test_folders = test or validation
    classes = tuple(folder.name for folder in _folders(train_folders[0]))
    if len(classes) < 2:
        raise UserError(f"{train_folders[0]} has {len(classes)} folders of classes; at least two are needed. {LAYOUT}")
    train_files, test_files = _files(train_folders, classes), _files(test_folders, classes)
    files = [*train_files, *test_files]
    images = decoded_if_it_fits(pictures_of(len(files), lambda number: (str(files[number][0]), files[number][0]), size))
    labels, cut = np.array([label for _, label in files]), len(train_files)
    x_test, y_test = (images[cut:], labels[cut:]) if test_files else (None, None)
    return from_arrays(root.resolve().name, images[:cut], labels[:cut], x_test, y_test, classes)


def _folders(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))


def _files(folders: list[Path], classes: tuple[str, ...]) -> list[tuple[Path, int]]:
    """Every image with its label, class after class."""
    found = []
    for split in folders:
        for folder in _folders(split):
            if folder.name not in classes:
                raise UserError(f"{folder}: training has no class {folder.name!r}, only {', '.join(classes[:10])}. {LAYOUT}")
            files = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
            if not files:
                raise UserError(f"{folder} has no images. Put some in it or remove it.")
            for file in files:
                if file.suffix.lower() not in SUFFIXES or not file.is_file():
                    raise UserError(f"{file} is not a file that ends in {', '.join(SUFFIXES)}. Convert, move or remove it.")
                found.append((file, classes.index(folder.name)))
    return found

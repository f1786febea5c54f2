"""A contact sheet: a few training images of each class under its name."""

from __future__ import annotations

import math

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from jaxnas.data import Dataset

IMAGES = 8  # of each class
GAP, MARGIN, LABEL = 4, 20, 18  # pixels between images, between columns, and of the line above a class's images
SMALL, LARGE = 64, 96  # images are magnified up to the one and shrunk down to the other
PAPER, INK = (255, 255, 255), (0, 0, 0)


def tile_size(image_size: int) -> int:
    """Pixels of an image on the sheet: a whole multiple of its own while that is no larger than 64, and 96 at most.

    >>> [tile_size(size) for size in (8, 28, 32, 80, 224)]
    [64, 56, 64, 80, 96]
    """
    return min(image_size * max(1, SMALL // image_size), LARGE)


def columns(classes: int, tile: int) -> int:
    """How many classes stand side by side: the fewest that make the sheet no higher than wide.

    >>> columns(10, 64), columns(100, 64)
    (2, 4)
    """
    width, height = _block(tile)
    return next(count for count in range(1, classes + 1) if count * width >= math.ceil(classes / count) * height)


def corner(label: int, image: int, classes: int, tile: int) -> tuple[int, int]:
    """Left and top pixel of a class's image on the sheet; the classes go down the columns.

    >>> corner(label=0, image=1, classes=10, tile=64)
    (78, 18)
    """
    width, height = _block(tile)
    column, row = divmod(label, math.ceil(classes / columns(classes, tile)))
    return MARGIN // 2 + column * width + image * (tile + GAP), row * height + LABEL


def draw(dataset: Dataset) -> Image.Image:
    """The first images of each class in the training split; the test split stays unseen.

    A class whose name is not in ASCII is called by its number, from 0 in the order of the names.
    """
    images, labels, classes = dataset.train.images, dataset.train.labels, dataset.classes
    tile = tile_size(dataset.image_size)
    width, height = _block(tile)
    across = columns(classes, tile)
    sheet = Image.new("RGB", (across * width, math.ceil(classes / across) * height), PAPER)
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(12)
    how = Image.Resampling.NEAREST if tile >= dataset.image_size else Image.Resampling.LANCZOS
    for label, name in enumerate(dataset.class_names):
        where = np.flatnonzero(labels == label)
        left, top = corner(label, 0, classes, tile)
        title = name if name.isascii() else f"class {label}"  # Of other letters Pillow's font has none: each would be a box.
        pen.text((left, top - LABEL + 2), _fitting(f"{title}: {len(where):,}", width - MARGIN, font), INK, font)
        for image, index in enumerate(where[:IMAGES]):
            sheet.paste(Image.fromarray(images[index]).resize((tile, tile), how), corner(label, image, classes, tile))
    return sheet


def _block(tile: int) -> tuple[int, int]:
    """Width and height of one class's part."""
    return IMAGES * (tile + GAP) + MARGIN - GAP, LABEL + tile + GAP


def _fitting(text: str, width: int, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> str:
    """The text, cut so that it does not run into the next class's."""
    if font.getlength(text) <= width:
        return text
    return next(cut for end in range(len(text), -1, -1) if font.getlength(cut := f"{text[:end]}...") <= width)

"""Encoded images, PNG or JPEG, to arrays."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image, UnidentifiedImageError

from jaxnas.errors import UserError


def read_pictures(pictures: Iterable[tuple[str, Path | BinaryIO]]) -> np.ndarray:
    """Images of one size: uint8 ``[N, H, W, 3]``, a grey one in three equal channels.

    Args:
      pictures: what each is called in a message, and its file.

    Raises:
      UserError: one that is damaged, neither PNG nor JPEG, partly transparent, of more than 8 bits, or of another size than
        the first.

    >>> import io
    >>> file = io.BytesIO()
    >>> Image.fromarray(np.array([[0, 255]], np.uint8)).save(file, "PNG")
    >>> read_pictures([("black and white", file)]).tolist()
    [[[[0, 0, 0], [255, 255, 255]]]]
    """
    images: list[np.ndarray] = []
    first = ""
    for name, file in pictures:
        image = _read(name, file)
        first = first or name
        if images and image.shape != images[0].shape:
            sizes = [f"{given.shape[1]}x{given.shape[0]}" for given in (images[0], image)]
            raise UserError(
                f"Images are of different sizes: {first} is {sizes[0]}, {name} is {sizes[1]} pixels. Resize or crop them "
                "to one square size first."
            )
        images.append(image)
    return np.array(images)


def _read(name: str, file: Path | BinaryIO) -> np.ndarray:
    """One image, ``[H, W, 3]``."""
    try:
        with Image.open(file, formats=("PNG", "JPEG")) as image:
            opaque = image.mode in ("RGBA", "LA") and image.getchannel("A").getextrema()[0] == 255
            if not opaque and (image.mode not in ("1", "L", "P", "RGB") or image.has_transparency_data):
                raise UserError(
                    f"{name} has mode {image.mode}{' with transparency' if image.has_transparency_data else ''}; grey, palette "
                    "and RGB images of 8 bits without transparency are read. Convert it first."
                )
            return np.asarray(image.convert("RGB"))
    except UserError:
        raise
    except UnidentifiedImageError as error:
        raise UserError(f"{name} cannot be read as an image: it is neither PNG nor JPEG, or is damaged. Replace it.") from error
    except (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError) as error:
        raise UserError(f"{name} cannot be read as an image ({error}): it is damaged or cut short. Replace it.") from error

"""Encoded images, PNG or JPEG: read into an array, or left where they are and decoded when they are asked for."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from PIL import Image, UnidentifiedImageError

from jaxnas.errors import UserError

RESIDENT_BYTES = 2**31
"""Images that take more than so many bytes when they are decoded stay on disk, and a search or a training streams them."""

OTHER_SIZES = (
    "Resize or crop them to one square size first. (A recipe with a resized crop does it itself: it reads every image at 8/7 "
    "of its crop.)"
)


class Unreadable(UserError):
    """An image that cannot be read, or not any more."""


@dataclasses.dataclass(frozen=True, eq=False)
class Pictures:
    """Encoded images, in the form of the array uint8 ``[N, H, W, 3]`` that they would be.

    An index gives an image, decoded anew each time; a slice or an array of places or booleans gives those pictures, still
    encoded; ``numpy.asarray`` decodes all. A grey image has three equal channels.

    Attributes:
      open: of a number, what the image is called in a message, and its file.
      numbers: int64 ``[N]``, which images these are.
      shape: ``[N, H, W, 3]``.
      first: name of the image whose size all others must have.
      size: pixels a side that images are brought to: the shorter side resized, then the centre cropped. None to take them as
        they are.

    >>> import io
    >>> file = io.BytesIO()
    >>> Image.fromarray(np.array([[0, 255]], np.uint8)).save(file, "PNG")
    >>> pictures = pictures_of(3, lambda number: ("black and white", file))
    >>> pictures.shape, pictures[[2, 0]].numbers.tolist(), pictures[1][0].tolist()
    ((3, 1, 2, 3), [2, 0], [[0, 0, 0], [255, 255, 255]])
    """

    open: Callable[[int], tuple[str, Path | BinaryIO]]
    numbers: np.ndarray
    shape: tuple[int, int, int, int]
    first: str
    size: int | None = None

    dtype = np.dtype(np.uint8)
    ndim = 4

    @property
    def nbytes(self) -> int:
        """Bytes of the array."""
        return int(np.prod(self.shape, dtype=np.int64))

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, where: Any) -> Any:
        numbers = self.numbers[where]
        if np.ndim(numbers):
            return dataclasses.replace(self, numbers=numbers, shape=(len(numbers), *self.shape[1:]))
        name, file = self.open(int(numbers))
        image = _read(name, file, self.size)
        if image.shape != self.shape[1:]:
            sizes = [f"{given[1]}x{given[0]}" for given in (self.shape[1:], image.shape)]
            raise Unreadable(
                f"Images are of different sizes: {self.first} is {sizes[0]}, {name} is {sizes[1]} pixels. {OTHER_SIZES}"
            )
        return image

    def __iter__(self) -> Iterator[np.ndarray]:
        return (self[place] for place in range(len(self)))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        if copy is False:
            raise ValueError("Pictures are decoded into a new array.")
        images = np.empty(self.shape, np.uint8 if dtype is None else dtype)
        for place, image in enumerate(self):
            images[place] = image
        return images


def pictures_of(count: int, open: Callable[[int], tuple[str, Path | BinaryIO]], size: int | None = None) -> Pictures:
    """Images 0 to ``count - 1``, of which the first is decoded for its size.

    Raises:
      UserError: the first cannot be read.
    """
    name, file = open(0)
    return Pictures(open, np.arange(count), (count, *_read(name, file, size).shape), name, size)


def decoded_if_it_fits(pictures: Pictures) -> np.ndarray | Pictures:
    """The pictures decoded, unless that takes more than :data:`RESIDENT_BYTES`.

    Raises:
      UserError: one that is damaged, neither PNG nor JPEG, partly transparent, of more than 8 bits, or of another size than
        the first.
    """
    return pictures if pictures.nbytes > RESIDENT_BYTES else np.asarray(pictures)


def _read(name: str, file: Path | BinaryIO, size: int | None) -> np.ndarray:
    """One image, ``[H, W, 3]``."""
    try:
        with Image.open(file, formats=("PNG", "JPEG")) as image:
            opaque = image.mode in ("RGBA", "LA") and image.getchannel("A").getextrema()[0] == 255
            if not opaque and (image.mode not in ("1", "L", "P", "RGB") or image.has_transparency_data):
                raise Unreadable(
                    f"{name} has mode {image.mode}{' with transparency' if image.has_transparency_data else ''}; grey, palette "
                    "and RGB images of 8 bits without transparency are read. Convert it first."
                )
            return np.asarray(_resized(image.convert("RGB"), size))
    except UserError:
        raise
    except UnidentifiedImageError as error:
        raise Unreadable(
            f"{name} cannot be read as an image: it is neither PNG nor JPEG, or is damaged. Replace it."
        ) from error
    except OSError as error:
        if error.errno is None:  # Pillow's own.
            raise _damaged(name, error) from error
        raise Unreadable(
            f"{name} cannot be read any more ({error.strerror}). Was the folder of the data moved, removed or unmounted? "
            "Bring it back."
        ) from error
    except (SyntaxError, ValueError, EOFError, Image.DecompressionBombError) as error:
        raise _damaged(name, error) from error


def _damaged(name: str, error: Exception) -> Unreadable:
    return Unreadable(f"{name} cannot be read as an image ({error}): it is damaged or cut short. Replace it.")


def _resized(image: Image.Image, size: int | None) -> Image.Image:
    """The shorter side at ``size`` pixels, of the longer one the middle: torchvision's Resize and CenterCrop."""
    if size is None or image.size == (size, size):
        return image
    shorter = min(image.size)
    width, height = (size * side // shorter for side in image.size)
    left, top = round((width - size) / 2), round((height - size) / 2)
    return image.resize((width, height), Image.Resampling.BILINEAR).crop((left, top, left + size, top + size))

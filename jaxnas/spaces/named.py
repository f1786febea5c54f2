"""Search spaces by the names that recipes call them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Literal

from jaxnas.spaces.blocks import FBNET_SMALL_STRIDES, PROXYLESS_SMALL_STRIDES, BlockSpace, fbnet, mobile_small, proxyless
from jaxnas.spaces.cell import CellSpace, darts, drnas, gdas, nb201, robust_darts
from jaxnas.spaces.membership import Space

SpaceName = Literal[
    "darts",
    "drnas",
    "nb201",
    "gdas",
    "s1",
    "s2",
    "s3",
    "s4",
    "proxyless",
    "fbnet",
    "proxyless_small",
    "fbnet_small",
    "proxyless_tiny",
    "fbnet_tiny",
    "mobile_small",
]

CELL_SPACES: dict[SpaceName, Callable[[], CellSpace]] = {
    "darts": darts,
    "drnas": drnas,
    "nb201": nb201,
    "gdas": gdas,
    "s1": lambda: robust_darts(1),
    "s2": lambda: robust_darts(2),
    "s3": lambda: robust_darts(3),
    "s4": lambda: robust_darts(4),
}

BLOCK_SPACES: dict[SpaceName, Callable[[float], BlockSpace]] = {
    # For ImageNet.
    "proxyless": proxyless,
    "fbnet": fbnet,
    # For images of 32x32 pixels; FBNet's head is HW-NAS-Bench's.
    "proxyless_small": lambda width: proxyless(width, PROXYLESS_SMALL_STRIDES),
    "fbnet_small": lambda width: fbnet(width, FBNET_SMALL_STRIDES, head=1504),
    # Ours, for images of 8x8 pixels: the same candidates in five blocks, of which the first halves the image.
    "proxyless_tiny": lambda width: proxyless(width, (1, 2), head=64, stages=((16, 5),)),
    "fbnet_tiny": lambda width: fbnet(width, (1, 2), head=64, stages=((16, 5),)),
    # Ours, for images of 32x32 pixels: small enough to be compiled and measured on a CPU.
    "mobile_small": mobile_small,
}
"""From a width, the multiplier of channels, to a space. The strides belong to the name, as to a size of images."""


def named_space(name: SpaceName, width: float = 1.0) -> Space:
    """The space of a name.

    Args:
      name: one of ``CELL_SPACES`` or ``BLOCK_SPACES``.
      width: multiplier of a block space's channels; cells have none.

    Raises:
      UserError: a width that is not positive.

    >>> named_space("nb201").size, named_space("fbnet_small", width=0.5).inputs[:3]
    (15625, (8, 8, 16))
    """
    if name in CELL_SPACES:
        return CELL_SPACES[name]()
    return dataclasses.replace(BLOCK_SPACES[name](width), name=name)

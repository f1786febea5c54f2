"""Image sets with their fixed splits, and augmentation inside jit."""

from jaxnas.data.augment import Augmentation, Draws, augment, draw, normalise
from jaxnas.data.sources import Dataset, Split, check, cifar10, digits, load

__all__ = [
    "Augmentation",
    "Dataset",
    "Draws",
    "Split",
    "augment",
    "check",
    "cifar10",
    "digits",
    "draw",
    "load",
    "normalise",
]

"""Image sets, the order in which they are visited, and augmentation inside jit."""

from jaxnas.data.augment import Augmentation, Draws, augment, batch_indices, draw, epoch_order, normalise
from jaxnas.data.sources import Dataset, Split, check, cifar10, digits, load

__all__ = [
    "Augmentation",
    "Dataset",
    "Draws",
    "Split",
    "augment",
    "batch_indices",
    "check",
    "cifar10",
    "digits",
    "draw",
    "epoch_order",
    "load",
    "normalise",
]

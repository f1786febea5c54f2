"""Image sets with their fixed splits, and augmentation inside jit."""

from jaxnas.data.arrays import for_training, from_arrays, npz, pixel_scale, to_bytes
from jaxnas.data.augment import Augmentation, Draws, augment, centre_crop, draw, normalise
from jaxnas.data.cifar import cifar10, cifar100
from jaxnas.data.dataset import Dataset, Split, check, class_counts, imbalance, moments
from jaxnas.data.fingerprint import fingerprints, in_memory
from jaxnas.data.folder import image_folder
from jaxnas.data.idx import fashion_mnist, mnist
from jaxnas.data.pictures import Pictures, Unreadable
from jaxnas.data.shares import with_shares
from jaxnas.data.sources import ARRAYS, IMAGENET, NAMES, digits, load, size_for, stand_in
from jaxnas.data.streams import Stream
from jaxnas.data.tfds import from_tfds

__all__ = [
    "ARRAYS",
    "IMAGENET",
    "NAMES",
    "Augmentation",
    "Dataset",
    "Draws",
    "Pictures",
    "Split",
    "Stream",
    "Unreadable",
    "augment",
    "centre_crop",
    "check",
    "cifar10",
    "cifar100",
    "class_counts",
    "digits",
    "draw",
    "fashion_mnist",
    "fingerprints",
    "for_training",
    "from_arrays",
    "from_tfds",
    "image_folder",
    "imbalance",
    "in_memory",
    "load",
    "mnist",
    "moments",
    "normalise",
    "npz",
    "pixel_scale",
    "size_for",
    "stand_in",
    "to_bytes",
    "with_shares",
]

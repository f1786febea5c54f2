"""What is exported: a trained network, and what it has to be told of its images."""

from __future__ import annotations

import dataclasses
import importlib.metadata
from typing import Any

import numpy as np
from jax import Array

from jaxnas.interop import to_state_dict
from jaxnas.nets import ChainShape, Shape, derived
from jaxnas.spaces import Genotype


def writer() -> str:
    """Who exported, with the version where it is installed."""
    try:
        return f"jaxnas {importlib.metadata.version('jaxnas')}"
    except importlib.metadata.PackageNotFoundError:
        return "jaxnas"


@dataclasses.dataclass(frozen=True, eq=False)
class TrainedNetwork:
    """A trained network of a genotype.

    Attributes:
      genotype, shape: what it is built of.
      weights, statistics: of :func:`jaxnas.nets.derived`, an auxiliary head's among them where it was trained with one.
      mean, std: of each channel, of pixel values scaled to 0..1, by which its images are normalised.
      class_names: what each of its outputs stands for.
      cropped: whether its images are the centres of larger ones.
    """

    genotype: Genotype
    shape: Shape | ChainShape
    weights: Any
    statistics: Any
    mean: tuple[float, ...]
    std: tuple[float, ...]
    class_names: tuple[str, ...]
    cropped: bool = False

    def logits(self, images: Array) -> Array:
        """What the network gives out in evaluation: ``[N, H, W, 3]``, normalised, to ``[N, classes]``."""
        network = derived(self.genotype, self.shape, auxiliary="auxiliary_head" in self.weights)
        return network.logits(self.weights, self.statistics, images)

    def arrays(self) -> dict[str, np.ndarray]:
        """Weights and statistics by the names of PyTorch's reference implementation, and in its layout."""
        return {**to_state_dict(self.weights), **to_state_dict(self.statistics)}

    def preprocessing(self) -> dict[str, Any]:
        """How an image becomes an input, and what the outputs stand for; for JSON."""
        return {
            "images": f"float32 [N, {self.shape.image_size}, {self.shape.image_size}, 3], red, green, blue",
            "pixels": "(value / 255 - mean) / std",
            "image_size": self.shape.image_size,
            "centre_crop": self.cropped,
            "mean": list(self.mean),
            "std": list(self.std),
            "class_names": list(self.class_names),
        }

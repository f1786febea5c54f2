"""What a trained network says of images that it has not seen."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import jax
import numpy as np
from jax import Array

from jaxnas.data import Dataset, Split
from jaxnas.errors import UserError
from jaxnas.recipes import TrainRecipe
from jaxnas.spaces import Genotype
from jaxnas.training import EVALUATION_BATCH, as_evaluated, network_of


@dataclasses.dataclass(frozen=True, eq=False)
class Predictor:
    """A trained network as a function of images, compiled when it is first called. It can be pickled.

    Attributes:
      genotype, recipe: what the network is, and how it was trained.
      dataset: what it was trained on, as from :func:`without_images`.
      weights, statistics: of :class:`jaxnas.training.Trained`.
    """

    genotype: Genotype
    recipe: TrainRecipe
    dataset: Dataset
    weights: Any
    statistics: Any

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Probabilities ``[N, classes]``, float32, of images ``[N, H, W, 3]``, uint8, of the size of the training images.

        Raises:
          UserError: images of another shape.
        """
        size = self.dataset.image_size
        if images.shape[1:] != (size, size, 3):
            raise UserError(f"The network was trained on images {size}x{size}, got an array {list(images.shape)}. Resize them.")
        probabilities = np.zeros((len(images), self.dataset.classes), np.float32)
        for at in range(0, len(images), EVALUATION_BATCH):
            batch = images[at : at + EVALUATION_BATCH]
            # One program for every batch: the last one is filled up with its own images.
            whole = np.resize(batch, (EVALUATION_BATCH, *batch.shape[1:]))
            probabilities[at : at + EVALUATION_BATCH] = self._compiled(self.weights, self.statistics, whole)[: len(batch)]
        return probabilities

    def __getstate__(self) -> dict[str, Any]:
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}

    @functools.cached_property
    def _compiled(self) -> Any:
        network, crop = network_of(self.genotype, self.recipe, self.dataset), self.recipe.augmentation.resized_crop

        def probabilities(weights: Any, statistics: Any, images: Array) -> Array:
            x = as_evaluated(images, self.dataset, crop)
            return jax.nn.softmax(network.logits(weights, statistics, x))

        return jax.jit(probabilities)


def without_images(dataset: Dataset) -> Dataset:
    """What is known of a dataset but for its images: all that a trained network has to keep.

    >>> from jaxnas.data import load
    >>> digits = without_images(load("digits"))
    >>> digits.image_size, digits.classes, len(digits.train.labels)
    (8, 10, 0)
    """
    none = Split(np.zeros((0, *dataset.train.images.shape[1:]), np.uint8), np.zeros(0, np.int32))
    return dataclasses.replace(dataset, search_train=none, search_valid=none, train=none, test=none)

"""What the training of a derived network is made of, as frozen dataclasses that refuse what cannot be."""

from __future__ import annotations

import dataclasses
from typing import Literal

from jaxnas.checks import check_below_one, check_finite, check_known, check_not_negative, check_positive, check_seed
from jaxnas.data import Augmentation, size_for
from jaxnas.errors import UserError
from jaxnas.optimizers import LINEAR_TAIL
from jaxnas.spaces import Family


@dataclasses.dataclass(frozen=True)
class TrainRecipe:
    """How a derived network is trained, from scratch, on all of the training data.

    Attributes:
      template: the network's stem and auxiliary head: for small images, or for those of ImageNet (darts family).
      channels, cells: of the derived network (C and L, or N in the nb201 family); a genotype of family blocks has its own.
      epochs, batch: length.
      steps_per_epoch: of each epoch, as of a search.
      schedule: of the learning rate, see `jaxnas.optimizers.cosine`, ``linear`` or ``exponential``.
      learning_rate: its highest value.
      learning_rate_end: cosine: the last value.
      learning_rate_factor: exponential: from one epoch to the next.
      cosine_every: cosine: whether the rate changes every epoch (DARTS) or every step.
      warmup_epochs: cosine and linear: in which the rate grows, see there.
      momentum, nesterov, weight_decay, clip: of SGD; a clip of 0 means none.
      label_smoothing: share of the target that is spread evenly over all classes.
      auxiliary_weight: of the auxiliary head's loss; 0 for no head.
      drop_path: probability at the end of training, growing linearly by epoch from 0 (family darts).
      dropout: probability before the classifier (family blocks).
      teacher: folder of a run whose network is learned from, too; none where it is empty. Also in Python a function.
      distillation_weight: with a teacher, of `jaxnas.losses.distillation` beside 1 minus it of the loss by the labels.
      distillation_temperature: with a teacher: T. Both as of Zagoruyko and Komodakis (2017), section 4.1.
      augmentation: of the training images; where it crops and resizes, a test image's centre of the same size is evaluated.
    """

    template: Literal["cifar", "imagenet"] = "cifar"
    channels: int = 36
    cells: int = 20
    epochs: int = 600
    steps_per_epoch: int = 0
    batch: int = 96
    schedule: Literal["cosine", "linear", "exponential"] = "cosine"
    learning_rate: float = 0.025
    learning_rate_end: float = 0.0
    learning_rate_factor: float = 0.97
    cosine_every: Literal["epoch", "step"] = "epoch"
    warmup_epochs: int = 0
    momentum: float = 0.9
    nesterov: bool = False
    weight_decay: float = 3e-4
    clip: float = 5.0
    label_smoothing: float = 0.0
    auxiliary_weight: float = 0.4
    drop_path: float = 0.2
    dropout: float = 0.0
    teacher: str = ""
    distillation_weight: float = 0.9
    distillation_temperature: float = 4.0
    augmentation: Augmentation = Augmentation()

    def __post_init__(self) -> None:
        check_known(self)
        check_finite(self)
        check_positive(self, "channels", "cells", "epochs", "batch", "learning_rate", "learning_rate_factor")
        check_positive(self, "distillation_weight", "distillation_temperature")
        check_not_negative(
            self, "learning_rate_end", "warmup_epochs", "weight_decay", "clip", "auxiliary_weight", "steps_per_epoch"
        )
        check_below_one(self, "momentum", "label_smoothing", "drop_path", "dropout")
        if self.distillation_weight > 1:
            raise UserError(f"distillation_weight is at most 1, where labels are not read, got {self.distillation_weight}.")
        if self.warmup_epochs and self.schedule == "exponential":
            raise UserError(f"warmup_epochs={self.warmup_epochs} needs schedule=cosine or linear, got exponential.")
        if self.warmup_epochs >= self.epochs:
            raise UserError(f"warmup_epochs={self.warmup_epochs} must be fewer than the {self.epochs} epochs.")
        if self.schedule == "linear" and self.epochs <= LINEAR_TAIL:
            raise UserError(f"schedule=linear needs more than {LINEAR_TAIL} epochs, got {self.epochs}.")


@dataclasses.dataclass(frozen=True)
class Training:
    """The training of a genotype's network.

    Attributes:
      dataset: name of a dataset, see `jaxnas.data.load`.
      family: of the genotypes that the sizes are meant for.
      train: how.
      seed: of weights, order and augmentation.
    """

    dataset: str = "cifar10"
    family: Family = "darts"
    train: TrainRecipe = TrainRecipe()
    seed: int = 0

    def __post_init__(self) -> None:
        check_seed(self.seed)

    @property
    def image_size(self) -> int | None:
        """Pixels a side at which images are read, see :func:`jaxnas.data.size_for`."""
        return size_for(self.train.augmentation)

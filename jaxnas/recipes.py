"""Named configurations, every value with its source.

A recipe is a frozen dataclass; a command's options replace its fields, and the resolved recipe is written to the run.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Literal, get_args, get_origin, get_type_hints

from jaxnas.data import Augmentation
from jaxnas.errors import UserError, did_you_mean
from jaxnas.optimizers import LINEAR_TAIL
from jaxnas.spaces import CellSpace, darts, nb201, robust_darts
from jaxnas.spaces.cell import Family

SPACES = {"darts": darts, "nb201": nb201, **{f"s{i}": lambda i=i: robust_darts(i) for i in (1, 2, 3, 4)}}


def _positive(recipe: object, *names: str) -> None:
    for name in names:
        if not getattr(recipe, name) > 0:
            raise UserError(f"{name} must be positive, got {getattr(recipe, name)}.")


def _not_negative(recipe: object, *names: str) -> None:
    for name in names:
        if not getattr(recipe, name) >= 0:
            raise UserError(f"{name} must not be negative, got {getattr(recipe, name)}.")


def _below_one(recipe: object, *names: str) -> None:
    for name in names:
        if not 0 <= getattr(recipe, name) < 1:
            raise UserError(f"{name} must be at least 0 and below 1, got {getattr(recipe, name)}.")


def _seed(seed: int) -> None:
    if not 0 <= seed < 2**32:
        raise UserError(f"seed must be at least 0 and below 2**32, got {seed}.")


def _known(recipe: object) -> None:
    """Refuses a word that its field does not list: the command line does so too, but Python and config.json may give any."""
    for name, kind in get_type_hints(type(recipe)).items():
        if get_origin(kind) is Literal and getattr(recipe, name) not in get_args(kind):
            raise UserError(f"Unknown {name} {getattr(recipe, name)!r}. {did_you_mean(getattr(recipe, name), get_args(kind))}")


@dataclasses.dataclass(frozen=True)
class SearchRecipe:
    """How a cell is searched.

    Attributes:
      space: darts, nb201, or RobustDARTS's s1 to s4.
      channels: C of the supernet.
      cells: cells of the supernet (darts family), or N, cells per stage (nb201 family).
      affine: nb201 family: scale and shift in the cells' batch norms.
      epochs, batch: length; every epoch has as many steps as the training half has full batches.
      valid_order: ``fresh`` draws every validation batch anew, as DARTS does; ``shuffled`` goes through the validation half
        once an epoch.
      hypergradient: first_order, unrolled (exact) or finite_difference (the paper's).
      unrolled_steps: virtual steps of the unrolled gradient.
      order: which of the two updates comes first.
      weight_steps_per_alpha_step, alphas_from_epoch: when the alphas move.
      learning_rate, learning_rate_end: of the weights, cosine.
      cosine_every: whether the rate changes every epoch (DARTS) or every step (AutoDL-Projects).
      momentum, nesterov, weight_decay, clip: of the weights' SGD; the clip is of the global norm.
      alpha_learning_rate, alpha_b1, alpha_b2, alpha_weight_decay: of the alphas' Adam.
      augmentation: of both halves.
      dtype: bfloat16 computes the supernet's cells in it; weights, alphas, moments, losses and optimizers stay in float32.
      rematerialise: run every cell again for its gradient: less memory, one more forward pass.
    """

    space: Literal["darts", "nb201", "s1", "s2", "s3", "s4"] = "darts"
    channels: int = 16
    cells: int = 8
    affine: bool = False
    epochs: int = 50
    batch: int = 64
    valid_order: Literal["fresh", "shuffled"] = "fresh"
    hypergradient: Literal["first_order", "unrolled", "finite_difference"] = "first_order"
    unrolled_steps: int = 1
    order: Literal["alphas_first", "weights_first"] = "alphas_first"
    weight_steps_per_alpha_step: int = 1
    alphas_from_epoch: int = 0
    learning_rate: float = 0.025
    learning_rate_end: float = 0.001
    cosine_every: Literal["epoch", "step"] = "epoch"
    momentum: float = 0.9
    nesterov: bool = False
    weight_decay: float = 3e-4
    clip: float = 5.0
    alpha_learning_rate: float = 3e-4
    alpha_b1: float = 0.5
    alpha_b2: float = 0.999
    alpha_weight_decay: float = 1e-3
    augmentation: Augmentation = Augmentation()
    dtype: Literal["float32", "bfloat16"] = "float32"
    rematerialise: bool = False

    def __post_init__(self) -> None:
        _known(self)
        _positive(self, "channels", "cells", "epochs", "batch", "unrolled_steps", "weight_steps_per_alpha_step")
        _positive(self, "learning_rate", "clip", "alpha_learning_rate")
        _not_negative(self, "learning_rate_end", "weight_decay", "alpha_weight_decay")
        _below_one(self, "momentum", "alpha_b1", "alpha_b2")
        if self.unrolled_steps > 1 and self.hypergradient != "unrolled":
            raise UserError(f"unrolled_steps={self.unrolled_steps} needs hypergradient=unrolled, got {self.hypergradient}.")
        if not 0 <= self.alphas_from_epoch < self.epochs:
            raise UserError(
                f"alphas_from_epoch={self.alphas_from_epoch}: with {self.epochs} epochs the alphas would never move."
            )

    def build_space(self) -> CellSpace:
        """The space as data."""
        return SPACES[self.space]()


@dataclasses.dataclass(frozen=True)
class TrainRecipe:
    """How a derived network is trained, from scratch, on both halves of the training data.

    Attributes:
      template: the network's stem and auxiliary head: for small images, or for those of ImageNet (darts family).
      channels, cells: of the derived network (C and L, or N in the nb201 family).
      epochs, batch: length.
      schedule: of the learning rate: :func:`jaxnas.optimizers.cosine`, ``linear`` or ``exponential``.
      learning_rate: its highest value.
      learning_rate_end: cosine: the last value.
      learning_rate_factor: exponential: from one epoch to the next.
      cosine_every: cosine: whether the rate changes every epoch (DARTS) or every step.
      warmup_epochs: cosine and linear: in which the rate grows, see there.
      momentum, nesterov, weight_decay, clip: of SGD; a clip of 0 means none.
      label_smoothing: share of the target that is spread evenly over all classes.
      auxiliary_weight: of the auxiliary head's loss; 0 for no head.
      drop_path: probability at the end of training, growing linearly by epoch from 0.
      augmentation: of the training images; where it crops and resizes, a test image's centre of the same size is evaluated.
    """

    template: Literal["cifar", "imagenet"] = "cifar"
    channels: int = 36
    cells: int = 20
    epochs: int = 600
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
    augmentation: Augmentation = Augmentation()

    def __post_init__(self) -> None:
        _known(self)
        _positive(self, "channels", "cells", "epochs", "batch", "learning_rate", "learning_rate_factor")
        _not_negative(self, "learning_rate_end", "warmup_epochs", "weight_decay", "clip", "auxiliary_weight")
        _below_one(self, "momentum", "label_smoothing", "drop_path")
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
      dataset: name of a dataset, see :func:`jaxnas.data.load`.
      family: of the genotypes that the sizes are meant for.
      train: how.
      seed: of weights, order and augmentation.
    """

    dataset: str = "cifar10"
    family: Family = "darts"
    train: TrainRecipe = TrainRecipe()
    seed: int = 0

    def __post_init__(self) -> None:
        _seed(self.seed)


@dataclasses.dataclass(frozen=True)
class Recipe:
    """A search, the training of what it finds, and the random cells it is compared with.

    Attributes:
      dataset: name of a dataset, see :func:`jaxnas.data.load`.
      search, train: the two stages.
      random_cells: genotypes drawn by the space's own rule, trained exactly as the found one.
      seed: of everything.
    """

    dataset: str = "cifar10"
    search: SearchRecipe = SearchRecipe()
    train: TrainRecipe = TrainRecipe()
    random_cells: int = 3
    seed: int = 0

    def __post_init__(self) -> None:
        _not_negative(self, "random_cells")
        _seed(self.seed)

    @property
    def training(self) -> Training:
        """The second stage alone."""
        return Training(self.dataset, self.search.build_space().family, self.train, self.seed)


_CROP_AND_FLIP = Augmentation(crop_padding=4, flip=True)

# quark0/darts at f276dd3, cnn/train_search.py and cnn/train.py.
_DARTS = Recipe(
    search=SearchRecipe(augmentation=_CROP_AND_FLIP),
    train=TrainRecipe(augmentation=dataclasses.replace(_CROP_AND_FLIP, cutout=16)),
    seed=2,
)

# AutoDL-Projects at f46486e: configs/nas-benchmark/algos/DARTS.config; training: NAS-Bench-201's 200 epochs.
_NB201 = Recipe(
    search=SearchRecipe(
        space="nb201",
        cells=5,
        order="weights_first",
        cosine_every="step",
        nesterov=True,
        weight_decay=5e-4,
        augmentation=_CROP_AND_FLIP,
    ),
    train=TrainRecipe(
        channels=16,
        cells=5,
        epochs=200,
        batch=256,
        learning_rate=0.1,
        cosine_every="step",
        nesterov=True,
        weight_decay=5e-4,
        clip=0.0,
        auxiliary_weight=0.0,
        drop_path=0.0,
        augmentation=_CROP_AND_FLIP,
    ),
)

# Ours: small enough for a CPU. The alphas' rate is raised because there are a hundred times fewer steps than in the paper.
_DIGITS = Recipe(
    dataset="digits",
    search=SearchRecipe(channels=8, cells=3, epochs=10, batch=32, valid_order="shuffled", alpha_learning_rate=6e-3),
    train=TrainRecipe(
        channels=8,
        cells=3,
        epochs=20,
        batch=32,
        auxiliary_weight=0.0,
        drop_path=0.0,
        augmentation=Augmentation(crop_padding=1),
    ),
)

# Ours: as small as still covers every image of CIFAR-10 on a CPU.
_SMALL_CIFAR10 = Recipe(
    search=SearchRecipe(
        channels=8,
        cells=5,
        epochs=5,
        batch=64,
        valid_order="shuffled",
        alpha_learning_rate=3e-3,
        augmentation=_CROP_AND_FLIP,
    ),
    train=TrainRecipe(
        channels=12, cells=5, epochs=3, batch=32, auxiliary_weight=0.0, drop_path=0.0, augmentation=_CROP_AND_FLIP
    ),
)

RECIPES: dict[str, Recipe] = {
    "darts-digits": _DIGITS,
    "darts-second-order-digits": dataclasses.replace(
        _DIGITS, search=dataclasses.replace(_DIGITS.search, hypergradient="unrolled")
    ),
    "nb201-digits": dataclasses.replace(
        _DIGITS,
        search=dataclasses.replace(_DIGITS.search, space="nb201", cells=1, order="weights_first", nesterov=True),
        train=dataclasses.replace(_DIGITS.train, cells=1, nesterov=True),
    ),
    "darts-first-order": _DARTS,
    "darts-second-order": dataclasses.replace(
        _DARTS, search=dataclasses.replace(_DARTS.search, hypergradient="finite_difference")
    ),
    "darts-second-order-exact": dataclasses.replace(
        _DARTS, search=dataclasses.replace(_DARTS.search, hypergradient="unrolled")
    ),
    "nb201-darts-v1": _NB201,
    "nb201-darts-v2": dataclasses.replace(
        _NB201, search=dataclasses.replace(_NB201.search, hypergradient="finite_difference", order="alphas_first")
    ),
    "darts-cifar10-small": _SMALL_CIFAR10,
    "s3-cifar10-small": dataclasses.replace(_SMALL_CIFAR10, search=dataclasses.replace(_SMALL_CIFAR10.search, space="s3")),
}

MAIN = "darts-digits"


def find(name: str) -> Recipe:
    """The recipe of a name.

    Raises:
      UserError: there is none; the message names the nearest.
    """
    if name not in RECIPES:
        raise UserError(f"Unknown recipe {name!r}. {did_you_mean(name, RECIPES)}")
    return RECIPES[name]


def from_config(config: dict[str, Any]) -> Recipe | Training:
    """The recipe in a run's ``config.json``: of a search with what follows it, or of a training alone.

    Raises:
      UserError: a field that is missing or not known, as in a run of another version, or a value that a recipe cannot have.
    """
    try:
        content = {key: value for key, value in config.items() if key != "recipe"}
        stages = {"search": SearchRecipe, "train": TrainRecipe} if "search" in content else {"train": TrainRecipe}
        for stage, kind in stages.items():
            fields = dict(content[stage])
            fields["augmentation"] = Augmentation(**fields["augmentation"])
            content[stage] = kind(**fields)
        return Recipe(**content) if "search" in content else Training(**content)
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"The run's config.json does not fit this version of jaxnas: {error}") from error

"""What a search and a training are made of, as frozen dataclasses that refuse what cannot be.

A recipe is a frozen dataclass; a command's options replace its fields, and the resolved recipe is written to the run.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Literal, get_args, get_origin, get_type_hints

from jaxnas.cost_terms import COSTS, CostTerm, LatencyTerm, check_terms
from jaxnas.data import Augmentation
from jaxnas.errors import UserError, did_you_mean
from jaxnas.optimizers import LINEAR_TAIL
from jaxnas.spaces import NONE, SKIP, CellSpace, Family, darts, drnas, gdas, nb201, robust_darts

SPACES = {space.__name__: space for space in (darts, drnas, nb201, gdas)}
SPACES |= {f"s{i}": lambda i=i: robust_darts(i) for i in (1, 2, 3, 4)}


def _finite(recipe: object) -> None:
    """Refuses NaN, of which every comparison is false, and infinity, which is positive."""
    for name, value in vars(recipe).items():
        if isinstance(value, float) and not math.isfinite(value):
            raise UserError(f"{name} must be a finite number, got {value}.")


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


def _only_with(recipe: SearchRecipe, choice: str, needed: tuple[str, ...], *names: str) -> None:
    """Refuses a value that another choice, of hypergradient or of estimator, would ignore."""
    for name in names:
        value, got = getattr(recipe, name), getattr(recipe, choice)
        if value != getattr(SearchRecipe, name) and got not in needed:
            raise UserError(f"{name}={value} needs {choice}={' or '.join(needed)}, got {got}.")


def _seed(seed: int) -> None:
    if not 0 <= seed < 2**32:
        raise UserError(f"seed must be at least 0 and below 2**32, got {seed}.")


def _known(recipe: object) -> None:
    """Refuses a word that its field does not list: the command line does so too, but Python and config.json may give any."""
    for name, kind in get_type_hints(type(recipe)).items():
        if get_origin(kind) is Literal and getattr(recipe, name) not in get_args(kind):
            raise UserError(f"Unknown {name} {getattr(recipe, name)!r}. {did_you_mean(getattr(recipe, name), get_args(kind))}")


Estimator = Literal[
    "softmax", "gdas", "snas", "proxyless", "pc_darts", "drnas", "sdarts_rs", "sdarts_adv", "setn", "rsps", "reinforce"
]

_OWN: dict[tuple[str, ...], tuple[str, ...]] = {
    ("temperature", "temperature_end", "temperature_decay"): ("gdas", "snas"),
    ("unsampled",): ("gdas",),
    ("gates",): ("proxyless",),
    ("share",): ("pc_darts", "drnas"),
    ("divergence",): ("drnas",),
    ("radius", "radius_end"): ("sdarts_rs", "sdarts_adv"),
    ("paths",): ("reinforce",),
}
"""Fields that only some estimators read."""


@dataclasses.dataclass(frozen=True)
class NextStage:
    """What a stage of a search has of its own; all else is as in the first stage, which is the recipe itself.

    Attributes:
      epochs: its length.
      operations: candidates that every edge keeps for it: those of the largest alphas at the end of the stage before.
      cells: as of the recipe.
      share: as of the recipe.
      skip_dropout: as of the recipe.
    """

    epochs: int
    operations: int
    cells: int
    share: int = 1
    skip_dropout: float = 0.0

    def alone(self, search: SearchRecipe) -> SearchRecipe:
        """The recipe of this stage as a search of one."""
        own = {"epochs": self.epochs, "cells": self.cells, "share": self.share, "skip_dropout": self.skip_dropout}
        return dataclasses.replace(search, **own, next_stages=(), between_stages="anew")


ANY_SKIPS = 8
"""A DARTS cell keeps eight edges: to allow so many skip connections is to allow any number."""


@dataclasses.dataclass(frozen=True)
class SearchRecipe:
    """How a cell is searched.

    Attributes:
      space: darts, drnas (darts without none), nb201, gdas (its NASNet-like space), or RobustDARTS's s1 to s4.
      channels: C of the supernet.
      cells: cells of the supernet (darts family), or N, cells per stage (nb201 family).
      affine: nb201 family: scale and shift in the cells' batch norms.
      epochs, batch: length; every epoch has as many steps as the training half has full batches.
      estimator: from alphas to mixture, see :data:`jaxnas.estimators.ESTIMATORS`.
      temperature, temperature_end, temperature_decay: of gdas and snas: in the first and the last epoch, with a line or an
        exponential between them.
      unsampled: gdas: what candidates that are not sampled contribute, see :func:`jaxnas.relaxations.hard_gumbel`.
      gates: proxyless: see :func:`jaxnas.relaxations.binary_gates`.
      share: pc_darts and drnas: K, of which one channel goes through the candidates.
      divergence: drnas: factor of the Dirichlet's divergence from a flat one.
      radius, radius_end: sdarts: of the perturbation, in the first epoch and (never reached) after the last.
      paths: reinforce: drawn for one update of the alphas.
      valid_order: ``fresh`` draws every validation batch anew, as DARTS does; ``shuffled`` goes through the validation half
        once an epoch.
      hypergradient: first_order, unrolled (exact), finite_difference (the paper's), or implicit: neumann, conjugate_gradient.
      unrolled_steps: virtual steps of the unrolled gradient.
      implicit_steps: terms of the Neumann series, or most conjugate gradients.
      implicit_damping: of the training loss's Hessian, besides the weight decay; its value is ours.
      neumann_rate: of the series; ours, no paper's.
      order: which of the two updates comes first; ``together``: at once, on one batch of the whole training set (snas).
      weight_steps_per_alpha_step, alphas_from_epoch: when the alphas move.
      warmup_epochs, warmup_learning_rate: epochs before those of the search, for the weights alone, from that rate to 0.
      learning_rate, learning_rate_end: of the weights, cosine.
      cosine_every: whether the rate changes every epoch (DARTS) or every step (AutoDL-Projects).
      momentum, nesterov, weight_decay, clip: of the weights' SGD; the clip is of the global norm, 0 for none.
      label_smoothing: of the weights' loss; the alphas' has none.
      alpha_mean, alpha_deviation: of the normal draws that the alphas start at.
      alpha_learning_rate, alpha_b1, alpha_b2, alpha_weight_decay, alpha_clip: of the alphas' Adam.
      skip_dropout: probability of dropout after skip connections at the start, see :func:`jaxnas.methods.skip_dropout`.
      most_skips: family darts: skip connections that the derived normal cell may have (P-DARTS).
      next_stages: the stages after the first.
      between_stages: ``anew``: weights, alphas and optimizers start again in every stage (P-DARTS). ``carried``: what survives
        goes on, with wider candidates where the share shrinks, and the rate is annealed over all stages (DrNAS).
        ``alphas_from_epoch`` counts from the beginning of each stage.
      latency, multiply_adds, parameters: costs that the alphas pay for, see :class:`jaxnas.cost_terms.CostTerm`.
      augmentation: of both halves.
      dtype: bfloat16 computes the supernet's cells in it; weights, alphas, moments, losses and optimizers stay in float32.
      rematerialise: run every cell again for its gradient: less memory, one more forward pass.
    """

    space: Literal["darts", "drnas", "nb201", "gdas", "s1", "s2", "s3", "s4"] = "darts"
    channels: int = 16
    cells: int = 8
    affine: bool = False
    estimator: Estimator = "softmax"
    temperature: float = 1.0
    temperature_end: float = 1.0
    temperature_decay: Literal["linear", "exponential"] = "linear"
    unsampled: Literal["offset", "nothing"] = "offset"
    gates: Literal["full", "full_v2", "two"] = "full_v2"
    share: int = 1
    divergence: float = 0.0
    radius: float = 0.0
    radius_end: float = 0.0
    paths: int = 10
    epochs: int = 50
    batch: int = 64
    valid_order: Literal["fresh", "shuffled"] = "fresh"
    hypergradient: Literal["first_order", "unrolled", "finite_difference", "neumann", "conjugate_gradient"] = "first_order"
    unrolled_steps: int = 1
    implicit_steps: int = 10
    implicit_damping: float = 0.1
    neumann_rate: float = 0.01
    order: Literal["alphas_first", "weights_first", "together"] = "alphas_first"
    weight_steps_per_alpha_step: int = 1
    alphas_from_epoch: int = 0
    warmup_epochs: int = 0
    warmup_learning_rate: float = 0.05
    learning_rate: float = 0.025
    learning_rate_end: float = 0.001
    cosine_every: Literal["epoch", "step"] = "epoch"
    momentum: float = 0.9
    nesterov: bool = False
    weight_decay: float = 3e-4
    clip: float = 5.0
    label_smoothing: float = 0.0
    alpha_mean: float = 0.0
    alpha_deviation: float = 1e-3
    alpha_learning_rate: float = 3e-4
    alpha_b1: float = 0.5
    alpha_b2: float = 0.999
    alpha_weight_decay: float = 1e-3
    alpha_clip: float = 0.0
    skip_dropout: float = 0.0
    most_skips: int = ANY_SKIPS
    next_stages: tuple[NextStage, ...] = ()
    between_stages: Literal["anew", "carried"] = "anew"
    latency: LatencyTerm = LatencyTerm()
    multiply_adds: CostTerm = CostTerm()
    parameters: CostTerm = CostTerm()
    augmentation: Augmentation = Augmentation()
    dtype: Literal["float32", "bfloat16"] = "float32"
    rematerialise: bool = False

    def __post_init__(self) -> None:
        _known(self)
        _finite(self)
        _positive(self, "channels", "cells", "epochs", "batch", "unrolled_steps", "weight_steps_per_alpha_step")
        _positive(self, "learning_rate", "alpha_learning_rate", "implicit_steps", "neumann_rate")
        _positive(self, "temperature", "temperature_end", "share", "paths", "warmup_learning_rate", "alpha_deviation")
        _not_negative(self, "learning_rate_end", "weight_decay", "alpha_weight_decay", "implicit_damping", "clip", "alpha_clip")
        _not_negative(self, "divergence", "radius", "radius_end", "warmup_epochs")
        _below_one(self, "label_smoothing", "skip_dropout")
        _below_one(self, "momentum", "alpha_b1", "alpha_b2")
        _only_with(self, "hypergradient", ("unrolled",), "unrolled_steps")
        _only_with(self, "hypergradient", ("neumann", "conjugate_gradient"), "implicit_steps", "implicit_damping")
        _only_with(self, "hypergradient", ("neumann",), "neumann_rate")
        for names, estimators in _OWN.items():
            _only_with(self, "estimator", estimators, *names)
        if self.estimator == "reinforce" and self.paths < 2:
            raise UserError(f"paths={self.paths}: each path is compared with the mean of the others, draw at least 2.")
        if self.order == "together" and self.hypergradient != "first_order":
            raise UserError(f"order=together is of one gradient: it needs hypergradient=first_order, got {self.hypergradient}.")
        if self.order == "together" and (self.alphas_from_epoch or self.weight_steps_per_alpha_step > 1):
            raise UserError(
                "order=together moves the alphas in every step: alphas_from_epoch must be 0, and one weight step each."
            )
        if not 0 <= self.alphas_from_epoch < self.epochs:
            raise UserError(
                f"alphas_from_epoch={self.alphas_from_epoch}: with {self.epochs} epochs the alphas would never move."
            )
        _check_skips(self)
        _check_stages(self)
        check_terms(self.estimator, self.gates, self.most_skips < ANY_SKIPS, {name: getattr(self, name) for name in COSTS})

    def build_space(self) -> CellSpace:
        """The space as data."""
        return SPACES[self.space]()

    @property
    def has_targets(self) -> bool:
        """Whether what is derived must meet a target."""
        return any(getattr(self, name).form == "target" for name in COSTS)


def _check_skips(search: SearchRecipe) -> None:
    """Refuses a limit on skip connections that no cell could keep to."""
    if search.most_skips == ANY_SKIPS:
        return
    space = search.build_space()
    if not 0 <= search.most_skips < ANY_SKIPS:
        raise UserError(f"most_skips must be between 0 and {ANY_SKIPS} (any number), got {search.most_skips}.")
    if space.family != "darts" or space.conventions != "darts":
        raise UserError(f"most_skips={search.most_skips} limits DARTS's normal cells: it cannot serve space={search.space}.")


def _check_stages(search: SearchRecipe) -> None:
    """Refuses stages that cannot follow each other."""
    carried = search.between_stages == "carried"
    if not search.next_stages:
        if carried:
            raise UserError("between_stages=carried needs next_stages, got none.")
        return
    space = search.build_space()
    if not isinstance(space, CellSpace):
        raise UserError(f"Stages prune the edges of cells: next_stages cannot serve space={search.space}, a chain of blocks.")
    if search.estimator in ("setn", "rsps"):
        raise UserError(
            f"The alphas decide which candidates go on to the next stage, but estimator={search.estimator} lets the weights "
            "choose: leave out next_stages, or choose another estimator."
        )
    if search.warmup_epochs:
        raise UserError(f"warmup_epochs={search.warmup_epochs} is not defined for a search in stages: it must be 0.")
    if carried and search.skip_dropout:
        raise UserError(f"skip_dropout={search.skip_dropout} needs between_stages=anew, got carried.")
    names = {name for _, cell in space.cells for edge in cell.operations for name in edge}
    # An edge must keep something to derive, also when its skip connection is not allowed (P-DARTS).
    apart = [name for name, counts in ((NONE, space.family == "darts"), (SKIP, search.most_skips < ANY_SKIPS)) if counts]
    least = 1 + sum(name in names for name in apart)
    there, share = min(len(edge) for _, cell in space.cells for edge in cell.operations), search.share
    for i, stage in enumerate(search.next_stages):
        field = f"next_stages.{i}"
        if not search.alphas_from_epoch < stage.epochs:
            raise UserError(
                f"{field}.epochs={stage.epochs}: with alphas_from_epoch={search.alphas_from_epoch}, which counts in every "
                "stage, its alphas would never move."
            )
        if not least <= stage.operations <= there:
            raise UserError(
                f"{field}.operations={stage.operations}: an edge of space {search.space} has {there} candidates before that "
                f"stage and must keep at least {least}."
            )
        if carried and stage.cells != search.cells:
            raise UserError(f"{field}.cells={stage.cells}: with between_stages=carried it must be cells={search.cells}.")
        if carried and stage.share > share:
            raise UserError(f"{field}.share={stage.share}: carried weights grow wider, so the share of {share} must not grow.")
        if carried and stage.skip_dropout:
            raise UserError(f"{field}.skip_dropout={stage.skip_dropout} needs between_stages=anew, got carried.")
        there, share = stage.operations, stage.share
        try:
            stage.alone(search)
        except UserError as error:
            raise UserError(f"{field}: {error}") from error


@dataclasses.dataclass(frozen=True)
class TrainRecipe:
    """How a derived network is trained, from scratch, on both halves of the training data.

    Attributes:
      template: the network's stem and auxiliary head: for small images, or for those of ImageNet (darts family).
      channels, cells: of the derived network (C and L, or N in the nb201 family); a genotype of family blocks has its own.
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
      drop_path: probability at the end of training, growing linearly by epoch from 0 (family darts).
      dropout: probability before the classifier (family blocks).
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
    dropout: float = 0.0
    augmentation: Augmentation = Augmentation()

    def __post_init__(self) -> None:
        _known(self)
        _finite(self)
        _positive(self, "channels", "cells", "epochs", "batch", "learning_rate", "learning_rate_factor")
        _not_negative(self, "learning_rate_end", "warmup_epochs", "weight_decay", "clip", "auxiliary_weight")
        _below_one(self, "momentum", "label_smoothing", "drop_path", "dropout")
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

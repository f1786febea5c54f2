"""What a search is made of, as frozen dataclasses that refuse what cannot be.

A recipe is a frozen dataclass; a command's options replace its fields, and the resolved recipe is written to the run.
"""

from __future__ import annotations

import dataclasses
from typing import Literal

from jaxnas.checks import (
    check_below_one,
    check_finite,
    check_known,
    check_not_negative,
    check_positive,
    check_seed,
    check_unused,
)
from jaxnas.cost_terms import COSTS, CostTerm, LatencyTerm, check_terms
from jaxnas.data import Augmentation, size_for
from jaxnas.errors import UserError
from jaxnas.spaces import BLOCK_SPACES, NONE, SKIP, CellSpace, Space, SpaceName, named_space
from jaxnas.train_recipe import Training, TrainRecipe

Estimator = Literal[
    "softmax", "gdas", "snas", "proxyless", "pc_darts", "drnas", "sdarts_rs", "sdarts_adv", "setn", "rsps", "reinforce", "enas"
]

_OF_HYPERGRADIENTS: dict[tuple[str, ...], tuple[str, ...]] = {
    ("unrolled_steps",): ("unrolled",),
    ("implicit_steps", "implicit_damping"): ("neumann", "conjugate_gradient"),
    ("neumann_rate",): ("neumann",),
}
"""Fields that only some hypergradients read."""

_OF_ESTIMATORS: dict[tuple[str, ...], tuple[str, ...]] = {
    ("temperature", "temperature_end", "temperature_decay"): ("gdas", "snas"),
    ("unsampled",): ("gdas",),
    ("gates",): ("proxyless",),
    ("share",): ("pc_darts", "drnas"),
    ("divergence",): ("drnas",),
    ("radius", "radius_end"): ("sdarts_rs", "sdarts_adv"),
    ("paths",): ("reinforce", "enas"),
    ("baseline_decay", "entropy_weight"): ("enas",),
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


HALF = 0.5
"""The share of the training images that a search's weights have, and its alphas, where a recipe asks for no other."""

ANY_SKIPS = 8
"""A DARTS cell keeps eight edges: to allow so many skip connections is to allow any number."""


@dataclasses.dataclass(frozen=True)
class SearchRecipe:
    """How a cell, or a chain of blocks, is searched.

    Attributes:
      space: of cells: darts, drnas (darts without none), nb201, gdas (its NASNet-like space), or RobustDARTS's s1 to s4. Of
        blocks: proxyless and fbnet with their strides for ImageNet; ``_small`` for 32x32 pixels, ``_tiny`` five blocks for 8x8.
      width: of blocks: multiplier of the space's channels.
      channels: of cells: C of the supernet.
      cells: cells of the supernet (darts family), or N, cells per stage (nb201 family).
      template: darts family: the supernet's stem, DARTS's for small images or the one that halves those of ImageNet thrice.
      affine: nb201 family: scale and shift in the cells' batch norms.
      epochs, batch: length.
      steps_per_epoch: 0 for as many as the training half has full batches. Schedules go by epochs, whatever their steps.
      estimator: from alphas to mixture, see `jaxnas.estimators.ESTIMATORS`.
      temperature, temperature_end, temperature_decay: of gdas and snas: in the first and the last epoch, with a line or an
        exponential between them.
      unsampled: gdas: what candidates that are not sampled contribute, see `jaxnas.relaxations.hard_gumbel`.
      gates: proxyless: see `jaxnas.relaxations.binary_gates`.
      share: pc_darts and drnas: K, of which one channel goes through the candidates.
      divergence: drnas: factor of the Dirichlet's divergence from a flat one.
      radius, radius_end: sdarts: of the perturbation, in the first epoch and (never reached) after the last.
      paths: reinforce and enas: drawn for one update of the alphas.
      baseline_decay: enas: how much of the moving mean of rewards, the baseline, an update leaves.
      entropy_weight: enas: what the entropy of the controller's paths counts beside their accuracy, from 0 to 1.
      micro_batches: parts that each batch is gone through in, one after the other, for less memory: gradients are those of the
        mean over all, batch norms normalise by each part's moments, and one more forward pass is run.
      train_share, valid_share: of the training images of every class, drawn by the seed, those for the weights and those for
        the alphas; at 0.5 each, which is the default, the halves that the data set fixes. Other shares are copied.
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
      rising_epochs: of the search's epochs the first, in which the rate rises, see `jaxnas.optimizers.rising`.
      cosine_every: whether the rate changes every epoch (DARTS) or every step (AutoDL-Projects).
      momentum, nesterov, weight_decay, clip: of the weights' SGD; the clip is of the global norm, 0 for none.
      label_smoothing: of the weights' loss; the alphas' has none.
      alpha_mean, alpha_deviation: of the normal draws that the alphas start at.
      alpha_learning_rate, alpha_b1, alpha_b2, alpha_weight_decay, alpha_clip: of the alphas' Adam.
      skip_dropout: probability of dropout after skip connections at the start, see `jaxnas.methods.skip_dropout`.
      most_skips: family darts: skip connections that the derived normal cell may have (P-DARTS).
      next_stages: the stages after the first.
      between_stages: ``anew``: weights, alphas and optimizers start again in every stage (P-DARTS). ``carried``: what survives
        goes on, with wider candidates where the share shrinks, and the rate is annealed over all stages (DrNAS).
        ``alphas_from_epoch`` counts from the beginning of each stage.
      latency, multiply_adds, parameters: costs that the alphas pay for, see :class:`jaxnas.cost_terms.CostTerm`.
      augmentation: of both halves.
      dtype: bfloat16 computes the supernet's cells in it; weights, alphas, moments, losses and optimizers stay in float32.
      rematerialise: run every cell again for its gradient: less memory, one more forward pass.
      instruments_every: epochs from one measurement of the search to the next (`jaxnas.probe`), 0 for none.
      early_stop: what is done when RobustDARTS's rule calls (`jaxnas.instruments.early_stop`), which the instruments'
        eigenvalues decide. ``off``: a warning. ``end``: the search ends, with the alphas and weights of the epoch that the rule
        keeps (DARTS-ES). ``regularise``: it goes back there and on with a stronger weight decay (DARTS-ADA).
      decay_factor, decay_limit: regularise: by what the decay is multiplied at each call, and above what it is not raised.
    """

    space: SpaceName = "darts"
    width: float = 1.0
    channels: int = 16
    cells: int = 8
    template: Literal["cifar", "imagenet"] = "cifar"
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
    baseline_decay: float = 0.99
    entropy_weight: float = 1e-4
    epochs: int = 50
    steps_per_epoch: int = 0
    batch: int = 64
    micro_batches: int = 1
    train_share: float = HALF
    valid_share: float = HALF
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
    rising_epochs: int = 0
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
    instruments_every: int = 0
    early_stop: Literal["off", "end", "regularise"] = "off"
    decay_factor: float = 10.0
    decay_limit: float = 0.03

    def __post_init__(self) -> None:
        check_known(self)
        check_finite(self)
        check_positive(self, "channels", "cells", "width", "epochs", "batch", "unrolled_steps", "weight_steps_per_alpha_step")
        check_positive(self, "learning_rate", "alpha_learning_rate", "implicit_steps", "neumann_rate", "micro_batches")
        check_positive(self, "temperature", "temperature_end", "share", "paths", "warmup_learning_rate", "alpha_deviation")
        check_not_negative(
            self, "learning_rate_end", "weight_decay", "alpha_weight_decay", "implicit_damping", "clip", "alpha_clip"
        )
        check_not_negative(self, "instruments_every", "steps_per_epoch")
        check_positive(self, "decay_factor", "decay_limit")
        if self.early_stop != "regularise":
            check_unused(self, f"is of early_stop=regularise, got {self.early_stop}.", "decay_factor", "decay_limit")
        if self.early_stop != "off" and not self.instruments_every:
            raise UserError(
                f"early_stop={self.early_stop} goes by the eigenvalues that the instruments measure, but instruments_every=0. "
                "Set instruments_every=2, as RobustDARTS does."
            )
        check_not_negative(self, "divergence", "radius", "radius_end", "warmup_epochs", "rising_epochs")
        check_below_one(self, "label_smoothing", "skip_dropout")
        check_below_one(self, "momentum", "alpha_b1", "alpha_b2", "baseline_decay")
        check_not_negative(self, "entropy_weight")
        for choice, own in (("hypergradient", _OF_HYPERGRADIENTS), ("estimator", _OF_ESTIMATORS)):
            for names, needed in own.items():
                got = getattr(self, choice)
                if got not in needed:
                    check_unused(self, f"needs {choice}={' or '.join(needed)}, got {got}.", *names)
        _check_sizes(self)
        if self.batch % self.micro_batches:
            raise UserError(f"micro_batches={self.micro_batches} must divide the batch, {self.batch}.")
        if self.estimator == "reinforce" and self.paths < 2:
            raise UserError(f"paths={self.paths}: each path is compared with the mean of the others, draw at least 2.")
        if self.estimator == "enas":
            check_unused(self, "is of alphas, but estimator=enas has a controller.", "alpha_mean", "alpha_deviation")
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
        if self.rising_epochs >= self.epochs:
            raise UserError(f"rising_epochs={self.rising_epochs} must be fewer than the {self.epochs} epochs.")
        if self.rising_epochs and self.warmup_epochs:
            raise UserError(
                f"rising_epochs={self.rising_epochs} and warmup_epochs={self.warmup_epochs} are two kinds of warm-up: set one "
                "to 0."
            )
        _check_shares(self)
        _check_skips(self)
        _check_stages(self)
        check_terms(self.estimator, self.gates, self.most_skips < ANY_SKIPS, {name: getattr(self, name) for name in COSTS})

    def build_space(self) -> Space:
        """The space as data."""
        return named_space(self.space, self.width)

    @property
    def size(self) -> str:
        """The supernet's, for reports."""
        return f"width {self.width}" if self.space in BLOCK_SPACES else f"C={self.channels}, {self.cells} cells"

    @property
    def has_targets(self) -> bool:
        """Whether what is derived must meet a target."""
        return any(getattr(self, name).form == "target" for name in COSTS)


def _check_sizes(search: SearchRecipe) -> None:
    """Refuses what is of cells where blocks are searched, and the other way round."""
    if search.space in BLOCK_SPACES:
        what = f"is of cells, but space={search.space} is a chain of blocks"
        check_unused(search, f"{what}, whose channels width multiplies.", "channels", "cells")
        check_unused(search, f"{what}.", "template", "affine", "share", "skip_dropout", "rematerialise")
        return
    check_unused(search, f"is of blocks, but space={search.space} is of cells, whose width is channels.", "width")
    if search.build_space().family != "darts":
        check_unused(search, f"is of networks of family darts, but space={search.space} is of another.", "template")


def _check_shares(search: SearchRecipe) -> None:
    """Refuses shares of the training images that overlap or are not read."""
    check_positive(search, "train_share", "valid_share")
    if search.train_share + search.valid_share > 1 + 1e-9:  # Not more than rounding.
        raise UserError(
            f"train_share={search.train_share} and valid_share={search.valid_share} are more than 1 together, but no image may "
            "be in both."
        )
    if search.order == "together":
        check_unused(search, "is not read: order=together searches on all training images.", "train_share", "valid_share")


def _check_skips(search: SearchRecipe) -> None:
    """Refuses a limit on skip connections that no cell could keep to."""
    if search.most_skips == ANY_SKIPS:
        return
    space = search.build_space()
    if not 0 <= search.most_skips < ANY_SKIPS:
        raise UserError(f"most_skips must be between 0 and {ANY_SKIPS} (any number), got {search.most_skips}.")
    if not isinstance(space, CellSpace) or space.family != "darts" or space.conventions != "darts":
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
    if search.estimator in ("setn", "rsps", "enas"):
        raise UserError(
            f"The alphas decide which candidates go on to the next stage, but estimator={search.estimator} lets the weights "
            "choose: leave out next_stages, or choose another estimator."
        )
    check_unused(search, "is not defined for a search in stages.", "warmup_epochs", "rising_epochs")
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
class Recipe:
    """A search, the training of what it finds, and the random genotypes it is compared with.

    Attributes:
      dataset: name of a dataset, see `jaxnas.data.load`.
      search, train: the two stages.
      random_cells: genotypes, of cells or of blocks, drawn by the space's own rule, trained exactly as the found one.
      only_search: train nothing: a table knows what is found (``jaxnas query RUN``), or ``jaxnas train RUN`` trains it later.
      seed: of everything.
    """

    dataset: str = "cifar10"
    search: SearchRecipe = SearchRecipe()
    train: TrainRecipe = TrainRecipe()
    random_cells: int = 3
    only_search: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        check_not_negative(self, "random_cells")
        check_seed(self.seed)

    @property
    def image_size(self) -> int | None:
        """Pixels a side at which images are read, see :func:`jaxnas.data.size_for`."""
        return size_for(self.search.augmentation, self.train.augmentation)

    @property
    def training(self) -> Training:
        """The second stage alone."""
        return Training(self.dataset, self.search.build_space().family, self.train, self.seed)

    def with_target(self, table: str, milliseconds: float) -> Recipe:
        """The same with a target for the latency of what is found, by a table of ``jaxnas profile`` or ``jaxnas latency``.

        >>> Recipe().with_target("phone.json", 4.0).search.latency.target
        4.0
        """
        latency = dataclasses.replace(self.search.latency, form="target", target=milliseconds, table=table)
        return dataclasses.replace(self, search=dataclasses.replace(self.search, latency=latency))

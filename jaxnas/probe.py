"""A search measured while it runs: the instruments' numbers at an epoch's state, on one batch of each half, by one program."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from jaxnas import methods
from jaxnas.bilevel import SearchState
from jaxnas.compiling import Compiled, compile_ahead
from jaxnas.data import Augmentation, Dataset, Split, augment
from jaxnas.derive import derive, one_hot_mixture
from jaxnas.errors import UserError
from jaxnas.estimators import ESTIMATORS
from jaxnas.hypergradients import unrolled
from jaxnas.instruments import agreement, entropy, hessian, skip_share, spectrum
from jaxnas.losses import cross_entropy
from jaxnas.nets import Network
from jaxnas.recipe import SearchRecipe
from jaxnas.recipes import Recipe
from jaxnas.relaxations import softmax
from jaxnas.spaces import BLOCK_SPACES, SKIP, Space
from jaxnas.stages import Part, stage_key, steps_of_epoch

PURPOSE = 7
"""Of the stage's key: which images and draws an epoch's measurement has."""


def check_probed(search: SearchRecipe) -> None:
    """Refuses to measure where the numbers would mean nothing.

    Raises:
      UserError: an estimator that learns no alphas, stages, partial channels, blocks, or several processes.
    """
    if not search.instruments_every:
        return
    if search.estimator in ("rsps", "enas"):
        raise UserError(
            f"instruments_every={search.instruments_every}: there is no curvature to measure with estimator="
            f"{search.estimator}, which learns no alphas. Set instruments_every=0."
        )
    if jax.process_count() > 1:
        raise UserError(
            f"instruments_every={search.instruments_every}: a search by {jax.process_count()} processes is not measured, as "
            "one of them alone writes. Set instruments_every=0, or search in one process."
        )
    if search.share != 1 or search.next_stages or search.space in BLOCK_SPACES:
        raise UserError(
            f"instruments_every={search.instruments_every}: the instruments are for searches of cells in one stage, with whole "
            "channels. Set instruments_every=0."
        )


class Probe:
    """Measures a search; compiled when it is first used.

    The losses are the task's, without costs and regularisers, on images that are not augmented; batch norm goes by the batch.

    Args:
      recipe: of the search.
      dataset: its two search halves; one batch of each is looked at, drawn anew for every epoch by the seed.
      network: the supernet.
      part: the stage.
    """

    def __init__(self, recipe: Recipe, dataset: Dataset, network: Network, part: Part) -> None:
        self.search, self.space, self.dataset = part.search, part.space, dataset
        self.key = jax.random.fold_in(stage_key(recipe.seed, part.number), PURPOSE)
        halves = (dataset.train,) * 2 if part.search.order == "together" else (dataset.search_train, dataset.search_valid)
        steps = steps_of_epoch(part.search, *(len(half.labels) for half in halves))
        self.measure = _program(part.search, part.space, network, dataset, steps)
        self.compiled: Compiled | None = None

    def __call__(self, epoch: int, state: SearchState) -> dict[str, Any]:
        """What is logged of an epoch.

        Returns:
          ``eigenvalues``, ascending, of the Hessian of the validation loss in the alphas; ``skip_share`` and ``entropy`` of the
          softmax; ``accuracy`` of the supernet and ``derived_accuracy`` of the derived network with its weights, 0 to 1, with
          the losses ``loss`` and ``derived_loss``: the gap of discretization is between them; ``hypergradient_cosine`` and
          ``hypergradient_norm_ratio``: the search's hypergradient against the exact one of a single virtual step. Where the
          estimator is no smooth function of the alphas, there is no exact one to compare with, and the supernet is measured at
          the softmax of the alphas: what its samples are drawn from, or a perturbation is added to.
        """
        key = jax.random.fold_in(self.key, epoch)
        halves = (self.dataset.search_train, self.dataset.search_valid)
        batches = [_batch(jax.random.fold_in(key, i), half, self.search.batch) for i, half in enumerate(halves)]
        path = jax.tree.map(jnp.asarray, one_hot_mixture(self.space, derive(self.space, state.alphas)))
        arguments = (state, path, *batches, key)
        if self.compiled is None:
            self.compiled = compile_ahead(self.measure, *arguments)
        found = jax.device_get(self.compiled.call(*arguments))
        shares = {"entropy": entropy(self.space, state.alphas)}
        if any(SKIP in names for _, cell in self.space.cells for names in cell.operations):
            shares["skip_share"] = skip_share(self.space, state.alphas)
        return {**{name: _plain(value) for name, value in found.items()}, **shares}


def _program(search: SearchRecipe, space: Space, network: Network, dataset: Dataset, steps_per_epoch: int) -> Any:
    """``(state, mixture of the derived network, training batch, validation batch, key) -> numbers``."""
    method = methods.build(search, space, steps_per_epoch)
    smooth = not ESTIMATORS[search.estimator].why_not_smooth
    relax = method.relax if smooth else softmax(space)
    valid_task = cross_entropy(network)
    train_task = cross_entropy(network, search.label_smoothing) if search.label_smoothing else valid_task

    def measure(state: SearchState, path: Any, train: Any, valid: Any, key: Array) -> dict[str, Array]:
        scalars = method.scalars(state.step)
        train, valid = ({**batch, "images": _seen(batch["images"], dataset)} for batch in (train, valid))

        def train_loss(weights: Any, alphas: Any) -> Any:
            mixture, _ = relax(alphas, jax.random.fold_in(key, 2), scalars, "weights")
            return train_task(weights, mixture, train, key, scalars)

        def valid_loss(weights: Any, alphas: Any) -> Any:
            mixture, _ = relax(alphas, jax.random.fold_in(key, 3), scalars, "alphas")
            return valid_task(weights, mixture, valid, key, scalars)

        compared: dict[str, Array] = {}
        if smooth:
            at = (train_loss, valid_loss, state.weights, state.alphas, *method.virtual_update(state.weight_state))
            compared = agreement(method.hypergradient(*at)[1], unrolled(has_aux=True)(*at)[1])
        loss, aux = valid_loss(state.weights, state.alphas)
        derived_loss, of_derived = valid_task(state.weights, path, valid, key, scalars)
        curvature = hessian(lambda alphas: valid_loss(state.weights, alphas)[0], state.alphas)
        return {
            "eigenvalues": spectrum(curvature),
            "loss": loss,
            "accuracy": aux["metrics"]["accuracy"],
            "derived_loss": derived_loss,
            "derived_accuracy": of_derived["metrics"]["accuracy"],
            **{f"hypergradient_{name}": value for name, value in compared.items()},
        }

    return measure


def _seen(images: Array, dataset: Dataset) -> Array:
    return augment(jax.random.key(0), images, Augmentation(), dataset.mean, dataset.std)


def _batch(key: Array, half: Split, size: int) -> dict[str, Array]:
    rows = np.asarray(jax.random.permutation(key, len(half.labels))[:size])
    return {"images": jnp.asarray(np.asarray(half.images[rows])), "labels": jnp.asarray(half.labels[rows])}


def _plain(value: Any) -> Any:
    """Numbers of Python, None for what is none."""
    if np.ndim(value):
        return [_plain(one) for one in value]
    return None if math.isnan(value) else float(value)

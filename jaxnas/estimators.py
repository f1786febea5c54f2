"""The estimators that a recipe can name: which relaxation each has, and what else of a search step it changes."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax import Array

from jaxnas import relaxations
from jaxnas.bilevel import Scalars
from jaxnas.errors import UserError
from jaxnas.nets import active_weights
from jaxnas.optimizers import clipped
from jaxnas.recipe import SearchRecipe
from jaxnas.spaces import CellSpace, Space

Build = Callable[[SearchRecipe, Space, int], dict[str, Any]]
"""``build(recipe, space, steps per epoch)``: the fields of a :class:`jaxnas.bilevel.Method` that are not DARTS's."""


@dataclasses.dataclass(frozen=True)
class Estimator:
    """How the gradient in the alphas is estimated.

    Attributes:
      build: the method's fields, ``relax`` among them.
      why_not_smooth: empty where the mixture, its random draws held fixed, is a smooth function of the alphas; otherwise why
        it is not, as the end of a sentence (see :func:`jaxnas.composition.check_pair`).
      selects: accuracy with the supernet's weights chooses the genotype (:mod:`jaxnas.selection`), not the alphas alone.
      scores: of the alphas one for each candidate, ``(space, alphas) -> alphas by kind of cell``, for derivation and logs.
      initial: alphas at the start, ``(space, key, deviation) -> alphas``.
    """

    build: Build
    why_not_smooth: str = ""
    selects: bool = False
    initial: Callable[[Any, Array, float], Any] = relaxations.initial_alphas
    scores: Callable[[Any, Any], Any] = lambda space, alphas: alphas


def temperature(recipe: SearchRecipe, steps_per_epoch: int) -> Callable[[Array], Scalars]:
    """The temperature of each epoch, from its first to its last value: linear (GDAS, SNAS) or exponential (FBNet).

    >>> recipe = SearchRecipe(estimator="gdas", temperature=10.0, temperature_end=0.1, epochs=250)
    >>> [round(float(temperature(recipe, 10)(jnp.array(step))["temperature"]), 4) for step in (0, 9, 10, 2499)]
    [10.0, 10.0, 9.9602, 0.1]
    """
    first, last, epochs = recipe.temperature, recipe.temperature_end, max(recipe.epochs - 1, 1)

    def scalars(step: Array) -> Scalars:
        done = _search_epoch(recipe, step, steps_per_epoch) / epochs
        if recipe.temperature_decay == "linear":
            return {"temperature": first + (last - first) * done}
        return {"temperature": first * (last / first) ** done}

    return scalars


def radius(recipe: SearchRecipe, steps_per_epoch: int) -> Callable[[Array], Scalars]:
    """The radius of each epoch, ``first + (last - first) epoch / epochs`` (SmoothDARTS, sota/cnn/train_search.py)."""

    def scalars(step: Array) -> Scalars:
        done = _search_epoch(recipe, step, steps_per_epoch) / recipe.epochs
        return {"radius": recipe.radius + (recipe.radius_end - recipe.radius) * done}

    return scalars


def _search_epoch(recipe: SearchRecipe, step: Array, steps_per_epoch: int) -> Array:
    return jnp.maximum(step // steps_per_epoch - recipe.warmup_epochs, 0).astype(float)


def _softmax(recipe: SearchRecipe, space: Space, steps_per_epoch: int) -> dict[str, Any]:
    return {"relax": relaxations.softmax(space)}


def _gdas(recipe: SearchRecipe, space: Space, steps_per_epoch: int) -> dict[str, Any]:
    relax = relaxations.hard_gumbel(space, recipe.unsampled)
    return {"relax": relax, "scalars": temperature(recipe, steps_per_epoch)}


def _snas(recipe: SearchRecipe, space: Space, steps_per_epoch: int) -> dict[str, Any]:
    return {"relax": relaxations.soft_gumbel(space), "scalars": temperature(recipe, steps_per_epoch)}


def _proxyless(recipe: SearchRecipe, space: Space, steps_per_epoch: int) -> dict[str, Any]:
    fields = {
        "relax": relaxations.binary_gates(space, recipe.gates),
        "weight_mask": lambda mixture, weights: active_weights(space, mixture, weights),
        "alpha_mask": lambda mixture, alphas: relaxations.learns(space, mixture),
    }
    if recipe.gates == "two":
        fields["after_update"] = relaxations.rescaled
    return fields


def _pc_darts(recipe: SearchRecipe, space: Space, steps_per_epoch: int) -> dict[str, Any]:
    if not isinstance(space, CellSpace):
        raise UserError(f"estimator=pc_darts weighs the edges of each node: it needs a space of cells, not {space.name!r}.")
    return {"relax": relaxations.partial_channels(space)}


def _drnas(recipe: SearchRecipe, space: Space, steps_per_epoch: int) -> dict[str, Any]:
    relax = relaxations.dirichlet(space)
    fields: dict[str, Any] = {"relax": relax if recipe.share == 1 else relaxations.with_bypass(relax)}
    if recipe.divergence:
        fields["regulariser"] = lambda alphas: recipe.divergence * relaxations.divergence(space, alphas)
    return fields


def _sdarts_rs(recipe: SearchRecipe, space: Space, steps_per_epoch: int) -> dict[str, Any]:
    return {"relax": relaxations.random_perturbation(space), "scalars": radius(recipe, steps_per_epoch)}


def _sdarts_adv(recipe: SearchRecipe, space: Space, steps_per_epoch: int) -> dict[str, Any]:
    def attack(loss: Any, mixture: Any, key: Array, scalars: Scalars) -> Any:
        return relaxations.attack(space, loss, mixture, key, scalars["radius"])

    # The attack evaluates the network as in evaluation: with running averages, which PyTorch's batch norm moves by a tenth.
    scalars = radius(recipe, steps_per_epoch)
    return {"relax": relaxations.softmax(space), "scalars": scalars, "attack": attack, "running_momentum": 0.9}


def _setn(recipe: SearchRecipe, space: Space, steps_per_epoch: int) -> dict[str, Any]:
    if space.family != "nb201":
        raise UserError(f"estimator=setn ranks the cells of family nb201: it cannot serve the space {space.name!r}.")
    return {"relax": relaxations.uniform_path(space)}


def _rsps(recipe: SearchRecipe, space: Space, steps_per_epoch: int) -> dict[str, Any]:
    # There is nothing to learn but the weights.
    return {"relax": relaxations.uniform_path(space), "alphas_from_step": jnp.iinfo(jnp.int32).max}


def _reinforce(recipe: SearchRecipe, space: Space, steps_per_epoch: int) -> dict[str, Any]:
    return {
        "relax": relaxations.sampled_paths(space, recipe.paths),
        "alpha_loss": relaxations.over_paths,
        "weight_mask": lambda mixture, weights: active_weights(space, mixture, weights),
    }


def _enas(recipe: SearchRecipe, space: Space, steps_per_epoch: int) -> dict[str, Any]:
    def adam(epsilon: float) -> optax.GradientTransformation:
        plain = optax.adam(recipe.alpha_learning_rate, recipe.alpha_b1, recipe.alpha_b2, epsilon)
        return clipped(recipe.alpha_clip, plain) if recipe.alpha_clip else plain

    return {
        "relax": relaxations.written_paths(space, recipe.paths),
        "alpha_loss": lambda loss: relaxations.by_accuracy(loss, recipe.entropy_weight),
        "alpha_optimizer": relaxations.controller_optimizer(adam, recipe.baseline_decay),
    }


_PERTURBED = "its training loss is taken at a perturbed mixture that has no derivative in the alphas"

ESTIMATORS: dict[str, Estimator] = {
    "softmax": Estimator(_softmax),
    "gdas": Estimator(_gdas, "the gradient of its hard sample is that of the soft one"),
    "snas": Estimator(_snas),
    "proxyless": Estimator(_proxyless, "the gradient in its gates is no derivative of the sampled path's loss"),
    "pc_darts": Estimator(_pc_darts, initial=relaxations.initial_partial_alphas),
    "drnas": Estimator(_drnas),
    "sdarts_rs": Estimator(_sdarts_rs, _PERTURBED),
    "sdarts_adv": Estimator(_sdarts_adv, _PERTURBED),
    "setn": Estimator(_setn, "the path of its training loss is drawn without regard to the alphas", selects=True),
    "rsps": Estimator(_rsps, "it has no alphas to learn", selects=True),
    "reinforce": Estimator(_reinforce, "it takes no derivative of the network in the alphas"),
    "enas": Estimator(
        _enas,
        "it takes no derivative of the network in the controller",
        selects=True,
        initial=relaxations.initial_controller,
        scores=relaxations.likeliest_path,
    ),
}
"""By the names of recipes.

``softmax``: DARTS. ``gdas``: hard Gumbel, straight through. ``snas``: soft Gumbel, SNAS's and FBNet's. ``proxyless``: binary
gates. ``pc_darts``: partial channels with edge normalisation. ``drnas``: Dirichlet. ``sdarts_rs``, ``sdarts_adv``: random and
adversarial perturbation. ``setn``, ``rsps``: uniform paths, with and without learning alphas at the expectation.
``reinforce``: the score function. ``enas``: the same of an LSTM that writes paths down.
"""


def start(recipe: SearchRecipe, space: Space, key: Array) -> Any:
    """The alphas that a recipe's search starts at."""
    alphas = ESTIMATORS[recipe.estimator].initial(space, key, recipe.alpha_deviation)
    return optax.tree.add(alphas, jax.tree.map(lambda a: jnp.full_like(a, recipe.alpha_mean), alphas))

"""Search methods as records of functions, from a recipe's values."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np
import optax
from jax import Array

from jaxnas import hypergradients
from jaxnas.bilevel import Method, Scalars
from jaxnas.composition import check_pair
from jaxnas.estimators import ESTIMATORS
from jaxnas.nets import SKIP_DROPOUT
from jaxnas.optimizers import adam, adam_by_entry, clipped, cosine, rising, sgd
from jaxnas.recipe import SearchRecipe
from jaxnas.spaces import Space

HYPERGRADIENTS = {
    "first_order": lambda recipe: hypergradients.first_order(has_aux=True),
    "unrolled": lambda recipe: hypergradients.unrolled(recipe.unrolled_steps, has_aux=True),
    "finite_difference": lambda recipe: hypergradients.finite_difference(has_aux=True),
    # Recomputed: keeping a linearisation would take the memory that the supernet's scan over edges saves. The decay that the
    # optimizer adds to the gradient is the derivative of a penalty, whose Hessian is the decay.
    "neumann": lambda recipe: hypergradients.neumann(
        recipe.implicit_steps, recipe.neumann_rate, recipe.implicit_damping + recipe.weight_decay, recompute=True, has_aux=True
    ),
    "conjugate_gradient": lambda recipe: hypergradients.conjugate_gradient(
        recipe.implicit_steps, recipe.implicit_damping + recipe.weight_decay, recompute=True, has_aux=True
    ),
}


def build(recipe: SearchRecipe, space: Space, steps_per_epoch: Any) -> Method:
    """The method of a recipe: its estimator and hypergradient, SGD for the weights, Adam for the alphas.

    The steps of an epoch are a number, or a traced one where the rate changes by epochs: one program then serves any.

    Raises:
      UserError: a hypergradient that means nothing with the estimator, a space that it cannot serve.
    """
    estimator = ESTIMATORS[recipe.estimator]
    check_pair(recipe.estimator, not estimator.why_not_smooth, estimator.why_not_smooth, recipe.hypergradient)
    rate, resting = _rate(recipe, steps_per_epoch), recipe.warmup_epochs + recipe.alphas_from_epoch

    def virtual_update(weight_state: Any) -> tuple[optax.GradientTransformation, Any]:
        # architect.py: w - xi (0.9 buffer + g + decay w) at the current rate, neither clipped nor Nesterov.
        _, descent_state = weight_state
        return sgd(rate, recipe.momentum, recipe.weight_decay), descent_state

    fields = {
        "hypergradient": HYPERGRADIENTS[recipe.hypergradient](recipe),
        "plain_gradient": recipe.hypergradient == "first_order",
        "weight_optimizer": clipped(recipe.clip or math.inf, sgd(rate, recipe.momentum, recipe.weight_decay, recipe.nesterov)),
        "alpha_optimizer": _alpha_optimizer(recipe),
        "virtual_update": virtual_update,
        "order": recipe.order,
        "weight_steps_per_alpha_step": recipe.weight_steps_per_alpha_step,
        "alphas_from_step": resting * steps_per_epoch if resting else 0,
    }
    fields |= estimator.build(recipe, space, steps_per_epoch)
    if recipe.skip_dropout:
        of_estimator, dropout = fields.get("scalars", lambda step: {}), skip_dropout(recipe, steps_per_epoch)
        fields["scalars"] = lambda step: {**of_estimator(step), **dropout(step)}
    return Method(**fields)


def skip_dropout(recipe: SearchRecipe, steps_per_epoch: int) -> Callable[[Array], Scalars]:
    """The probability of dropout behind skip connections in each epoch (chenxin061/pdarts, train_search.py).

    With r at the start and E epochs: in the e-th, ``r (E - e - 1) / E`` while the alphas rest; from the epoch a on, from which
    they move, ``r exp(-0.2 (e - a))``.

    >>> rate = skip_dropout(SearchRecipe(skip_dropout=0.4, epochs=25, alphas_from_epoch=10), steps_per_epoch=2)
    >>> [round(float(rate(jnp.array(step))["skip_dropout"]), 4) for step in (0, 1, 19, 20, 22)]
    [0.384, 0.384, 0.24, 0.4, 0.3275]
    """
    epochs = np.arange(recipe.warmup_epochs + recipe.epochs) - recipe.warmup_epochs
    resting = recipe.skip_dropout * (recipe.epochs - np.maximum(epochs, 0) - 1) / recipe.epochs
    moving = recipe.skip_dropout * np.exp(-0.2 * np.maximum(epochs - recipe.alphas_from_epoch, 0))
    rates = np.where(epochs < recipe.alphas_from_epoch, resting, moving)
    return lambda step: {SKIP_DROPOUT: jnp.asarray(rates, jnp.result_type(float))[step // steps_per_epoch]}


def _alpha_optimizer(recipe: SearchRecipe) -> optax.GradientTransformation:
    kind = adam_by_entry if recipe.estimator == "proxyless" else adam  # Alphas that rest do not age.
    optimizer = kind(recipe.alpha_learning_rate, recipe.alpha_b1, recipe.alpha_b2, recipe.alpha_weight_decay)
    return clipped(recipe.alpha_clip, optimizer) if recipe.alpha_clip else optimizer


def _rate(recipe: SearchRecipe, steps_per_epoch: int) -> optax.Schedule:
    rate = cosine(recipe.learning_rate, recipe.learning_rate_end, recipe.epochs, steps_per_epoch, recipe.cosine_every)
    if recipe.rising_epochs:
        return rising(rate, recipe.learning_rate, recipe.rising_epochs, steps_per_epoch)
    if not recipe.warmup_epochs:
        return rate
    # ProxylessNAS, search/nas_manager.py, warm_up: a whole annealing to 0 before the search's own.
    before = cosine(recipe.warmup_learning_rate, 0.0, recipe.warmup_epochs, steps_per_epoch, recipe.cosine_every)
    return optax.join_schedules((before, rate), (recipe.warmup_epochs * steps_per_epoch,))

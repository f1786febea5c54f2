"""Search methods as records of functions, from a recipe's values."""

from __future__ import annotations

import math
from typing import Any

import optax

from jaxnas import hypergradients
from jaxnas.composition import check_pair
from jaxnas.estimators import ESTIMATORS
from jaxnas.optimizers import adam, adam_by_entry, clipped, cosine, sgd
from jaxnas.recipe import SearchRecipe
from jaxnas.search import Method
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


def build(recipe: SearchRecipe, space: Space, steps_per_epoch: int) -> Method:
    """The method of a recipe: its estimator and hypergradient, SGD for the weights, Adam for the alphas.

    Raises:
      UserError: a hypergradient that means nothing with the estimator, a space that it cannot serve.
    """
    estimator = ESTIMATORS[recipe.estimator]
    check_pair(recipe.estimator, not estimator.why_not_smooth, estimator.why_not_smooth, recipe.hypergradient)
    rate = _rate(recipe, steps_per_epoch)

    def virtual_update(weight_state: Any) -> tuple[optax.GradientTransformation, Any]:
        # architect.py: w - xi (0.9 buffer + g + decay w) at the current rate, neither clipped nor Nesterov.
        _, descent_state = weight_state
        return sgd(rate, recipe.momentum, recipe.weight_decay), descent_state

    fields = {
        "hypergradient": HYPERGRADIENTS[recipe.hypergradient](recipe),
        "weight_optimizer": clipped(recipe.clip or math.inf, sgd(rate, recipe.momentum, recipe.weight_decay, recipe.nesterov)),
        "alpha_optimizer": _alpha_optimizer(recipe),
        "virtual_update": virtual_update,
        "order": recipe.order,
        "weight_steps_per_alpha_step": recipe.weight_steps_per_alpha_step,
        "alphas_from_step": (recipe.warmup_epochs + recipe.alphas_from_epoch) * steps_per_epoch,
    }
    return Method(**(fields | estimator.build(recipe, space, steps_per_epoch)))


def _alpha_optimizer(recipe: SearchRecipe) -> optax.GradientTransformation:
    kind = adam_by_entry if recipe.estimator == "proxyless" else adam  # Alphas that rest do not age.
    optimizer = kind(recipe.alpha_learning_rate, recipe.alpha_b1, recipe.alpha_b2, recipe.alpha_weight_decay)
    return clipped(recipe.alpha_clip, optimizer) if recipe.alpha_clip else optimizer


def _rate(recipe: SearchRecipe, steps_per_epoch: int) -> optax.Schedule:
    rate = cosine(recipe.learning_rate, recipe.learning_rate_end, recipe.epochs, steps_per_epoch, recipe.cosine_every)
    if not recipe.warmup_epochs:
        return rate
    # ProxylessNAS, search/nas_manager.py, warm_up: a whole annealing to 0 before the search's own.
    before = cosine(recipe.warmup_learning_rate, 0.0, recipe.warmup_epochs, steps_per_epoch, recipe.cosine_every)
    return optax.join_schedules((before, rate), (recipe.warmup_epochs * steps_per_epoch,))

"""Search methods as records of functions, from a recipe's values."""

from __future__ import annotations

from typing import Any

import optax

from jaxnas import hypergradients
from jaxnas.optimizers import adam, clipped, cosine, sgd
from jaxnas.recipes import SearchRecipe
from jaxnas.relaxations import softmax
from jaxnas.search import Method
from jaxnas.spaces import CellSpace

HYPERGRADIENTS = {
    "first_order": lambda recipe: hypergradients.first_order(has_aux=True),
    "unrolled": lambda recipe: hypergradients.unrolled(recipe.unrolled_steps, has_aux=True),
    "finite_difference": lambda recipe: hypergradients.finite_difference(has_aux=True),
}


def darts(recipe: SearchRecipe, space: CellSpace, steps_per_epoch: int) -> Method:
    """DARTS (Liu et al., 2019), also as NAS-Bench-201 runs it: softmax relaxation, SGD for the weights, Adam for the alphas."""
    rate = cosine(recipe.learning_rate, recipe.learning_rate_end, recipe.epochs, steps_per_epoch, recipe.cosine_every)

    def virtual_update(weight_state: Any) -> tuple[optax.GradientTransformation, Any]:
        # architect.py: w - xi (0.9 buffer + g + decay w) at the current rate, neither clipped nor Nesterov.
        _, descent_state = weight_state
        return sgd(rate, recipe.momentum, recipe.weight_decay), descent_state

    return Method(
        relax=softmax(space),
        hypergradient=HYPERGRADIENTS[recipe.hypergradient](recipe),
        weight_optimizer=clipped(recipe.clip, sgd(rate, recipe.momentum, recipe.weight_decay, recipe.nesterov)),
        alpha_optimizer=adam(recipe.alpha_learning_rate, recipe.alpha_b1, recipe.alpha_b2, recipe.alpha_weight_decay),
        virtual_update=virtual_update,
        order=recipe.order,
        weight_steps_per_alpha_step=recipe.weight_steps_per_alpha_step,
        alphas_from_step=recipe.alphas_from_epoch * steps_per_epoch,
    )

"""Gradients of a validation loss in the upper variables of a bilevel problem.

The lower variables (``weights``) minimise ``train_loss(weights, alphas)``, the upper ones (``alphas``) minimise
``valid_loss`` at the weights so found. Each constructor returns a function of one signature, usable with any two losses:

    hypergradient(train_loss, valid_loss, weights, alphas, virtual_update, virtual_state) -> value, gradient

* ``train_loss(weights, alphas)`` and ``valid_loss(weights, alphas)`` return a scalar, or ``(scalar, aux)`` where the
  constructor got ``has_aux=True``; weights and alphas are any pytrees of floating arrays.
* ``virtual_update`` is the optax transformation by which the weights are thought to move, with its current state: the
  real optimizer's, or another (DARTS's has momentum and decay but does not clip).
* ``value`` is the validation loss where the gradient was taken, with its aux if there is one; ``gradient`` has the form
  of the alphas.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

Loss = Callable[[Any, Any], Any]
Hypergradient = Callable[[Loss, Loss, Any, Any, optax.GradientTransformation, Any], tuple[Any, Any]]


def first_order(has_aux: bool = False) -> Hypergradient:
    """The gradient at the present weights, as if they did not depend on the alphas (DARTS with xi = 0).

    >>> loss = lambda w, a: (w - a) ** 2
    >>> value, gradient = first_order()(loss, loss, 3.0, 1.0, optax.sgd(0.1), optax.sgd(0.1).init(3.0))
    >>> float(value), float(gradient)
    (4.0, -4.0)
    """

    def hypergradient(
        train_loss: Loss,
        valid_loss: Loss,
        weights: Any,
        alphas: Any,
        virtual_update: optax.GradientTransformation,
        virtual_state: Any,
    ) -> tuple[Any, Any]:
        return jax.value_and_grad(valid_loss, argnums=1, has_aux=has_aux)(weights, alphas)

    return hypergradient


def unrolled(steps: int = 1, has_aux: bool = False) -> Hypergradient:
    """The exact gradient through ``steps`` virtual updates of the weights (DARTS, eq. 6 and 7, without its approximation).

    With w' = w + U(g), g the training gradient: d alphas = d valid(w') / d alphas + (d g / d alphas)^T u, where u is the
    pullback of d valid / d w' through U - through clipping, momentum, Adam's moments, whatever U does. The product with the
    mixed second derivative is the forward derivative of the gradient along u (forward over reverse), never reverse over
    reverse.

    >>> loss = lambda w, a: (w - a) ** 2
    >>> sgd = optax.sgd(0.25)
    >>> value, gradient = unrolled()(loss, lambda w, a: w**2, 3.0, 1.0, sgd, sgd.init(3.0))  # w' = (w + a) / 2
    >>> float(value), float(gradient)
    (4.0, 2.0)
    """

    def hypergradient(
        train_loss: Loss,
        valid_loss: Loss,
        weights: Any,
        alphas: Any,
        virtual_update: optax.GradientTransformation,
        virtual_state: Any,
    ) -> tuple[Any, Any]:
        # Both variables are differentiated together: a custom derivative rule inside the loss is then resolved
        # before the forward derivative meets it.
        gradients = _gradients(train_loss, has_aux)

        def move(gradient: Any, weights: Any, state: Any) -> tuple[Any, Any]:
            updates, state = virtual_update.update(gradient, state, weights)
            return optax.apply_updates(weights, updates), state

        pullbacks = []
        moved, state = weights, virtual_state
        for _ in range(steps):
            gradient = gradients(moved, alphas)[0]
            before = moved
            (moved, state), pull = _vjp_of_floats(move, gradient, moved, state)
            pullbacks.append((before, pull))

        value, (cotangent, total) = jax.value_and_grad(valid_loss, argnums=(0, 1), has_aux=has_aux)(moved, alphas)
        state_cotangent = None
        for before, pull in reversed(pullbacks):
            along, cotangent, state_cotangent = pull(cotangent, state_cotangent)
            _, (curvature, mixed) = jax.jvp(lambda w: gradients(w, alphas), (before,), (along,))
            total = jax.tree.map(jnp.add, total, mixed)
            cotangent = jax.tree.map(jnp.add, cotangent, curvature)
        return value, total

    return hypergradient


def finite_difference(radius: float = 0.01, has_aux: bool = False) -> Hypergradient:
    """The paper's approximation of the unrolled gradient (DARTS, eq. 8): a central difference in place of the mixed product.

    The training gradient in the alphas is taken at w +- R u **around w**, R = ``radius`` / ||u||, one norm over all weights;
    for SGD, u = - rate * d valid / d w', and this is the reference's architect.py to the letter.

    >>> loss = lambda w, a: (w - a) ** 2
    >>> sgd = optax.sgd(0.25)
    >>> value, gradient = finite_difference()(loss, lambda w, a: w**2, 3.0, 1.0, sgd, sgd.init(3.0))
    >>> round(float(gradient), 3)
    2.0
    """

    def hypergradient(
        train_loss: Loss,
        valid_loss: Loss,
        weights: Any,
        alphas: Any,
        virtual_update: optax.GradientTransformation,
        virtual_state: Any,
    ) -> tuple[Any, Any]:
        def move(gradient: Any) -> Any:
            return virtual_update.update(gradient, virtual_state, weights)[0]

        gradient = jax.grad(train_loss, has_aux=has_aux)(weights, alphas)
        updates, pull = jax.vjp(move, gradient[0] if has_aux else gradient)
        moved = optax.apply_updates(weights, updates)
        value, (cotangent, total) = jax.value_and_grad(valid_loss, argnums=(0, 1), has_aux=has_aux)(moved, alphas)
        (along,) = pull(cotangent)
        size = radius / optax.tree.norm(along)

        def gradient_at(sign: float) -> Any:
            at = jax.tree.map(lambda w, u: w + sign * size * u, weights, along)
            found = jax.grad(train_loss, argnums=1, has_aux=has_aux)(at, alphas)
            return found[0] if has_aux else found

        return value, jax.tree.map(lambda d, p, m: d + (p - m) / (2 * size), total, gradient_at(1.0), gradient_at(-1.0))

    return hypergradient


def _gradients(loss: Loss, has_aux: bool) -> Callable[[Any, Any], tuple[Any, Any]]:
    gradient = jax.grad(loss, argnums=(0, 1), has_aux=has_aux)
    return (lambda w, a: gradient(w, a)[0]) if has_aux else gradient


def _vjp_of_floats(move: Callable[..., Any], gradient: Any, weights: Any, state: Any) -> tuple[Any, Callable[..., Any]]:
    """The vjp of a virtual update in gradient, weights and the floating part of the optimizer's state."""
    leaves, form = jax.tree.flatten(state)
    floats = [i for i, leaf in enumerate(leaves) if jnp.issubdtype(jnp.result_type(leaf), jnp.floating)]

    def on_floats(gradient: Any, weights: Any, values: list[Any]) -> Any:
        filled = list(leaves)
        for i, value in zip(floats, values, strict=True):
            filled[i] = value
        moved, after = move(gradient, weights, jax.tree.unflatten(form, filled))
        after_leaves = jax.tree.leaves(after)
        return (moved, [after_leaves[i] for i in floats]), after

    (moved, values), pull, after = jax.vjp(on_floats, gradient, weights, [leaves[i] for i in floats], has_aux=True)

    def pull_back(cotangent: Any, state_cotangent: Any) -> Any:
        # Nothing follows the last update but the validation loss, which does not see the state.
        return pull((cotangent, jax.tree.map(jnp.zeros_like, values) if state_cotangent is None else state_cotangent))

    return (moved, after), pull_back

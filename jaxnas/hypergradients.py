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

The implicit ones (:func:`neumann`, :func:`conjugate_gradient`) solve a linear system approximately and say how well: their
``value`` is always ``(scalar, aux)``, where ``aux`` is the validation loss's dictionary, if it has one, and under
``"hypergradient"`` a dictionary of scalars. They do not imagine a step: what they are given of an optimizer is not read.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax import Array, lax

from jaxnas.errors import UserError

Loss = Callable[[Any, Any], Any]
Hypergradient = Callable[[Loss, Loss, Any, Any, optax.GradientTransformation, Any], tuple[Any, Any]]
Matrix = Callable[[Any], Any]
Solve = Callable[[Matrix, Any], tuple[Any, dict[str, Array]]]
"""``solve(matrix, b) -> x, report``: an approximate solution of ``matrix(x) = b``."""


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


def neumann(steps: int, rate: float, damping: float = 0.0, recompute: bool = False, has_aux: bool = False) -> Hypergradient:
    """The implicit gradient with the first ``steps`` terms of a Neumann series for the inverse Hessian (Lorraine et al., 2020).

    d alphas = d valid / d alphas - (d2 train / dw d alphas)^T x, where (H + damping) x = d valid / dw and H is the Hessian of
    the training loss, all at the present weights, which the formula takes for a minimum (implicit function theorem). Here
    x = rate * sum over j < steps of (1 - rate (H + damping))^j d valid / dw: what ``steps`` steps of gradient descent at that
    rate come to, in the limit of weights that no longer move. iDARTS (Zhang et al., 2021) searches with it.

    The series converges if 0 < rate < 2 / (largest eigenvalue + damping) and no eigenvalue is below -damping. Weight decay that
    the optimizer adds is no part of the training loss: to have it in the Hessian, add it to the damping.

    Args:
      steps: terms of the series, each a product with the Hessian.
      rate: of the imagined descent.
      damping: added to every eigenvalue of the Hessian.
      recompute: differentiate the training loss anew in every product. Otherwise its gradient is linearised once and kept:
        on a small supernet of NAS-Bench-201 (two CPU cores) products took a third less time and four times the memory; on one
        of DARTS, whose cells have more edges, the memory was twelve times as much.
      has_aux: of both losses; the validation loss's must be a dictionary.

    Returns:
      The hypergradient. ``aux["hypergradient"]`` holds ``residual``, the norm of d valid / dw - (H + damping) x relative to
      that of d valid / dw: near 0 where the series has converged, above 1 where it diverges.

    Raises:
      UserError: fewer steps than one, a negative damping, a rate that is not positive.

    >>> train, valid = lambda w, a: (w - a) ** 2, lambda w, a: w**2  # H = 2, and at the minimum dw / da = 1.
    >>> (value, aux), gradient = neumann(steps=2, rate=0.25)(train, valid, 1.0, 1.0, optax.sgd(0.1), None)
    >>> float(gradient), float(aux["hypergradient"]["residual"])
    (1.5, 0.25)
    """
    _check_truncation(steps, damping)
    if not rate > 0:
        raise UserError(f"The rate of a Neumann series must be positive, got {rate}.")

    def solve(matrix: Matrix, b: Any) -> tuple[Any, dict[str, Array]]:
        def add_term(_: Any, so_far: tuple[Any, Any]) -> tuple[Any, Any]:
            total, term = so_far
            term = _add_scaled(term, -rate, matrix(term))
            return _add_scaled(total, rate, term), term

        return lax.fori_loop(1, steps, add_term, (jax.tree.map(lambda b: jnp.asarray(rate, b.dtype) * b, b), b))[0], {}

    return _implicit(solve, damping, recompute, has_aux)


def conjugate_gradient(steps: int, damping: float = 0.0, recompute: bool = False, has_aux: bool = False) -> Hypergradient:
    """The implicit gradient (see :func:`neumann`) with ``steps`` conjugate gradients for the inverse Hessian (Pedregosa, 2016).

    Conjugate gradients presuppose a positive definite matrix, which the Hessian of a network need not be: where a direction has
    no positive curvature they stop and keep what they have (Nash, 1984; Steihaug, 1983, without a trust region). In the very
    first direction that is 0, and the gradient the first-order one.

    Args:
      steps: most iterations, each a product with the Hessian, and one more product at the end.
      damping, recompute: as in :func:`neumann`.
      has_aux: of both losses; the validation loss's must be a dictionary.

    Returns:
      The hypergradient. ``aux["hypergradient"]`` holds the ``residual``, as :func:`neumann`'s, and as numbers of the same type
      ``steps``, the iterations done, and ``negative_curvature``, 1 if they ended for want of positive curvature, else 0.

    Raises:
      UserError: fewer steps than one, a negative damping.

    >>> train, valid = lambda w, a: (w - a) ** 2, lambda w, a: w**2
    >>> (value, aux), gradient = conjugate_gradient(steps=5)(train, valid, 1.0, 1.0, optax.sgd(0.1), None)
    >>> float(gradient), {name: float(number) for name, number in aux["hypergradient"].items()}
    (2.0, {'steps': 1.0, 'negative_curvature': 0.0, 'residual': 0.0})
    """
    _check_truncation(steps, damping)

    def solve(matrix: Matrix, b: Any) -> tuple[Any, dict[str, Array]]:
        size_of_b = jnp.asarray(optax.tree.vdot(b, b))
        # What is left below the rounding error of b says nothing of the solution.
        smallest = jnp.finfo(size_of_b.dtype).eps ** 2 * size_of_b

        def unfinished(carry: Any) -> Array:
            _, _, _, size, step, flat = carry
            return (step < steps) & (size > smallest) & ~flat

        def iterate(carry: Any) -> Any:
            x, residual, direction, size, step, _ = carry
            image = matrix(direction)
            curvature = jnp.asarray(optax.tree.vdot(direction, image))
            flat = ~(curvature > 0)
            length = jnp.where(flat, 0, size / jnp.where(flat, 1, curvature))
            x, residual = _add_scaled(x, length, direction), _add_scaled(residual, -length, image)
            new_size = jnp.asarray(optax.tree.vdot(residual, residual))
            return x, residual, _add_scaled(residual, new_size / size, direction), new_size, step + ~flat, flat

        start = (_zeros(b), b, b, size_of_b, jnp.zeros((), jnp.int32), jnp.zeros((), bool))
        x, _, _, _, done, flat = lax.while_loop(unfinished, iterate, start)
        return x, {"steps": done.astype(size_of_b.dtype), "negative_curvature": flat.astype(size_of_b.dtype)}

    return _implicit(solve, damping, recompute, has_aux)


def _implicit(solve: Solve, damping: float, recompute: bool, has_aux: bool) -> Hypergradient:
    def hypergradient(
        train_loss: Loss,
        valid_loss: Loss,
        weights: Any,
        alphas: Any,
        virtual_update: optax.GradientTransformation,
        virtual_state: Any,
    ) -> tuple[Any, Any]:
        value, (b, direct) = jax.value_and_grad(valid_loss, argnums=(0, 1), has_aux=has_aux)(weights, alphas)
        value, aux = value if has_aux else (value, {})
        if not isinstance(aux, dict):
            raise UserError(f"An implicit hypergradient adds to the loss's aux, which must be a dictionary, got {type(aux)}.")
        # As in unrolled: the gradient in both variables, differentiated forward.
        gradients = _gradients(train_loss, has_aux)

        def gradients_at(weights: Any) -> tuple[Any, Any]:
            return gradients(weights, alphas)

        if recompute:

            def along(direction: Any) -> tuple[Any, Any]:
                return jax.jvp(gradients_at, (weights,), (direction,))[1]
        else:
            _, along = jax.linearize(gradients_at, weights)

        def matrix(direction: Any) -> Any:
            return _add_scaled(along(direction)[0], damping, direction)

        x, report = solve(matrix, b)
        curvature, mixed = along(x)
        residual = jax.tree.map(lambda b, c, x: b - (c + damping * x), b, curvature, x)
        norm = optax.tree.norm(b)
        relative = jnp.where(norm > 0, optax.tree.norm(residual) / jnp.where(norm > 0, norm, 1), 0)
        return (value, {**aux, "hypergradient": {**report, "residual": relative}}), jax.tree.map(jnp.subtract, direct, mixed)

    return hypergradient


def _check_truncation(steps: int, damping: float) -> None:
    if steps < 1:
        raise UserError(f"An implicit hypergradient takes at least one step, got steps={steps}; without any it is first_order.")
    if not damping >= 0:
        raise UserError(f"The damping of an implicit hypergradient must not be negative, got {damping}.")


def _zeros(tree: Any) -> Any:
    return jax.tree.map(jnp.zeros_like, tree)


def _add_scaled(tree: Any, scale: Any, other: Any) -> Any:
    """``tree + scale * other`` in the types of ``tree``, as a loop's carry needs."""
    return jax.tree.map(lambda a, b: a + jnp.asarray(scale, a.dtype) * b, tree, other)


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

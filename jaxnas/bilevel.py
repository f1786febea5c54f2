"""The bi-level search step as one pure function over one state, and many of them as one compiled program."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp
import optax
from jax import Array, lax

from jaxnas.hypergradients import Hypergradient
from jaxnas.nets import WEIGHTS_TURN
from jaxnas.relaxations.relaxation import Relax

Scalars = dict[str, Array]
Batch = Any

Loss = Callable[[Any, Any, Batch, Array, Scalars], tuple[Array, dict[str, Any]]]
"""``loss(weights, mixture, batch, key, scalars) -> value, aux``.

``aux`` may hold ``metrics`` (scalars to report), ``moments`` (of the batch norms) and ``carry`` (the state of a recurrent
network, which comes back as ``batch["carry"]`` in the next step on the same stream). A batch with ``statistics`` is to be
evaluated with these running averages.
"""

Attack = Callable[[Callable[[Any], Array], Any, Array, Scalars], Any]
"""``attack(loss of a mixture, mixture, key, scalars) -> mixture``."""

Mask = Callable[[Any, Any], Any]
"""``(mixture, variables) -> mask`` in the form of the variables: 0 where neither they nor what is kept of them may move."""

Restage = Callable[["SearchState", Array], tuple[Any, "SearchState"]]
"""``restage(state, key) -> space, state``: what happens between two compiled stages; the step is then built anew."""


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class SearchState:
    """All that a search carries from one step to the next; plain pytrees.

    Attributes:
      step: number of steps done, int32.
      key: the search's one random key; every draw folds in the step and a purpose.
      weights, alphas: the two levels.
      weight_state, alpha_state: of their optimizers.
      statistics: running averages of the batch norms' moments, or None where the method keeps none.
      duals: multipliers of constrained objectives.
      carry: recurrent states of the two streams, ``{"train": ..., "valid": ...}``, or None.
    """

    step: Array
    key: Array
    weights: Any
    alphas: Any
    weight_state: Any
    alpha_state: Any
    statistics: Any = None
    duals: Any = None
    carry: Any = None


def _task_loss_only(task_loss: Array, costs: Any, duals: Any) -> Array:
    return task_loss


def _as_it_is(loss: Loss) -> Loss:
    return loss


@dataclasses.dataclass(frozen=True)
class Method:
    """A search method: a record of pure functions. The defaults are DARTS's.

    Attributes:
      relax: alphas to mixture and probabilities, see :mod:`jaxnas.relaxations`.
      hypergradient: gradient of the validation loss in the alphas, made with ``has_aux=True``.
      weight_optimizer, alpha_optimizer: the two updates.
      plain_gradient: the hypergradient is the objective's gradient at the present weights, of first order: it may be taken by
        the same piece of program as the weights' gradient, which is half of what is compiled.
      virtual_update: ``weight_state -> (transformation, its state)``, the step that an unrolled gradient imagines.
      order: which update comes first; the second one sees what the first one changed. ``together``: one sample, one gradient of
        the alphas' objective on the training batch for both (SNAS); the validation batch is not read then.
      weight_steps_per_alpha_step: the alphas move in every so-many-th step.
      alphas_from_step: and not before this one, which may be traced.
      scalars: ``step -> dict`` of traced scalars (epoch, temperature, ...).
      costs: ``probabilities -> costs``, expected latency and the like.
      objective: ``(task_loss, costs, duals) -> value``, what the alphas minimise.
      regulariser: ``alphas -> value``, added to the objective.
      alpha_loss: ``loss -> loss``: what the method makes of the loss that the alphas minimise (REINFORCE).
      attack: perturbs the mixture of the weights' update, by the training loss with running averages (SDARTS-ADV).
      update_duals: ``(duals, costs) -> duals``.
      after_update: ``(alphas before, alphas after, mixture) -> alphas``, such as ProxylessNAS's rescaling.
      weight_mask: ``(mixture, weights) -> mask`` in the form of the weights: where it is 0 neither the weight nor what the
        optimizer keeps of it moves; None to update all.
      alpha_mask: the same for the alphas, ``(mixture, alphas) -> mask``.
      running_momentum: weight of the old value in the running averages of the moments of the weight steps' batches
        (PyTorch's default: 0.9); None to keep no averages. Candidates that did not run have no moments: with a relaxation that
        leaves some out, keep none.
    """

    relax: Relax
    hypergradient: Hypergradient
    weight_optimizer: optax.GradientTransformation
    alpha_optimizer: optax.GradientTransformation
    virtual_update: Callable[[Any], tuple[optax.GradientTransformation, Any]]
    plain_gradient: bool = False
    order: Literal["alphas_first", "weights_first", "together"] = "alphas_first"
    weight_steps_per_alpha_step: int = 1
    alphas_from_step: int | Array = 0
    scalars: Callable[[Array], Scalars] = lambda step: {}
    costs: Callable[[Any], Any] = lambda probabilities: {}
    objective: Callable[[Array, Any, Any], Array] = _task_loss_only
    regulariser: Callable[[Any], Array | float] = lambda alphas: 0.0
    alpha_loss: Callable[[Loss], Loss] = _as_it_is
    attack: Attack | None = None
    update_duals: Callable[[Any, Any], Any] = lambda duals, costs: duals
    after_update: Callable[[Any, Any, Any], Any] = lambda before, after, mixture: after
    weight_mask: Mask | None = None
    alpha_mask: Mask | None = None
    running_momentum: float | None = None


def initial_state(
    method: Method, key: Array, weights: Any, alphas: Any, statistics: Any = None, duals: Any = None, carry: Any = None
) -> SearchState:
    """The state before the first step."""
    return SearchState(
        step=jnp.zeros((), jnp.int32),
        key=key,
        weights=weights,
        alphas=alphas,
        weight_state=method.weight_optimizer.init(weights),
        alpha_state=method.alpha_optimizer.init(alphas),
        statistics=None if method.running_momentum is None else statistics,
        duals=duals,
        carry=carry,
    )


# Purposes of random draws within a step.
WEIGHT_STEP, ALPHA_STEP, TRAIN_BATCH, VALID_BATCH, RELAX_FOR_WEIGHTS, RELAX_FOR_ALPHAS, ATTACK = range(7)


def draw(key: Array, step: Array, purpose: int | Array) -> Array:
    """The key of one purpose in one step; nothing else in a search makes keys."""
    return jax.random.fold_in(jax.random.fold_in(key, step), purpose)


def search_step(
    method: Method, weight_loss: Loss, alpha_loss: Loss
) -> Callable[[SearchState, Batch, Batch], tuple[SearchState, dict[str, Array]]]:
    """The step ``(state, train_batch, valid_batch) -> (state, metrics)`` of a method; pure, to be jitted by the caller.

    Args:
      method: the record of functions.
      weight_loss: what the weights minimise, also the lower level of an unrolled gradient.
      alpha_loss: what the alphas minimise but for costs (they may differ, as in label smoothing).

    Returns:
      The step. Its metrics are ``train_loss`` (before the weight update), ``valid_loss`` (the objective with its costs,
      where the hypergradient was taken), ``weight_gradient_norm`` (before clipping), ``alpha_gradient_norm``, the losses'
      own metrics under ``train_`` and ``valid_``, what an implicit hypergradient says of its solution under
      ``hypergradient_``, and the costs. In a step without alpha update those of the validation batch are NaN.
    """

    def with_carry(batch: Batch, state: SearchState, stream: str) -> Batch:
        return batch if state.carry is None else {**batch, "carry": state.carry[stream]}

    def keep_carry(state: SearchState, aux: dict[str, Any], stream: str) -> SearchState:
        return state if state.carry is None else dataclasses.replace(state, carry={**state.carry, stream: aux["carry"]})

    def weights_objective(state: SearchState, scalars: Scalars, batch: Batch) -> Callable[[Any, Any], Any]:
        def objective(weights: Any, alphas: Any) -> Any:
            mixture, _ = method.relax(alphas, draw(state.key, state.step, RELAX_FOR_WEIGHTS), scalars, "weights")
            key = draw(state.key, state.step, WEIGHT_STEP)
            if method.attack is not None:
                evaluated, fixed = {**batch, "statistics": state.statistics}, lax.stop_gradient(weights)
                mixture = method.attack(
                    lambda m: weight_loss(fixed, m, evaluated, key, scalars)[0],
                    lax.stop_gradient(mixture),
                    draw(state.key, state.step, ATTACK),
                    scalars,
                )
            value, aux = weight_loss(weights, mixture, batch, key, scalars)
            return value, {**aux, "mixture": mixture}

        return objective

    def alphas_objective(state: SearchState, scalars: Scalars, batch: Batch) -> Callable[[Any, Any], Any]:
        def objective(weights: Any, alphas: Any) -> Any:
            mixture, probabilities = method.relax(alphas, draw(state.key, state.step, RELAX_FOR_ALPHAS), scalars, "alphas")
            loss = method.alpha_loss(alpha_loss)
            task_loss, aux = loss(weights, mixture, batch, draw(state.key, state.step, ALPHA_STEP), scalars)
            costs = method.costs(probabilities)
            value = method.objective(task_loss, costs, state.duals) + method.regulariser(alphas)
            return value, {**aux, "mixture": mixture, "costs": costs}

        return objective

    def update_weights(state: SearchState, scalars: Scalars, train_batch: Batch) -> tuple[SearchState, dict[str, Array]]:
        objective = weights_objective(state, scalars, with_carry(train_batch, state, "train"))
        (value, aux), gradient = jax.value_and_grad(objective, has_aux=True)(state.weights, state.alphas)
        metrics = {"train_loss": value, "weight_gradient_norm": optax.tree.norm(gradient), **_metrics("train", aux)}
        return keep_carry(move_weights(state, gradient, aux), aux, "train"), metrics

    def move_weights(state: SearchState, gradient: Any, aux: dict[str, Any]) -> SearchState:
        optimizer, mask = method.weight_optimizer, method.weight_mask
        weights, weight_state = _moved(optimizer, gradient, state.weight_state, state.weights, mask, aux["mixture"])
        statistics, keep = state.statistics, method.running_momentum
        if keep is not None:
            statistics = jax.tree.map(lambda old, new: keep * old + (1 - keep) * new, statistics, aux["moments"])
        return dataclasses.replace(state, weights=weights, weight_state=weight_state, statistics=statistics)

    def update_alphas(
        state: SearchState, scalars: Scalars, train_batch: Batch, valid_batch: Batch
    ) -> tuple[SearchState, dict[str, Array]]:
        (value, aux), gradient = method.hypergradient(
            weights_objective(state, scalars, with_carry(train_batch, state, "train")),
            alphas_objective(state, scalars, with_carry(valid_batch, state, "valid")),
            state.weights,
            state.alphas,
            *method.virtual_update(state.weight_state),
        )
        metrics = {"valid_loss": value, "alpha_gradient_norm": optax.tree.norm(gradient), **_metrics("valid", aux)}
        metrics |= {f"hypergradient_{name}": number for name, number in aux.get("hypergradient", {}).items()}
        return keep_carry(move_alphas(state, gradient, aux), aux, "valid"), {**metrics, **aux["costs"]}

    def move_alphas(state: SearchState, gradient: Any, aux: dict[str, Any]) -> SearchState:
        optimizer, mask = method.alpha_optimizer, method.alpha_mask
        alphas, alpha_state = _moved(optimizer, gradient, state.alpha_state, state.alphas, mask, aux["mixture"])
        alphas = method.after_update(state.alphas, alphas, aux["mixture"])
        duals = method.update_duals(state.duals, aux["costs"])
        return dataclasses.replace(state, alphas=alphas, alpha_state=alpha_state, duals=duals)

    def update_both(state: SearchState, scalars: Scalars, train_batch: Batch) -> tuple[SearchState, dict[str, Array]]:
        objective = alphas_objective(state, scalars, with_carry(train_batch, state, "train"))
        both = jax.value_and_grad(objective, argnums=(0, 1), has_aux=True)
        (value, aux), (of_weights, of_alphas) = both(state.weights, state.alphas)
        norms = {"weight_gradient_norm": optax.tree.norm(of_weights), "alpha_gradient_norm": optax.tree.norm(of_alphas)}
        state = keep_carry(move_alphas(move_weights(state, of_weights, aux), of_alphas, aux), aux, "train")
        return state, {"train_loss": value, **norms, **_metrics("train", aux), **aux["costs"]}

    def is_due(state: SearchState) -> Array | bool:
        at_once = isinstance(method.alphas_from_step, int) and method.alphas_from_step == 0
        if method.weight_steps_per_alpha_step == 1 and at_once:
            return True
        return (state.step >= method.alphas_from_step) & (state.step % method.weight_steps_per_alpha_step == 0)

    def can_take_turns(state: SearchState, scalars: Scalars, train_batch: Batch, valid_batch: Batch) -> bool:
        """Whether the two gradients are of one function, but for what goes into it."""
        own = method.attack is not None or method.alpha_loss is not _as_it_is or weight_loss is not alpha_loss
        if not method.plain_gradient or own or state.carry is not None:
            return False
        for_weights = jax.eval_shape(lambda: method.relax(state.alphas, state.key, scalars, "weights")[0])
        for_alphas = jax.eval_shape(lambda: method.relax(state.alphas, state.key, scalars, "alphas")[0])
        return for_weights == for_alphas and jax.eval_shape(lambda: train_batch) == jax.eval_shape(lambda: valid_batch)

    def update_in_turns(
        state: SearchState, scalars: Scalars, train_batch: Batch, valid_batch: Batch
    ) -> tuple[SearchState, dict[str, Array]]:
        """Both updates by one piece of program, which runs once for each."""

        def turn(state: SearchState, data: Any, of_weights: Array) -> tuple[SearchState, Any]:
            scalars, *batches = data

            def objective(weights: Any, alphas: Any) -> Any:
                key_of = functools.partial(draw, state.key, state.step)
                for_weights, _ = method.relax(alphas, key_of(RELAX_FOR_WEIGHTS), scalars, "weights")
                for_alphas, probabilities = method.relax(alphas, key_of(RELAX_FOR_ALPHAS), scalars, "alphas")
                mixture = _select(of_weights, for_weights, for_alphas)
                key = key_of(jnp.where(of_weights, WEIGHT_STEP, ALPHA_STEP))
                inside = {**scalars, WEIGHTS_TURN: of_weights}
                task_loss, aux = weight_loss(weights, mixture, _select(of_weights, *batches), key, inside)
                costs = method.costs(probabilities)
                value = lax.cond(
                    of_weights,
                    lambda: task_loss,
                    lambda: method.objective(task_loss, costs, state.duals) + method.regulariser(alphas),
                )
                return value, {**aux, "mixture": mixture, "costs": costs}

            both = jax.value_and_grad(objective, argnums=(0, 1), has_aux=True)
            (value, aux), (in_weights, in_alphas) = both(state.weights, state.alphas)
            state, norm = lax.cond(
                of_weights,
                lambda: (move_weights(state, in_weights, aux), optax.tree.norm(in_weights)),
                lambda: (move_alphas(state, in_alphas, aux), optax.tree.norm(in_alphas)),
            )
            return state, (value, norm, aux.get("metrics", {}), aux["costs"])

        due, weights_last = is_due(state), method.order == "alphas_first"
        turns = jnp.array([not weights_last, weights_last]) | jnp.logical_not(due)
        count = 2 if due is True else jnp.where(due, 2, 1)
        state, found = many_steps(turn, most=2)(state, (scalars, train_batch, valid_batch), (turns,), count)
        weights_at = jnp.where(due, 1, 0) if weights_last else 0
        value, norm, metrics, _ = jax.tree.map(lambda series: series[weights_at], found)
        of_weights = {"train_loss": value, "weight_gradient_norm": norm, **_metrics("train", {"metrics": metrics})}
        alphas_at = 0 if weights_last else 1
        value, norm, metrics, costs = jax.tree.map(lambda series: jnp.where(due, series[alphas_at], jnp.nan), found)
        of_alphas = {"valid_loss": value, "alpha_gradient_norm": norm, **_metrics("valid", {"metrics": metrics})}
        return state, {**of_weights, **of_alphas, **costs}

    def maybe_update_alphas(
        state: SearchState, scalars: Scalars, train_batch: Batch, valid_batch: Batch
    ) -> tuple[SearchState, dict[str, Array]]:
        due = is_due(state)
        if due is True:
            return update_alphas(state, scalars, train_batch, valid_batch)
        update = jax.jit(update_alphas)  # Traced once, for its shapes and for the program.
        shapes = jax.eval_shape(update, state, scalars, train_batch, valid_batch)[1]

        def rest(state: SearchState, *_: Any) -> tuple[SearchState, dict[str, Array]]:
            return state, jax.tree.map(lambda s: jnp.full(s.shape, jnp.nan, s.dtype), shapes)

        # One program for steps with and without: freezing the alphas costs no second compilation.
        return lax.cond(due, update, rest, state, scalars, train_batch, valid_batch)

    def step(state: SearchState, train_batch: Batch, valid_batch: Batch) -> tuple[SearchState, dict[str, Array]]:
        scalars = method.scalars(state.step)
        if method.order == "together":
            state, metrics = update_both(state, scalars, train_batch)
            return dataclasses.replace(state, step=state.step + 1), metrics
        if can_take_turns(state, scalars, train_batch, valid_batch):
            state, metrics = update_in_turns(state, scalars, train_batch, valid_batch)
            return dataclasses.replace(state, step=state.step + 1), metrics
        if method.order == "alphas_first":
            state, alpha_metrics = maybe_update_alphas(state, scalars, train_batch, valid_batch)
            state, weight_metrics = update_weights(state, scalars, train_batch)
        else:
            state, weight_metrics = update_weights(state, scalars, train_batch)
            state, alpha_metrics = maybe_update_alphas(state, scalars, train_batch, valid_batch)
        return dataclasses.replace(state, step=state.step + 1), {**weight_metrics, **alpha_metrics}

    return step


def _metrics(stream: str, aux: dict[str, Any]) -> dict[str, Array]:
    return {f"{stream}_{name}": metric for name, metric in aux.get("metrics", {}).items()}


def _moved(
    optimizer: optax.GradientTransformation, gradient: Any, state: Any, variables: Any, mask_of: Mask | None, mixture: Any
) -> tuple[Any, Any]:
    """One level and what its optimizer keeps, after an update; of what a mask leaves out neither moves, but counters go on."""
    updates, new_state = optimizer.update(gradient, state, variables)
    new = optax.apply_updates(variables, updates)
    if mask_of is None:
        return new, new_state
    mask = mask_of(mixture, variables)
    new = jax.tree.map(_where, mask, new, variables)
    masks = optax.tree.map_params(optimizer, lambda _, m: m, new_state, mask, transform_non_params=lambda _: True)
    return new, jax.tree.map(_where, masks, new_state, state)


def _select(first: Array, ours: Any, others: Any) -> Any:
    return jax.tree.map(lambda a, b: jnp.where(first, a, b), ours, others)


def _where(mask: Any, new: Array, old: Array) -> Array:
    return jnp.where(jnp.asarray(mask, bool), new, old)


def many_steps(step: Callable[..., tuple[Any, dict[str, Array]]], most: int) -> Callable[..., tuple[Any, dict[str, Array]]]:
    """Up to ``most`` steps in one dispatch, the number traced: one program serves every chunk of an epoch.

    Args:
      step: ``(state, data, *inputs) -> (state, metrics)`` with scalar metrics.
      most: length of the leading axis of the stacked inputs.

    Returns:
      ``(state, data, stacked inputs, count) -> (state, metrics)``; the metrics are ``[most]``, valid up to ``count``.
      ``data`` is the same in every step: the images, resident on the device.

    >>> run = many_steps(lambda state, data, x: (state + data * x, {"x": x}), most=4)
    >>> state, metrics = run(0.0, 2.0, (jnp.arange(4.0),), 3)
    >>> float(state)
    6.0
    """

    def run(state: Any, data: Any, inputs: Any, count: Array) -> tuple[Any, dict[str, Array]]:
        def at(i: Any) -> Any:
            return jax.tree.map(lambda stacked: lax.dynamic_index_in_dim(stacked, i, keepdims=False), inputs)

        one_step = jax.jit(step)  # Traced once, for its shapes and for the loop.
        shapes = jax.eval_shape(lambda state, inputs: one_step(state, data, *inputs)[1], state, at(0))
        empty = jax.tree.map(lambda shape: jnp.zeros((most, *shape.shape), shape.dtype), shapes)

        def one(i: Array, carry: Any) -> Any:
            state, metrics = carry
            state, found = one_step(state, data, *at(i))
            return state, jax.tree.map(lambda series, value: series.at[i].set(value), metrics, found)

        return lax.fori_loop(0, count, one, (state, empty))

    return run

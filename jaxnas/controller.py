"""The LSTM that writes an architecture down, one decision after the other (Zoph and Le, 2017; Pham et al., 2018, ENAS)."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from jaxnas.checks import check_finite, check_not_negative, check_positive

STATE, INPUT, OPERATION = range(3)
"""What a step of the LSTM is for: to remember a state of the cell, to choose one as input, to choose an operation."""

Parameters = dict[str, Array]


@dataclasses.dataclass(frozen=True)
class Controller:
    """Values of a controller; the defaults are NAS-Bench-201's (AutoDL-Projects, search_model_enas_utils.py).

    Attributes:
      size, layers: of the LSTM.
      bound: of the uniform draws that the parameters start at.
      shared: all decisions for an operation have one embedding and one classifier (ENAS); else each has its own, as each kind
        of decision has in Zoph and Le.
      temperature, tanh_constant: logits are ``tanh_constant tanh(logits / temperature)``; with a constant of 0
        ``logits / temperature``.
      operation_tanh_reduce: of operations the constant is divided by it.
      convolution_bias: where the learned bias of convolutions begins; that of other operations begins at 0.
      convolution_bonus: is added to the logits of convolutions and subtracted from the others', in the first cell.

    Raises:
      UserError: a size that is not positive, a number that is not finite.
    """

    size: int = 32
    layers: int = 2
    bound: float = 0.1
    shared: bool = True
    temperature: float = 5.0
    tanh_constant: float = 2.5
    operation_tanh_reduce: float = 1.0
    convolution_bias: float = 0.0
    convolution_bonus: float = 0.0

    def __post_init__(self) -> None:
        check_finite(self)
        check_positive(self, "size", "layers", "bound", "temperature", "operation_tanh_reduce")
        check_not_negative(self, "tanh_constant", "convolution_bias", "convolution_bonus")


ZOPH_AND_LE = Controller(size=35, layers=2, bound=0.08, shared=False, temperature=1.0, tanh_constant=0.0)
"""That of Zoph and Le (2017). Its LSTM has no biases here; the paper says nothing of them."""


@dataclasses.dataclass(frozen=True)
class Decisions:
    """What is decided, as arrays over the steps T of the LSTM; S states of a cell, O operations.

    Attributes:
      kinds: int ``[T]``: :data:`STATE`, :data:`INPUT` or :data:`OPERATION`.
      states: int ``[T]``: which state a step remembers.
      slots: int ``[T]``: which of a node's two inputs a step chooses, or for which it chooses the operation.
      inputs: bool ``[T, S]``: states that may be chosen. The second input of a node is another than the first.
      operations: bool ``[T, S, O]``: by the input, operations that may be chosen.
      bonus: float ``[T, O]``: of the operations, 1, -1 or 0: what :attr:`Controller.convolution_bonus` multiplies.
      convolutions: bool ``[O]``: what :attr:`Controller.convolution_bias` is of.
    """

    kinds: np.ndarray
    states: np.ndarray
    slots: np.ndarray
    inputs: np.ndarray
    operations: np.ndarray
    bonus: np.ndarray
    convolutions: np.ndarray

    @property
    def choices(self) -> int:
        """Entries of the longest row of logits."""
        return max(self.inputs.shape[1], self.operations.shape[2])


def operations_only(present_TxO: np.ndarray) -> Decisions:
    """Decisions of which each is an operation: of NAS-Bench-201's six edges, or of the blocks of a mobile network.

    Args:
      present_TxO: bool, the operations that may be chosen at each.

    >>> operations_only(np.ones((6, 5), bool)).kinds
    array([2, 2, 2, 2, 2, 2])
    """
    steps, width = present_TxO.shape
    nothing = np.zeros(steps, int)
    return Decisions(
        kinds=np.full(steps, OPERATION),
        states=nothing,
        slots=nothing,
        inputs=np.zeros((steps, 1), bool),
        operations=present_TxO[:, None],
        bonus=np.zeros((steps, width)),
        convolutions=np.zeros(width, bool),
    )


class Written(NamedTuple):
    """An architecture as the controller writes it.

    Attributes:
      choices: int32 ``[T]``, 0 where nothing is chosen.
      log_probability: of all choices together.
      entropy: sum of those of the distributions that were drawn from.
    """

    choices: Array
    log_probability: Array
    entropy: Array


def initial(controller: Controller, decisions: Decisions, key: Array) -> Parameters:
    """Parameters at the start: uniform draws, but for the bias of the operations.

    >>> parameters = initial(Controller(size=4), operations_only(np.ones((6, 5), bool)), jax.random.key(0))
    >>> {name: array.shape for name, array in parameters.items()}
    {'start': (4,), 'lstm': (2, 8, 16), 'embedding': (5, 4), 'operations': (4, 5), 'bias': (5,)}
    """
    size, width = controller.size, decisions.operations.shape[2]
    each = () if controller.shared else decisions.kinds.shape
    shapes = {
        "start": (size,),
        "lstm": (controller.layers, 2 * size, 4 * size),
        "embedding": (*each, width, size),
        "operations": (*each, size, width),
    }
    if _chooses_inputs(decisions):
        shapes |= {"attention_of_states": (size, size), "attention": (size, size), "attention_sum": (size,)}
    keys = jax.random.split(key, len(shapes))
    least, most = -controller.bound, controller.bound
    drawn = {name: jax.random.uniform(k, shapes[name], minval=least, maxval=most) for name, k in zip(shapes, keys, strict=True)}
    bias = controller.convolution_bias * jnp.asarray(decisions.convolutions, float)
    return {**drawn, "bias": jnp.broadcast_to(bias, (*each, width))}


def drawn(controller: Controller, decisions: Decisions, parameters: Parameters, key: Array) -> Written:
    """An architecture drawn from the controller.

    >>> decisions = operations_only(np.ones((3, 2), bool))
    >>> parameters = initial(Controller(), decisions, jax.random.key(0))
    >>> written = drawn(Controller(), decisions, parameters, jax.random.key(1))
    >>> bool(read(Controller(), decisions, parameters, written.choices).log_probability == written.log_probability)
    True
    """
    keys = jax.random.split(key, len(decisions.kinds))
    return _write(controller, decisions, parameters, keys, jax.random.categorical)


def likeliest(controller: Controller, decisions: Decisions, parameters: Parameters) -> Written:
    """The architecture of the likeliest choice at every step, given those before."""
    return _write(controller, decisions, parameters, jnp.zeros(len(decisions.kinds)), lambda _, logits: logits.argmax())


def read(controller: Controller, decisions: Decisions, parameters: Parameters, choices: Array) -> Written:
    """An architecture that is given: its log-probability, differentiable in the parameters."""
    return _write(controller, decisions, parameters, choices, lambda choice, _: choice)


def _chooses_inputs(decisions: Decisions) -> bool:
    return bool((decisions.kinds == INPUT).any())


def _write(
    controller: Controller,
    decisions: Decisions,
    parameters: Parameters,
    helps: Array,
    choose: Callable[[Array, Array], Array],
) -> Written:
    """One scan over the steps, whatever each is for: one body is compiled.

    Args:
      helps: ``[T]``, what ``choose`` gets besides the logits, which are minus infinity where nothing may be chosen.
    """
    size, states = controller.size, decisions.inputs.shape[1]
    dtype = parameters["start"].dtype
    with_inputs = _chooses_inputs(decisions)

    def squashed(logits: Array, constant: float) -> Array:
        logits = logits / controller.temperature
        return constant * jnp.tanh(logits) if constant else logits

    def step(carry: Any, given: Any) -> Any:
        hidden, memory, before, values, queries, chosen, total, entropy = carry
        at, extra = given
        table = parameters if controller.shared else at
        hidden, memory = _lstm(parameters["lstm"], before, hidden, memory)
        top = hidden[-1]
        logits = squashed(
            top @ table["operations"] + table["bias"],
            controller.tanh_constant / controller.operation_tanh_reduce,
        )
        logits += controller.convolution_bonus * at["bonus"]
        # A step that remembers has one choice, whose probability is 1.
        allowed = jnp.where(at["kinds"] == STATE, jnp.arange(len(logits)) == 0, at["allowed"][chosen[at["slots"]]])
        logits, allowed = (jnp.pad(row, (0, decisions.choices - len(row))) for row in (logits, allowed))
        follows = parameters["start"]
        if with_inputs:
            scores = jnp.tanh(queries + top @ parameters["attention"]) @ parameters["attention_sum"]
            again = (at["slots"] == 1) & (jnp.arange(states) == chosen[0])
            scores, free = (
                jnp.pad(row, (0, decisions.choices - states))
                for row in (squashed(scores, controller.tanh_constant), at["inputs"] & ~again)
            )
            logits, allowed = (jnp.where(at["kinds"] == INPUT, a, b) for a, b in ((scores, logits), (free, allowed)))
        logits = jnp.where(allowed, logits, -jnp.inf)
        choice = choose(extra, logits).astype(jnp.int32)
        logs = jnp.where(allowed, jax.nn.log_softmax(logits), 0.0)
        total, entropy = total + logs[choice], entropy - jnp.where(allowed, jnp.exp(logs) * logs, 0.0).sum()
        if with_inputs:
            # The reference remembers of a cell's inputs, which nothing has been decided of, a vector of zeros (values) and
            # all the same something to find them by (queries).
            here = (at["kinds"] == STATE) & (jnp.arange(states) == at["states"])
            values = jnp.where(here[:, None], at["nodes"] * top, values)
            queries = jnp.where(here[:, None], top @ parameters["attention_of_states"], queries)
            is_input = (at["kinds"] == INPUT) & (jnp.arange(2) == at["slots"])
            chosen = jnp.where(is_input, choice, chosen)
            follows = jnp.where(at["kinds"] == INPUT, values[jnp.minimum(choice, states - 1)], follows)
        embedded = table["embedding"][jnp.minimum(choice, len(table["embedding"]) - 1)]
        follows = jnp.where(at["kinds"] == OPERATION, embedded, follows)
        return (hidden, memory, follows, values, queries, chosen, total, entropy), choice

    zeros, of_states = jnp.zeros((controller.layers, size), dtype), jnp.zeros((states, size), dtype)
    nothing = jnp.zeros((), dtype)
    carry = (zeros, zeros, parameters["start"], of_states, of_states, jnp.zeros(2, jnp.int32), nothing, nothing)
    rows = {name: jnp.asarray(getattr(decisions, name)) for name in ("kinds", "states", "slots", "inputs")}
    rows["allowed"] = jnp.asarray(decisions.operations)
    if not controller.shared:
        rows |= {name: parameters[name] for name in ("embedding", "operations", "bias")}
    rows |= {"bonus": jnp.asarray(decisions.bonus, dtype), "nodes": jnp.asarray(decisions.states >= 2, dtype)}
    carry, choices = lax.scan(step, carry, (rows, helps))
    return Written(choices, carry[-2], carry[-1])


def _lstm(weights_LxIxO: Array, inputs: Array, hidden_LxS: Array, memory_LxS: Array) -> tuple[Array, Array]:
    """One step of a stack of LSTMs without biases (ENAS, src/common_ops.py, ``stack_lstm``)."""
    hidden, memory = [], []
    for weights, h, c in zip(weights_LxIxO, hidden_LxS, memory_LxS, strict=True):
        i, f, o, g = jnp.split(jnp.concatenate([inputs, h]) @ weights, 4)
        memory.append(jax.nn.sigmoid(i) * jnp.tanh(g) + jax.nn.sigmoid(f) * c)
        inputs = jax.nn.sigmoid(o) * jnp.tanh(memory[-1])
        hidden.append(inputs)
    return jnp.stack(hidden), jnp.stack(memory)

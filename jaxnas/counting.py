"""Multiply-adds of a network by two conventions, read from the trace of its forward pass.

Nothing of the network is compiled or computed: the pass is traced in shapes, for one image and in evaluation mode, where the
auxiliary head is left out. What is counted is thus what would run. In a supernet that is every candidate of every edge: a
scan over edges counts once for each edge, with the candidates that the edge has.
"""

from __future__ import annotations

import functools
import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.core import ClosedJaxpr, JaxprEqn, Literal

from jaxnas.errors import UserError, did_you_mean
from jaxnas.nets import Network
from jaxnas.spaces import Space

COUNTERS = {
    "conv_linear": ("convolution", "linear"),
    "nasbench201": ("convolution", "linear", "batch_norm", "relu", "pooling"),
}
"""The kinds of layer that each counter adds up.

``conv_linear`` is the field's: what the tables of papers call multiply-adds, or FLOPs. ``nasbench201`` is what the benchmark's
own ``flops`` hold: also 2 per element for batch norm, 1 for ReLU, and the window's size per output for pooling. Neither counts
biases, sums of edges or the softmax.
"""

Constant = Callable[[], Any]
"""A value of the trace that depends on no input, evaluated only where a choice hangs on it."""


def multiply_adds(network: Network, image_size: int, counter: str = "conv_linear", space: Space | None = None) -> int:
    """Multiply-adds of a network for one image, in evaluation mode without auxiliary head.

    Args:
      network: supernet or derived network.
      image_size: height and width of the image, in pixels.
      counter: a name of :data:`COUNTERS`.
      space: a supernet's space.

    Raises:
      UserError: an unknown counter.

    >>> from jaxnas.nets import Shape, derived
    >>> from jaxnas.spaces import from_text
    >>> genotype = from_text("|none~0|+|none~0|none~1|+|nor_conv_3x3~0|none~1|none~2|")
    >>> net = derived(genotype, Shape(channels=16, cells=5, classes=10))
    >>> multiply_adds(net, 32), multiply_adds(net, 32, "nasbench201")
    (43172480, 43763392)
    """
    if counter not in COUNTERS:
        raise UserError(f"Unknown counter {counter!r}. {did_you_mean(counter, COUNTERS)}")
    layers = by_layer(network, image_size, space)
    return sum(layers[kind] for kind in COUNTERS[counter])


def by_layer(network: Network, image_size: int, space: Space | None = None) -> Counter[str]:
    """What the layers of each kind add to a count, with the arguments of :func:`multiply_adds`."""
    key = jax.eval_shape(lambda: jax.random.key(0))
    weights, statistics = jax.eval_shape(network.init, key)
    mixture = space and {kind: jax.ShapeDtypeStruct((len(cell.edges), cell.columns), jnp.float32) for kind, cell in space.cells}
    images = jax.ShapeDtypeStruct((1, image_size, image_size, 3), jnp.float32)
    return count_function(functools.partial(network.forward, scalars={}), weights, mixture, images, key, statistics=statistics)


def count_function(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Counter[str]:
    """What the layers of each kind add to a count in a call of ``function``, by the shapes of its arguments.

    Images are rows of one image, ``[H, C, W]``. Weights must be arguments: a depthwise kernel that is a constant is average
    pooling.

    >>> from jaxnas.nets import primitives
    >>> dict(count_function(lambda x, k: primitives.convolution(x, k, batch=1), jnp.ones((8, 4, 8)), jnp.ones((6, 4, 3, 3))))
    {'convolution': 13824}
    """
    program = jax.make_jaxpr(function)(*args, **kwargs)
    counts: Counter[str] = Counter()
    _walk(program, [None] * len(program.in_avals), counts)
    return counts


def _layer(equation: JaxprEqn, inputs: Sequence[Constant | None]) -> tuple[str, int] | None:
    """Kind and multiply-adds of the layer that an equation of the trace is, if it is one."""
    name, shapes = equation.primitive.name, [_shape(atom) for atom in equation.invars]
    size = math.prod(_shape(equation.outvars[0]))
    match equation.params.get("name") if name in ("jit", "pjit") else name:
        case "convolution":
            return "convolution", size * math.prod(shapes[1][1:])
        case "depthwise":
            # Average pooling is the same primitive with ones for a kernel.
            return "pooling" if inputs[1] else "convolution", size * math.prod(shapes[1][1:])
        case "dot_general":
            (contracted, _), _ = equation.params["dimension_numbers"]
            return "linear", size * math.prod(shapes[0][axis] for axis in contracted)
        case "normalise_by":
            return "batch_norm", 2 * size
        case "relu":
            return "relu", size
        case "select_in_window":
            return "pooling", 9 * size
        case "mean_of_2x2":
            return "pooling", 4 * size
        case "reduce_sum":
            # Global average pooling. NAS-Bench-201's figures hold (H + 1)(W + 1) for a channel of H x W pixels: 81 and 25.
            return "pooling", size * math.prod(shapes[0][axis] + 1 for axis in equation.params["axes"])
    return None


def _walk(program: ClosedJaxpr, inputs: Sequence[Constant | None], counts: Counter[str]) -> list[Constant | None]:
    """Adds the layers of a trace to the counts; returns its results, those that are constants."""
    known: dict[Any, Constant | None] = dict(zip(program.invars, inputs, strict=True))
    known.update(zip(program.constvars, map(_constant, program.consts), strict=True))

    def read(atom: Any) -> Constant | None:
        return _constant(atom.val) if isinstance(atom, Literal) else known[atom]

    for equation in program.eqns:
        results = _results(equation, [read(atom) for atom in equation.invars], counts)
        known.update(zip(equation.outvars, results, strict=True))
    return [read(atom) for atom in program.outvars]


def _results(equation: JaxprEqn, inputs: list[Constant | None], counts: Counter[str]) -> Sequence[Constant | None]:
    """As :func:`_walk`, for one equation."""
    params, unknown = equation.params, [None] * len(equation.outvars)
    layer = _layer(equation, inputs)
    if layer:
        kind, size = layer
        counts[kind] += size
    elif equation.primitive.name == "scan":
        for step_inputs in _steps(equation, inputs):
            _walk(params["jaxpr"], step_inputs, counts)
    elif equation.primitive.name == "cond":
        # Whether an edge has the candidate.
        if inputs[0] is None:
            raise ValueError("A branch of this network depends on its inputs: what it costs is known only when it runs.")
        _walk(params["branches"][int(inputs[0]())], inputs[1:], counts)
    elif programs := [value for value in params.values() if isinstance(value, ClosedJaxpr)]:
        (program,) = programs
        return _walk(program, inputs, counts)
    elif all(inputs) and len(unknown) == 1:
        return [lambda: equation.primitive.bind(*(constant() for constant in inputs if constant), **params)]
    return unknown


def _steps(equation: JaxprEqn, inputs: list[Constant | None]) -> Iterator[list[Constant | None]]:
    """The inputs of each step of a scan: those that stay, those carried from step to step, and slices of the rest."""
    body = equation.params["jaxpr"]
    # By the shapes, since releases of JAX differ in how they say it: what is sliced or stacked has one more axis outside.
    added = [len(_shape(outer)) - len(_shape(inner)) for outer, inner in zip(equation.invars, body.invars, strict=True)]
    results = zip(equation.outvars, body.outvars, strict=True)
    carried = sum(len(_shape(outer)) == len(_shape(inner)) for outer, inner in results)
    staying = len(inputs) - carried - sum(added)
    for step in range(equation.params["length"]):
        slices = [constant and _item(constant, step) for constant in inputs[staying + carried :]]
        yield [*inputs[:staying], *[None] * carried, *slices]


def _shape(atom: Any) -> tuple[int, ...]:
    return atom.aval.shape


def _constant(value: Any) -> Constant:
    return lambda: value


def _item(constant: Constant, i: int) -> Constant:
    return lambda: constant()[i]

"""ONNX of a function on images, from its JAX trace.

Images are ``[N, H, W, C]`` in JAX and ``[N, C, H, W]`` in ONNX: what has four axes in a trace has them in ONNX's order in the
graph, and is transposed where the function begins. What depends on no input is computed here.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import onnx
from jax import Array
from jax.extend.core import Literal
from onnx import helper, numpy_helper

OPSET, IR_VERSION = 17, 8  # Of 2022: read by every later ONNX Runtime.
TO_ONNX, TO_JAX = (0, 3, 1, 2), (0, 2, 3, 1)

Value = str | np.ndarray
"""A tensor of the graph by its name, or a constant in JAX's order of axes."""

ELEMENTWISE = {"add": "Add", "add_any": "Add", "sub": "Sub", "mul": "Mul", "div": "Div", "max": "Max", "min": "Min"}


def onnx_bytes(function: Callable[[Array], Array], shape: tuple[int, int, int], name: str) -> bytes:
    """A function as a model of ONNX with one input, ``images``, and one output, ``logits``.

    Args:
      function: float32 ``[N, H, W, C]`` to ``[N, K]``, of the primitives that convolutional networks in evaluation consist of.
      shape: H, W and C; N is left open.
      name: of the graph.

    Raises:
      NotImplementedError: another primitive; its name is in the message. No network of :mod:`jaxnas.export.plain` has one, and
        no other is exported: so it is no user's mistake, and no UserError.
    """
    sizes = jax.export.symbolic_shape(f"batch, {', '.join(map(str, shape))}")
    closed = jax.make_jaxpr(function)(jax.ShapeDtypeStruct(sizes, jnp.float32))
    graph = _Graph()
    begin = graph.node("Transpose", ["images"], perm=TO_ONNX)
    (logits,) = graph.outputs(closed.jaxpr, closed.consts, [begin])
    graph.nodes.append(helper.make_node("Identity", [graph.tensor(logits)], ["logits"]))
    classes = closed.jaxpr.outvars[0].aval.shape[1]
    model = helper.make_model(
        helper.make_graph(
            graph.nodes,
            name,
            [helper.make_tensor_value_info("images", onnx.TensorProto.FLOAT, ["batch", *shape])],
            [helper.make_tensor_value_info("logits", onnx.TensorProto.FLOAT, ["batch", classes])],
            graph.constants,
        ),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="jaxnas",
    )
    onnx.checker.check_model(model, full_check=True)
    return model.SerializeToString()


class _Graph:
    """Nodes and constants that were written so far."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        self.numbers = itertools.count()

    def outputs(self, jaxpr: Any, constants: Sequence[Any], inputs: Sequence[Value]) -> list[Value]:
        """Writes a trace's equations."""
        known: dict[Any, Value] = dict(zip(jaxpr.constvars, map(np.asarray, constants), strict=True))
        known |= dict(zip(jaxpr.invars, inputs, strict=True))

        def read(atom: Any) -> Value:
            if isinstance(atom, Literal):
                aval: Any = atom.aval
                return np.asarray(atom.val, aval.dtype)
            return known[atom]

        for equation in jaxpr.eqns:
            values = [read(atom) for atom in equation.invars]
            known |= dict(zip(equation.outvars, self.equation(equation, values), strict=True))
        return [read(atom) for atom in jaxpr.outvars]

    def equation(self, equation: Any, values: list[Value]) -> list[Value]:
        name, params = equation.primitive.name, equation.params
        inner = params.get("jaxpr", params.get("call_jaxpr"))
        if inner is not None:
            return self.outputs(inner.jaxpr, inner.consts, values)
        if all(isinstance(value, np.ndarray) for value in values):
            return [np.asarray(equation.primitive.bind(*map(jnp.asarray, values), **params))]
        if name in ELEMENTWISE:
            return [self.node(ELEMENTWISE[name], [self.tensor(value) for value in values])]
        if name == "copy":
            return values
        if name not in WRITERS:
            raise NotImplementedError(f"No ONNX is written for JAX's primitive {name}.")
        return [WRITERS[name](self, equation, values)]

    def tensor(self, value: Value) -> str:
        """The name of a value; a constant becomes one of the graph's."""
        if isinstance(value, str):
            return value
        return self.constant(value.transpose(TO_ONNX) if value.ndim == 4 else value)

    def constant(self, array: np.ndarray) -> str:
        """A constant in ONNX's order of axes, by its name."""
        name = f"constant_{next(self.numbers)}"
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    def node(self, operator: str, inputs: list[str], **attributes: Any) -> str:
        """Writes a node of one output, whose name is returned."""
        output = f"{operator}_{next(self.numbers)}"
        self.nodes.append(helper.make_node(operator, inputs, [output], output, **attributes))
        return output


def _axis(axis: int, rank: int) -> int:
    """Where ONNX has an axis of JAX."""
    return TO_ONNX.index(axis) if rank == 4 else axis


def _convolution(graph: _Graph, equation: Any, values: list[Value]) -> str:
    params, (x, kernel) = equation.params, values
    numbers = params["dimension_numbers"]
    plain = (numbers.lhs_spec, numbers.rhs_spec, numbers.out_spec) == ((0, 3, 1, 2), (3, 2, 0, 1), (0, 3, 1, 2))
    if not plain or set(params["lhs_dilation"]) != {1} or params["batch_group_count"] != 1 or isinstance(kernel, str):
        raise NotImplementedError("ONNX is written for convolutions of [N, H, W, C] by constant kernels [H, W, I, O] alone.")
    (top, bottom), (left, right) = params["padding"]
    return graph.node(
        "Conv",
        [graph.tensor(x), graph.constant(kernel.transpose(3, 2, 0, 1))],
        strides=params["window_strides"],
        pads=(top, left, bottom, right),
        dilations=params["rhs_dilation"],
        group=params["feature_group_count"],
    )


def _window(params: Any) -> dict[str, Any]:
    if set(params["base_dilation"]) | set(params["window_dilation"]) != {1} or params["window_dimensions"][0::3] != (1, 1):
        raise NotImplementedError("ONNX is written for windows over height and width alone, without dilation.")
    _, (top, bottom), (left, right), _ = params["padding"]
    size, strides = params["window_dimensions"][1:3], params["window_strides"][1:3]
    return {"kernel_shape": size, "strides": strides, "pads": (top, left, bottom, right)}


def _max_window(graph: _Graph, equation: Any, values: list[Value]) -> str:
    return graph.node("MaxPool", [graph.tensor(values[0])], **_window(equation.params))


def _sum_window(graph: _Graph, equation: Any, values: list[Value]) -> str:
    window = _window(equation.params)
    mean = graph.node("AveragePool", [graph.tensor(values[0])], count_include_pad=1, **window)
    return graph.node("Mul", [mean, graph.constant(np.asarray(np.prod(window["kernel_shape"]), np.float32))])


def _sum(graph: _Graph, equation: Any, values: list[Value]) -> str:
    rank = equation.invars[0].aval.ndim
    axes = np.asarray(sorted(_axis(axis, rank) for axis in equation.params["axes"]), np.int64)
    if equation.outvars[0].aval.ndim == 4:
        raise NotImplementedError("ONNX is written for sums that leave fewer than four axes.")
    return graph.node("ReduceSum", [graph.tensor(values[0]), graph.constant(axes)], keepdims=0)


def _product(graph: _Graph, equation: Any, values: list[Value]) -> str:
    if equation.params["dimension_numbers"] != (((1,), (0,)), ((), ())):
        raise NotImplementedError("ONNX is written for products of matrices alone.")
    return graph.node("MatMul", [graph.tensor(value) for value in values])


def _concatenate(graph: _Graph, equation: Any, values: list[Value]) -> str:
    axis = _axis(equation.params["dimension"], equation.outvars[0].aval.ndim)
    return graph.node("Concat", [graph.tensor(value) for value in values], axis=axis)


def _slice(graph: _Graph, equation: Any, values: list[Value]) -> str:
    params, shape = equation.params, equation.invars[0].aval.shape
    starts, ends = params["start_indices"], params["limit_indices"]
    strides = params["strides"] or (1,) * len(shape)
    cut = [axis for axis, size in enumerate(shape) if (starts[axis], ends[axis], strides[axis]) != (0, size, 1)]
    if not cut:
        return graph.tensor(values[0])
    columns = ([part[axis] for axis in cut] for part in (starts, ends))
    axes = [_axis(axis, len(shape)) for axis in cut]
    arrays = (*columns, axes, [strides[axis] for axis in cut])
    return graph.node("Slice", [graph.tensor(values[0]), *(graph.constant(np.asarray(array, np.int64)) for array in arrays)])


def _reshape(graph: _Graph, equation: Any, values: list[Value]) -> str:
    before, after = equation.invars[0].aval, equation.outvars[0].aval
    if before.shape[0] is not after.shape[0] and before.shape[0] != after.shape[0]:
        raise NotImplementedError("ONNX is written for changes of shape that leave the batch's axis alone.")
    x = graph.tensor(values[0])
    x = graph.node("Transpose", [x], perm=TO_JAX) if before.ndim == 4 else x
    x = graph.node("Reshape", [x, graph.constant(np.asarray((-1, *after.shape[1:]), np.int64))])
    return graph.node("Transpose", [x], perm=TO_ONNX) if after.ndim == 4 else x


def _transpose(graph: _Graph, equation: Any, values: list[Value]) -> str:
    if equation.outvars[0].aval.ndim == 4:
        raise NotImplementedError("ONNX is written for transpositions of other than four axes.")
    return graph.node("Transpose", [graph.tensor(values[0])], perm=equation.params["permutation"])


WRITERS: dict[str, Callable[[_Graph, Any, list[Value]], str]] = {
    "conv_general_dilated": _convolution,
    "reduce_window_max": _max_window,
    "reduce_window_sum": _sum_window,
    "reduce_sum": _sum,
    "dot_general": _product,
    "concatenate": _concatenate,
    "slice": _slice,
    "reshape": _reshape,
    "transpose": _transpose,
}
"""A function for each primitive that is no arithmetic of single elements."""

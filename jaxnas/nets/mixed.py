"""All mixed operations of a cell, run one edge after the other through one body.

Every candidate of one kind is stacked along a leading axis, and ``lax.scan`` takes the edges in topological order: the
program holds one edge, whatever the number of nodes, and only one edge's intermediates live at a time. The backward
pass recomputes each edge from its source state, which is complete when the cell is done; a scan's own autodiff would
keep all states once for every edge.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import Array, lax
from jax.custom_derivatives import SymbolicZero

from jaxnas.nets.operations import Pass
from jaxnas.nets.primitives.bilinear import kernel_gradients_if
from jaxnas.spaces.operations import NONE

Weights = Any
Parts = dict[str, Array]

WEIGHTS_TURN = "weights_turn"
"""Scalar, bool, where one program takes the gradient in the weights and that in the mixture in turns: whose turn it is. The
other's gradient is then not computed, and 0. Without it, both are what is asked for."""


@dataclasses.dataclass(frozen=True)
class MixedEdge:
    """One edge: state ``source`` to state ``target`` (both counted within their buffers), row of the mixture, candidates."""

    source: int
    target: int
    row: int
    operations: tuple[str, ...]


class MixedEdges(nnx.Module):
    """Mixed operations on edges of equal shape.

    Args:
      edges: in topological order.
      build: from a candidate's name to its module.
      chained: the sources are the targets' own buffer (edges between nodes); otherwise another one (edges from the
        inputs of a reduction cell).
      shortcut: every edge also adds its source itself to its target.
    """

    def __init__(
        self, edges: tuple[MixedEdge, ...], build: Callable[[str], nnx.Module], chained: bool, shortcut: bool = False
    ) -> None:
        self.edges, self.chained, self.shortcut = edges, chained, shortcut
        names = dict.fromkeys(name for edge in edges for name in edge.operations if name != NONE)
        self.names = tuple(names)
        self.stacks = nnx.Dict({name: _stack(build(name), sum(name in edge.operations for edge in edges)) for name in names})

    def __call__(self, sources: Array, nodes: Array, mixture: Any, context: Pass) -> Array:
        """Adds every edge's mixture to its target.

        Args:
          sources: states ``[S, H, C, W * N]`` that edges start from; not read where the edges are chained.
          nodes: states ``[M, H', C, W' * N]`` that edges end at.
          mixture: ``[edges of the cell, columns]``: weight of the j-th candidate of each edge; every candidate runs. Or a
            dictionary of ``weights`` of that form and, each of them optional:
            ``active``, bool of that form: whether the candidate runs; what does not has no output and no gradients.
            ``probed``, bool of that form: a candidate that is not active, but runs on the way back for the gradient in its
            weight alone, as if it had been there without a weight (ProxylessNAS).
            ``offset`` ``[edges]``: a number added to every element of an edge's output (GDAS).

        Returns:
          The completed nodes.
        """
        if not self.edges:  # Between the nodes of a reduction cell of one node.
            return nodes
        parts = jax.tree.map(jnp.asarray, mixture if isinstance(mixture, dict) else {"weights": mixture})
        kinds, weights, statistics = [], {}, {}
        for name in self.names:
            graph, parameters, running = nnx.split(self.stacks[name], nnx.Param, nnx.BatchStat)
            weights[name], statistics[name] = nnx.to_pure_dict(parameters), nnx.to_pure_dict(running)
            # Of candidates that may not run nothing is kept: it would take its place whether they run or not.
            costly = bool(getattr(self.stacks[name], "costly", 0)) and "active" not in parts
            kinds.append(_Kind(name, graph, costly))
        key_data, implementation = jax.random.key_data(context.key), str(jax.random.key_impl(context.key))
        of_pass = (context.batch, context.training, implementation, context.axis)
        run = _runner(self.edges, tuple(kinds), self.chained, self.shortcut, *of_pass)
        nodes, moments = run(weights, parts, sources, nodes, statistics, key_data, context.scalars)
        for name in self.names:
            nnx.update(self.stacks[name], moments[name])
        return nodes


def _stack(operation: nnx.Module, count: int) -> nnx.Module:
    """``count`` operations of a kind as one module whose variables have a leading axis."""
    graph, state = nnx.split(operation)
    return nnx.merge(graph, jax.tree.map(lambda a: jnp.broadcast_to(a, (count, *a.shape)), state))


@dataclasses.dataclass(frozen=True)
class _Kind:
    """A kind of candidate: its module but for arrays, and whether its first layers' result is kept for the backward pass."""

    name: str
    graph: Any
    costly: bool


@functools.cache
def _runner(
    edges: tuple[MixedEdge, ...],
    kinds: tuple[_Kind, ...],
    chained: bool,
    shortcut: bool,
    batch: int,
    training: bool,
    key_implementation: str,
    axis: str | None,
) -> Any:
    """The function of the edges, with its own backward pass; equal edges get the same, so that JAX traces it once."""
    names = tuple(kind.name for kind in kinds)
    graphs, costly = {kind.name: kind.graph for kind in kinds}, {kind.name: kind.costly for kind in kinds}
    # NumPy's: an array of JAX made here would belong to the trace in which the runner is built, not to that of its passes.
    sources_of, targets_of, rows_of = (np.array([getattr(edge, end) for edge in edges]) for end in ("source", "target", "row"))
    columns, slots = {}, {}
    for name in names:
        present = np.array([name in edge.operations for edge in edges])
        columns[name] = np.array([edge.operations.index(name) if name in edge.operations else 0 for edge in edges])
        # Position of the edge's operation in its stack; -1 where the edge does not have it.
        slots[name] = np.where(present, np.cumsum(present) - 1, -1)

    def first(name: str, weights: Weights, statistics: Any, x: Array, inside: Pass) -> Array:
        module = nnx.merge(graphs[name], weights, statistics, copy=True)
        return module.first(x, inside) if costly[name] else x

    def rest(name: str, weights: Weights, statistics: Any, x: Array, inside: Pass) -> tuple[Array, Any]:
        module = nnx.merge(graphs[name], weights, statistics, copy=True)
        y = (module.rest if costly[name] else module)(x, inside)
        return y, nnx.to_pure_dict(nnx.state(module, nnx.BatchStat))

    def inside_edge(key_data: Array, scalars: dict[str, Array], e: Array) -> Pass:
        # By the row, not by e: the two groups of edges of a reduction cell must not draw the same noise.
        key = jax.random.fold_in(jax.random.wrap_key_data(key_data, impl=key_implementation), _at(rows_of, e))
        return Pass(batch, training, key, scalars, axis)

    def runs(name: str, mixture: Parts, which: str, e: Array) -> Array:
        """Whether the edge has the operation and the mixture, where it says so, lets it run."""
        has = _at(slots[name], e) >= 0
        return has & mixture[which][_at(rows_of, e), _at(columns[name], e)] if which in mixture else has

    def run_edges(
        weights: Weights, mixture: Parts, sources: Array, nodes: Array, statistics: Any, key_data: Array, scalars: Any
    ) -> tuple[tuple[Array, Any], dict[str, list[Array]]]:
        def edge(carry: Any, e: Array) -> Any:
            nodes, moments = carry
            x = _take(nodes if chained else sources, _at(sources_of, e))
            y = _take(nodes, _at(targets_of, e))
            y = y + x if shortcut else y
            if "offset" in mixture:
                y = y + mixture["offset"][_at(rows_of, e)].astype(y.dtype)
            inside, kept = inside_edge(key_data, scalars, e), {}
            for name in names:

                def present(name: str = name, y: Array = y, moments: Any = moments[name]) -> Any:
                    at = _at(slots[name], e)
                    w, running = _take(weights[name], at), _take(statistics[name], at)
                    z = first(name, w, running, x, inside)
                    out, found = rest(name, w, running, z, inside)
                    y = y + mixture["weights"][_at(rows_of, e), _at(columns[name], e)].astype(y.dtype) * out
                    return y, _put(moments, found, at), [z] if costly[name] else []

                def absent(y: Array = y, moments: Any = moments[name], name: str = name) -> Any:
                    return y, moments, [jnp.zeros_like(y)] if costly[name] else []

                y, found, kept[name] = lax.cond(runs(name, mixture, "active", e), present, absent)
                moments = {**moments, name: found}
            return (_put(nodes, y, _at(targets_of, e)), moments), kept

        return lax.scan(edge, (nodes, statistics), jnp.arange(len(edges), dtype=jnp.int32))

    def forward(*inputs: Any) -> Any:
        return run_edges(*inputs)[0]

    def forward_with_residuals(*primals: Any) -> Any:
        inputs = jax.tree.map(lambda primal: primal.value, primals)
        weights, mixture, sources, _, statistics, key_data, scalars = inputs
        carry, kept = run_edges(*inputs)
        # A residual is made of arrays: what is wanted is said by the keys that there are.
        wanted = {name: () for name, tree in zip(("weights", "mixture"), primals, strict=False) if _is_perturbed(tree)}
        # What no edge starts from, as a cell's output, is not read on the way back.
        states = carry[0][: sources_of.max() + 1] if chained else None
        return carry, (weights, mixture, sources, states, statistics, key_data, scalars, kept, wanted)

    def backward(residuals: Any, cotangents: Any) -> Any:
        weights, mixture, sources, states, statistics, key_data, scalars, kept, wanted = residuals
        grad_nodes = _instantiated(cotangents[0])  # The moments are data: nothing flows back through them.
        choices = {name: mixture[name] for name in ("active", "probed") if name in mixture}
        weights_turn = scalars.get(WEIGHTS_TURN)

        def edge(carry: Any, inputs: Any) -> tuple[Any, None]:
            e, kept = inputs
            grad_weights, grad_mixture, grad_sources, grad_nodes = carry
            x = _take(states if chained else sources, _at(sources_of, e))
            g = _take(grad_nodes, _at(targets_of, e))
            grad_x, inside = g if shortcut else jnp.zeros_like(x), inside_edge(key_data, scalars, e)
            row = _at(rows_of, e)
            if "offset" in mixture and "mixture" in wanted:
                of_offset = g.sum(dtype=mixture["offset"].dtype)
                grad_mixture = {**grad_mixture, "offset": grad_mixture["offset"].at[row].add(of_offset)}

            def in_weight(grad_mixture: Any, name: str, out: Array, g: Array = g, row: Array = row) -> Any:
                if "mixture" not in wanted:
                    return grad_mixture
                dtype = mixture["weights"].dtype
                turn = jnp.asarray(False) if weights_turn is None else weights_turn
                found = lax.cond(turn, lambda: jnp.zeros((), dtype), lambda: (out * g).sum(dtype=dtype))
                return {**grad_mixture, "weights": grad_mixture["weights"].at[row, _at(columns[name], e)].add(found)}

            for name in names:

                def present(name: str = name, so_far: Any = (grad_weights[name], grad_mixture, grad_x)) -> Any:
                    grad_weights, grad_mixture, grad_x = so_far
                    at, column = _at(slots[name], e), _at(columns[name], e)
                    weight = mixture["weights"][_at(rows_of, e), column].astype(g.dtype)
                    w, running = _take(weights[name], at), _take(statistics[name], at)
                    # The value here is used by nobody, and so not computed, where the first layers' result was kept.
                    z, pull_first = jax.vjp(lambda w, x: first(name, w, running, x, inside), w, x)
                    (z,) = kept[name] or (z,)
                    out, pull = jax.vjp(lambda w, z: rest(name, w, running, z, inside)[0], w, z)
                    with kernel_gradients_if(weights_turn):
                        dw, dz = pull(weight * g)
                        dw_first, dx = pull_first(dz)
                    if "weights" in wanted:
                        dw = jax.tree.map(jnp.add, dw, dw_first) if costly[name] else dw
                        grad_weights = _put(grad_weights, dw, at)
                    return grad_weights, in_weight(grad_mixture, name, out), grad_x + dx

                def probe(name: str = name, so_far: Any = (grad_weights[name], grad_mixture, grad_x)) -> Any:
                    grad_weights, grad_mixture, grad_x = so_far
                    at = _at(slots[name], e)
                    w, running = _take(weights[name], at), _take(statistics[name], at)
                    out, _ = rest(name, w, running, first(name, w, running, x, inside), inside)
                    return grad_weights, in_weight(grad_mixture, name, out), grad_x

                def absent(so_far: Any = (grad_weights[name], grad_mixture, grad_x)) -> Any:
                    return so_far

                active = runs(name, mixture, "active", e)
                if "probed" in mixture:
                    which = jnp.where(active, 2, runs(name, mixture, "probed", e).astype(jnp.int32))
                    grad_w, grad_mixture, grad_x = lax.switch(which, (absent, probe, present))
                else:
                    grad_w, grad_mixture, grad_x = lax.cond(active, present, absent)
                grad_weights = {**grad_weights, name: grad_w}
            into = grad_nodes if chained else grad_sources
            into = _put(into, _take(into, _at(sources_of, e)) + grad_x, _at(sources_of, e))
            grad_sources, grad_nodes = (grad_sources, into) if chained else (into, grad_nodes)
            return (grad_weights, grad_mixture, grad_sources, grad_nodes), None

        # Gradients that nobody wants are not carried: XLA does not drop them by itself where equal cells are a call.
        numbers = {name: part for name, part in mixture.items() if name not in choices}
        carried = (weights if "weights" in wanted else dict.fromkeys(names), numbers if "mixture" in wanted else {}, sources)
        zeros = jax.tree.map(jnp.zeros_like, carried)
        carry, _ = lax.scan(edge, (*zeros, grad_nodes), (jnp.arange(len(edges), dtype=jnp.int32), kept), reverse=True)
        grad_weights, grad_mixture, *grad_states = carry
        in_mixture = {**dict.fromkeys(mixture), **grad_mixture}
        return (grad_weights, in_mixture, *grad_states, None, None, None)

    run = jax.custom_vjp(forward)
    run.defvjp(forward_with_residuals, backward, symbolic_zeros=True)
    return jax.jit(run)


def _is_perturbed(primals: Any) -> bool:
    return any(primal.perturbed for primal in jax.tree.leaves(primals))


def _instantiated(cotangent: Any) -> Array:
    return cotangent.instantiate() if isinstance(cotangent, SymbolicZero) else cotangent


def _at(table: np.ndarray, e: Array) -> Array:
    return jnp.asarray(table, jnp.int32)[e]


def _take(stacked: Any, at: Array) -> Any:
    return jax.tree.map(lambda a: lax.dynamic_index_in_dim(a, at, 0, keepdims=False), stacked)


def _put(stacked: Any, one: Any, at: Array) -> Any:
    return jax.tree.map(lambda a, b: lax.dynamic_update_index_in_dim(a, b, at, 0), stacked, one)

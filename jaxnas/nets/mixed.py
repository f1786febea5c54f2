"""All mixed operations of a cell, run one edge after the other through one body.

Every candidate of one kind is stacked along a leading axis, and ``lax.scan`` takes the edges in topological order: the
program holds one edge, whatever the number of nodes, and only one edge's intermediates live at a time. The backward
pass recomputes each edge from its source state, which is complete when the cell is done; a scan's own autodiff would
keep all states once for every edge.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import Array, lax

from jaxnas.nets.operations import Pass, Style, build_operation
from jaxnas.spaces.operations import NONE

Weights = Any


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
      channels, stride, style: of every candidate.
      chained: the sources are the targets' own buffer (edges between nodes); otherwise another one (edges from the
        inputs of a reduction cell).
    """

    def __init__(self, edges: tuple[MixedEdge, ...], channels: int, stride: int, style: Style, chained: bool) -> None:
        self.edges, self.chained = edges, chained
        names = dict.fromkeys(name for edge in edges for name in edge.operations if name != NONE)
        self.names = tuple(names)
        self.stacks = nnx.Dict(
            {name: _stack(name, sum(name in edge.operations for edge in edges), channels, stride, style) for name in names}
        )

    def __call__(self, sources: Array, nodes: Array, mixture: Array, context: Pass) -> Array:
        """Adds every edge's mixture to its target.

        Args:
          sources: states ``[S, H, C, W * N]`` that edges start from; not read where the edges are chained.
          nodes: states ``[M, H', C, W' * N]`` that edges end at.
          mixture: ``[edges of the cell, columns]``: weight of the j-th candidate of each edge.

        Returns:
          The completed nodes.
        """
        if not self.edges:  # Between the nodes of a reduction cell of one node.
            return nodes
        kinds, weights, statistics = [], {}, {}
        for name in self.names:
            graph, parameters, running = nnx.split(self.stacks[name], nnx.Param, nnx.BatchStat)
            weights[name], statistics[name] = nnx.to_pure_dict(parameters), nnx.to_pure_dict(running)
            kinds.append(_Kind(name, graph, bool(getattr(self.stacks[name], "costly", 0))))
        key_data, implementation = jax.random.key_data(context.key), str(jax.random.key_impl(context.key))
        run = _runner(self.edges, tuple(kinds), self.chained, context.batch, context.training, implementation)
        nodes, moments = run(weights, jnp.asarray(mixture), sources, nodes, statistics, key_data, context.scalars)
        for name in self.names:
            nnx.update(self.stacks[name], moments[name])
        return nodes


def _stack(name: str, count: int, channels: int, stride: int, style: Style) -> nnx.Module:
    """``count`` operations of a kind as one module whose variables have a leading axis."""

    graph, state = nnx.split(build_operation(name, channels, stride, style))
    return nnx.merge(graph, jax.tree.map(lambda a: jnp.broadcast_to(a, (count, *a.shape)), state))


@dataclasses.dataclass(frozen=True)
class _Kind:
    """A kind of candidate: its module but for arrays, and whether its first layers' result is kept for the backward pass."""

    name: str
    graph: Any
    costly: bool


@functools.cache
def _runner(
    edges: tuple[MixedEdge, ...], kinds: tuple[_Kind, ...], chained: bool, batch: int, training: bool, key_implementation: str
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
        return Pass(batch, training, key, scalars)

    def where_present(name: str, e: Array, then: Any, otherwise: Any) -> Any:
        """``then()`` on edges that have the operation, at run time; ``otherwise()`` has the same form."""
        return lax.cond(_at(slots[name], e) >= 0, then, otherwise)

    def run_edges(
        weights: Weights, mixture: Array, sources: Array, nodes: Array, statistics: Any, key_data: Array, scalars: Any
    ) -> tuple[tuple[Array, Any], dict[str, Array]]:
        def edge(carry: Any, e: Array) -> Any:
            nodes, moments = carry
            x = _take(nodes if chained else sources, _at(sources_of, e))
            y = _take(nodes, _at(targets_of, e))
            inside, kept = inside_edge(key_data, scalars, e), {}
            for name in names:

                def present(name: str = name, y: Array = y, moments: Any = moments[name]) -> Any:
                    at = _at(slots[name], e)
                    w, running = _take(weights[name], at), _take(statistics[name], at)
                    z = first(name, w, running, x, inside)
                    out, found = rest(name, w, running, z, inside)
                    y = y + mixture[_at(rows_of, e), _at(columns[name], e)].astype(y.dtype) * out
                    return y, _put(moments, found, at), [z] if costly[name] else []

                def absent(y: Array = y, moments: Any = moments[name], name: str = name) -> Any:
                    return y, moments, [jnp.zeros_like(y)] if costly[name] else []

                y, found, kept[name] = where_present(name, e, present, absent)
                moments = {**moments, name: found}
            return (_put(nodes, y, _at(targets_of, e)), moments), kept

        return lax.scan(edge, (nodes, statistics), jnp.arange(len(edges), dtype=jnp.int32))

    def forward(*inputs: Any) -> Any:
        return run_edges(*inputs)[0]

    def backward(residuals: Any, cotangents: Any) -> Any:
        weights, mixture, sources, states, statistics, key_data, scalars, kept = residuals
        grad_nodes = cotangents[0]  # The moments are data: nothing flows back through them.

        def edge(carry: Any, inputs: Any) -> tuple[Any, None]:
            e, kept = inputs
            grad_weights, grad_mixture, grad_sources, grad_nodes = carry
            x = _take(states if chained else sources, _at(sources_of, e))
            g = _take(grad_nodes, _at(targets_of, e))
            grad_x, inside = jnp.zeros_like(x), inside_edge(key_data, scalars, e)
            for name in names:

                def present(name: str = name, so_far: Any = (grad_weights[name], grad_mixture, grad_x)) -> Any:
                    grad_weights, grad_mixture, grad_x = so_far
                    at, weight = _at(slots[name], e), mixture[_at(rows_of, e), _at(columns[name], e)].astype(g.dtype)
                    w, running = _take(weights[name], at), _take(statistics[name], at)
                    # The value here is used by nobody, and so not computed, where the first layers' result was kept.
                    z, pull_first = jax.vjp(lambda w, x: first(name, w, running, x, inside), w, x)
                    (z,) = kept[name] or (z,)
                    out, pull = jax.vjp(lambda w, z: rest(name, w, running, z, inside)[0], w, z)
                    dw, dz = pull(weight * g)
                    dw_first, dx = pull_first(dz)
                    dm = (out * g).sum(dtype=mixture.dtype)
                    dw = jax.tree.map(jnp.add, dw, dw_first) if costly[name] else dw
                    return (
                        _put(grad_weights, dw, at),
                        grad_mixture.at[_at(rows_of, e), _at(columns[name], e)].add(dm),
                        grad_x + dx,
                    )

                def absent(so_far: Any = (grad_weights[name], grad_mixture, grad_x)) -> Any:
                    return so_far

                grad_w, grad_mixture, grad_x = where_present(name, e, present, absent)
                grad_weights = {**grad_weights, name: grad_w}
            into = grad_nodes if chained else grad_sources
            into = _put(into, _take(into, _at(sources_of, e)) + grad_x, _at(sources_of, e))
            grad_sources, grad_nodes = (grad_sources, into) if chained else (into, grad_nodes)
            return (grad_weights, grad_mixture, grad_sources, grad_nodes), None

        zeros = jax.tree.map(jnp.zeros_like, (weights, mixture, sources))
        carry, _ = lax.scan(edge, (*zeros, grad_nodes), (jnp.arange(len(edges), dtype=jnp.int32), kept), reverse=True)
        nothing = jax.tree.map(jnp.zeros_like, (statistics, scalars))
        return (*carry, nothing[0], np.zeros(key_data.shape, jax.dtypes.float0), nothing[1])

    def forward_with_residuals(
        weights: Weights, mixture: Array, sources: Array, nodes: Array, statistics: Any, key_data: Array, scalars: Any
    ) -> Any:
        carry, kept = run_edges(weights, mixture, sources, nodes, statistics, key_data, scalars)
        return carry, (weights, mixture, sources, carry[0] if chained else None, statistics, key_data, scalars, kept)

    run = jax.custom_vjp(forward)
    run.defvjp(forward_with_residuals, backward)
    return jax.jit(run)


def _at(table: np.ndarray, e: Array) -> Array:
    return jnp.asarray(table, jnp.int32)[e]


def _take(stacked: Any, at: Array) -> Any:
    return jax.tree.map(lambda a: lax.dynamic_index_in_dim(a, at, 0, keepdims=False), stacked)


def _put(stacked: Any, one: Any, at: Array) -> Any:
    return jax.tree.map(lambda a, b: lax.dynamic_update_index_in_dim(a, b, at, 0), stacked, one)

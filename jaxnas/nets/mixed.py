"""All mixed operations of a cell, run one edge after the other through one body.

Every candidate of one kind is stacked along a leading axis, and ``lax.scan`` takes the edges in topological order: the
program holds one edge, whatever the number of nodes, and only one edge's intermediates live at a time. The backward
pass recomputes each edge from its source state, which is complete when the cell is done; a scan's own autodiff would
keep all states once for every edge.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import Array, lax

from jaxnas.nets.operations import Pass
from jaxnas.spaces.operations import NONE

Weights = Any
Parts = dict[str, Array]


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
        graphs, weights, statistics = {}, {}, {}
        for name in self.names:
            graphs[name], parameters, running = nnx.split(self.stacks[name], nnx.Param, nnx.BatchStat)
            weights[name], statistics[name] = nnx.to_pure_dict(parameters), nnx.to_pure_dict(running)
        run = _runner(self.edges, self.names, graphs, self.chained, self.shortcut, context)
        parts = jax.tree.map(jnp.asarray, mixture if isinstance(mixture, dict) else {"weights": mixture})
        nodes, moments = run(weights, parts, sources, nodes, statistics, jax.random.key_data(context.key))
        for name in self.names:
            nnx.update(self.stacks[name], moments[name])
        return nodes


def _stack(operation: nnx.Module, count: int) -> nnx.Module:
    """``count`` operations of a kind as one module whose variables have a leading axis."""
    graph, state = nnx.split(operation)
    return nnx.merge(graph, jax.tree.map(lambda a: jnp.broadcast_to(a, (count, *a.shape)), state))


def _runner(
    edges: tuple[MixedEdge, ...],
    names: tuple[str, ...],
    graphs: dict[str, Any],
    chained: bool,
    shortcut: bool,
    context: Pass,
) -> Any:
    """The function of the edges, with its own backward pass."""
    source = jnp.array([edge.source for edge in edges])
    target = jnp.array([edge.target for edge in edges])
    row = jnp.array([edge.row for edge in edges])
    column, slot = {}, {}
    for name in names:
        present = np.array([name in edge.operations for edge in edges])
        column[name] = jnp.array([edge.operations.index(name) if name in edge.operations else 0 for edge in edges])
        # Position of the edge's operation in its stack; -1 where the edge does not have it.
        slot[name] = jnp.array(np.where(present, np.cumsum(present) - 1, -1))

    def call(name: str, weights: Weights, statistics: Any, x: Array, key: Array) -> tuple[Array, Any]:
        module = nnx.merge(graphs[name], weights, statistics, copy=True)
        y = module(x, dataclasses.replace(context, key=key))
        return y, nnx.to_pure_dict(nnx.state(module, nnx.BatchStat))

    def edge_key(key_data: Array, e: Array) -> Array:
        # By the row, not by e: the two groups of edges of a reduction cell must not draw the same noise.
        return jax.random.fold_in(jax.random.wrap_key_data(key_data, impl=jax.random.key_impl(context.key)), row[e])

    def runs(name: str, mixture: Parts, which: str, e: Array) -> Array:
        """Whether the edge has the operation and the mixture, where it says so, lets it run."""
        has = slot[name][e] >= 0
        return has & mixture[which][row[e], column[name][e]] if which in mixture else has

    def forward(weights: Weights, mixture: Parts, sources: Array, nodes: Array, statistics: Any, key_data: Array) -> Any:
        def edge(carry: Any, e: Array) -> Any:
            nodes, moments = carry
            x = _take(nodes if chained else sources, source[e])
            y = _take(nodes, target[e])
            y = y + x if shortcut else y
            if "offset" in mixture:
                y = y + mixture["offset"][row[e]].astype(y.dtype)
            for name in names:

                def present(name: str = name, y: Array = y, moments: Any = moments[name]) -> Any:
                    at = slot[name][e]
                    out, found = call(name, _take(weights[name], at), _take(statistics[name], at), x, edge_key(key_data, e))
                    weight = mixture["weights"][row[e], column[name][e]]
                    return y + weight.astype(y.dtype) * out, _put(moments, found, at)

                def absent(y: Array = y, moments: Any = moments[name]) -> Any:
                    return y, moments

                y, found = lax.cond(runs(name, mixture, "active", e), present, absent)
                moments = {**moments, name: found}
            return (_put(nodes, y, target[e]), moments), None

        carry, _ = lax.scan(edge, (nodes, statistics), jnp.arange(len(edges)))
        return carry

    def backward(residuals: Any, cotangents: Any) -> Any:
        weights, mixture, sources, states, statistics, key_data = residuals
        grad_nodes = cotangents[0]  # The moments are data: nothing flows back through them.
        choices = {name: mixture[name] for name in ("active", "probed") if name in mixture}

        def edge(carry: Any, e: Array) -> tuple[Any, None]:
            grad_weights, grad_mixture, grad_sources, grad_nodes = carry
            x = _take(states if chained else sources, source[e])
            g = _take(grad_nodes, target[e])
            grad_x = g if shortcut else jnp.zeros_like(x)
            if "offset" in mixture:
                of_offset = g.sum().astype(mixture["offset"].dtype)
                grad_mixture = {**grad_mixture, "offset": grad_mixture["offset"].at[row[e]].add(of_offset)}

            def in_weight(grad_mixture: Any, name: str, out: Array, g: Array = g) -> Any:
                found = (out * g).sum().astype(mixture["weights"].dtype)
                return {**grad_mixture, "weights": grad_mixture["weights"].at[row[e], column[name][e]].add(found)}

            for name in names:

                def present(name: str = name, so_far: Any = (grad_weights[name], grad_mixture, grad_x)) -> Any:
                    grad_weights, grad_mixture, grad_x = so_far
                    at, weight = slot[name][e], mixture["weights"][row[e], column[name][e]].astype(g.dtype)
                    out, pull = jax.vjp(
                        lambda w, x: call(name, w, _take(statistics[name], at), x, edge_key(key_data, e))[0],
                        _take(weights[name], at),
                        x,
                    )
                    dw, dx = pull(weight * g)
                    return _put(grad_weights, dw, at), in_weight(grad_mixture, name, out), grad_x + dx

                def probe(name: str = name, so_far: Any = (grad_weights[name], grad_mixture, grad_x)) -> Any:
                    grad_weights, grad_mixture, grad_x = so_far
                    at = slot[name][e]
                    out, _ = call(name, _take(weights[name], at), _take(statistics[name], at), x, edge_key(key_data, e))
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
            into = _put(into, _take(into, source[e]) + grad_x, source[e])
            grad_sources, grad_nodes = (grad_sources, into) if chained else (into, grad_nodes)
            return (grad_weights, grad_mixture, grad_sources, grad_nodes), None

        numbers = {name: part for name, part in mixture.items() if name not in choices}
        zeros = jax.tree.map(jnp.zeros_like, (weights, numbers, sources))
        carry, _ = lax.scan(edge, (*zeros, grad_nodes), jnp.arange(len(edges)), reverse=True)
        grad_weights, grad_mixture, *grad_states = carry
        no_choices, no_key = (jax.tree.map(lambda a: np.zeros(a.shape, jax.dtypes.float0), a) for a in (choices, key_data))
        no_statistics = jax.tree.map(jnp.zeros_like, statistics)
        return (grad_weights, {**grad_mixture, **no_choices}, *grad_states, no_statistics, no_key)

    def forward_with_residuals(
        weights: Weights, mixture: Parts, sources: Array, nodes: Array, statistics: Any, key_data: Array
    ) -> Any:
        nodes, moments = forward(weights, mixture, sources, nodes, statistics, key_data)
        return (nodes, moments), (weights, mixture, sources, nodes if chained else None, statistics, key_data)

    run = jax.custom_vjp(forward)
    run.defvjp(forward_with_residuals, backward)
    return run


def _take(stacked: Any, at: Array) -> Any:
    return jax.tree.map(lambda a: lax.dynamic_index_in_dim(a, at, 0, keepdims=False), stacked)


def _put(stacked: Any, one: Any, at: Array) -> Any:
    return jax.tree.map(lambda a, b: lax.dynamic_update_index_in_dim(a, b, at, 0), stacked, one)

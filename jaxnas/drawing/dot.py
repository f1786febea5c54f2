"""Graphs in DOT, for Graphviz and what else reads it."""

from __future__ import annotations

from collections.abc import Mapping

from jaxnas.drawing.graphs import Graph
from jaxnas.drawing.svg import LOOKS


def to_dot(graphs: Mapping[str, Graph], name: str) -> str:
    """Each graph a cluster of one digraph.

    >>> from jaxnas.drawing.graphs import Graph, Vertex
    >>> print(to_dot({"cell": Graph((Vertex("a", "state"), Vertex("b", "state")), ((0, 1),))}, "two"), end="")
    digraph "two" {
      rankdir=LR; node [shape=box, style="rounded,filled", fontname="monospace"];
      subgraph "cluster_cell" {
        label="cell";
        "cell/0" [label="a", fillcolor="#ffffff", color="#333333", fontcolor="#1a1a1a"];
        "cell/1" [label="b", fillcolor="#ffffff", color="#333333", fontcolor="#1a1a1a"];
        "cell/0" -> "cell/1";
      }
    }
    """
    lines = [f"digraph {_quoted(name)} {{", '  rankdir=LR; node [shape=box, style="rounded,filled", fontname="monospace"];']
    for kind, graph in graphs.items():
        lines += [f"  subgraph {_quoted('cluster_' + kind)} {{", f"    label={_quoted(kind)};"]
        for number, vertex in enumerate(graph.vertices):
            label = f"{vertex.label}\\n{vertex.stage}" if vertex.stage else vertex.label
            fill, border, letters = LOOKS[vertex.kind]
            look = f'fillcolor="{fill}", color="{border}", fontcolor="{letters}"'
            lines.append(f'    "{kind}/{number}" [label="{label}", {look}];')
        lines += [f'    "{kind}/{source}" -> "{kind}/{target}";' for source, target in graph.edges]
        lines.append("  }")
    return "\n".join([*lines, "}"]) + "\n"


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'

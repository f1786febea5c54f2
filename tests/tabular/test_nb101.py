"""The graphs of NAS-Bench-101, against isomorphism by trying every order, and the benchmark's published number of them."""

from __future__ import annotations

import ast
import csv
import gzip
import itertools
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from jaxnas.errors import UserError
from jaxnas.tabular import nb101

Graph = tuple[int, frozenset[tuple[int, int]], tuple[int, ...]]


def labelled(vertices: int, most_edges: int) -> Iterator[Graph]:
    """Every graph with every vertex on a way from the input to the output, found by walking, with all operations."""
    pairs = list(itertools.combinations(range(vertices), 2))
    for count in range(1, most_edges + 1):
        for edges in itertools.combinations(pairs, count):
            forward, backward = {0}, {vertices - 1}
            for x, y in sorted(edges):
                forward |= {y} if x in forward else set()
            for x, y in sorted(edges, key=lambda edge: -edge[1]):
                backward |= {x} if y in backward else set()
            if len(forward) == len(backward) == vertices:
                for operations in itertools.product(range(3), repeat=vertices - 2):
                    yield vertices, frozenset(edges), operations


def orders(graph: Graph) -> Iterator[Graph]:
    vertices, edges, operations = graph
    for inner in itertools.permutations(range(1, vertices - 1)):
        to = (0, *inner, vertices - 1)
        moved = dict(zip(inner, operations, strict=True))
        yield vertices, frozenset((to[x], to[y]) for x, y in edges), tuple(moved[vertex] for vertex in range(1, vertices - 1))


def as_arrays(graph: Graph) -> tuple[np.ndarray, list[str]]:
    vertices, edges, operations = graph
    matrix = np.zeros((vertices, vertices), int)
    for x, y in edges:
        matrix[x, y] = 1
    return matrix, ["input", *(nb101.OPERATIONS[operation] for operation in operations), "output"]


@pytest.mark.parametrize(("vertices", "most_edges"), [(2, 9), (3, 9), (4, 4), (4, 9), (5, 9)])
def test_every_architecture_is_there_once(vertices: int, most_edges: int) -> None:
    classes: list[int] = []
    seen: set[Graph] = set()
    for graph in labelled(vertices, most_edges):
        if graph not in seen:
            seen.update(orders(graph))
            classes.append(nb101.key(*as_arrays(graph)))
    found = nb101.enumerated(vertices, most_edges)
    keys = found.keys[found.vertices == vertices]
    assert len(classes) == len(set(classes)) and set(classes) == set(keys.tolist()) and len(keys) == len(classes)


def test_the_key_is_that_of_every_order() -> None:
    graphs = nb101.enumerated(5)
    for number in range(0, len(graphs.keys), 101):
        matrix, names = graphs.matrix(number), graphs.names(number)
        operations = tuple(nb101.OPERATIONS.index(name) for name in names[1:-1])
        edges = frozenset((int(x), int(y)) for x, y in np.argwhere(matrix))
        rising = [graph for graph in orders((len(names), edges, operations)) if all(x < y for x, y in graph[1])]
        assert {nb101.key(*as_arrays(graph)) for graph in rising} == {graphs.keys[number]}
        assert graphs.number(int(graphs.keys[number])) == number


@pytest.fixture(scope="module")
def graphs() -> nb101.Graphs:
    return nb101.enumerated()


def test_the_published_number_of_architectures(graphs: nb101.Graphs) -> None:
    assert len(graphs.keys) == len(np.unique(graphs.keys)) == nb101.SIZE == 423_624
    assert np.bincount(graphs.vertices).tolist() == [0, 0, 1, 6, 84, 2_441, 62_010, 359_082]
    assert max(edges.bit_count() for edges in graphs.edges.tolist()) == 9


def test_architectures_of_which_figures_are_published_are_there(graphs: nb101.Graphs, data_dir: Path) -> None:
    path = data_dir / "naslib_zc_samples" / "zc_nasbench101_500archs_cifar10.csv.gz"
    if not path.exists():
        pytest.skip(f"NAS-Bench-Suite-Zero's sample of NAS-Bench-101 not found: no {path}")
    with gzip.open(path, "rt") as file:  # 49 digits of a matrix and 7 of operations.
        codes = [ast.literal_eval(row["arch"]) for row in csv.DictReader(file)]
    known = set(graphs.keys.tolist())
    names = {2: nb101.OPERATIONS[0], 3: nb101.OPERATIONS[1], 4: nb101.OPERATIONS[2]}
    for code in codes:
        size = code[49:].index(1) + 1  # 0 is the input, 1 the output.
        matrix = np.array(code[:49]).reshape(7, 7)[:size, :size]
        assert nb101.key(matrix, ["input", *(names[digit] for digit in code[50 : 48 + size]), "output"]) in known


def test_what_is_on_no_way_is_left_out() -> None:
    matrix = np.zeros((7, 7), int)
    for x, y in [(0, 1), (1, 6), (0, 2), (3, 6), (2, 4), (0, 6)]:
        matrix[x, y] = 1
    names = ["input", *[nb101.OPERATIONS[0]] * 5, "output"]
    found, kept = nb101.pruned(matrix, names)
    assert found.tolist() == [[0, 1, 1], [0, 0, 1], [0, 0, 0]] and kept == ["input", nb101.OPERATIONS[0], "output"]
    small = nb101.key(np.array([[0, 1, 1], [0, 0, 1], [0, 0, 0]]), ["input", nb101.OPERATIONS[0], "output"])
    assert nb101.key(matrix, names) == small


FULL = np.triu(np.ones((5, 5), int), 1)
THREE = ["input", nb101.OPERATIONS[0], "output"]


@pytest.mark.parametrize(
    ("matrix", "names", "said"),
    [
        (FULL, ["input", *[nb101.OPERATIONS[0]] * 3, "output"], "at most 7 vertices and 9 edges .* this one has 5 and 10"),
        (np.eye(8, k=1, dtype=int), ["input", *[nb101.OPERATIONS[0]] * 6, "output"], "this one has 8 and 7"),
        (np.zeros((3, 3), int), THREE, "No way leads"),
        (np.array([[0, 1, 0], [0, 0, 0], [0, 0, 0]]), THREE, "No way leads"),
        (np.eye(3, k=-1, dtype=int), THREE, "1 above its diagonal"),
        (2 * np.eye(3, k=1, dtype=int), THREE, "1 above its diagonal"),
        (np.zeros((3, 2), int), THREE, "square matrix with a row for each vertex"),
        (np.eye(3, k=1, dtype=int), THREE[1:], "square matrix"),
        (np.eye(3, k=1, dtype=int), ["input", "nor_conv_3x3", "output"], "Operations of NAS-Bench-101 are conv3x3-bn-relu"),
        (np.eye(3, k=1, dtype=int), THREE[::-1], "begins with input and ends with output"),
    ],
)
def test_what_is_no_architecture(matrix: np.ndarray, names: list[str], said: str) -> None:
    with pytest.raises(UserError, match=said):
        nb101.pruned(matrix, names)


def test_a_key_of_no_graph() -> None:
    with pytest.raises(UserError, match="None of these 7 graphs has the key 0"):
        nb101.enumerated(3).number(0)

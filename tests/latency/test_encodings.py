"""What reaches an output, against an enumeration of paths."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from jaxnas.latency import encode, has_path, reaching_output
from jaxnas.latency.encodings import candidate_keys, exclusive
from jaxnas.spaces import Nb201Genotype, darts, from_text, nb201, nb201_family, proxyless, random_genotype

Edge = tuple[str, int, int]


def paths(edges: tuple[Edge, ...], start: int, end: int) -> list[list[Edge]]:
    """Every way from one state to another through operations other than none."""
    if start == end:
        return [[]]
    onward = [edge for edge in edges if edge[1] == start and edge[0] != "none"]
    return [[edge, *rest] for edge in onward for rest in paths(edges, edge[2], end)]


@pytest.mark.parametrize("nodes", [3, 4])
def test_what_reaches_the_output_is_what_is_on_a_path_to_it(nodes: int) -> None:
    space, rng = nb201_family("large", nodes=nodes), np.random.default_rng(0)
    for _ in range(100):
        genotype = random_genotype(space, rng)
        assert isinstance(genotype, Nb201Genotype)
        edges = genotype.cells["cell"]
        assert has_path(genotype) == bool(paths(edges, 0, nodes))
        on_path = {edge for start in range(nodes) for path in paths(edges, start, nodes) for edge in path}
        kept = reaching_output(genotype)
        assert isinstance(kept, Nb201Genotype)
        assert kept.cells["cell"] == tuple(edge if edge in on_path else ("none", *edge[1:]) for edge in edges)


def test_nb201_has_15284_architectures_with_a_path() -> None:
    # Of the five operations four let something through: each pattern of open edges counts 4^(open edges).
    without = 0
    for choice in itertools.product(("none", "skip_connect"), repeat=6):
        edges = "|{}~0|+|{}~0|{}~1|+|{}~0|{}~1|{}~2|".format(*choice)
        without += 0 if has_path(from_text(edges)) else 4 ** choice.count("skip_connect")
    assert 5**6 - without == 15_284


def test_an_edge_without_none_that_is_not_kept_is_a_row_of_zeros() -> None:
    space = nb201_family("mixed", (("skip_connect", "nor_conv_3x3"), ("skip_connect",), ("none", "skip_connect")), nodes=2)
    genotype = Nb201Genotype(((("nor_conv_3x3", 0),), (("skip_connect", 0), ("none", 1))))
    found = encode(space, [genotype])
    assert found.chosen.tolist() == [[0, 1, 1, 1, 0]]
    assert found.kept.tolist() == [[0, 0, 1, 1, 0]]


def test_in_other_families_everything_is_kept() -> None:
    for space in (darts(), proxyless()):
        found = encode(space, [random_genotype(space, np.random.default_rng(0))])
        assert np.array_equal(found.chosen, found.kept)
        assert found.chosen.shape == (1, len(candidate_keys(space))) == (1, space.alphas)
        assert sum(map(len, exclusive(space))) == space.alphas


def test_operations_are_counted() -> None:
    genotype = from_text("|nor_conv_3x3~0|+|nor_conv_3x3~0|none~1|+|skip_connect~0|none~1|none~2|")
    found = encode(nb201(), [genotype])
    counts = 2 * found.described[0, 60:]
    assert counts.tolist() == [3, 1, 0, 2, 0, 5, 1, 0, 0, 0]  # None, skip, 1x1, 3x3, pooling: chosen, then kept.
    assert found.at(np.array([0, 0])).described.shape == (2, 70)

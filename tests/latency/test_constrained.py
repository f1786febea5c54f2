"""Derivation under constraints against every architecture of the space, scored and priced one by one."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from jaxnas.derive import derive
from jaxnas.errors import UserError
from jaxnas.latency.constrained import best_within, check_reachable, extremes, total, within
from jaxnas.latency.graphs import Graph
from jaxnas.latency.terms import Cost
from jaxnas.spaces import (
    Block,
    BlockGenotype,
    BlockSpace,
    DartsGenotype,
    Genotype,
    Nb201Genotype,
    Space,
    block_genotype,
    darts,
    darts_family,
    fbnet,
    from_text,
    nb201,
    nb201_family,
    proxyless,
    random_genotype,
)

BLOCKS = BlockSpace(
    "three",
    "fbnet",
    (8, 1),
    (),
    (
        Block(8, 1, ("k3_e1", "k5_e1", "skip_connect")),
        Block(16, 2, ("k3_e3", "k5_e3")),
        Block(16, 1, ("k3_e1", "k3_e3", "k5_e3", "skip_connect")),
    ),
    32,
)
FOUR, ONE = ("none", "skip_connect", "sep_conv_3x3", "dil_conv_3x3"), ("skip_connect",)  # One: fewer to enumerate.
SMALL_DARTS = darts_family("small darts", FOUR, ONE, nodes=2)
SMALL_GDAS = darts_family("small gdas", FOUR[:3], ONE, nodes=2, conventions="gdas")
UNEVEN = nb201_family(
    "uneven", (("none", "skip_connect"), ("nor_conv_1x1",), ("none", "nor_conv_3x3", "skip_connect")), nodes=2
)


def problem(space: Space, seed: int, graph: Graph = "reaching") -> tuple[dict[str, Any], Cost]:
    """Alphas and a cost that grows with them, so that the best architectures are dear."""
    rng = np.random.default_rng(seed)
    alphas, numbers = {}, {}
    for kind, cell in space.cells:
        present = np.array(cell.present)
        alphas[kind] = np.where(present, rng.normal(size=present.shape), 0.0)
        numbers[kind] = np.where(present, np.exp(0.8 * alphas[kind] + rng.normal(size=present.shape)), 0.0)
        for row, names in enumerate(cell.operations):
            if "none" in names:
                numbers[kind][row, names.index("none")] *= 0.1  # Tables that are fitted may charge for it.
    return alphas, Cost("latency", "ms", numbers, 1.5, graph)


def every(space: Space) -> Iterator[Genotype]:
    if isinstance(space, BlockSpace):
        yield from (block_genotype(space, names) for names in itertools.product(*(block.operations for block in space.blocks)))
        return
    cells = []
    for _, cell in space.cells:
        nodes = []
        for node in range(cell.nodes):
            single = [[(name, cell.edges[row][0]) for name in cell.operations[row]] for row in cell.incoming(node)]
            if space.family == "nb201":
                nodes.append(list(itertools.product(*single)))
                continue
            single = [[pair for pair in pairs if pair[0] != "none"] for pairs in single]
            if space.conventions == "gdas":
                single = [[pair] for pairs in single for pair in pairs]
            nodes.append([both for a, b in itertools.combinations(single, 2) for both in itertools.product(a, b)])
        cells.append(list(itertools.product(*nodes)))
    if space.family == "nb201":
        yield from (Nb201Genotype(nodes) for nodes in cells[0])
        return
    for normal, reduce in itertools.product(*cells):
        concat = tuple(range(2, 2 + len(normal)))
        yield DartsGenotype(tuple(itertools.chain(*normal)), concat, tuple(itertools.chain(*reduce)), concat)


def parts(space: Space, genotype: Genotype) -> list[tuple[str, int, int, int, int]]:
    """``(kind, row, column, source, target)`` of every edge that a genotype has."""
    if isinstance(space, BlockSpace):
        assert isinstance(genotype, BlockGenotype)
        names = [name for name, _, _ in genotype.blocks[len(space.fixed) :]]
        return [("blocks", i, space.blocks[i].operations.index(name), i, i + 1) for i, name in enumerate(names)]
    assert not isinstance(genotype, BlockGenotype)
    found = []
    for kind, edges in genotype.cells.items():
        cell = space.cell(kind)
        for name, source, target in edges:
            row = cell.edges.index((source, target))
            found.append((kind, row, cell.operations[row].index(name), source, target))
    return found


def judged(space: Space, genotype: Genotype, alphas: Any, cost: Cost) -> tuple[float, float, frozenset[Any]]:
    """Score, cost and what runs but none, the long way: a search from it ends at the output, and folded begins at the input."""
    edges = parts(space, genotype)
    score = 0.0
    for kind, row, column, _, _ in edges:
        names = dict(space.cells)[kind].operations[row]
        values = alphas[kind][row, : len(names)]
        score += float(values[column] - math.log(sum(math.exp(value) for value in values)))
    kept = edges
    if space.family == "nb201" and cost.graph != "whole":
        cell = space.cell("cell")

        def ends(state: int) -> bool:
            onward = [edge for edge in edges if edge[3] == state and cell.operations[edge[1]][edge[2]] != "none"]
            return state == cell.nodes or any(ends(edge[4]) for edge in onward)

        def begins(state: int) -> bool:
            before = [edge for edge in edges if edge[4] == state and cell.operations[edge[1]][edge[2]] != "none"]
            return state == 0 or any(begins(edge[3]) for edge in before)

        kept = [edge for edge in edges if ends(edge[4]) and (cost.graph == "reaching" or begins(edge[3]))]
    price = cost.fixed + sum(float(cost.candidates[kind][row, column]) for kind, row, column, _, _ in kept)
    for kind, row, *_ in set(edges) - set(kept):
        names = space.cell(kind).operations[row]
        price += float(cost.candidates[kind][row, names.index("none")]) if "none" in names else 0.0
    running = [edge for edge in kept if space.cell(edge[0]).operations[edge[1]][edge[2]] != "none"]
    return score, price, frozenset(running if cost.graph != "whole" else edges)


def connected(space: Space, genotype: Genotype) -> bool:
    if space.family != "nb201":
        return True
    cell, reached = space.cell("cell"), {0}
    for _, row, column, source, target in sorted(parts(space, genotype), key=lambda edge: edge[4]):
        if source in reached and cell.operations[row][column] != "none":
            reached.add(target)
    return cell.nodes in reached


@pytest.mark.parametrize(
    ("space", "seed", "graph"),
    [
        (nb201(), 0, "reaching"),
        (nb201(), 10, "folded"),
        (nb201(), 11, "whole"),
        (UNEVEN, 1, "reaching"),
        (UNEVEN, 12, "folded"),
        (SMALL_DARTS, 2, "folded"),
        (SMALL_GDAS, 3, "whole"),
        (BLOCKS, 4, "folded"),
    ],
    ids=lambda value: getattr(value, "name", value),
)
def test_the_best_of_every_architecture(space: Space, seed: int, graph: Graph) -> None:
    alphas, cost = problem(space, seed, graph)
    table = [(genotype, *judged(space, genotype, alphas, cost)) for genotype in every(space) if connected(space, genotype)]
    prices = np.array([price for _, _, price, _ in table])
    (least, _), (greatest, _) = extremes(space, cost)
    np.testing.assert_allclose((least, greatest), (prices.min(), prices.max()), rtol=1e-12)
    for genotype, _, price, _ in table[:: max(1, len(table) // 100)]:
        assert total(space, cost, genotype) == pytest.approx(price, rel=1e-12)
    table.sort(key=lambda entry: -entry[1])
    for limit in np.quantile(prices, (0.01, 0.2, 0.7)):
        best: dict[frozenset[Any], tuple[Genotype, float]] = {}
        for genotype, score, price, kept in table:
            if within(price, limit):
                best.setdefault(kept, (genotype, score))
        found = best_within(space, alphas, [(cost, float(limit))], count=5)
        expected = list(best.values())[:5]
        np.testing.assert_allclose([one.score for one in found], [score for _, score in expected], rtol=1e-10)
        assert all(within(one.costs["latency"], float(limit)) for one in found)


@pytest.mark.parametrize(
    ("space", "seed", "graph"),
    [(nb201(), 5, "reaching"), (nb201(), 8, "folded"), (SMALL_DARTS, 6, "folded")],
    ids=["nb201", "nb201 folded", "darts"],
)
def test_two_limits_of_which_one_counts_dead_edges(space: Space, seed: int, graph: Graph) -> None:
    alphas, latency = problem(space, seed, graph)
    _, other = problem(space, seed + 100, graph="whole")
    size = Cost("parameters", "weights", other.candidates)
    table = [
        (judged(space, g, alphas, latency), judged(space, g, alphas, size)[1]) for g in every(space) if connected(space, g)
    ]
    limits = [float(np.quantile([of[1] for of, _ in table], 0.4)), float(np.quantile([price for _, price in table], 0.3))]
    expected = sorted((of[0] for of, price in table if within(of[1], limits[0]) and within(price, limits[1])), reverse=True)[:4]
    found = best_within(space, alphas, [(latency, limits[0]), (size, limits[1])], count=4)
    np.testing.assert_allclose([one.score for one in found], expected, rtol=1e-10)


@pytest.mark.parametrize(
    "space", [darts(), darts_family("gdas", conventions="gdas"), proxyless(), fbnet()], ids=lambda s: s.name
)
def test_whole_spaces(space: Space) -> None:
    """Too large to enumerate: without a limit that binds it is the derivation's own; with one no random one is better."""
    alphas, cost = problem(space, 7)
    (least, _), (greatest, _) = extremes(space, cost)
    assert best_within(space, alphas, [(cost, greatest)])[0].genotype == derive(space, alphas)
    limit = 0.7 * least + 0.3 * greatest
    found = best_within(space, alphas, [(cost, limit)], count=3)
    scores = [one.score for one in found]
    assert scores == sorted(scores, reverse=True) and len({one.genotype for one in found}) == 3
    assert scores[0] < best_within(space, alphas, [])[0].score
    rng = np.random.Generator(np.random.PCG64(0))
    for _ in range(300):
        score, price, _ = judged(space, random_genotype(space, rng), alphas, cost)
        assert price > limit or score <= scores[0]
    for one in found:
        assert judged(space, one.genotype, alphas, cost)[0] == pytest.approx(one.score)


def test_edges_that_reach_no_output_are_free_and_edges_of_a_zero_are_not() -> None:
    numbers = np.arange(30, dtype=float).reshape(6, 5)
    cost = Cost("latency", "ms", {"cell": numbers}, 100.0, "reaching")
    # Node 1 gets nothing but is read: 1 -> 3 runs on zeros. Node 2 gets something but is not read.
    genotype = from_text("|none~0|+|nor_conv_3x3~0|nor_conv_1x1~1|+|skip_connect~0|avg_pool_3x3~1|none~2|")
    counted = numbers[0, 0] + numbers[1, 0] + numbers[2, 0] + numbers[3, 1] + numbers[4, 4] + numbers[5, 0]
    assert total(nb201(), cost, genotype) == 100 + counted
    # Where they are folded, nothing of the cell is left but the edge from the input to the output.
    folded = numbers[:, 0].sum() - numbers[3, 0] + numbers[3, 1]
    assert total(nb201(), dataclasses.replace(cost, graph="folded"), genotype) == 100 + folded
    assert best_within(nb201(), {"cell": np.zeros((6, 5))}, [(cost, 1e9)])[0].costs["latency"] >= 100


def test_targets_out_of_reach() -> None:
    alphas, cost = problem(SMALL_DARTS, 9)
    (least, _), (greatest, _) = extremes(SMALL_DARTS, cost)
    for target, words in ((least - 1e-3, "below the least"), (greatest, "not below the greatest")):
        with pytest.raises(UserError, match=words) as error:
            check_reachable(SMALL_DARTS, cost, target)
        assert f"{least:.6g} to {greatest:.6g} ms" in str(error.value)
    check_reachable(SMALL_DARTS, cost, least)
    assert best_within(SMALL_DARTS, alphas, [(cost, least - 1e-3)]) == []
    assert len(best_within(SMALL_DARTS, alphas, [(cost, least)], count=5)) == 1

"""Derived genotypes against the references' recorded ones and against a slow rewriting of their rules."""

from __future__ import annotations

import ast
import dataclasses
import math
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

from jaxnas.derive import derive, one_hot_mixture
from jaxnas.errors import UserError
from jaxnas.spaces import (
    Cell,
    CellSpace,
    DartsGenotype,
    Genotype,
    Nb201Genotype,
    check_fits,
    darts,
    darts_family,
    gdas,
    nb201,
    nb201_family,
    random_genotype,
    robust_darts,
    to_text,
)
from jaxnas.spaces.operations import OPERATIONS

UNEVEN = darts_family(
    "uneven",
    (
        ("skip_connect", "none"),
        ("sep_conv_3x3",),
        ("none", "skip_connect", "sep_conv_3x3", "dil_conv_3x3"),
        ("max_pool_3x3", "avg_pool_3x3", "none"),
        ("noise", "sep_conv_5x5"),
    ),
    nodes=2,
)
UNEVEN_NB201 = nb201_family("uneven nb201", (("none",), ("skip_connect", "none", "noise"), ("nor_conv_3x3", "noise")), nodes=2)
UNEVEN_GDAS = dataclasses.replace(UNEVEN, name="uneven gdas", conventions="gdas")
SPACES = [darts(), nb201(), *(robust_darts(number) for number in (1, 2, 3, 4)), gdas(), UNEVEN, UNEVEN_NB201, UNEVEN_GDAS]


def random_alphas(space: CellSpace, rng: np.random.Generator, scale: float = 1.0) -> dict[str, np.ndarray]:
    return {kind: scale * rng.normal(size=(len(cell.edges), cell.columns)) for kind, cell in space.cells}


def probabilities(cell: Cell, alphas: np.ndarray, row: int) -> dict[str, float]:
    """Softmax of an edge by correctly rounded sums, so that equal alphas tie in whatever order they stand."""
    values = dict(zip(cell.operations[row], alphas[row], strict=False))
    powers = {name: math.exp(value - max(values.values())) for name, value in values.items()}
    return {name: power / math.fsum(powers.values()) for name, power in powers.items()}


def slow_darts_cell(cell: Cell, alphas: np.ndarray) -> tuple[tuple[str, int], ...]:
    """The rule of the reference edge by edge: every choice by looking for the first that none other exceeds."""
    pairs = []
    for target in range(2, 2 + cell.nodes):
        left = list(range(target))
        strongest = {}
        for source in left:
            found = probabilities(cell, alphas, cell.edges.index((source, target)))
            best: tuple[str, float] | None = None
            for name, probability in found.items():
                if name != "none" and (best is None or probability > best[1]):
                    best = name, probability
            assert best is not None
            strongest[source] = best
        for _ in range(2):
            source = next(a for a in left if all(strongest[a][1] >= strongest[b][1] for b in left))
            pairs.append((strongest[source][0], source))
            left.remove(source)
    return tuple(pairs)


def slow_gdas_cell(cell: Cell, alphas: np.ndarray) -> tuple[tuple[str, int], ...]:
    """The two best of a node's pairs of a source and an operation, found one after the other."""
    pairs = []
    for target in range(2, 2 + cell.nodes):
        left = {
            (name, source): probability
            for source in range(target)
            for name, probability in probabilities(cell, alphas, cell.edges.index((source, target))).items()
            if name != "none"
        }
        for _ in range(2):
            pairs.append(max(left, key=lambda pair: left[pair]))  # the first of equals
            del left[pairs[-1]]
    return tuple(pairs)


def slow_derive(space: CellSpace, alphas: dict[str, np.ndarray]) -> Genotype:
    if space.family == "darts":
        rule = slow_gdas_cell if space.conventions == "gdas" else slow_darts_cell
        normal, reduce = (rule(space.cell(kind), alphas[kind]) for kind in ("normal", "reduce"))
        return DartsGenotype(normal, tuple(range(2, 2 + len(normal) // 2)), reduce, tuple(range(2, 2 + len(reduce) // 2)))
    cell, nodes = space.cell("cell"), []
    for target in range(1, 1 + cell.nodes):
        found = [probabilities(cell, alphas["cell"], cell.edges.index((source, target))) for source in range(target)]
        nodes.append(tuple((max(names, key=lambda name: names[name]), source) for source, names in enumerate(found)))
    return Nb201Genotype(tuple(nodes))


@pytest.mark.quick
@pytest.mark.parametrize("name", ["a", "b"])
def test_golden_darts(golden_dir: Path, name: str) -> None:
    golden = np.load(golden_dir / f"darts_supernet_{name}.npz")
    expected = ast.literal_eval(str(golden["genotype"]))
    space = darts_family("golden", tuple(ast.literal_eval(str(golden["meta"]))["ops"]))
    genotype = derive(space, {kind: golden[f"alphas_{kind}"] for kind in ("normal", "reduce")})
    concat = tuple(expected["concat"])
    assert genotype == DartsGenotype(tuple(expected["normal"]), concat, tuple(expected["reduce"]), concat)


@pytest.mark.quick
@pytest.mark.parametrize("name", ["a", "b"])
def test_golden_nb201(golden_dir: Path, name: str) -> None:
    golden = np.load(golden_dir / f"nb201_supernet_{name}.npz")
    space = nb201_family("golden", tuple(str(op) for op in golden["ops"]))
    assert [f"{target}<-{source}" for source, target in space.cell("cell").edges] == list(golden["edges"])
    assert to_text(derive(space, {"cell": golden["alphas"]})) == str(golden["genotype"])


@pytest.mark.parametrize("space", SPACES, ids=lambda space: space.name)
def test_equals_the_slow_rule(space: CellSpace) -> None:
    rng = np.random.default_rng(5)
    for scale in (1e-3, 1.0, 5.0):
        for _ in range(10):
            alphas = random_alphas(space, rng, scale)
            genotype = derive(space, alphas)
            assert genotype == slow_derive(space, alphas)
            check_fits(genotype, space)


@pytest.mark.parametrize("space", SPACES, ids=lambda space: space.name)
def test_equals_the_slow_rule_where_ties_abound(space: CellSpace) -> None:
    rng = np.random.default_rng(6)
    for _ in range(20):
        alphas = {kind: np.round(values) for kind, values in random_alphas(space, rng).items()}
        assert derive(space, alphas) == slow_derive(space, alphas)


def test_all_equal_gives_the_first_of_everything() -> None:
    genotype = derive(darts(), {"normal": np.zeros((14, 8)), "reduce": np.full((14, 8), 7.0)})
    first = (("max_pool_3x3", 0), ("max_pool_3x3", 1)) * 4
    assert genotype == DartsGenotype(first, (2, 3, 4, 5), first, (2, 3, 4, 5))
    assert to_text(derive(nb201(), {"cell": np.zeros((6, 5))})) == "|none~0|+|none~0|none~1|+|none~0|none~1|none~2|"


def test_gdas_may_keep_two_operations_of_one_edge() -> None:
    alphas = {"normal": np.zeros((14, 8)), "reduce": np.zeros((14, 8))}
    alphas["normal"][1, [2, 7]] = [3.0, 4.0]
    genotype = derive(gdas(), alphas)
    assert isinstance(genotype, DartsGenotype)
    assert genotype.normal[:2] == (("max_pool_3x3", 1), ("sep_conv_3x3", 1))
    assert genotype.normal[2:4] == genotype.reduce[:2] == (("skip_connect", 0), ("sep_conv_3x3", 0))
    mixture = one_hot_mixture(gdas(), genotype)
    assert mixture["normal"][1].tolist() == [0, 0, 1, 0, 0, 0, 0, 1] and mixture["normal"].sum() == 8
    with pytest.raises(UserError, match="is used twice"):
        check_fits(genotype, darts())
    twice = (("skip_connect", 0),) * 2 + genotype.normal[2:]
    with pytest.raises(UserError, match="is used twice, now with 'skip_connect'"):
        check_fits(dataclasses.replace(genotype, normal=twice), gdas())


def test_stronger_edge_is_listed_first_and_ties_keep_the_lower() -> None:
    alphas = {"normal": np.zeros((14, 8)), "reduce": np.zeros((14, 8))}
    alphas["normal"][[9, 11, 13], [4, 5, 6]] = [1.0, 2.0, 1.0]  # edges 0, 2, 4 -> 5
    genotype = derive(darts(), alphas)
    assert isinstance(genotype, DartsGenotype)
    assert genotype.normal[6:] == (("sep_conv_5x5", 2), ("sep_conv_3x3", 0))


def test_none_takes_its_share_but_is_never_kept() -> None:
    alphas = {"normal": np.zeros((5, 3)), "reduce": np.zeros((5, 3))}
    alphas["normal"][2] = [5.0, 3.0, 0.0]  # the largest alpha of node 3, yet the smallest share
    alphas["normal"][3:, 1] = [1.0, 2.0]
    genotype = derive(darts_family("three", ("none", "skip_connect", "sep_conv_3x3"), nodes=2), alphas)
    assert isinstance(genotype, DartsGenotype)
    assert genotype.normal[2:] == (("skip_connect", 2), ("skip_connect", 1))


def test_padding_is_not_looked_at() -> None:
    rng = np.random.default_rng(7)
    alphas = random_alphas(UNEVEN, rng)
    expected = derive(UNEVEN, alphas)
    for filler in (1e9, -np.inf, np.nan):
        padded = {kind: np.where(UNEVEN.cell(kind).present, values, filler) for kind, values in alphas.items()}
        assert derive(UNEVEN, padded) == expected


def test_jax_arrays_and_large_alphas() -> None:
    alphas = random_alphas(darts(), np.random.default_rng(8))
    single = {kind: values.astype(np.float32) for kind, values in alphas.items()}
    assert derive(darts(), {kind: jnp.asarray(values) for kind, values in single.items()}) == slow_derive(darts(), single)
    assert derive(darts(), {kind: values + 1e4 for kind, values in alphas.items()}) == derive(darts(), alphas)
    half = {kind: jnp.asarray(values, jnp.bfloat16) for kind, values in alphas.items()}
    assert derive(darts(), half) == slow_derive(
        darts(), {kind: np.asarray(values, np.float64) for kind, values in half.items()}
    )


ZEROS = {"normal": np.zeros((14, 8)), "reduce": np.zeros((14, 8))}
BROKEN = np.where(np.arange(112).reshape(14, 8) == 35, np.nan, 0.0)


@pytest.mark.parametrize(
    ("alphas", "message"),
    [
        ({"normal": ZEROS["normal"]}, "reduce cell are missing"),
        (ZEROS | {"reduction": 0}, "no cell 'reduction'. Did you mean reduce"),
        (ZEROS["normal"], "dict.*got ndarray"),
        (ZEROS | {"reduce": np.zeros((8, 14))}, r"reduce cell.*\(14, 8\), got \(8, 14\)"),
        (ZEROS | {"reduce": [[0.0], [0.0, 1.0]]}, "array of numbers"),
        (ZEROS | {"normal": [["a"] * 8] * 14}, "array of numbers"),
        (ZEROS | {"normal": BROKEN}, "alpha of 'skip_connect' on edge 2 -> 3 of the normal cell is nan"),
        (ZEROS | {"normal": -np.inf * np.ones((14, 8))}, "'none' on edge 0 -> 2 of the normal cell is -inf"),
    ],
)
def test_derive_refuses(alphas: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        derive(darts(), alphas)


FACTORS = {name: 0.37 * number for number, name in enumerate(OPERATIONS)}  # none is the first of them


def apply(name: str, x: float) -> float:
    """A number in place of an image, another function for each operation; 0 for none."""
    return FACTORS[name] * math.sin(x + 10 * FACTORS[name])


def mixed_nodes(cell: Cell, mixture: np.ndarray, inputs: list[float]) -> list[float]:
    states = list(inputs)
    for node in range(cell.nodes):
        rows = cell.incoming(node)
        terms = [
            float(mixture[row, column]) * apply(name, states[cell.edges[row][0]])
            for row in rows
            for column, name in enumerate(cell.operations[row])
        ]
        states.append(math.fsum(terms))
    return states[len(inputs) :]


@pytest.mark.parametrize("space", SPACES, ids=lambda space: space.name)
def test_one_hot_mixture_computes_the_genotype(space: CellSpace) -> None:
    rng = np.random.default_rng(9)
    for _ in range(5):
        genotype = random_genotype(space, rng)
        mixture = one_hot_mixture(space, genotype)
        if isinstance(genotype, Nb201Genotype):
            discrete = {"cell": genotype.nodes}
        else:
            assert isinstance(genotype, DartsGenotype)
            discrete = {
                kind: [pairs[i : i + 2] for i in range(0, len(pairs), 2)]
                for kind, pairs in (("normal", genotype.normal), ("reduce", genotype.reduce))
            }
        for kind, cell in space.cells:
            assert mixture[kind].dtype == np.float32
            states = inputs = list(rng.normal(size=cell.inputs))
            for pairs in discrete[kind]:
                states = [*states, math.fsum(apply(name, states[source]) for name, source in pairs)]
            np.testing.assert_allclose(mixed_nodes(cell, mixture[kind], inputs), states[cell.inputs :], rtol=1e-12)


@pytest.mark.parametrize("space", SPACES[:7], ids=lambda space: space.name)
def test_derive_inverts_one_hot_mixture(space: CellSpace) -> None:
    rng = np.random.default_rng(10)
    for _ in range(10):
        genotype = random_genotype(space, rng)
        alphas = {kind: 20.0 * rows for kind, rows in one_hot_mixture(space, genotype).items()}
        assert derive(space, alphas) == genotype


def test_one_hot_mixture_refuses_a_genotype_of_another_space() -> None:
    with pytest.raises(UserError, match="does not fit"):
        one_hot_mixture(darts(), random_genotype(nb201(), np.random.default_rng(0)))


def with_few_skips_by_hand(space: CellSpace, alphas: np.ndarray, most: int) -> set[tuple[str, int, int]]:
    """P-DARTS's refinement (train_search.py), limit by limit from eight down, on a table of every edge's probabilities."""
    cell = space.cell("normal")
    table = [
        {name: p for name, p in probabilities(cell, alphas, row).items() if name != "none"} for row in range(len(cell.edges))
    ]
    for limit in range(8, most - 1, -1):
        while True:
            best = [max(row, key=lambda name: row[name]) for row in table]
            kept = []
            for node in range(cell.nodes):
                rows = sorted(cell.incoming(node), key=lambda row: table[row][best[row]])
                kept += rows[-2:]
            skips = [row for row in kept if best[row] == "skip_connect"]
            if len(skips) <= limit:
                break
            table[min(skips, key=lambda row: table[row]["skip_connect"])]["skip_connect"] = 0.0
    return {(best[row], *cell.edges[row]) for row in kept}


@pytest.mark.parametrize("most", range(9))
def test_the_limit_on_skip_connections_is_p_darts(most: int) -> None:
    space, rng = darts(), np.random.default_rng(most)
    limited = 0
    for _ in range(20):
        alphas = random_alphas(space, rng)
        alphas["normal"][:, 3] += 2.0
        genotype, free = derive(space, alphas, most), derive(space, alphas)
        assert isinstance(genotype, DartsGenotype) and isinstance(free, DartsGenotype)
        assert set(genotype.cells["normal"]) == with_few_skips_by_hand(space, alphas["normal"], most)
        assert sum(name == "skip_connect" for name, _ in genotype.normal) <= most
        assert genotype.cells["reduce"] == free.cells["reduce"]
        limited += genotype != free
    assert bool(limited) == (most < 8)


def test_a_limit_on_skip_connections_that_cannot_be_kept() -> None:
    space = darts_family("skips", ("none", "skip_connect"), nodes=1)
    with pytest.raises(UserError, match="cannot have only 1 skip connections: an edge has no other candidate"):
        derive(space, {kind: np.zeros((2, 2)) for kind in ("normal", "reduce")}, most_skips=1)

"""Cells and spaces: counts against the published numbers and against plain enumeration."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from jaxnas.errors import UserError
from jaxnas.spaces import (
    BlockGenotype,
    Cell,
    CellSpace,
    check_fits,
    darts,
    darts_family,
    gdas,
    nb201,
    nb201_family,
    random_genotype,
    robust_darts,
)

UNEVEN = (
    ("none", "skip_connect"),
    ("skip_connect", "sep_conv_3x3", "none"),
    ("noise",),
    ("none", "max_pool_3x3", "avg_pool_3x3", "dil_conv_3x3"),
    ("sep_conv_3x3", "dil_conv_5x5"),
)
"""Candidates of the five edges of a DARTS cell of two nodes, of another number on each."""


def enumerated_darts_cells(candidates: tuple[tuple[str, ...], ...]) -> set[tuple[tuple[str, ...], ...]]:
    """Every cell of two nodes: each edge gets an operation or nothing, and those with two edges per node are kept."""
    cells = set()
    for assignment in itertools.product(*((*names, "absent") for names in candidates)):
        nodes = (assignment[:2], assignment[2:])
        if "none" not in assignment and all(sum(name != "absent" for name in node) == 2 for node in nodes):
            cells.add(nodes)
    return cells


def test_edges_are_the_rows_of_the_references() -> None:
    normal = darts().cell("normal")
    assert normal.edges == tuple((j, 2 + i) for i in range(4) for j in range(2 + i))  # n_edges in quark0/darts
    assert [normal.incoming(node) for node in range(4)] == [[0, 1], [2, 3, 4], [5, 6, 7, 8], [9, 10, 11, 12, 13]]
    assert nb201().cell("cell").edges == ((0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3))  # 1<-0, 2<-0, 2<-1, ...


def test_size_by_the_conventions_of_gdas_equals_the_enumeration() -> None:
    space = darts_family("uneven", UNEVEN, UNEVEN[::-1], nodes=2, conventions="gdas")
    sizes = []
    for candidates in (UNEVEN, UNEVEN[::-1]):
        pairs = [[(edge, name) for edge in node for name in candidates[edge] if name != "none"] for node in ((0, 1), (2, 3, 4))]
        sizes.append(len(list(itertools.product(*(itertools.combinations(node, 2) for node in pairs)))))
    assert [space.cell_size("normal"), space.cell_size("reduce")] == sizes
    assert gdas().cell_size("normal") == 91 * 210 * 378 * 595  # Two of 14, 21, 28 and 35 pairs.
    of_one_edge = 0
    for seed in range(40):
        genotype = random_genotype(space, np.random.default_rng(seed))
        check_fits(genotype, space)
        assert not isinstance(genotype, BlockGenotype)
        first, second, *_ = genotype.cells["normal"]
        of_one_edge += first[1] == second[1]
    assert of_one_edge > 0


def test_gdas_has_darts_s_operations_in_another_order() -> None:
    ours, theirs = gdas().cell("normal"), darts().cell("normal")
    assert set(ours.operations[0]) == set(theirs.operations[0]) and ours.operations[0][:2] == ("none", "skip_connect")
    assert ours.operations[0][-1] == "max_pool_3x3" and gdas().alphas == 224


def test_numbers_of_alphas() -> None:
    assert (darts().alphas, nb201().alphas) == (224, 30)
    assert [robust_darts(number).alphas for number in (1, 2, 3, 4)] == [56, 56, 84, 56]
    assert darts_family("uneven", UNEVEN, nodes=2).alphas == 2 * (2 + 3 + 1 + 4 + 2)


def test_sizes_of_the_published_spaces() -> None:
    assert darts().cell_size("normal") == darts().cell_size("reduce") == 1_037_664_180
    assert darts().size == 1_037_664_180**2
    assert nb201().size == 15_625
    # Two operations other than none on every edge: 1 * 3 * 6 * 10 choices of edges, 4 of operations for each node.
    assert [robust_darts(number).size for number in (1, 2, 3, 4)] == [(180 * 4**4) ** 2] * 4


def test_size_equals_the_enumeration_of_an_uneven_space() -> None:
    space = darts_family("uneven", UNEVEN, UNEVEN[::-1], nodes=2)
    assert space.cell_size("normal") == len(enumerated_darts_cells(UNEVEN))
    assert space.cell_size("reduce") == len(enumerated_darts_cells(UNEVEN[::-1]))
    assert space.size == len(enumerated_darts_cells(UNEVEN)) * len(enumerated_darts_cells(UNEVEN[::-1]))
    assert nb201_family("uneven", (("none",), ("none", "skip_connect"), ("noise", "none", "skip_connect")), nodes=2).size == 6


@pytest.mark.parametrize("number", [1, 2, 3, 4])
def test_size_of_the_first_two_nodes_of_robust_darts(number: int) -> None:
    for kind in ("normal", "reduce"):
        candidates = robust_darts(number).cell(kind).operations[:5]
        assert darts_family("two nodes", candidates, nodes=2).cell_size("normal") == len(enumerated_darts_cells(candidates))


def test_s1_has_the_published_candidates() -> None:
    space = robust_darts(1)
    normal, reduce = space.cell("normal").operations, space.cell("reduce").operations
    assert normal[0] == ("skip_connect", "dil_conv_3x3") and normal[5] == ("max_pool_3x3", "skip_connect")
    assert normal[13] == ("dil_conv_3x3", "dil_conv_5x5") and reduce[6] == ("max_pool_3x3", "sep_conv_3x3")
    assert reduce[0] == ("max_pool_3x3", "avg_pool_3x3") and reduce[13] == ("skip_connect", "dil_conv_5x5")


def test_padding_columns_are_absent() -> None:
    cell = darts_family("uneven", UNEVEN, nodes=2).cell("normal")
    assert cell.columns == 4
    assert cell.present[0] == (True, True, False, False) and cell.present[3] == (True,) * 4
    assert sum(map(sum, cell.present)) == cell.alphas


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Cell(2, 0, ()), "nodes=0"),
        (lambda: Cell(2, 1, (("noise",),)), "2 edges.*for 1"),
        (lambda: Cell(2, 1, (("noise",), ())), "Edge 1 -> 2 has no candidate"),
        (lambda: Cell(2, 1, (("noise",), ("sep_conv3x3",))), "Did you mean sep_conv_3x3"),
        (lambda: Cell(2, 1, (("noise",), ("none", "none"))), "twice"),
        (lambda: CellSpace("x", "dart", ()), "Did you mean darts"),  # pyright: ignore[reportArgumentType]
        (lambda: CellSpace("x", "darts", (("cell", Cell(1, 1, (("noise",),))),)), "has the cells"),
        (lambda: CellSpace("x", "nb201", (("cell", Cell(2, 1, (("noise",), ("noise",)))),)), "have 1 inputs"),
        (lambda: darts_family("x", (("none",), ("noise",)), nodes=1), "nothing to derive"),
        (lambda: darts_family("x", "noise"), "single string 'noise'"),  # pyright: ignore[reportArgumentType]
        (lambda: robust_darts(5), "S5"),
        (lambda: darts_family("x", conventions="gds"), "Did you mean gdas"),  # pyright: ignore[reportArgumentType]
        (lambda: CellSpace("x", "nb201", nb201().cells, "gdas"), "'gdas' in family 'nb201'"),
    ],
)
def test_what_is_no_space_is_refused(build: object, message: str) -> None:
    assert callable(build)
    with pytest.raises(UserError, match=message):
        build()

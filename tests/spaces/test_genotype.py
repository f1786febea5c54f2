"""Genotypes: notations, fitting a space, uniform draws."""

from __future__ import annotations

import collections
import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jaxnas.errors import UserError
from jaxnas.spaces import (
    PUBLISHED,
    CellSpace,
    DartsGenotype,
    Genotype,
    Nb201Genotype,
    check_fits,
    darts,
    darts_family,
    from_json,
    from_text,
    nb201,
    nb201_family,
    random_genotype,
    read,
    robust_darts,
    to_json,
    to_text,
)

DARTS_V2_TEXT = (
    "Genotype(normal=[('sep_conv_3x3', 0), ('sep_conv_3x3', 1), ('sep_conv_3x3', 0), ('sep_conv_3x3', 1), ('sep_conv_3x3', 1), "
    "('skip_connect', 0), ('skip_connect', 0), ('dil_conv_3x3', 2)], normal_concat=range(2, 6), reduce=[('max_pool_3x3', 0), "
    "('max_pool_3x3', 1), ('skip_connect', 2), ('max_pool_3x3', 1), ('max_pool_3x3', 0), ('skip_connect', 2), "
    "('skip_connect', 2), ('max_pool_3x3', 1)], reduce_concat=range(2, 6))"
)
DARTS_V2 = DartsGenotype(
    normal=(
        ("sep_conv_3x3", 0),
        ("sep_conv_3x3", 1),
        ("sep_conv_3x3", 0),
        ("sep_conv_3x3", 1),
        ("sep_conv_3x3", 1),
        ("skip_connect", 0),
        ("skip_connect", 0),
        ("dil_conv_3x3", 2),
    ),
    normal_concat=(2, 3, 4, 5),
    reduce=(
        ("max_pool_3x3", 0),
        ("max_pool_3x3", 1),
        ("skip_connect", 2),
        ("max_pool_3x3", 1),
        ("max_pool_3x3", 0),
        ("skip_connect", 2),
        ("skip_connect", 2),
        ("max_pool_3x3", 1),
    ),
    reduce_concat=(2, 3, 4, 5),
)
# As it stands in genotypes.py, lists and line breaks included.
NASNET_TEXT = """
Genotype(
  normal = [
    ('sep_conv_5x5', 1), ('sep_conv_3x3', 0),
    ('sep_conv_5x5', 0), ('sep_conv_3x3', 0),
    ('avg_pool_3x3', 1), ('skip_connect', 0),
    ('avg_pool_3x3', 0), ('avg_pool_3x3', 0),
    ('sep_conv_3x3', 1), ('skip_connect', 1),
  ],
  normal_concat = [2, 3, 4, 5, 6],
  reduce = [
    ('sep_conv_5x5', 1), ('sep_conv_7x7', 0),
    ('max_pool_3x3', 1), ('sep_conv_7x7', 0),
    ('avg_pool_3x3', 1), ('sep_conv_5x5', 0),
    ('skip_connect', 3), ('avg_pool_3x3', 2),
    ('sep_conv_3x3', 2), ('max_pool_3x3', 1),
  ],
  reduce_concat = [4, 5, 6],
)
"""
NB201_TEXT = "|nor_conv_3x3~0|+|none~0|skip_connect~1|+|avg_pool_3x3~0|nor_conv_1x1~1|nor_conv_3x3~2|"
NB201 = Nb201Genotype(
    (
        (("nor_conv_3x3", 0),),
        (("none", 0), ("skip_connect", 1)),
        (("avg_pool_3x3", 0), ("nor_conv_1x1", 1), ("nor_conv_3x3", 2)),
    )
)
PAIR = (("skip_connect", 0), ("sep_conv_3x3", 1))
SPACES = [darts(), nb201(), *(robust_darts(number) for number in (1, 2, 3, 4))]


def some_genotypes(space: CellSpace, number: int) -> list[Genotype]:
    rng = np.random.default_rng(3)
    return [random_genotype(space, rng) for _ in range(number)]


def test_the_published_texts() -> None:
    assert to_text(DARTS_V2) == DARTS_V2_TEXT and from_text(DARTS_V2_TEXT) == DARTS_V2 == PUBLISHED["DARTS_V2"]
    assert to_text(NB201) == NB201_TEXT and from_text(NB201_TEXT) == NB201


def test_text_is_a_python_expression_of_the_reference() -> None:
    reference = collections.namedtuple("Genotype", "normal normal_concat reduce reduce_concat")
    value = eval(to_text(DARTS_V2), {"Genotype": reference})  # as the reference itself takes it in
    assert value.normal == list(DARTS_V2.normal) and value.reduce == list(DARTS_V2.reduce)
    assert value.normal_concat == value.reduce_concat == range(2, 6)


def test_a_gap_in_the_concatenation_is_written_as_a_list() -> None:
    genotype = DartsGenotype(PAIR * 3, (2, 4), PAIR * 3, (3,))
    assert "normal_concat=[2, 4]," in to_text(genotype) and to_text(genotype).endswith("reduce_concat=range(3, 4))")
    assert from_text(to_text(genotype)) == genotype


def test_nasnet_parses_and_fits_no_space_of_four_nodes() -> None:
    nasnet = from_text(NASNET_TEXT)
    assert isinstance(nasnet, DartsGenotype)
    assert nasnet == PUBLISHED["NASNet"]
    assert nasnet.normal_concat == (2, 3, 4, 5, 6) and nasnet.reduce_concat == (4, 5, 6)
    assert nasnet.normal[6:8] == (("avg_pool_3x3", 0), ("avg_pool_3x3", 0)) and nasnet.reduce[6] == ("skip_connect", 3)
    with pytest.raises(UserError, match="5 nodes.*have 4"):
        check_fits(nasnet, darts())


@pytest.mark.parametrize(
    "text",
    [
        DARTS_V2_TEXT.replace(" ", ""),
        DARTS_V2_TEXT.replace("(", "( ").replace(", ", "\n ,\t"),
        DARTS_V2_TEXT.replace("[", "(").replace("]", ")"),
        DARTS_V2_TEXT.replace("('", "['").replace(", 0)", ", 0]").replace(", 1)", ", 1]").replace(", 2)", ", 2]"),
        DARTS_V2_TEXT.replace("range(2, 6)", "[2, 3, 4, 5]").replace("'", '"'),
        "Genotype(reduce" + DARTS_V2_TEXT.split(" reduce", 1)[1][:-1] + "," + DARTS_V2_TEXT[9:].split(", reduce", 1)[0] + ")",
    ],
)
def test_spelling_of_darts_makes_no_difference(text: str) -> None:
    assert text != DARTS_V2_TEXT
    assert from_text(f"\n  {text}\n") == DARTS_V2


def test_spelling_of_nb201_makes_no_difference() -> None:
    assert from_text(f"\n {NB201_TEXT}\n") == NB201
    assert from_text(NB201_TEXT.replace("|", " | ").replace("~", " ~\t").replace("+", "\n+\n")) == NB201


@pytest.mark.parametrize("space", SPACES, ids=lambda space: space.name)
def test_round_trips(space: CellSpace) -> None:
    for genotype in some_genotypes(space, 20):
        check_fits(genotype, space)
        assert from_text(to_text(genotype)) == genotype
        document = to_json(genotype, space.name)
        assert json.loads(json.dumps(document)) == document
        assert from_json(document) == genotype and hash(from_json(document)) == hash(genotype)


def test_the_document() -> None:
    assert to_json(Nb201Genotype((NB201.nodes[0],)), "mine") == {
        "format": "jaxnas.genotype",
        "version": 1,
        "family": "nb201",
        "space": "mine",
        "nodes": [[["nor_conv_3x3", 0]]],
    }
    assert list(to_json(DARTS_V2, "darts"))[4:] == ["normal", "normal_concat", "reduce", "reduce_concat"]


def test_read_decides_by_content(tmp_path: Path) -> None:
    path = tmp_path / "genotype"
    for genotype in (DARTS_V2, NB201):
        for text in (
            to_text(genotype),
            json.dumps(to_json(genotype, "x")),
            "\n" + json.dumps(to_json(genotype, "x"), indent=2),
        ):
            path.write_text(text)
            assert read(path) == read(str(path)) == genotype


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "Cannot read the genotype .*genotype: No such file"),
        (b"\xff\xfe", "UTF-8"),
        (b"", "genotype: A genotype begins with"),
        (b"{", "is no JSON"),
        (b'{"a":' * 100_000, "is no JSON"),
        (b'{"format": "other"}', "genotype: .*'other'"),
        (b"Genotype(normal=[)", "genotype: .*does not parse.*line 1"),
    ],
)
def test_read_refuses(tmp_path: Path, content: bytes | None, message: str) -> None:
    path = tmp_path / "genotype"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=message):
        read(path)
    with pytest.raises(UserError, match="Cannot read"):
        read(tmp_path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "begins with ''"),
        ("DARTS_V2", "begins with 'DARTS_V2'"),
        ("Genotype", "written Genotype"),
        ("Genotypes(normal=[])", "written Genotype"),
        ("Genotype([], [], [], [])", "fields by name"),
        ("Genotype(normal=[('skip_connect', 0),\n ('skip_connect' 1)])", "does not parse.*line 2, column"),
        (DARTS_V2_TEXT + ";", "does not parse"),
        (DARTS_V2_TEXT + "\0", "does not parse"),
        ("Genotype(normal=" + "-" * 200_000 + "1)", "does not parse"),
        ("Genotype(normal=" + "-" * 2_000 + "1)", "normal"),
        (DARTS_V2_TEXT.replace(", reduce_concat=range(2, 6)", ""), "lacks the field reduce_concat"),
        ("Genotype(normal=[])", "lacks the fields normal_concat, reduce, reduce_concat"),
        (DARTS_V2_TEXT.replace("reduce=", "reduction="), "unknown field 'reduction'. Did you mean reduce"),
        (DARTS_V2_TEXT.replace("reduce=", "normal="), "'normal' twice"),
        ("Genotype(**{'normal': []})", r"unknown field '\*\*'"),
        (DARTS_V2_TEXT.replace("('skip_connect', 0)", "print('x')", 1), "normal, line 1, is neither"),
        (DARTS_V2_TEXT.replace("range(2, 6)", "list(range(2, 6))", 1), r"normal_concat, line 1.*list\(range"),
        (DARTS_V2_TEXT.replace("range(2, 6)", "range(2, 6, 1)", 1), "normal_concat, line 1"),
        (DARTS_V2_TEXT.replace("range(2, 6)", "range(2, 'a')", 1), "integer, got 'a'"),
        (DARTS_V2_TEXT.replace("range(2, 6)", f"range(2, {10**40})", 1), "state 6, but the cell has the states 0 to 5"),
        (DARTS_V2_TEXT.replace("range(2, 6)", "range(6, 2)", 1), "at least one state"),
        (DARTS_V2_TEXT.replace("range(2, 6)", "[2, 3, 3]", 1), "state 3 twice"),
        (DARTS_V2_TEXT.replace("range(2, 6)", "{2, 3}", 1), "normal_concat is a list"),
        (DARTS_V2_TEXT.replace("('sep_conv_3x3', 0)", "('sep_conv3x3', 0)"), "Did you mean sep_conv_3x3"),
        ("|nor_conv_3x3~0", r"Node 1.*'\|nor_conv_3x3~0'"),
        ("|nor_conv_3x3~0|+", "Node 2.*got ''"),
        ("|nor_conv_3x3~0|+|none~0||none~1|", "An edge of node 2.*got ''"),
        ("|nor_conv_3x3~a|", "written operation~source, got 'nor_conv_3x3~a'"),
        ("|nor_conv_3x3|", "written operation~source"),
        ("|~0|", "written operation~source"),
        ("|nor_conv_3x3~" + "9" * 5_000 + "|", "written operation~source"),
        ("|nor_conv3x3~0|", "Did you mean nor_conv_3x3"),
        ("|none~1|", r"State 1 .*\[0\].*\[1\]"),
        ("|none~0|+|none~0|", r"State 2 .*\[0, 1\].*\[0\]"),
        ("|none~0|+|none~1|none~0|", r"State 2 .*\[1, 0\]"),
    ],
)
def test_from_text_refuses(text: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        from_text(text)


def test_nothing_in_a_text_is_run(tmp_path: Path) -> None:
    written = tmp_path / "written"
    for call in (f"open({str(written)!r}, 'w')", f"range(2, open({str(written)!r}, 'w'))"):
        with pytest.raises(UserError):
            from_text(DARTS_V2_TEXT.replace("range(2, 6)", call))
    assert not written.exists()


def changed(**fields: Any) -> dict[str, Any]:
    return to_json(DARTS_V2, "darts") | fields


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ([], "is an object"),
        ({}, "format .*got None"),
        (changed(format="genotype"), "'genotype'"),
        (changed(version=2), "reads version 1.*got version 2"),
        (changed(version=True), "got version True"),
        (changed(family="dart"), "Did you mean darts"),
        (changed(family=["darts"]), "Unknown family"),
        (changed(family="nb201"), "unknown field 'normal'"),
        (changed(nodes=[]), "unknown field 'nodes'"),
        (changed(space=None), "name of a space, got None"),
        ({name: value for name, value in changed().items() if name != "reduce"}, "lacks the field reduce"),
        ({name: value for name, value in changed().items() if name != "space"}, "lacks the field space"),
        (changed(normal="abc"), "normal is a list"),
        (changed(normal=[["skip_connect", 0]]), "got 1 pairs"),
        (changed(normal=[]), "got 0 pairs"),
        (changed(normal=[["skip_connect", 0, 1]]), "is a pair"),
        (changed(normal=["ab", "cd"]), "is a pair"),
        (changed(normal=[[0, "skip_connect"]] * 2), "is a pair"),
        (changed(normal=[["skip_connect", "0"]] * 2), "integer, got '0'"),
        (changed(normal=[["skip_connect", True]] * 2), "integer, got True"),
        (changed(normal=[["skip_connect", 1.0]] * 2), "integer, got 1.0"),
        (changed(normal=[["skip_connect", 0], ["skip_connect", 2]]), "state 2 takes 'skip_connect' from state 2"),
        (changed(normal=[["skip_connect", 0], ["skip_connect", -1]]), "from state -1"),
        (changed(normal=[["skip", 0], ["skip_connect", 1]]), "unknown operation 'skip'"),
        (changed(reduce_concat=[]), "at least one state"),
        (changed(reduce_concat=4), "at least one state"),
        (changed(reduce_concat=[2, 6]), "reduce_concat names state 6"),
        (changed(reduce_concat=[2, None]), "integer, got None"),
        ({**to_json(NB201, "x"), "nodes": []}, "at least one node"),
        ({**to_json(NB201, "x"), "nodes": 3}, "at least one node"),
        ({**to_json(NB201, "x"), "nodes": [[]]}, r"State 1 .*\[\]"),
        ({**to_json(NB201, "x"), "nodes": [3]}, "state 1 is a list"),
    ],
)
def test_from_json_refuses(document: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        from_json(document)


def test_order_within_a_node_is_free_in_a_space() -> None:
    swapped = DartsGenotype(DARTS_V2.normal[1::-1] + DARTS_V2.normal[2:], (5, 4, 3, 2), DARTS_V2.reduce, (2, 3, 4, 5))
    assert swapped != DARTS_V2
    check_fits(swapped, darts())


def with_normal(position: int, name: str, source: int) -> DartsGenotype:
    normal = list(DARTS_V2.normal)
    normal[position] = (name, source)
    return DartsGenotype(tuple(normal), DARTS_V2.normal_concat, DARTS_V2.reduce, DARTS_V2.reduce_concat)


@pytest.mark.parametrize(
    ("genotype", "space", "message"),
    [
        (NB201, darts(), r"'nb201' does not fit space 'darts' \(darts\)"),
        (DARTS_V2, nb201(), "'darts' does not fit"),
        (NB201, nb201_family("four", nodes=4), "cell has 3 nodes.*have 4"),
        (NB201, nb201_family("few", ("none", "nor_conv_3x3")), "Edge 1 -> 2 of the cell cell has 'skip_connect'.*Known: none"),
        (DARTS_V2, darts_family("three", nodes=3), "normal cell has 4 nodes.*have 3"),
        (DARTS_V2, robust_darts(2), "Edge 2 -> 5 of the normal cell has 'dil_conv_3x3'.*'s2'"),
        (with_normal(7, "sep_conv_3x3", 2), robust_darts(2), "Edge 0 -> 2 of the reduce cell has 'max_pool_3x3'"),
        (with_normal(4, "none", 1), darts(), "Edge 1 -> 4 of the normal cell has 'none'"),
        (with_normal(4, "sep_conv_7x7", 1), darts(), "Edge 1 -> 4 .*'sep_conv_7x7'.*Did you mean"),
        (with_normal(4, "sep_conv_3x3", 0), darts(), "Edge 0 -> 4 of the normal cell is used twice, now with 'skip_connect'"),
        (DartsGenotype(PAIR * 4, (2, 3, 4, 5), PAIR * 4, (4, 5)), darts(), r"reduce cell concatenates \[4, 5\]"),
    ],
)
def test_check_fits_refuses(genotype: Genotype, space: CellSpace, message: str) -> None:
    with pytest.raises(UserError, match=message):
        check_fits(genotype, space)


def enumerated_darts() -> tuple[CellSpace, set[tuple[tuple[str, int], ...]]]:
    """A space whose first node has no choice, and all of its normal cells."""
    candidates = (
        ("skip_connect",),
        ("noise",),
        ("none", "noise"),
        ("none", "skip_connect", "noise"),
        ("noise", "skip_connect"),
    )
    space = darts_family("tiny", candidates, ("noise",), nodes=2)
    real = [[(name, source) for name in candidates[2 + source] if name != "none"] for source in range(3)]
    second = [pair for a, b in ((0, 1), (0, 2), (1, 2)) for pair in itertools.product(real[a], real[b])]
    return space, {(("skip_connect", 0), ("noise", 1), *pair) for pair in second}


def enumerated_nb201() -> tuple[CellSpace, set[tuple[tuple[tuple[str, int], ...], ...]]]:
    candidates = (("none", "noise"), ("skip_connect",), ("none", "skip_connect", "noise"))
    cells = {(((a, 0),), ((b, 0), (c, 1))) for a, b, c in itertools.product(*candidates)}
    return nb201_family("tiny", candidates, nodes=2), cells


@pytest.mark.parametrize(
    ("enumerated", "cell"),
    [
        (enumerated_darts, lambda genotype: genotype.normal),
        (enumerated_nb201, lambda genotype: genotype.nodes),
    ],
    ids=["darts", "nb201"],
)
def test_random_genotypes_are_uniform(enumerated: Callable[[], Any], cell: Callable[[Genotype], Any]) -> None:
    space, cells = enumerated()
    draws, rng = 4_000, np.random.default_rng(11)
    kind = space.cells[0][0]
    assert len(cells) == space.cell_size(kind)
    counts = collections.Counter(cell(random_genotype(space, rng)) for _ in range(draws))
    assert set(counts) == cells
    expected = draws / len(cells)
    statistic = sum((count - expected) ** 2 / expected for count in counts.values())
    freedom = len(cells) - 1
    assert statistic < freedom + 4 * np.sqrt(2 * freedom)  # mean and four standard deviations of chi-square


def test_random_genotypes_follow_the_generator() -> None:
    assert some_genotypes(darts(), 3) == some_genotypes(darts(), 3)
    assert len(set(some_genotypes(darts(), 50))) == 50

"""Tables of latencies: what is written is what is read, costs in closed form, and every mistake named."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jaxnas.derive import one_hot_mixture
from jaxnas.errors import UserError
from jaxnas.latency import (
    Checks,
    Row,
    Scores,
    Table,
    check_matches,
    costs,
    edge_key,
    layers,
    read,
    shape_fields,
    to_json,
    warning,
    write,
)
from jaxnas.nets import ChainShape, Shape
from jaxnas.spaces import Block, BlockSpace, Nb201Genotype, fbnet, nb201, nb201_family, random_genotype, robust_darts

SHAPE = Shape(4, 2, 10, 16)
GOOD = Scores(r2=0.99, mape=3.0, spearman=0.98, networks=40)


def layer_table(**changes: Any) -> Table:
    rows = {layer.key: Row(0.5 + i, 0.1, 20) for i, layer in enumerate(layers(nb201(), SHAPE).distinct)}
    fields: dict[str, Any] = {"kind": "layers", "space": "nb201", "device": "a phone", "batch": 1, "precision": "float32"}
    return Table(**{**fields, "rows": rows, "intercept": 0.25, "checks": Checks(GOOD, "held out"), **changes})


def edge_table(**changes: Any) -> Table:
    space = nb201()
    keys = [edge_key("cell", i, name) for i, names in enumerate(space.cell("cell").operations) for name in names]
    rows = {key: Row(float(i)) for i, key in enumerate(keys)}
    fields: dict[str, Any] = {"kind": "edges", "space": "nb201", "device": "a phone", "batch": 1, "precision": "float32"}
    return Table(**{**fields, "rows": rows, "intercept": 2.0, "shape": shape_fields(space, SHAPE), **changes})


@pytest.mark.parametrize("table", [layer_table(), edge_table(), layer_table(batch=None, precision=None, checks=None)])
def test_what_is_written_is_what_is_read(table: Table, tmp_path: Path) -> None:
    write(table, tmp_path / "table.json")
    assert read(tmp_path / "table.json") == table


def test_nothing_is_overwritten_by_accident(tmp_path: Path) -> None:
    path = tmp_path / "table.json"
    write(layer_table(), path)
    before = path.read_bytes()
    with pytest.raises(UserError, match="nothing was overwritten"):
        write(edge_table(), path)
    assert path.read_bytes() == before
    write(edge_table(), path, overwrite=True)
    assert read(path).kind == "edges"
    with pytest.raises(UserError, match="cannot be written"):
        write(edge_table(), tmp_path / "nowhere" / "table.json")


def test_costs_of_layers_are_the_sums_of_a_networks_rows() -> None:
    table, space = layer_table(), nb201()
    by_kind, fixed = costs(table, space, SHAPE)
    assert by_kind["cell"].dtype == np.float64
    genotype = random_genotype(space, np.random.default_rng(0))
    total = fixed + (one_hot_mixture(space, genotype)["cell"] * by_kind["cell"]).sum()
    expected = 0.25
    for name, c_in, c_out, size, stride in (
        ("stem", 3, 4, 16, 1),
        ("residual_reduction", 4, 8, 16, 2),
        ("residual_reduction", 8, 16, 8, 2),
        ("norm_relu", 16, 16, 4, 1),
    ):
        expected += table.rows[
            f"cells:{name}-input:{size}x{size}x{c_in}-output:{size // stride}x{size // stride}x{c_out}-stride:{stride}"
        ].mean
    expected += table.rows["cells:classifier-input:4x4x16-output:1x1x10-stride:1"].mean
    assert isinstance(genotype, Nb201Genotype)
    for name, _, _ in genotype.cells["cell"]:
        for c, size in ((4, 16), (8, 8), (16, 4)):
            if name != "none":
                # Two cells a stage.
                expected += 2 * table.rows[f"cells:{name}-input:{size}x{size}x{c}-output:{size}x{size}x{c}-stride:1"].mean
    assert total == pytest.approx(expected, rel=1e-14)


def test_costs_of_edges_are_the_rows() -> None:
    by_kind, fixed = costs(edge_table(), nb201(), SHAPE)
    assert fixed == 2.0
    assert np.array_equal(by_kind["cell"], np.arange(30.0).reshape(6, 5))


def test_padding_costs_nothing() -> None:
    space, shape = robust_darts(1), Shape(4, 3, 10, 16)
    table = layer_table(space="s1", rows={layer.key: Row(1.0) for layer in layers(space, shape).distinct})
    assert costs(table, space, shape)[0]["normal"].shape == (14, 2)
    one = nb201_family("padded", (("none", "skip_connect", "nor_conv_1x1"), ("skip_connect",), ("nor_conv_3x3",)), nodes=2)
    table = layer_table(space="padded", rows={layer.key: Row(1.0) for layer in layers(one, SHAPE).distinct})
    assert costs(table, one, SHAPE)[0]["cell"].tolist() == [[0, 6, 6], [6, 0, 0], [6, 0, 0]]


def test_missing_rows_are_counted_and_named() -> None:
    rows = dict(layer_table().rows)
    for size, c in ((16, 4), (8, 8), (4, 16)):
        del rows[f"cells:nor_conv_3x3-input:{size}x{size}x{c}-output:{size}x{size}x{c}-stride:1"]
    with pytest.raises(UserError, match=r"no row for 3 layer\(s\).*cells:nor_conv_3x3-input:16x16x4"):
        costs(layer_table(rows=rows), nb201(), SHAPE)
    with pytest.raises(UserError, match=r"no row for 17 layer\(s\).*and 14 more"):
        costs(layer_table(), nb201(), Shape(5, 2, 10, 16))
    rows = dict(edge_table().rows)
    del rows["cell/3/none"]
    with pytest.raises(UserError, match=r"no row for 1 candidate\(s\).*cell/3/none"):
        costs(edge_table(rows=rows), nb201(), SHAPE)


def test_an_edge_table_is_of_one_space_and_shape() -> None:
    with pytest.raises(UserError, match="classes is 10 there, 100 here"):
        costs(edge_table(), nb201(), dataclasses.replace(SHAPE, classes=100))
    with pytest.raises(UserError, match="for space 'nb201', asked for is 'mine'"):
        costs(edge_table(), nb201_family("mine"), SHAPE)
    # What only the supernet reads makes no difference.
    assert costs(edge_table(), nb201(), dataclasses.replace(SHAPE, affine=True))[1] == 2.0

    def chain(channels: int) -> BlockSpace:
        return BlockSpace("chain", "fbnet", (8, 1), (), (Block(channels, 1, ("k3_e1", "k5_e1")),), 32)

    shape = ChainShape(10, 8)
    rows = {edge_key("blocks", 0, name): Row(1.0) for name in ("k3_e1", "k5_e1")}
    table = edge_table(space="chain", rows=rows, shape=shape_fields(chain(8), shape))
    assert costs(table, chain(8), shape)[0]["blocks"].tolist() == [[1.0, 1.0]]
    with pytest.raises(UserError, match=r"blocks is \[\[8, 1\]\] there, \[\[16, 1\]\] here"):
        costs(table, chain(16), shape)


def test_a_table_of_something_else() -> None:
    table = layer_table()
    check_matches(table, space="nb201", device="a phone", precision="float32", batch=1)
    mismatches: tuple[tuple[dict[str, Any], str], ...] = (
        ({"space": "darts"}, "is for space 'nb201', asked for is 'darts'"),
        ({"device": "a laptop"}, "is for device 'a phone'"),
        ({"precision": "bfloat16"}, "is for precision 'float32'"),
        ({"batch": 32}, "is for batch 1, asked for is 32"),
    )
    for asked, said in mismatches:
        with pytest.raises(UserError, match=said):
            check_matches(table, **asked)
    with pytest.raises(UserError, match="does not say its batch"):
        check_matches(layer_table(batch=None), batch=1)


def test_what_is_said_of_its_check() -> None:
    assert warning(layer_table()) is None
    assert "never checked" in str(warning(layer_table(checks=None)))
    bad = Checks(dataclasses.replace(GOOD, r2=0.9, mape=12.0), "held out")
    assert warning(layer_table(checks=bad)) == (
        "The latency table of a phone failed its check on 40 whole networks (held out): R2 0.900 is below 0.95; MAPE 12.0 % is "
        "above 10 %."
    )
    unknown = Checks(dataclasses.replace(GOOD, spearman=float("nan")), "held out")
    assert "Spearman nan" in str(warning(layer_table(checks=unknown)))


KEY = "cells:stem-input:16x16x3-output:16x16x4-stride:1"


def changed(*path: str, value: Any) -> dict[str, Any]:
    content = json.loads(json.dumps(to_json(layer_table())))
    inner = content
    for name in path[:-1]:
        inner = inner[name]
    inner[path[-1]] = value
    return content


MISTAKES: dict[str, tuple[Any, str]] = {
    "another format": (changed("format", value="lut"), "this is no latency table"),
    "a list": ([], "this is no latency table"),
    "another version": (changed("version", value=1), "version 1 of the format .* reads version 2"),
    "another unit": (changed("unit", value="us"), "unit is 'us', it must be 'ms'"),
    "unknown field": (changed("devise", value="x"), "unknown field 'devise'. Did you mean device?"),
    "another kind": (changed("kind", value="layer"), "Unknown kind 'layer' of table. Did you mean layers?"),
    "another graph": (changed("graph", value="fold"), "Unknown graph 'fold' of a table's networks. Did you mean folded?"),
    "no device": (changed("device", value=None), "'device' must be text"),
    "no rows": (changed("rows", value={}), "has no rows"),
    "rows as a list": (changed("rows", value=[]), "'rows' must be an object"),
    "a negative time": (changed("rows", KEY, "mean", value=-1.0), f"row '{KEY}': mean is -1.0"),
    "an absent time": (changed("rows", KEY, "mean", value=None), f"row '{KEY}': mean is None"),
    "a time that is text": (changed("rows", KEY, "mean", value="1"), f"row '{KEY}': mean is '1'"),
    "a negative spread": (changed("rows", KEY, "spread", value=-0.1), f"row '{KEY}': spread is -0.1"),
    "a count of none": (changed("rows", KEY, "count", value=0), f"row '{KEY}': count is 0"),
    "a row that is a number": (changed("rows", KEY, value=1.0), f"row '{KEY}' must have mean, spread and count"),
    "a negative intercept": (changed("intercept", value=-1), "intercept is -1"),
    "a batch of none": (changed("batch", value=0), "batch is 0"),
    "layers with a shape": (changed("shape", value={}), "of the networks that it is of"),
    "a check that contradicts itself": (changed("checks", "r2", value=0.5), "'passed' is True, but by its numbers it is False"),
    "a check without networks": (changed("checks", "networks", value="forty"), "networks must be a number"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_named(mistake: str, tmp_path: Path) -> None:
    content, said = MISTAKES[mistake]
    path = tmp_path / "table.json"
    path.write_text(json.dumps(content))
    with pytest.raises(UserError, match=f"table.json: .*{said}"):
        read(path)


def test_a_field_that_is_missing(tmp_path: Path) -> None:
    for name in ("unit", "version", "rows", "checks", "graph"):
        content = to_json(layer_table())
        del content[name]
        (tmp_path / "t.json").write_text(json.dumps(content))
        with pytest.raises(UserError, match=name):
            read(tmp_path / "t.json")


def test_numbers_that_json_does_not_have(tmp_path: Path) -> None:
    path = tmp_path / "table.json"
    for number in ("NaN", "Infinity"):
        path.write_text(json.dumps(changed("rows", KEY, "mean", value="HERE")).replace('"HERE"', number))
        with pytest.raises(UserError, match=f"row '{KEY}': mean is"):
            read(path)
    path.write_text("{")
    with pytest.raises(UserError, match="no JSON file"):
        read(path)
    with pytest.raises(UserError, match="cannot be read"):
        read(tmp_path / "nowhere.json")


def test_a_space_of_other_candidates_has_no_rows() -> None:
    with pytest.raises(UserError, match="no row for"):
        costs(layer_table(), fbnet(), ChainShape(10))

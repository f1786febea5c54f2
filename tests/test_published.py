"""Networks against the figures of papers and reference implementations."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from jaxnas import published
from jaxnas.errors import UserError
from jaxnas.nets import Shape
from jaxnas.published import ROWS, Row, check, verify_published
from jaxnas.spaces import PUBLISHED, nb201
from jaxnas.spaces.published import NETWORKS

SMALL = Shape(channels=4, cells=1, classes=10, image_size=8)


def failed(row: Row) -> list[published.Figure]:
    figures = check(row)
    assert figures
    return [figure for figure in figures if not figure.passed]


def test_gdas_at_the_width_of_its_paper_has_581_million_multiply_adds() -> None:
    (row,) = (row for row in ROWS if row.multiply_adds == 581_009_000)
    assert row.cells == PUBLISHED["GDAS_V1"] and isinstance(row.shape, Shape) and row.shape.channels == 50
    assert not failed(row)


LAYERS = re.compile(r"k(?P<k>\d)_e(?P<e>\d)(_g(?P<g>\d))?")


def closed_form(name: str) -> tuple[int, int]:
    """Parameters and multiply-adds of an FBNet on 224x224 images: two 1x1 convolutions and a depthwise one in each block."""
    genotype = NETWORKS[name]
    c, pixels = genotype.stem[0], 112 * 112
    parameters, multiply_adds = 27 * c + 2 * c, 27 * c * pixels
    for operation, out, stride in genotype.blocks:
        found = LAYERS.fullmatch(operation)
        if found is None:
            assert (operation, c, stride) == ("skip_connect", out, 1)
            continue
        kernel, middle, groups = int(found["k"]), c * int(found["e"]), int(found["g"] or 1)
        after = pixels // stride**2
        expand, depthwise, project = c * middle // groups, kernel**2 * middle, middle * out // groups
        parameters += expand + depthwise + project + 2 * (2 * middle + out)
        multiply_adds += expand * pixels + (depthwise + project) * after
        c, pixels = out, after
    parameters += (c + 2) * genotype.head + 1000 * (genotype.head + 1)
    return parameters, multiply_adds + c * genotype.head * pixels + 1000 * genotype.head


@pytest.mark.parametrize("name", ["FBNet_A", "FBNet_B", "FBNet_C"])
def test_figures_of_fbnet_are_its_closed_form(name: str) -> None:
    (row,) = (row for row in ROWS if row.cells == PUBLISHED[name])
    assert (row.parameters, row.multiply_adds) == closed_form(name)


def test_one_network_of_blocks_and_what_its_paper_prints() -> None:
    (row,) = (row for row in ROWS if row.cells == PUBLISHED["FBNet_A"])
    assert row.reference.endswith("print 249M multiply-adds, from which these differ by +0.4%")
    assert not failed(row)


@pytest.mark.slow
@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_every_row_is_equal(row: Row) -> None:
    assert not failed(row)


def test_the_report_says_what_differs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    right = check(Row("any", nb201(), SMALL, "nobody", parameters=1))[0].ours
    rows = (
        Row("right", nb201(), SMALL, "a paper", parameters=right),
        Row("wrong", nb201(), SMALL, "a paper", parameters=right + 1),
    )
    monkeypatch.setattr(published, "ROWS", rows)
    lines: list[str] = []
    assert not verify_published(tmp_path / "report.json", lines.append)
    assert [line.split()[0] for line in lines] == ["right:", "pass", "wrong:", "FAIL", "1"]
    assert lines[0] == "right: a paper" and lines[-1].startswith("1 of 2 figures of 2 networks")
    assert json.loads((tmp_path / "report.json").read_text()) == {
        "passed": False,
        "networks": [
            {
                "name": row.name,
                "reference": "a paper",
                "figures": [
                    {"name": "parameters", "ours": right, "expected": row.parameters, "passed": row.parameters == right}
                ],
            }
            for row in rows
        ],
    }
    monkeypatch.setattr(published, "ROWS", rows[:1])
    assert verify_published(None, lines.append)


def test_a_report_that_cannot_be_written_is_the_users_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(published, "ROWS", ())
    with pytest.raises(UserError, match="Cannot write .*report.json: No such file or directory"):
        verify_published(tmp_path / "no folder" / "report.json", lambda line: None)

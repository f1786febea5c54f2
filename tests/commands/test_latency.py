"""What a person reads of ``jaxnas latency``, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from jaxnas import cli
from jaxnas.latency import read

KEY = "expanded_conv-input:8x8x4-output:8x8x4-expand:3-kernel:3-stride:1-idskip:1"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Every test runs in a folder of its own, with a table of ProxylessNAS's form and one of whole architectures."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "lut.yaml").write_text(f"{KEY}:\n  count: 9\n  mean: 1.5\n  var: 0.04\n")
    choices = ("skip_connect", "nor_conv_1x1", "nor_conv_3x3")
    lines = [
        f"|{a}~0|+|{b}~0|{c}~1|,{i + 1}"
        for i, (a, b, c) in enumerate((a, b, c) for a in choices for b in choices for c in choices)
    ]
    (tmp_path / "measured.csv").write_text("\n".join(["arch,phone", *lines]) + "\n")
    return tmp_path


def call(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    with pytest.raises(SystemExit) as done:
        cli.main(list(arguments))
    assert isinstance(done.value.code, int)
    printed = capsys.readouterr()
    return done.value.code, printed.out + printed.err


IMPORT = ["latency", "import", "lut.yaml", "--format", "mobile-yaml", "--device", "a phone", "--out", "table.json"]


def test_a_table_is_imported_and_shown(capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    code, text = call(capsys, *IMPORT, "--batch", "1")
    assert code == 0 and "1 rows of layers for space proxyless, milliseconds on a phone" in text
    table = read(folder / "table.json")
    assert (table.device, table.batch, table.precision) == ("a phone", 1, None)
    (row,) = table.rows.values()
    assert (row.mean, row.spread, row.count) == (1.5, 0.2, 9)
    code, text = call(capsys, "latency", "show", "table.json")
    assert code == 0
    assert "batch 1, precision not known" in text
    assert "1.5000 ± 0.2000 ms  proxyless:3x3_MBConv3-input:8x8x4-output:8x8x4-stride:1" in text
    assert "warning: The latency table of a phone was never checked" in text


def test_nothing_is_overwritten_by_accident(capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    (folder / "table.json").write_text("mine")
    code, text = call(capsys, *IMPORT)
    assert code == 2 and "table.json exists. Give --overwrite" in text
    assert (folder / "table.json").read_text() == "mine"
    assert call(capsys, *IMPORT, "--overwrite")[0] == 0


MISTAKES: dict[str, tuple[list[str], str]] = {
    "nothing": (["latency"], "Type: jaxnas latency import FILE"),
    "another action": (["latency", "sho", "table.json"], "Did you mean show?"),
    "no file": (["latency", "show", "nope.json"], "nope.json cannot be read"),
    "no table": (["latency", "show", "lut.yaml"], "is no JSON file"),
    "of cells": ([*IMPORT[:3], "--format", "fbnet-csv", *IMPORT[5:]], "give --space fbnet or fbnet_small"),
    "another space": (
        ["latency", "import", "measured.csv", "--format", "architectures", "--device", "phone", "--out", "t.json"],
        "measured.csv, line 2: The cell cell has 2 nodes, those of space 'nb201' have 3.",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_message(mistake: str, capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    arguments, said = MISTAKES[mistake]
    code, text = call(capsys, *arguments)
    assert code == 2 and said in text and "Traceback" not in text
    assert not list(folder.glob("*.json"))

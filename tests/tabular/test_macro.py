"""NAS-Bench-Macro: its architectures and its table."""

from __future__ import annotations

import csv
import gzip
import io
from pathlib import Path

import numpy as np
import pytest

from jaxnas.errors import UserError
from jaxnas.tabular import TableFault, macro, read_plain


def trained_as(text: str) -> str:
    """Each stage's identities after its first layer come last."""
    found = ""
    for stage in (text[:2], text[2:5], text[5:]):
        others = stage[1:].replace("0", "")
        found += stage[0] + others + "0" * (len(stage) - 1 - len(others))
    return found


def test_every_architecture_goes_round_and_has_its_class() -> None:
    texts = macro.strings(macro.all_choices())
    assert len(set(texts)) == 6_561
    np.testing.assert_array_equal(macro.indices_of_strings(texts), np.arange(6_561))
    first: dict[str, int] = {}
    assert macro.classes().tolist() == [first.setdefault(trained_as(text), i) for i, text in enumerate(texts)]
    assert len(first) == 3_969


@pytest.mark.parametrize("text", ["2221222", "222122200", "22212223", "|none~0|"])
def test_what_is_no_architecture(text: str) -> None:
    with pytest.raises(UserError, match="8 digits from 0 to 2"):
        macro.indices_of_strings([text])


@pytest.fixture(scope="module")
def table(macro_table: Path) -> list[dict[str, str]]:
    with gzip.open(macro_table, "rt") as file:
        return list(csv.DictReader(file))


def written(rows: list[dict[str, str]], path: Path) -> Path:
    text = io.StringIO()
    writer = csv.DictWriter(text, rows[0])
    writer.writeheader()
    writer.writerows(rows)
    path.write_text(text.getvalue())
    return path


def test_the_published_table_is_whole(table: list[dict[str, str]], macro_table: Path) -> None:
    benchmark = read_plain(macro_table)
    accuracy = benchmark.find("cifar10", "test", 50)
    assert benchmark.space == "macro" and accuracy.mean.shape == (6_561,) and set(accuracy.runs) == {3}
    best = macro.indices_of_strings(["22212220"])[0]  # As SOURCE.md has it; 22212202 is the same network.
    assert accuracy.mean[best] == accuracy.mean.max() and round(float(accuracy.mean[best]), 2) == 93.13
    for row in table[::97]:
        (number,) = macro.indices_of_strings([row["arch"]])
        assert accuracy.mean[number] == pytest.approx(float(row["mean_acc"]), abs=1e-5)
        assert benchmark.counts["params"][number] == int(row["params"])


@pytest.mark.parametrize(
    ("column", "value", "said"),
    [
        ("mean_acc", "50.0", "mean_acc of 22120102 is not the mean of its three runs"),
        ("test_acc_1", "", "test_acc_1 has a value that is missing or no number"),
        ("test_acc_1", "nan", "test_acc_1: a value is missing"),
        ("params", "7", "params of 22120102 is not that of 22102102, which is the same network"),
        ("flops", "1.5", "flops has a value that is not a count"),
        ("arch", "22120101", "6,561 lines for 6,561 architectures; number .* is there [02] times"),
        ("arch", "2212010", "8 digits from 0 to 2"),
    ],
)
def test_an_altered_table(table: list[dict[str, str]], tmp_path: Path, column: str, value: str, said: str) -> None:
    rows = [row | {column: value} if row["arch"] == "22120102" else row for row in table]
    with pytest.raises(TableFault, match=said):
        read_plain(written(rows, tmp_path / "table.csv"))


def test_an_accuracy_that_no_number_of_images_gives(table: list[dict[str, str]], tmp_path: Path) -> None:
    def altered(row: dict[str, str]) -> dict[str, str]:
        if trained_as(row["arch"]) != "00000000":
            return row
        shifted = {name: f"{float(row[name]) + 0.005:.6f}" for name in ("test_acc_1", "test_acc_2", "test_acc_3", "mean_acc")}
        return row | shifted

    with pytest.raises(TableFault, match="An accuracy of 00000000 is no whole number of images"):
        read_plain(written([altered(row) for row in table], tmp_path / "table.csv"))


def test_lines_are_missing(table: list[dict[str, str]], tmp_path: Path) -> None:
    with pytest.raises(TableFault, match="6,560 lines for 6,561 architectures"):
        read_plain(written(table[1:], tmp_path / "table.csv"))

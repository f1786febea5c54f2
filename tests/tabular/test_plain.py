"""Plain tables: what is read, and what is refused."""

from __future__ import annotations

import csv
import gzip
import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from jaxnas.errors import UserError
from jaxnas.tabular import TableFault, nb201, read_plain

Columns = dict[str, np.ndarray]


def columns() -> Columns:
    number = np.arange(nb201.SIZE)
    return {
        "arch_str": nb201.strings(nb201.all_choices()),
        "n_seeds": 2 + number % 2,
        "cifar10_val_12": number / 200,
        "cifar10_test_200": 90 - number / 200,
        "in16_test_12": number / 400,
        "train_sec_cifar10valid_200": 1000 + number / 8,
        "flops_cifar10": 10**6 + number,
    }


def as_npz(found: Columns, path: Path) -> Path:
    np.savez(path.with_suffix(".npz"), allow_pickle=False, **found)
    return path.with_suffix(".npz")


def as_csv(found: Columns, path: Path) -> Path:
    text = io.StringIO()
    csv.writer(text).writerows([list(found), *zip(*(values.tolist() for values in found.values()), strict=True)])
    path.with_suffix(".csv").write_text(text.getvalue())
    return path.with_suffix(".csv")


def as_gzip(found: Columns, path: Path) -> Path:
    path.with_suffix(".csv.gz").write_bytes(gzip.compress(as_csv(found, path).read_bytes(), 1))
    return path.with_suffix(".csv.gz")


@pytest.mark.parametrize("save", [as_npz, as_csv, as_gzip])
def test_what_is_read(tmp_path: Path, save: Callable[[Columns, Path], Path]) -> None:
    order = np.random.default_rng(0).permutation(nb201.SIZE)
    benchmark = read_plain(save({name: values[order] for name, values in columns().items()}, tmp_path / "table"))
    number = np.arange(nb201.SIZE)
    test = benchmark.find("cifar10", "ori-test", 200)
    np.testing.assert_allclose(test.mean, 90 - number / 200, rtol=1e-6)
    np.testing.assert_array_equal(test.runs, 2 + number % 2)
    assert set(benchmark.find("cifar10-valid", "x-valid", 12).runs) == {2}
    assert set(benchmark.find("ImageNet16-120", "x-test", 12).runs) == {1}
    np.testing.assert_allclose(benchmark.seconds["cifar10-valid", 12], (1000 + number / 8) * 12 / 200, rtol=1e-6)
    np.testing.assert_array_equal(benchmark.counts["flops_cifar10"], 10**6 + number)


def with_value(column: str, value: object) -> Callable[[Columns], Columns]:
    """The table with another value of architecture 7."""

    def change(found: Columns) -> Columns:
        values = found[column].astype(object)
        values[7] = value
        return found | {column: values.astype(str)}

    return change


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (with_value("cifar10_test_200", ""), "cifar10_test_200 has a value that is missing or no number"),
        (with_value("cifar10_test_200", "high"), "cifar10_test_200 has a value that is missing or no number"),
        (with_value("cifar10_test_200", "nan"), "cifar10_test_200: a value is missing, of architecture 7"),
        (with_value("cifar10_test_200", "inf"), "cifar10_test_200: a value is missing, of architecture 7"),
        (with_value("cifar10_test_200", -0.1), r"cifar10 ori-test 200 epochs, architecture 7: -0.1.* is not an accuracy"),
        (with_value("cifar10_test_200", 100.1), "architecture 7: 100.0999.* is not an accuracy in percent"),
        (with_value("train_sec_cifar10valid_200", 0), "architecture 7: 0.0 is not a time in seconds above 0"),
        (with_value("flops_cifar10", 1.5), "flops_cifar10 has a value that is not a count"),
        (with_value("flops_cifar10", -1), "flops_cifar10 has a value that is not a count"),
        (with_value("n_seeds", 0), "runs of .*, architecture 7: 0 is not a number of runs"),
        (with_value("arch_str", "22212220"), "Architecture 7 of 15625 is not of NAS-Bench-201"),
        (with_value("arch_str", "|none~0|+|none~0|none~1|+|none~0|none~1|sep_conv_3x3~2|"), "sep_conv_3x3"),
        (
            lambda found: {name: values[1:] for name, values in found.items()},
            "15,624 lines .*; number 0 is there 0 times",
        ),
        (lambda found: {name: values[[*range(15_625), 3]] for name, values in found.items()}, "number 3 is there 2 times"),
        (lambda found: {**found, "index": np.arange(15_625)[::-1]}, "index of architecture 0 is 15624, not 0"),
        (lambda found: {**found, "e01": np.full(15_625, 4)}, "e01 of architecture 1 is 4, not 3"),
        (lambda found: {**found, "cifar10_val_100": np.full(15_625, 4.0)}, "accuracies after 100 epochs need"),
        (
            lambda found: {name: values for name, values in found.items() if name != "n_seeds"},
            "200 epochs need a column n_seeds",
        ),
    ],
)
def test_what_no_benchmark_holds(tmp_path: Path, change: Callable[[Columns], Columns], said: str) -> None:
    with pytest.raises(TableFault, match=said):
        read_plain(as_csv(change(columns()), tmp_path / "table"))


def test_arrays_of_another_shape(tmp_path: Path) -> None:
    wrong = np.zeros((nb201.SIZE, 2))
    with pytest.raises(TableFault, match=r"cifar10_val_12 has the shape \(15625, 2\), the architectures \(15625,\)"):
        read_plain(as_npz({**columns(), "cifar10_val_12": wrong}, tmp_path / "table"))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "no column arch_str"),
        (b"arch_str,cifar10_val_12\na\n", "line 2: 1 values for 2 columns"),
        (b"a,b\n1,2\n", r"no column arch_str \(NAS-Bench-201\), nor all of NAS-Bench-Macro's"),
        (b"\x1f\x8b\x08\x00cut", "is no CSV file of a benchmark"),
        (b"\xff\xfe\x00", "is no CSV file of a benchmark"),
        (b"PK\x03\x04cut", "is no NPZ file of a benchmark"),
    ],
)
def test_what_is_no_table(tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / "table").write_bytes(content)
    with pytest.raises(UserError, match=said):
        read_plain(tmp_path / "table")


def test_an_array_of_objects_is_not_unpickled(tmp_path: Path) -> None:
    np.savez(tmp_path / "table.npz", arch_str=np.array([{"a": 1}], object))
    with pytest.raises(UserError, match="is no NPZ file of a benchmark.*: Object arrays cannot be loaded"):
        read_plain(tmp_path / "table.npz")

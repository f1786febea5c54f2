"""Tables of NAS-Bench-201 against what is known of them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from jaxnas import cli, table_checks
from jaxnas.errors import UserError
from jaxnas.table_checks import counted, verify_nb201
from jaxnas.tabular import nb201

# Of the network around the cells; of a 1x1 and a 3x3 convolution; of a pool: see data/nasbench201/SOURCE.md, and for
# multiply-adds of convolutions and the classifier 16 x 16 (x 9) weights x 32 x 32 pixels x 5 cells in each of three stages.
PARAMETERS = {"cifar10": 73_306, "cifar100": 79_156, "in16": 80_456}
FLOPS = {"cifar10": 7_943_872, "cifar100": 7_949_632, "in16": 1_993_792}
CONVOLUTIONS = {"cifar10": 7_783_040, "cifar100": 7_788_800, "in16": 1_953_280}


def closed_form(dataset: str) -> Mapping[str, np.ndarray]:
    ones, threes, pools = ((nb201.all_choices() == operation).sum(1) for operation in (2, 3, 4))
    share = 4 if dataset == "in16" else 1
    return {
        "parameters": PARAMETERS[dataset] + 28_000 * ones + 243_040 * threes,
        "conv_linear": CONVOLUTIONS[dataset] + 15 * 262_144 // share * (ones + 9 * threes),
        "nasbench201": FLOPS[dataset] + (4_362_240 * ones + 35_819_520 * threes + 1_290_240 * pools) // share,
    }


@pytest.mark.parametrize(
    "dataset", ["in16", pytest.param("cifar10", marks=pytest.mark.slow), pytest.param("cifar100", marks=pytest.mark.slow)]
)
def test_what_is_counted_is_the_closed_form(dataset: str) -> None:
    ours = counted(dataset)
    for name, expected in closed_form(dataset).items():
        np.testing.assert_array_equal(ours[name], expected, name)


def test_networks_that_do_not_add_up(monkeypatch: pytest.MonkeyPatch) -> None:
    def squares(dataset: str, choices: np.ndarray) -> np.ndarray:
        return (choices.sum(1) ** 2)[:, None] * np.ones(3, int)

    monkeypatch.setattr(table_checks, "count_networks", squares)
    with pytest.raises(ValueError, match="not sums over their edges"):
        counted.__wrapped__("cifar10")


@pytest.fixture
def columns(nb201_table: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, np.ndarray]:
    """The published table; the networks' figures are the closed form, which the test above shows to be what is counted."""
    monkeypatch.setattr(table_checks, "counted", closed_form)
    with np.load(nb201_table) as published:
        return {name: published[name] for name in published.files}


def verified(columns: Mapping[str, np.ndarray], folder: Path) -> tuple[bool, dict[str, str]]:
    """Whether all passed, and what is said of the checks that did not."""
    np.savez(folder / "table.npz", allow_pickle=False, **columns)
    passed = verify_nb201(folder / "table.npz", folder / "report.json", lambda line: None)
    report = json.loads((folder / "report.json").read_text())
    assert report["passed"] == passed
    return passed, {check["name"]: check["found"] for check in report["checks"] if not check["passed"]}


def test_the_published_table(columns: dict[str, np.ndarray], tmp_path: Path) -> None:
    assert verified(columns, tmp_path) == (True, {})
    report = json.loads((tmp_path / "report.json").read_text())
    found = {check["name"]: check["found"] for check in report["checks"]}
    assert found["strings, numbers and one-hot go round"] == "15,625 of 15,625"
    assert found["classes of isomorphic cells"] == "6,466"
    assert found["params_published_cifar10"] == "15,475 are the networks', 150 are not"
    assert found["flops_in16, counter nasbench201"] == "15,625 of 15,625"
    assert [found[f"{name}, best test accuracy"][:5] for name in ("cifar10", "cifar100", "ImageNet16-120")] == [
        "94.37",
        "73.51",
        "47.31",
    ]
    exceptions = report["exceptions"]
    assert len(exceptions) == 150 and {"index", "architecture", "ours", "published"} == exceptions[0].keys()
    assert {abs(one["ours"] - one["published"]) for one in exceptions} == {28_000, 243_040}  # One convolution more or less.


def test_lines_in_another_order_are_the_same_table(columns: dict[str, np.ndarray], tmp_path: Path) -> None:
    order = np.random.default_rng(0).permutation(15_625)
    assert verified({name: values[order] for name, values in columns.items()}, tmp_path)[0]


def test_one_altered_cell_of_any_column_fails(columns: dict[str, np.ndarray], tmp_path: Path) -> None:
    at, unnoticed = 4321, []
    for name, values in columns.items():
        altered = values.copy()
        if name == "arch_str":
            altered[at] = altered[at + 1]
        elif "sec" in name:
            altered[at] *= 1.01
        else:  # By whole images, where these are counted.
            altered[at] += 1
        if verified(columns | {name: altered}, tmp_path)[0]:
            unnoticed.append(name)
    assert not unnoticed


def test_what_is_missing_is_said(columns: dict[str, np.ndarray], tmp_path: Path) -> None:
    few = {"arch_str": columns["arch_str"], "cifar10_val_12": columns["cifar10_val_12"]}
    passed, said = verified(few, tmp_path)
    assert not passed
    none = ("cifar10, test accuracy after 200 epochs", "params_...", "flop_...", "seconds of trainings")
    assert {said[name] for name in none} == {"the table has none"}


def test_exit_codes(
    macro_table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], columns: dict[str, np.ndarray]
) -> None:
    def code(path: Path) -> int:
        with pytest.raises(SystemExit) as end:
            cli.main(["verify", "nb201", "--table", str(path)])
        assert isinstance(end.value.code, int)
        return end.value.code

    columns["cifar10_test_200"][7] = -3
    np.savez(tmp_path / "altered.npz", allow_pickle=False, **columns)
    assert code(tmp_path / "altered.npz") == 1
    assert "architecture 7: -3.0 is not an accuracy in percent" in capsys.readouterr().out
    assert code(tmp_path / "none.npz") == 2
    assert code(macro_table) == 2
    assert "is a table of NAS-Bench-Macro, NAS-Bench-201 is asked for" in capsys.readouterr().err


def test_another_benchmark(macro_table: Path) -> None:
    with pytest.raises(UserError, match="NAS-Bench-201 is asked for"):
        verify_nb201(macro_table, None)

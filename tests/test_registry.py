"""The registry of published results: its files are whole, and its counts are those of the tables of published figures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from jaxnas import registry
from jaxnas.errors import UserError
from jaxnas.published import ROWS
from jaxnas.recipes import RECIPES
from jaxnas.registry import Expected, find, names, parsed
from jaxnas.trainings import TRAININGS

pytestmark = pytest.mark.quick
DOCUMENT = json.loads((registry.CHECKOUT / "counts-nb101.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", names())
def test_every_file_describes_a_result_with_recipes_that_there_are(name: str) -> None:
    result = find(name)
    assert result.title and result.source and result.protocol
    quantities = [one.quantity for one in result.expected]
    assert len(set(quantities)) == len(quantities)
    assert result.searches is None or (result.searches.recipe in RECIPES and result.searches.seeds)
    assert result.choice is None or result.choice.recipe in TRAININGS
    assert result.trainings is None or (result.trainings.recipe in TRAININGS and result.trainings.seeds)
    if result.measured is not None:
        assert result.measured["values"].keys() == set(quantities)
        assert {"date", "devices", "processor", "packages", "cost", "holds"} <= result.measured.keys()


def test_every_figure_of_published_networks_is_in_the_registry() -> None:
    """The registry's numbers are written down once more, on purpose: neither can change alone."""
    results = [find(name) for name in names()]
    listed = {one.quantity: one.value for result in results if result.count == "networks" for one in result.expected}
    figures = {
        "parameters": "parameters",
        "multiply_adds": "multiply-adds, conv_linear",
        "nasbench201_flops": "multiply-adds, nasbench201",
        "auxiliary_parameters": "parameters of the auxiliary head",
    }
    known = {
        f"{row.name}: {words}": value
        for row in ROWS
        for field, words in figures.items()
        if (value := getattr(row, field)) is not None
    }
    assert listed == known


@pytest.mark.parametrize(
    "change, said",
    [
        ({"expected": []}, "nothing is expected"),
        ({"expected": [{"quantity": "x", "value": 1.0}]}, "a value needs a tolerance"),
        ({"expected": [{"quantity": "x", "value": None}]}, "said must tell why"),
        ({"expected": [{"quantity": "x", "price": 1.0}]}, "price"),
        ({"count": None}, "either count or searches"),
        ({"count": None, "searches": {"recipe": "gdas", "seeds": [0]}}, "either looked_up or has trainings"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_what_is_no_description_is_told(change: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=f"here does not describe a published result: .*{said}"):
        parsed("wrong", DOCUMENT | change, "here")


def test_a_wrong_name_gets_the_nearest() -> None:
    with pytest.raises(UserError, match="Did you mean counts-nb101"):
        find("count-nb101")


def test_a_number_holds_within_its_tolerance() -> None:
    one = Expected("test error", 2.76, 0.09, 0.09)
    assert [one.holds(value) for value in (2.67, 2.85, 2.86, float("nan"))] == [True, True, False, False]
    big = Expected("genotypes", 9**22, 0, 0)
    assert big.holds(9**22) and not big.holds(9**22 - 1)  # Whole numbers are compared as such.


def test_a_measurement_is_recorded_in_a_checkout_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "counts-nb101.json").write_text(json.dumps(DOCUMENT))
    monkeypatch.setattr(registry, "CHECKOUT", tmp_path)
    registry.record("counts-nb101", {"holds": True})
    assert json.loads((tmp_path / "counts-nb101.json").read_text()) == DOCUMENT | {"measured": {"holds": True}}
    monkeypatch.setattr(registry, "PACKAGED", tmp_path)
    monkeypatch.setattr(registry, "CHECKOUT", tmp_path / "elsewhere")
    assert names() == ["counts-nb101"]
    with pytest.raises(UserError, match="of an installation"):
        registry.record("counts-nb101", {})
    monkeypatch.setattr(registry, "PACKAGED", tmp_path / "nowhere")
    with pytest.raises(UserError, match="registry of published results is missing"):
        names()

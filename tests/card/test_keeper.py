"""What a run has cost adds up over the processes that worked on it, and what is null has a reason."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from jaxnas import card
from jaxnas.card import keeper
from jaxnas.data import load
from jaxnas.errors import UserError
from jaxnas.recipes import find
from jaxnas.run_folder import CARD, RunFolder
from jaxnas.trainings import find as find_training

NAME = "nb201-digits"


def about(**changes: Any) -> dict[str, Any]:
    recipe = dataclasses.replace(find(NAME), **changes)
    return card.of_search(NAME, recipe, load("digits"), recipe.search.build_space())


def written(folder: Path) -> dict[str, Any]:
    return json.loads((folder / CARD).read_text())


def begun(path: Path, resume: bool = False, devices: int = 1, **of: Any) -> card.Card:
    folder = RunFolder(path, resume=resume)
    folder.write_text("config.json", "{}")
    return card.Card(folder, about(**of), devices, imports=2.0)


def test_seconds_add_up_over_sessions_by_the_devices_of_each(tmp_path: Path) -> None:
    first = begun(tmp_path / "run", devices=2)
    first.spent("search", 10.0)
    first.spent("compile", 5.0, now=True)
    # Killed here. It goes on on one device, by other seconds.
    second = begun(tmp_path / "run", resume=True, seed=9)
    second.spent("search", 3.0)
    second.spent("search 2", 1.0)
    second.spent("train found", 4.0)
    second.spent("compile", 2.0)
    second.finish("|a~0|", 0.5, 7)
    found = written(tmp_path / "run")
    assert found["cost"]["device_seconds"] == {"search": 2 * 10.0 + 4.0, "train found": 4.0, "total": 28.0}
    assert found["cost"]["compile_seconds"] == {"trace": 0.0, "compile": 7.0}
    assert [session["devices"] for session in found["cost"]["sessions"]] == [2, 1]
    assert found["cost"]["whole"]
    assert found["cost"]["wall_seconds"] >= 4.0  # Of imports, twice.
    assert found["seeds"]["search"] == [0]  # What decides a run is written once.
    assert found["result"] == {"genotype": "|a~0|", "accuracy": 0.5, "parameters": 7}


def test_what_was_spent_before_there_was_a_card_is_not_known(tmp_path: Path) -> None:
    RunFolder(tmp_path / "new").write_text("config.json", "{}")  # Begun by who hands it on, as a sweep does on a cluster.
    begun(tmp_path / "new", resume=True)
    assert written(tmp_path / "new")["cost"]["whole"]
    RunFolder(tmp_path / "run").write_text("log.jsonl", "{}")
    (tmp_path / "run" / "config.json").write_text("{}")
    begun(tmp_path / "run", resume=True)
    assert not written(tmp_path / "run")["cost"]["whole"]
    begun(tmp_path / "run", resume=True)
    assert not written(tmp_path / "run")["cost"]["whole"]


def test_another_machine_and_other_code_are_added(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begun(tmp_path / "run")
    begun(tmp_path / "run", resume=True)
    assert len(written(tmp_path / "run")["hardware"]) == len(written(tmp_path / "run")["code"]) == 1
    here = card.hardware()
    monkeypatch.setattr(keeper, "hardware", lambda: {**here, "processor": "another"})
    begun(tmp_path / "run", resume=True)
    assert [one["processor"] for one in written(tmp_path / "run")["hardware"]] == [here["processor"], "another"]


@pytest.mark.parametrize("finished", [False, True])
def test_whatever_is_null_has_a_reason_and_nothing_else(
    tmp_path: Path, finished: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeper, "code", lambda: {**card.code(), "commit": None, "changed": None})
    training, space = find_training(NAME), find(NAME).search.build_space()
    blackbox = {"space": "nb201", "searcher": "random", "trainings": 3}
    kinds = {
        "search": about(random_cells=0),
        "training": card.of_training("made up", training, load("digits"), "|a~0|"),
        "blackbox": card.of_blackbox(NAME, blackbox, training, load("digits"), space),
    }
    for kind, content in kinds.items():
        kept = card.Card(RunFolder(tmp_path / kind), content)
        if finished:
            kept.finish(None, None, None)
        found = written(tmp_path / kind)
        assert set(found["unknown"]) == set(card.nulls(found))
        assert found["unknown"]["code.0.commit"] == "jaxnas was not run from a checkout that git knows"
        assert {"tuning.test_split_used", "protocol.searches_compared"} < set(found["unknown"])
        assert "not recorded" not in found["unknown"].values()
        assert ("result" in found["unknown"]) != finished
        assert card.read(tmp_path / kind) == found
        assert len(card.checklist(found)) == 17


def test_a_card_that_is_missing_or_damaged_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="has no card.json"):
        card.read(tmp_path)
    begun(tmp_path / "run")
    found = written(tmp_path / "run")
    for wrong in ({**found, "format": 9}, {**found, "space": 3}, {**found, "cost": {}}, []):
        (tmp_path / "run" / CARD).write_text(json.dumps(wrong))
        with pytest.raises(UserError, match="does not have the form of a card"):
            card.read(tmp_path / "run")

"""``jaxnas card``: the checklist for a person, the card as JSON."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from jaxnas.commands import card
from jaxnas.errors import UserError
from jaxnas.report import report
from jaxnas.report.facts import read_run


def test_the_checklist_and_the_card(write_run: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = write_run(tmp_path / "run", "nb201-digits")
    assert card.main([str(run), "--json", str(tmp_path / "out.json")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line[:4] for line in lines[:17]] == [f"{'-' if n in (9, 13, 15) else '+'} {n:2}" for n in range(1, 18)]
    assert "15,625 genotypes" in lines[1] and "train random 18.0 s" in lines[15] and "compilation 49.0 s" in lines[15]
    assert json.loads((tmp_path / "out.json").read_text()) == json.loads((run / "card.json").read_text())


def test_the_page_of_a_run_has_the_checklist_and_without_a_card_says_so(write_run: Callable[..., Path], tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", "nb201-digits")
    page: Any = report(read_run(run))
    section = str(next(section for section in page.sections if section.name == "card").parts)
    cards = dict((what, (value, note)) for what, value, note in page.sections[0].parts[0].cards)
    assert cards["time"] == ("72 s", "of which search 8 s")
    assert "12. random search" in section and "compilation: trace" in section and not page.problems
    (run / "card.json").unlink()
    page = report(read_run(run))
    assert any("has no card" in words for words in page.left_out) and not page.problems
    (run / "card.json").write_text("{}")
    assert any("form of a card" in problem for problem in report(read_run(run)).problems)
    with pytest.raises(UserError, match="does not have the form of a card"):
        card.main([str(run)])

"""``jaxnas compare``: what is refused and why, and what is marked where it is compared all the same."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from jaxnas.commands import compare
from jaxnas.errors import UserError


def test_runs_that_differ_are_refused_and_marked_where_they_are_compared(
    write_run: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = write_run(tmp_path / "a", "nb201-digits"), write_run(tmp_path / "b", "nb201-digits", seed=1, batch=16)
    card = json.loads((second / "card.json").read_text())
    card["hardware"][0]["device"] = "gpu: H200"
    (second / "card.json").write_text(json.dumps(card))
    command = [str(first), str(second), "--out", str(tmp_path / "compare.html")]
    with pytest.raises(UserError) as refused:
        compare.main(command)
    assert "recipe: search.batch is 32 in a, 16 in b" in str(refused.value)
    assert "hardware: device is cpu: cpu in a, gpu: H200 in b" in str(refused.value) and "--anyway" in str(refused.value)
    assert not (tmp_path / "compare.html").exists()
    assert compare.main([*command, "--anyway", "--json", str(tmp_path / "out.json")]) == 0
    said = capsys.readouterr().out
    assert "Not comparable: recipe: search.batch is 32 in a, 16 in b" in said
    row = next(line for line in said.splitlines() if line.startswith("nb201-digits (2)"))
    assert row.split("49.0")[1].strip() == "recipe, hardware" and "(n=1, no deviation)" in row
    assert "random search, equal cost" in said
    assert "Not comparable: hardware" in (tmp_path / "compare.html").read_text(encoding="utf-8")
    out = json.loads((tmp_path / "out.json").read_text())
    assert {one["what"] for one in out["differences"]} == {"recipe", "hardware"}
    assert out["groups"][1]["differs"] == ["recipe", "hardware"] and out["groups"][1]["compile_seconds"] == 49.0


def test_seeds_are_a_row_with_mean_and_deviation(
    write_run: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = [write_run(tmp_path / f"seed{seed}", "nb201-digits", seed=seed) for seed in range(3)]
    assert compare.main([*map(str, runs), "--out", str(tmp_path / "compare.html")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert not any("Not comparable" in line for line in lines)
    assert "(n=3)" in next(line for line in lines if line.startswith("nb201-digits"))
    assert "best of 2" in next(line for line in lines if "equal cost" in line)  # 8 s and 6 s against 6 s for one.
    with pytest.raises(UserError, match="A run is named twice"):
        compare.main([str(runs[0]), str(runs[0])])

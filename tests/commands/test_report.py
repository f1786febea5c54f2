"""``jaxnas report`` and ``jaxnas compare``: whole, unfinished and damaged runs, and what is not overwritten."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from jaxnas.commands import compare, report
from jaxnas.cost_terms import LatencyTerm
from jaxnas.errors import UserError
from jaxnas.report import GENERATOR
from jaxnas.report import report as page_of
from jaxnas.report.facts import read_run

TARGET = LatencyTerm(form="target", target=4.0, table="table.json")


@pytest.fixture
def run(write_run: Callable[..., Path], tmp_path: Path) -> Path:
    return write_run(tmp_path / "run", "nb201-digits", epochs=3)


def test_a_page_is_one_file_of_a_few_megabytes_that_names_no_address(run: Path, tmp_path: Path) -> None:
    assert report.main([str(run), "--json", str(tmp_path / "out.json")]) == 0
    text = (run / "report.html").read_text(encoding="utf-8")
    assert GENERATOR in text and len(text) < 3e6
    assert "<script src" not in text and '<link rel="stylesheet' not in text and "@import" not in text
    assert json.loads((tmp_path / "out.json").read_text()) == {"report": str(run / "report.html"), "problems": []}
    assert report.main([str(run)]) == 0  # Its own page may be replaced.


def test_a_file_of_somebody_else_is_kept(run: Path) -> None:
    (run / "report.html").write_text("mine")
    with pytest.raises(UserError, match="Give --overwrite"):
        report.main([str(run)])
    assert (run / "report.html").read_text() == "mine"
    assert report.main([str(run), "--overwrite"]) == 0


def test_names_from_files_are_no_markup(run: Path) -> None:
    config = json.loads((run / "config.json").read_text())
    (run / "config.json").write_text(json.dumps({**config, "recipe": "<script>alert(1)</script>"}))
    report.main([str(run)])
    text = (run / "report.html").read_text(encoding="utf-8")
    assert "<script>alert(1)" not in text and "&lt;script&gt;alert(1)" in text


@pytest.mark.parametrize(
    "name, content, said",
    [
        ("result.json", None, "result.json is missing"),
        ("result.json", "{", "result.json is not valid JSON"),
        ("result.json", '{"found": 3, "random": "x", "costs": [], "seconds": null}', ""),
        ("config.json", "[]", "config.json holds no object"),
        ("config.json", '{"search": {}, "train": {}}', "config.json does not fit this version"),
        ("log.jsonl", "", ""),
        ("log.jsonl", '{"stage": "search", "epo', "line 1 is damaged"),
        ("log.jsonl", '{"stage": "search", "epoch": 0, "alphas": {"cell": 1}}', "The alphas of epoch 0"),
        ("genotype.json", "?", "genotype.json"),
        ("environment.json", None, "environment.json is missing"),
        ("timing.jsonl", None, "timing.jsonl cannot be read"),
    ],
)
def test_what_is_missing_or_damaged_is_said(run: Path, name: str, content: str | None, said: str) -> None:
    (run / name).unlink()
    if content is not None:
        (run / name).write_text(content)
    problems = page_of(read_run(run)).problems
    assert any(said in problem for problem in problems) if said else not problems
    assert report.main([str(run)]) == 0


def test_a_run_without_latency_leaves_its_sections_out(write_run: Callable[..., Path], run: Path, tmp_path: Path) -> None:
    page = page_of(read_run(run))
    assert not {"costs", "trade", "latencies"} & {section.name for section in page.sections}
    assert "accuracy against latency, as no latency is known" in page.left_out
    mobile = page_of(read_run(write_run(tmp_path / "mobile", "fbnet-digits", latency=TARGET, measured=False)))
    assert {"costs", "trade"} < {section.name for section in mobile.sections}
    assert list(mobile.left_out) == ["predicted against measured latency, as none was measured"]


def test_a_run_that_was_ended_is_told_how_to_go_on(run: Path) -> None:
    def commands() -> str:
        return str(page_of(read_run(run)).sections[-1].parts)

    assert "jaxnas resume" not in commands()
    (run / "result.json").unlink()
    assert f"jaxnas resume {run}" in commands()


def test_skips_beside_the_hessian_where_the_log_has_it(write_run: Callable[..., Path], tmp_path: Path) -> None:
    def spec(growth: float) -> str:
        run = write_run(tmp_path / str(growth), "nb201-digits", epochs=20)
        log = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
        searched = [line for line in log if line["stage"] == "search"]
        for line in searched:
            line["hessian_eigenvalue"] = growth ** line["epoch"]
        (run / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in log))
        config = json.loads((run / "config.json").read_text())
        config["search"]["instruments_every"] = 1
        (run / "config.json").write_text(json.dumps(config))
        chart: Any = next(section for section in page_of(read_run(run)).sections if section.name == "skips").parts[0]
        return json.dumps(chart.spec)

    slow = spec(1.01)
    assert "largest eigenvalue" in slow and "RobustDARTS keeps" not in slow
    # The rule asks first at the seventeenth epoch, of the eleventh: there 1.07 ** 4 = 1.31 is over its limit.
    assert "RobustDARTS keeps epoch 11" in spec(1.07)


def test_what_an_early_stop_did_is_on_the_page(run: Path) -> None:
    result = json.loads((run / "result.json").read_text())
    called = {"seen_at": 16, "epoch": 10, "ratio": 1.5, "weight_decay": None}
    result["early_stop"] = [called, {**called, "weight_decay": 0.003}, "damaged", {"epoch": "?"}]
    (run / "result.json").write_text(json.dumps(result))
    cards: Any = page_of(read_run(run)).sections[0].parts[0]
    assert [card[1:] for card in cards.cards if card[0] == "early stop"] == [
        ("epoch 11 was kept", "eigenvalue 1.50 times that of before: the search ended"),
        ("back to epoch 11", "eigenvalue 1.50 times that of before: on with weight decay 0.003"),
    ]


def test_runs_beside_each_other(write_run: Callable[..., Path], run: Path, tmp_path: Path) -> None:
    seeds = [write_run(tmp_path / f"seed{i}", "nb201-digits", epochs=3, seed=i) for i in (1, 2)]
    out = tmp_path / "compare.html"
    assert compare.main([str(run), *map(str, seeds), "--out", str(out)]) == 0
    accuracies = [json.loads((one / "result.json").read_text())["found"]["test_accuracy"] for one in (run, *seeds)]
    mean = sum(accuracies) / 3
    deviation = (sum((one - mean) ** 2 for one in accuracies) / 2) ** 0.5
    assert f"{mean:.2%} ± {deviation:.2%}" in out.read_text(encoding="utf-8")
    with pytest.raises(UserError, match="at least two runs"):
        compare.main([str(run), "--out", str(out)])
    for folder, said in ((tmp_path / "no", "not the folder of a run"), (tmp_path, "holds no file of a run")):
        with pytest.raises(UserError, match=said):
            compare.main([str(run), str(folder), "--out", str(out)])

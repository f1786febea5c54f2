"""What the logs of a run say, whole and damaged."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np

from jaxnas.derive import derive
from jaxnas.history import moments, read_lines
from jaxnas.recipes import find
from jaxnas.stored import recipe_of


def test_moments_are_what_the_derivation_compares(write_run: Callable[..., Path], tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", "darts-digits", epochs=5)
    search = recipe_of(run)[1].search
    records, problems = read_lines(run / "log.jsonl")
    found, damaged = moments(search, records)
    assert not problems and not damaged and [moment.label for moment in found] == ["1", "2", "3", "4", "5"]
    for moment, record in zip(found, records, strict=False):
        powers = np.exp(np.asarray(record["alphas"]["normal"]))
        np.testing.assert_allclose(moment.strengths["normal"], powers / powers.sum(axis=1, keepdims=True), rtol=1e-12)
        assert moment.genotype == derive(search.build_space(), record["alphas"])
    assert [moment.label for moment in moments(search, records, most=3)[0]] == ["1", "3", "5"]


def test_damaged_lines_are_said_and_left_out(write_run: Callable[..., Path], tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", "nb201-digits", epochs=3)
    lines = (run / "log.jsonl").read_bytes().splitlines(keepends=True)
    broken = json.loads(lines[1])
    broken["alphas"]["cell"][0] = "?"
    (run / "log.jsonl").write_bytes(lines[0] + json.dumps(broken).encode() + b"\n[1]\n\xff\xfe\n" + lines[2][:50])
    records, problems = read_lines(run / "log.jsonl")
    found, damaged = moments(recipe_of(run)[1].search, records)
    assert [moment.label for moment in found] == ["1"]
    assert len(problems) == 3 and damaged == ["The alphas of epoch 1 of 'search' are damaged and were left out."]
    assert read_lines(tmp_path / "no.jsonl") == ([], ["no.jsonl cannot be read: No such file or directory."])


def test_candidates_that_a_stage_has_lost_are_nan() -> None:
    search = find("p-darts").search
    space = search.build_space()
    alphas = {kind: [[0.1 * j if j > 2 else None for j in range(8)] for _ in cell.edges] for kind, cell in space.cells}
    found, damaged = moments(search, [{"stage": "search 2", "epoch": 0, "alphas": alphas}])
    assert not damaged and found[0].label == "2: 1"
    normal = found[0].strengths["normal"]
    assert np.isnan(normal[:, :3]).all() and np.allclose(normal[:, 3:].sum(axis=1), 1)

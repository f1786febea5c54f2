"""The records of the GPU's stages, and the targets of their searches."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks.gpu_record import main, record, targets
from jaxnas.latency import Row, Table, layers, write
from jaxnas.nets import ChainShape
from jaxnas.run_folder import ENVIRONMENT, environment
from jaxnas.spaces import named_space


def test_a_record_has_the_runs_of_its_stage(write_run: Callable[..., Path], tmp_path: Path) -> None:
    for name in ("darts-0", "darts-v1-0", "darts-v1-1", "gdas-0"):
        write_run(tmp_path / "runs" / name, "nb201-digits")
        (tmp_path / "runs" / name / ENVIRONMENT).write_text(json.dumps(environment() | {"resumed": [environment()]}))
    (tmp_path / "runs" / "darts-v1-0-query.json").write_text('{"accuracy": 54.3}')
    out = tmp_path / "gpu-darts-v1.json"
    main(["darts-v1", str(tmp_path / "runs"), str(out)])
    found = json.loads(out.read_text())
    assert found["stage"] == "darts-v1"
    assert list(found["runs"]) == ["darts-v1-0", "darts-v1-1"]
    first = found["runs"]["darts-v1-0"]
    assert (first["finished"], first["query"], "trust" in first) == (True, {"accuracy": 54.3}, False)
    assert [set(where) for where in first["environment"]] == [{"date", "devices", "processor", "packages"}] * 2
    assert str(tmp_path) not in out.read_text()
    assert list(record("darts", tmp_path / "runs")["runs"]) == ["darts-0"]
    assert list(record("trust", tmp_path / "runs")["runs"]) == ["darts-v1-0", "darts-v1-1", "gdas-0"]


def test_targets_lie_between_the_extremes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """By a table of made-up milliseconds; every block is chosen alone, so the extremes are sums."""
    space, shape = named_space("proxyless_tiny", 0.25), ChainShape(10, 8)
    needed = layers(space, shape)
    took = {layer.key: 1.0 + number for number, layer in enumerate(needed.distinct)}
    rows = {key: Row(milliseconds) for key, milliseconds in took.items()}
    write(Table("layers", space.name, "a device", 1, "float32", rows), tmp_path / "table.json")
    fixed = sum(took[layer.key] for layer in needed.fixed)
    candidates = [[one for one in block if one is not None] for block in needed.candidates["blocks"]]
    blocks = [[sum(took[layer.key] for layer in one) for one in block] for block in candidates]
    least, greatest = (fixed + sum(extreme(block) for block in blocks) for extreme in (min, max))
    expected = [float(f"{least + share * (greatest - least):.4g}") for share in (0.25, 0.4, 0.55)]
    assert targets(tmp_path / "table.json", "proxyless_tiny", 0.25) == expected
    main(["targets", str(tmp_path / "table.json"), "proxyless_tiny", "0.25"])
    assert capsys.readouterr().out.split() == [str(one) for one in expected]

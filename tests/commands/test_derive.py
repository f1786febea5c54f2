"""``jaxnas derive`` with a target: the best within it that costs nearly what the run's alphas expect."""

from __future__ import annotations

import json
from pathlib import Path

import jax
import pytest

from jaxnas import cli, recipes
from jaxnas.data import load
from jaxnas.latency import Row, Table, edge_key, shape_fields, write
from jaxnas.pricing import deployed_shape
from jaxnas.relaxations import initial_alphas
from jaxnas.run_folder import ALPHAS, CONFIG, RunFolder, plain
from jaxnas.spaces import nb201

TIMES = {"none": 0.0, "skip_connect": 1.0, "nor_conv_1x1": 2.0, "nor_conv_3x3": 8.0, "avg_pool_3x3": 3.0}
UNIFORM = 2.0 + 6 * sum(TIMES.values()) / len(TIMES)


def call(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    with pytest.raises(SystemExit) as done:
        cli.main(["derive", *arguments])
    assert isinstance(done.value.code, int)
    printed = capsys.readouterr()
    return done.value.code, printed.out + printed.err


def test_a_target_for_a_run_that_had_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe, space = recipes.find("nb201-digits"), nb201()
    searched = RunFolder(tmp_path / "run")
    searched.write_json(CONFIG, {"recipe": "nb201-digits", **plain(recipe)})
    searched.write_arrays(ALPHAS, initial_alphas(space, jax.random.key(3)))  # Hardly from uniform.
    names = space.cell("cell").operations
    rows = {edge_key("cell", edge, name): Row(TIMES[name]) for edge, row in enumerate(names) for name in row}
    shape = deployed_shape(space, recipe.train, load("digits"))
    write(Table("edges", "nb201", "a phone", 1, "float32", rows, 2.0, shape_fields(space, shape)), tmp_path / "table.json")
    target = [str(searched.path), "--latency-table", str(tmp_path / "table.json"), "--measured", "0", "--target-ms"]
    for limit, derived in ((15.0, (15.0,)), (40.0, (18.0, 40.0))):  # All costs are whole numbers.
        code, text = call(capsys, *target, str(limit), "--json", str(tmp_path / f"{limit}.json"))
        assert code == 0 and f"latency in ms: target {limit:g}, expected 18.8" in text
        cost = json.loads((tmp_path / f"{limit}.json").read_text())["costs"]["latency"]
        assert cost["expected"] == pytest.approx(UNIFORM, rel=1e-2)
        assert derived[0] <= cost["derived"] <= derived[-1]
    code, text = call(capsys, *target, "2.5")
    assert code == 2 and "is below the least of space 'nb201', whose architectures cost 3 to 50 ms" in text
    code, text = call(capsys, *target[:3], "--target-ms", "15")
    assert code == 2 and "is for device 'a phone', asked for is" in text and "--search.latency.measured 0" in text

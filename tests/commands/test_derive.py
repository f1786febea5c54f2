"""``jaxnas derive`` with a target, the best within it that costs nearly what the run's alphas expect; and by shared weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnas import cli, recipes, stored
from jaxnas.data import load
from jaxnas.latency import Row, Table, edge_key, shape_fields, write
from jaxnas.nets import Network
from jaxnas.pricing import deployed_shape
from jaxnas.relaxations import initial_alphas
from jaxnas.run_folder import ALPHAS, CONFIG, SUPERNET, RunFolder, plain
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


@pytest.fixture
def searched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunFolder:
    """A run on digits whose supernet's logits are a mixture's pixels: it compiles in no time."""

    def forward(weights: Any, mixture: Any, x: Any, key: Any, scalars: Any, statistics: Any = None) -> Any:
        part = mixture["cell"]
        part = part["weights"] if isinstance(part, dict) else part
        return jnp.tanh(x.mean((1, 2)) @ weights["first"] * part.reshape(-1)) @ weights["last"], {}

    shapes = {"first": (3, 30), "last": (30, 10)}
    weights = {name: np.random.default_rng(0).normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    network = Network(lambda key: (jax.tree.map(jnp.asarray, weights), {}), forward, 0)
    monkeypatch.setattr(stored, "search_network", lambda *_: network)
    folder = RunFolder(tmp_path / "run")
    folder.write_json(CONFIG, {"recipe": "nb201-digits", **plain(recipes.find("nb201-digits"))})
    folder.write_arrays(ALPHAS, initial_alphas(nb201(), jax.random.key(3), scale=1.0))
    folder.write_arrays(SUPERNET, weights)
    return folder


def test_shared_weights_choose_among_what_the_alphas_may_draw(
    searched: RunFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = str(searched.path)
    strongest = call(capsys, run)[1].strip()
    before = {path: path.read_bytes() for path in searched.path.iterdir()}
    code, text = call(capsys, run, "--by", "sampled", "--samples", "20", "--json", str(tmp_path / "found.json"))
    compared = json.loads((tmp_path / "found.json").read_text())["compared"]
    assert code == 0 and compared[0]["genotype"] == strongest
    assert 10 < len({one["genotype"] for one in compared}) == len(compared) <= 21
    best = max(compared, key=lambda one: one["accuracy"])
    assert text.strip().endswith(best["genotype"]) and best["accuracy"] > compared[0]["accuracy"]
    arguments = ("--by", "perturbation", "--tune-epochs", "0", "--images", "64", "--json", str(tmp_path / "found.json"))
    code, text = call(capsys, run, *arguments)
    decisions = json.loads((tmp_path / "found.json").read_text())["decisions"]
    assert code == 0 and len(decisions) == 6 and "6/6 cell, edge" in text
    for decision in decisions:
        worst = min(decision["accuracies"], key=decision["accuracies"].__getitem__)
        assert decision["operation"] == worst and f"{worst}~{decision['edge'][0]}" in text.splitlines()[-1]
    assert {path: path.read_bytes() for path in searched.path.iterdir()} == before


def test_choices_that_cannot_be_made_say_why(searched: RunFolder, capsys: pytest.CaptureFixture[str]) -> None:
    run = str(searched.path)
    for arguments, said in (
        (("--samples", "5"), "--samples is of --by sampled, got --by strongest"),
        (("--by", "sampled", "--samples", "0"), "--samples is 0: give at least 1"),
        (("--by", "sampled", "--target-ms", "3"), "--target-ms goes by the alphas: leave out --by sampled"),
        (("--by", "perturbation", "--images", "7"), "--images 7: the supernet is scored in batches of 32"),
    ):
        code, text = call(capsys, run, *arguments)
        assert code == 2 and said in " ".join(text.split())
    (searched.path / SUPERNET).unlink()
    for by in ("sampled", "perturbation"):
        code, text = call(capsys, run, "--by", by)
        assert code == 2 and "has no supernet.npz, the shared weights" in " ".join(text.split())
    searched.write_json(CONFIG, {"recipe": "x", **plain(recipes.find("p-darts-digits"))})
    code, text = call(capsys, run, "--by", "sampled")
    assert code == 2 and "searched with stages: its supernet does not hold every architecture" in " ".join(text.split())

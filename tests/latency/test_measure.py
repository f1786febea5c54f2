"""Measured tables with planted times and a clock of our own: what is fitted, covered, checked and refused."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from jaxnas import cli
from jaxnas.errors import UserError
from jaxnas.latency import Layer, costs, layers, measure, read, warning
from jaxnas.latency.deployed import Deployment, device_name, layer_run, network_run, software_versions
from jaxnas.latency.encodings import encode
from jaxnas.latency.graphs import has_path
from jaxnas.latency.measure import drawn_networks, measured_table, table_sums
from jaxnas.latency.timing import Effort
from jaxnas.nets import ChainShape, Shape
from jaxnas.spaces import Block, BlockSpace, Genotype, Space, from_text, nb201, nb201_family

SHAPE = Shape(channels=4, cells=1, classes=10, image_size=8)
CHAIN = BlockSpace("two", "fbnet", (4, 1), (), (Block(4, 1, ("k3_e1", "skip_connect")), Block(8, 2, ("k3_e1", "k3_e3"))), 8)
EFFORT = Effort(rounds=3, most_rounds=3, seconds=0.01)
COSTS = {"none": 0.0, "skip_connect": 0.25, "nor_conv_1x1": 1.0, "nor_conv_3x3": 3.0, "avg_pool_3x3": 0.5}
"""Planted milliseconds of the operations of NAS-Bench-201, on its first edge; on each later one a tenth more."""


class Device:
    """A clock, and what stands for compiled layers and networks: a call takes 2 ms and each repeat what it is told."""

    def __init__(self, of_layer: Callable[[Layer], float], of_network: Callable[[Genotype], float]) -> None:
        self.now, self.of_layer, self.of_network, self.timed = 0.0, of_layer, of_network, []

    def clock(self) -> float:
        return self.now

    def layer_run(self, layer: Layer, deployment: Deployment) -> Callable[[int], None]:
        self.timed.append(layer)
        return self._run(self.of_layer(layer))

    def network_run(self, genotype: Genotype, shape: Any, deployment: Deployment) -> Callable[[int], None]:
        return self._run(self.of_network(genotype))

    def _run(self, milliseconds: float) -> Callable[[int], None]:
        def run(count: int) -> None:
            self.now += 2e-3 + count * milliseconds * 1e-3

        return run


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> Callable[[Device], Device]:
    def install(device: Device) -> Device:
        monkeypatch.setattr(measure, "layer_run", device.layer_run)
        monkeypatch.setattr(measure, "network_run", device.network_run)
        return device

    return install


def nothing(_: Any) -> float:
    raise AssertionError("not to be timed in this mode")


def live(genotype: Genotype) -> list[tuple[int, str]]:
    """Edges on a path from the input to the output and their operations, by a list of all paths."""
    edges = {(source, target): name for name, source, target in genotype.cells["cell"]}  # pyright: ignore[reportAttributeAccessIssue]
    paths = [(0, 3), (0, 1, 3), (0, 2, 3), (0, 1, 2, 3)]
    whole = [path for path in paths if all(edges[step] != "none" for step in itertools.pairwise(path))]
    on_path = {step for path in whole for step in itertools.pairwise(path)}
    return [(number, name) for number, (step, name) in enumerate(edges.items()) if step in on_path]


def planted(genotype: Genotype) -> float:
    return 5.0 + sum(COSTS[name] * (1 + 0.1 * edge) for edge, name in live(genotype))


def profiled(device: Device, space: Space, shape: Any, mode: Any, networks: int, held_out: int) -> Any:
    return measured_table(space, shape, Deployment(), mode, networks, held_out, effort=EFFORT, clock=device.clock)


def test_a_planted_additive_model_is_recovered_from_whole_networks(installed: Callable[[Device], Device]) -> None:
    device = installed(Device(nothing, planted))
    table, found = profiled(device, nb201(), SHAPE, "networks", 60, 20)
    by_kind, fixed = costs(table, nb201(), SHAPE)
    names = nb201().cell("cell").operations[0]
    wanted = np.array([[COSTS[name] * (1 + 0.1 * edge) for name in names] for edge in range(6)])
    np.testing.assert_allclose(by_kind["cell"], wanted, atol=1e-6)
    assert fixed == pytest.approx(5.0, abs=1e-6)
    assert table.checks and table.checks.scores.passed and table.checks.scores.mape < 1e-6
    assert warning(table) is None
    assert [network.part for network in found] == ["held out"] * 20 + ["fit"] * 60
    for network in found:
        assert network.milliseconds == pytest.approx(planted(from_text(network.genotype)), rel=1e-6)
        assert network.predicted == pytest.approx(network.milliseconds, rel=1e-6)


@pytest.mark.parametrize(("space", "shape"), [(nb201(), SHAPE), (CHAIN, ChainShape(classes=10, image_size=8))])
def test_rows_are_the_layers_of_the_space(installed: Callable[[Device], Device], space: Space, shape: Any) -> None:
    device = Device(lambda layer: layer.c_in * layer.height / 16, nothing)
    needed = layers(space, shape)

    def sums(genotype: Genotype) -> float:
        encoded = encode(space, [genotype], "folded").kept[0]
        flat = [
            candidate for edges in needed.candidates.values() for edge in edges for candidate in edge if candidate is not None
        ]
        chosen = [layer for candidate, kept in zip(flat, encoded, strict=True) if kept for layer in candidate]
        return sum(map(device.of_layer, (*needed.fixed, *chosen)))

    device.of_network = sums
    table, found = profiled(installed(device), space, shape, "operations", 0, 2)
    assert device.timed == list(needed.distinct)
    assert table.rows.keys() == {layer.key for layer in needed.distinct}
    for layer in needed.distinct:
        assert table.rows[layer.key].mean == pytest.approx(device.of_layer(layer)) and table.rows[layer.key].count == 3
    assert [network.predicted for network in found] == pytest.approx([network.milliseconds for network in found])


def test_a_table_whose_sums_are_wrong_says_so(installed: Callable[[Device], Device]) -> None:
    device = installed(Device(lambda layer: 1.0, planted))
    table, _ = profiled(device, nb201(), SHAPE, "operations", 0, 20)
    assert table.checks and not table.checks.scores.passed
    assert "failed its check on 20 whole networks" in (warning(table) or "")


@pytest.mark.parametrize(
    ("mode", "networks", "held_out", "message"),
    [
        ("networks", 0, 10, "at least 1, got 0"),
        ("operations", 0, 1, "at least 2 networks held out, got 1"),
        ("networks", 10, 10, "10 networks do not determine"),
    ],
)
def test_too_few_networks_are_refused_before_any_is_compiled(
    installed: Callable[[Device], Device], mode: str, networks: int, held_out: int, message: str
) -> None:
    device = installed(Device(nothing, nothing))
    with pytest.raises(UserError, match=message):
        profiled(device, nb201(), SHAPE, mode, networks, held_out)


def test_networks_are_different_and_connected() -> None:
    drawn = drawn_networks(nb201(), 200, seed=3)
    assert len(set(drawn)) == 200 and all(map(has_path, drawn))
    assert drawn[:20] == drawn_networks(nb201(), 20, seed=3)
    with pytest.raises(UserError, match="2 different ones are wanted, drawn were 1"):
        drawn_networks(nb201_family("one edge", ("none", "skip_connect"), nodes=1), 2, seed=0)


def test_a_noisy_network_is_named(installed: Callable[[Device], Device]) -> None:
    device, times = Device(lambda layer: 1.0, planted), iter(np.random.default_rng(0).uniform(0.1, 9.0, 10**6))

    def noisy(genotype: Genotype, shape: Any, deployment: Deployment) -> Callable[[int], None]:
        def run(count: int) -> None:
            device.now += count * next(times) * 1e-3

        return run

    device.network_run = noisy  # pyright: ignore[reportAttributeAccessIssue]
    with pytest.raises(UserError, match=r"\|.*~0\|.* is too noisy to believe: .* after 3 rounds"):
        profiled(installed(device), nb201(), SHAPE, "operations", 0, 2)


def test_table_sums_leave_out_what_reaches_no_output(installed: Callable[[Device], Device]) -> None:
    table, _ = profiled(installed(Device(nothing, planted)), nb201(), SHAPE, "networks", 60, 20)
    dead = "|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+|skip_connect~0|none~1|none~2|"
    bare = "|none~0|+|none~0|none~1|+|skip_connect~0|none~1|none~2|"
    kept = encode(nb201(), [from_text(dead), from_text(bare)]).kept
    assert table_sums(table, nb201(), SHAPE, kept) == pytest.approx([5.0 + 0.25 * 1.3] * 2)


def test_deployed_layers_and_networks_run() -> None:
    deployment = Deployment(batch=2, precision="bfloat16")
    layer_run(Layer("cells", "nor_conv_1x1", 4, 4, 4, 4), deployment)(2)
    genotype = from_text("|skip_connect~0|")
    network_run(genotype, Shape(channels=2, cells=1, classes=2, image_size=4), deployment)(2)


@pytest.mark.parametrize(
    ("fields", "message"),
    [({"batch": 0}, "batch must be at least 1, got 0"), ({"precision": "float16"}, "Did you mean bfloat16")],
)
def test_deployments_that_cannot_be(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        Deployment(**fields)


def call(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[Any, str]:
    with pytest.raises(SystemExit) as exit_:
        cli.main(["profile", *arguments])
    printed = capsys.readouterr()
    return exit_.value.code, printed.out + printed.err


def test_the_verb_writes_a_table_and_never_over_a_file(
    installed: Callable[[Device], Device], capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    device, out, result = installed(Device(lambda layer: 1.0, planted)), tmp_path / "table.json", tmp_path / "result.json"
    timed = measure.time_all
    monkeypatch.setattr(measure, "time_all", lambda runs, effort, clock, report: timed(runs, effort, device.clock, report))
    size = ["--channels", "4", "--cells", "1", "--image-size", "8", "--held-out", "20"]
    code, printed = call(capsys, "nb201", *size, "--networks", "60", "--out", str(out), "--json", str(result))
    assert (code, "passed" in printed) == (0, True)
    written = json.loads(result.read_text())
    assert written["checks"]["passed"] and len(written["networks"]) == 80 and "devices" in written["environment"]
    table = read(out)
    assert (table.kind, table.space, table.batch, table.precision) == ("edges", "nb201", 1, "float32")
    before = out.read_bytes()
    code, printed = call(capsys, "nb201", *size, "--mode", "operations", "--out", str(out))
    assert code == 2 and "exists: nothing was overwritten" in printed and out.read_bytes() == before
    code, printed = call(capsys, "nb201", *size, "--mode", "operations", "--out", str(tmp_path / "wrong.json"))
    assert code == 1 and "failed its check" in printed and read(tmp_path / "wrong.json").kind == "layers"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nb2O1", "--out", "t.json"], "Unknown space 'nb2O1'. Did you mean nb201?"),
        (["--out", "t.json"], "Which space?"),
        (["mobile_small", "--channels", "8", "--out", "t.json"], "has its own blocks and widths: leave out --channels 8"),
        (["nb201", "--out", "missing/t.json"], "there is no folder missing"),
        (["nb201", "--batch", "0", "--out", "t.json"], "batch must be at least 1, got 0"),
        (["nb201", "--rounds", "2", "--out", "t.json"], "at least 3 rounds, got 2"),
    ],
)
def test_mistakes_leave_nothing(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code, printed = call(capsys, *arguments)
    assert (code, list(tmp_path.iterdir())) == (2, []) and message in printed


def test_this_device_has_a_name() -> None:
    assert re.fullmatch(r".+ \(cpu, [1-9]\d* cores\)", device_name())
    assert software_versions()["jax"] == jax.__version__

"""A sweep on a Ray cluster: what is told where there is none, and a real one whose worker is killed."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from jaxnas import run
from jaxnas.commands import sweep_ray
from jaxnas.commands.sweep import all_runs, on_ray, searches
from jaxnas.console import Console
from jaxnas.errors import UserError
from jaxnas.recipes import find
from jaxnas.run_folder import CONFIG, RESULT, RunFolder, plain
from jaxnas.stored import config_of

NAME = "nb201-digits"
FOUND = {"found": {"test_accuracy": 0.5, "genotype": "a"}, "random_mean": None}


def test_without_ray_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UserError, match=r"pip install 'jaxnas\[ray\]'"), sweep_ray.joined(sweep_ray.Cluster("local")):
        pass


@pytest.mark.parametrize("address", ("nonsense", "ray://head:10001", "head:", ":6379"))
def test_what_is_no_address_is_told(address: str) -> None:
    with pytest.raises(UserError, match="give HOST:PORT"):
        sweep_ray.check_answers(address)


def test_a_cluster_that_does_not_answer_is_told() -> None:
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
        with pytest.raises(UserError, match=rf"no Ray cluster answers there .*ray start --head --port {port}"):
            sweep_ray.check_answers(f"localhost:{port}")


@pytest.mark.parametrize(("cpus", "gpus"), ((0.0, 0.0), (1.0, -1.0)))
def test_a_search_needs_a_processor(cpus: float, gpus: float) -> None:
    with pytest.raises(UserError, match="more than 0"):
        sweep_ray.Cluster("local", cpus, gpus)


@pytest.fixture
def swept(tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """A sweep of three seeds whose search on a cluster is a function."""

    def sweep(search: Callable[[list[Path]], dict[Path, str]]) -> dict[str, Any]:
        with Console() as console:
            return all_runs(NAME, searches(find(NAME), range(3), [()]), tmp_path, console, on_ray(NAME, search))

    return sweep


def end(path: Path) -> None:
    RunFolder(path, resume=True).write_json(RESULT, FOUND)


def test_every_run_is_begun_here_and_what_is_finished_is_not_sent_again(
    swept: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    sent: list[str] = []

    def search(runs: list[Path]) -> dict[Path, str]:
        sent.extend(path.name for path in runs)
        assert [config_of(path)[1].seed for path in runs] == [int(path.name[-1]) for path in runs]
        for path in runs[:2]:
            end(path)
        return {path: "its worker died" for path in runs[2:]}

    result = swept(search)
    assert [one["run"] for one in result["runs"]] == ["seed=0", "seed=1"]
    assert result["failed"] == [{"setting": "", "seed": 2, "why": "its worker died"}]
    assert [one["run"] for one in swept(lambda runs: end(runs[0]) or {})["runs"]] == ["seed=0", "seed=1", "seed=2"]
    assert sent == ["seed=0", "seed=1", "seed=2"]
    swept(lambda runs: pytest.fail("All are finished."))


def test_what_is_of_another_configuration_is_not_sent(swept: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    other = find("gdas-digits")
    RunFolder(tmp_path / "seed=1").write_json(CONFIG, {"recipe": "gdas-digits", **plain(other)})
    failed = swept(lambda runs: [end(path) for path in runs] and {})["failed"]
    assert [one["seed"] for one in failed] == [1] and "another configuration" in failed[0]["why"]


def test_results_that_do_not_come_here_are_told(swept: Callable[..., dict[str, Any]]) -> None:
    failed = swept(lambda runs: {})["failed"]
    assert len(failed) == 3 and "storage that all machines share" in failed[0]["why"]


def test_what_cannot_be_helped_by_another_attempt_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reported: list[Any] = []
    tune = types.SimpleNamespace(report=reported.append)
    monkeypatch.setitem(sys.modules, "ray", types.SimpleNamespace(tune=tune))  # The real one takes seconds to import.
    (tmp_path / CONFIG).write_text(json.dumps({"recipe": NAME, **plain(find(NAME))}))

    def failing(*_: Any) -> None:
        raise error

    monkeypatch.setattr(run, "run", failing)
    monkeypatch.setattr(run, "check", lambda *_: None)
    config = {"run": str(tmp_path), "data_dir": None, "from": str(tmp_path)}
    error: Exception = UserError("The training loss became nan.")
    sweep_ray.trial(config)
    assert reported == [{"failed": "The training loss became nan."}]
    error = OSError("The disk is gone.")
    with pytest.raises(OSError, match="gone"):  # Ray tries again.
        sweep_ray.trial(config)


@pytest.mark.slow
def test_a_worker_that_is_killed_loses_no_search(tmp_path: Path) -> None:
    """The benchmark itself: six searches by two real workers, the bytes of searches that run alone."""
    pytest.importorskip("ray.tune")
    record = tmp_path / "record.json"
    command = [sys.executable, "-m", "benchmarks.ray_sweep", "--json", str(record)]
    subprocess.run(command, cwd=Path(__file__).parents[2], check=True)
    found = json.loads(record.read_text())
    assert len(found["searches"]) == 6 and not found["failed"]
    assert [one["differ"] for one in found["searches"]] == [[]] * 6
    assert [one["went_on"] for one in found["searches"] if one["begun_again"]] == [True]

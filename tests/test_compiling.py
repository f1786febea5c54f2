"""The cache of compiled programs: on for the command line alone, and without a trace in what is computed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from jaxnas import cli

ROOT = Path(__file__).resolve().parents[1]
COMPUTE = """
import json, sys
import jax, jax.numpy as jnp
import jaxnas.run
from jaxnas.compiling import compile_ahead
compiled = compile_ahead(lambda x: jnp.tanh(x @ x).sum(0) / 3, jnp.ones((7, 7)))
result = compiled.call(jax.random.normal(jax.random.key(0), (7, 7)))
found = {"folder": jax.config.jax_compilation_cache_dir, "from_cache": compiled.from_cache, "bytes": result.tobytes().hex()}
json.dump(found, sys.stdout)
"""


def compute(environment: dict[str, str], before: str = "") -> dict[str, Any]:
    """What a fresh process computes, and from where its program came."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("JAX_COMPILATION", "JAX_ENABLE"))}
    everything = {**kept, "JAX_PLATFORMS": "cpu", "PYTHONPATH": str(ROOT), **environment}
    command = [sys.executable, "-c", before + COMPUTE]
    return json.loads(subprocess.run(command, env=everything, stdout=subprocess.PIPE, text=True, check=True).stdout)


def test_the_command_line_keeps_programs_and_a_warm_cache_changes_no_bit(tmp_path: Path) -> None:
    environment = {"XDG_CACHE_HOME": str(tmp_path)}
    as_command = "from jaxnas import cli\ncli._keep_compiled_programs()\n"
    cold, warm = (compute(environment, as_command) for _ in range(2))
    assert cold["folder"] == warm["folder"] == str(tmp_path / "jaxnas")
    assert (cold["from_cache"], warm["from_cache"]) == (False, True)
    assert cold["bytes"] == warm["bytes"]
    switched_off = compute({**environment, "JAX_ENABLE_COMPILATION_CACHE": "false"}, as_command)
    assert not switched_off["from_cache"] and switched_off["bytes"] == cold["bytes"]
    # To import jaxnas changes nothing of JAX's.
    assert compute(environment)["folder"] is None


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, str]:
    changed = {"HOME": str(tmp_path / "home")}
    monkeypatch.setattr(os, "environ", changed)
    return changed


def test_the_folder_is_the_users(environment: dict[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    cli._keep_compiled_programs()
    home = environment["HOME"]
    assert environment["JAX_COMPILATION_CACHE_DIR"] == f"{home}/.cache/jaxnas"
    assert not Path(home).exists()  # Nothing is made before a program is kept.
    for chosen in ("/elsewhere", ""):
        environment.update(JAX_COMPILATION_CACHE_DIR=chosen, JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS="2")
        cli._keep_compiled_programs()
        assert environment["JAX_COMPILATION_CACHE_DIR"] == chosen
        assert environment["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] == "2"
    assert capsys.readouterr() == ("", "")


def test_a_folder_that_cannot_be_written_is_a_note(
    environment: dict[str, str], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    environment["XDG_CACHE_HOME"] = str(tmp_path / "file")
    cli._keep_compiled_programs()
    assert f"note: {tmp_path}/file/jaxnas cannot be written" in capsys.readouterr().err
    assert "JAX_COMPILATION_CACHE_DIR" not in environment

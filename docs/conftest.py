"""Runs the tutorials: blocks of ``python`` and of ``bash``, in order, each page in a folder of its own.

Blocks of ``console`` are shown only: what needs a device, a data set or hours. A page says which these are.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from sybil import Example, Sybil
from sybil.parsers.myst import CodeBlockParser, PythonCodeBlockParser

# Tests compile for longer than they run: XLA skips most of its optimization, and no run depends on the one before.
ENVIRONMENT = {
    "JAX_PLATFORMS": "cpu",
    "JAX_ENABLE_COMPILATION_CACHE": "false",
    "XLA_FLAGS": "--xla_backend_optimization_level=0",
    "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}",
}


def run_bash(example: Example) -> str | None:
    """None where the commands succeed; else what they said."""
    environment = {**os.environ, **ENVIRONMENT}
    ran = subprocess.run(["bash", "-euo", "pipefail", "-c", example.parsed], env=environment, capture_output=True, text=True)
    return None if ran.returncode == 0 else f"exit code {ran.returncode} of\n{example.parsed}\n{ran.stdout}\n{ran.stderr}"


@pytest.fixture(scope="module")
def own_folder(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The page's commands run in an empty folder."""
    before = Path.cwd()
    os.chdir(tmp_path_factory.mktemp("tutorial"))
    yield
    os.chdir(before)


pytest_collect_file = Sybil(
    parsers=[PythonCodeBlockParser(), CodeBlockParser("bash", run_bash)],
    patterns=["tutorials/*.md"],
    fixtures=["own_folder"],
).pytest()

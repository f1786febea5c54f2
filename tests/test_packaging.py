"""A wheel and a source distribution install and run where the repository is not."""

from __future__ import annotations

import os
import subprocess
import sys
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
CONSTRAINTS = ROOT / "constraints" / f"3.{sys.version_info.minor}.txt"


def run(*command: str | Path, cwd: Path) -> str:
    # Neither this environment's packages nor, by PYTHONPATH, this checkout.
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "VIRTUAL_ENV"))}
    ran = subprocess.run([str(part) for part in command], cwd=cwd, env=environment, capture_output=True, text=True)
    assert ran.returncode == 0, f"{command}\n{ran.stdout}\n{ran.stderr}"
    return ran.stdout


@pytest.mark.slow
def test_sdist_and_its_wheel_search_and_report_in_a_fresh_environment(tmp_path: Path) -> None:
    venv.create(tmp_path / "venv", with_pip=True)
    python, jaxnas = tmp_path / "venv/bin/python", tmp_path / "venv/bin/jaxnas"
    run(python, "-m", "pip", "install", "-q", "build", cwd=tmp_path)
    # `build` makes the wheel from the sdist: what the one lacks, the other does too.
    run(python, "-m", "build", "--outdir", tmp_path / "dist", ROOT, cwd=tmp_path)
    (wheel,), (sdist,) = (tmp_path / "dist").glob("*.whl"), (tmp_path / "dist").glob("*.tar.gz")
    assert sdist.stat().st_size < 5_000_000
    pinned = ["-c", CONSTRAINTS] if CONSTRAINTS.exists() else []
    run(python, "-m", "pip", "install", "-q", *pinned, wheel, cwd=tmp_path)
    tiny = ["--search.epochs", "1", "--train.epochs", "1", "--random-cells", "0"]
    run(jaxnas, "search", "nb201-digits", *tiny, "--out", "run", cwd=tmp_path)
    assert (tmp_path / "run/report.html").read_text().rstrip().endswith("</html>")
    run(jaxnas, "export", "run", "--to", "flax", "stablehlo", cwd=tmp_path)
    assert (tmp_path / "run/export/network.py").exists()
    where = run(python, "-c", "import jaxnas; print(jaxnas.__file__)", cwd=tmp_path)
    assert str(tmp_path) in where

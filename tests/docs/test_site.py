"""The site builds without a warning: every link and every role in a docstring has its target."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_site_builds_strictly(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-b", "html", "docs", str(tmp_path)]
    built = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    # The reference holds what rooms export, not only their names.
    assert 'id="jaxnas.hypergradients.unrolled"' in (tmp_path / "reference/hypergradients.html").read_text()


def test_every_room_of_the_reference_is_in_its_index() -> None:
    reference = ROOT / "docs" / "reference"
    listed = set(re.findall(r"^[a-z_]+$", (reference / "index.md").read_text(), re.MULTILINE))
    assert listed == {page.stem for page in reference.glob("*.md")} - {"index"}

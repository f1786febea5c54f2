"""The commit of a checkout, and of a folder that git does not know none."""

from __future__ import annotations

import subprocess
from pathlib import Path

from jaxnas.card import where


def git(folder: Path, *arguments: str) -> str:
    named = ["-c", "user.name=a", "-c", "user.email=a@b"]
    return subprocess.run(
        ["git", "-C", str(folder), *named, *arguments], check=True, capture_output=True, text=True
    ).stdout.strip()


def test_commit_and_changes_of_a_checkout(tmp_path: Path) -> None:
    package = tmp_path / "checkout" / "package"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    assert where._commit(package) == (None, None)
    git(tmp_path / "checkout", "init", "-q")
    git(tmp_path / "checkout", "add", ".")
    git(tmp_path / "checkout", "commit", "-qm", "first")
    where._commit.cache_clear()
    commit = git(tmp_path / "checkout", "rev-parse", "HEAD")
    assert where._commit(package) == (commit, False)
    (package / "__init__.py").write_text("x = 1\n")
    where._commit.cache_clear()
    assert where._commit(package) == (commit, True)
    installed = tmp_path / "checkout" / "venv" / "package"  # In a checkout, and not of it.
    installed.mkdir(parents=True)
    (installed / "__init__.py").write_text("")
    assert where._commit(installed) == (None, None)

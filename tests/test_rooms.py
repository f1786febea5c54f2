"""What the rooms import of one another is what ARCHITECTURE.md says that they may."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "jaxnas"
FOLDERS = {folder.parent.name for folder in PACKAGE.glob("*/__init__.py")}
COMMAND_LINE = {"__main__", "cli", "commands"}

# Outsiders that import from a folder's files.
FROM_FILES = {
    "bilevel.py": "relaxations",  # For a type alone, not for every estimator.
    # Bayesian optimisation, with which scikit-learn comes.
    "baselines.py": "blackbox",
    "candidates.py": "blackbox",
    # What is fitted, imported or timed is not in the folder's __init__: SciPy's optimizers take seconds to import.
    "commands/profile.py": "latency",
    "derive.py": "spaces",  # It is the other half of the spaces' genotypes, and works on what they are made of.
    "nets/mixed.py": "spaces",
}

pytestmark = pytest.mark.quick


def table() -> dict[str, set[str]]:
    """By room those that it may import, read from the table of ARCHITECTURE.md."""
    lines = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8").splitlines()
    rows = [line.strip("| ").split(" | ") for line in lines if line.startswith("| `")]
    named = [({name.rstrip("/").removesuffix(".py") for name in re.findall("`([^`]+)`", row[0])}, row[-1]) for row in rows]
    every = {room for rooms, _ in named for room in rooms}
    words = {"-": set(), "all": every, "all but the command line": every - COMMAND_LINE}
    allowed = [(rooms, words[may] if may in words else set(may.split(", "))) for rooms, may in named]
    return {room: {*rooms, *may, "errors"} for rooms, may in allowed for room in rooms}


def imported(tree: ast.AST) -> Iterator[str]:
    """Modules by their whole names, also where they are imported inside a function."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0 and node.module
            yield from (f"jaxnas.{alias.name}" for alias in node.names) if node.module == "jaxnas" else (node.module,)


def files() -> Iterator[tuple[str, str, set[str]]]:
    """Room, path and imports of every file of jaxnas."""
    for file in PACKAGE.rglob("*.py"):
        path = file.relative_to(PACKAGE)
        if path.as_posix() != "__init__.py":
            yield path.parts[0].removesuffix(".py"), path.as_posix(), set(imported(ast.parse(file.read_text(encoding="utf-8"))))


def test_every_room_has_its_place_in_the_table() -> None:
    may = table()
    assert may.keys() == {room for room, _, _ in files()}
    assert set().union(*may.values()) <= may.keys()


def test_rooms_import_what_the_table_says() -> None:
    may = table()
    for room, path, names in files():
        rooms = {name.split(".")[1] for name in names if name.startswith("jaxnas.")}
        assert rooms <= may[room] | {room}, path


def test_outsiders_import_from_a_folders_init() -> None:
    inside: dict[str, str] = {}
    for room, path, names in files():
        for name in names:
            parts = name.split(".")
            if parts[0] == "jaxnas" and len(parts) > 2 and parts[1] in FOLDERS - {room}:
                assert inside.setdefault(path, parts[1]) == parts[1]
    assert inside == FROM_FILES


def test_only_the_networks_and_their_exports_import_flax() -> None:
    assert {room for room, _, names in files() if any(name.split(".")[0] == "flax" for name in names)} == {"nets", "export"}

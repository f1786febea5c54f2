"""Files that are whole or not there, read back as they were written."""

from __future__ import annotations

import errno
import json
import math
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnas.errors import UserError
from jaxnas.run_folder import ALPHAS, CHECKPOINTS, CONFIG, ENVIRONMENT, LOG, RESULT, RunFolder, read_arrays, read_json

TREE = {"cells": {0: {"weight": jnp.arange(6.0).reshape(2, 3)}, 10: {"weight": jnp.ones(4)}}, "stem": jnp.zeros((), jnp.int32)}


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    return RunFolder(tmp_path / "runs" / "one")


@pytest.mark.quick
def test_arrays_come_back_bit_by_bit(folder: RunFolder) -> None:
    folder.write_arrays(ALPHAS, TREE)
    like = jax.eval_shape(lambda: TREE)
    found = read_arrays(folder.path / ALPHAS, like)
    assert jax.tree.structure(found) == jax.tree.structure(TREE)
    for array, expected in zip(jax.tree.leaves(found), jax.tree.leaves(TREE), strict=True):
        assert array.dtype == expected.dtype
        np.testing.assert_array_equal(array, expected)


def test_random_keys_come_back_as_keys(folder: RunFolder) -> None:
    tree = {"threefry": jax.random.key(3), "rbg": jax.random.key(4, impl="rbg")}
    folder.write_arrays(ALPHAS, tree)
    found = read_arrays(folder.path / ALPHAS, tree)
    for name, key in tree.items():
        assert found[name].dtype == key.dtype
        assert jax.random.bits(found[name]) == jax.random.bits(key)
    with pytest.raises(UserError, match=r"rbg: uint32\[4\] in the file, uint32\[2\] expected"):
        read_arrays(folder.path / ALPHAS, {**tree, "rbg": jax.random.key(4)})


def resumed(folder: RunFolder) -> RunFolder:
    return RunFolder(folder.path, resume=True)


BEGUN = {"recipe": "made up", "train": {"epochs": 3, "augmentation": {"flip": True}}, "seed": 0}

DIFFERENT = {
    "train.epochs is 3, now it is 4": {**BEGUN, "train": {"epochs": 4, "augmentation": {"flip": True}}},
    "train.augmentation.flip is True, now it is False": {**BEGUN, "train": {"epochs": 3, "augmentation": {"flip": False}}},
    "seed is 0, now it is 1": {**BEGUN, "seed": 1},
    "seed is 0, now it is missing": {"recipe": "made up", "train": BEGUN["train"]},
    "train.batch is missing, now it is 8": {**BEGUN, "train": {"epochs": 3, "augmentation": {"flip": True}, "batch": 8}},
}


@pytest.mark.parametrize("message", DIFFERENT)
def test_another_configuration_does_not_go_on(message: str, folder: RunFolder) -> None:
    folder.settle(CONFIG, BEGUN)
    before = (folder.path / CONFIG).read_bytes()
    with pytest.raises(UserError, match=f"in its config.json {message}"):
        resumed(folder).settle(CONFIG, DIFFERENT[message])
    resumed(folder).settle(CONFIG, BEGUN)
    assert (folder.path / CONFIG).read_bytes() == before


def test_what_cannot_be_resumed(folder: RunFolder) -> None:
    with pytest.raises(UserError, match="holds no run that could go on"):
        resumed(folder)


def test_the_environment_of_every_resumption_is_kept(folder: RunFolder) -> None:
    folder.write_json(CONFIG, {})
    folder.write_environment()
    begun = read_json(folder.path / ENVIRONMENT)
    for _ in range(2):
        resumed(folder).write_environment()
    found = read_json(folder.path / ENVIRONMENT)
    assert [again["packages"] for again in found.pop("resumed")] == [begun["packages"]] * 2
    assert found == begun


def damaged(path: Path, damage: str) -> Any:
    """Damages a file; returns the tree that is then asked for."""
    content = path.read_bytes()
    if damage == "missing":
        path.unlink()
    elif damage == "cut short":
        path.write_bytes(content[: len(content) // 2])
    elif damage == "one byte":
        at = content.index(np.float32(5.0).tobytes())
        path.write_bytes(content[:at] + b"\xff" + content[at + 1 :])
    elif damage == "no archive":
        path.write_text("alphas")
    elif damage == "one array":
        with path.open("wb") as file:
            np.save(file, np.ones(3))
    elif damage == "other shape":
        return {**TREE, "stem": np.zeros(2, np.int32)}
    elif damage == "other type":
        return {**TREE, "stem": np.zeros((), np.float32)}
    elif damage == "other names":
        return {"cells": TREE["cells"], "head": TREE["stem"]}
    return TREE


@pytest.mark.parametrize(
    ("damage", "message"),
    (
        ("missing", "alphas.npz is missing"),
        ("cut short", "is damaged"),
        ("one byte", "is damaged"),
        ("no archive", "is damaged"),
        ("one array", "is damaged"),
        ("other shape", r"1 arrays differ, the first is stem: int32\[\] in the file, int32\[2\] expected"),
        ("other type", r"stem: int32\[\] in the file, float32\[\] expected"),
        ("other names", "2 arrays differ, the first is head: missing in the file"),
    ),
)
def test_damaged_arrays_are_refused(damage: str, message: str, folder: RunFolder) -> None:
    folder.write_arrays(ALPHAS, TREE)
    like = damaged(folder.path / ALPHAS, damage)
    with pytest.raises(UserError, match=message):
        read_arrays(folder.path / ALPHAS, like)


@pytest.mark.parametrize("content", (b"", b"{", b"\xff\xfe"))
def test_damaged_json_is_refused(content: bytes, folder: RunFolder) -> None:
    (folder.path / CONFIG).write_bytes(content)
    with pytest.raises(UserError, match="is not valid JSON"):
        read_json(folder.path / CONFIG)


def test_log_lines_parse_whatever_the_numbers(folder: RunFolder) -> None:
    folder.append(LOG, {"epoch": 0, "train_loss": 1.5, "valid_loss": math.nan})
    folder.append(LOG, {"epoch": 1, "train_loss": math.inf})
    lines = [json.loads(line, parse_constant=pytest.fail) for line in (folder.path / LOG).read_text().splitlines()]
    assert lines == [{"epoch": 0, "train_loss": 1.5, "valid_loss": None}, {"epoch": 1, "train_loss": None}]


def test_a_full_disk_leaves_what_was_there(folder: RunFolder, request: pytest.FixtureRequest) -> None:
    folder.write_json(RESULT, {"accuracy": 0.5})
    folder.append(LOG, {"epoch": 0})
    folder.write_arrays(ALPHAS, TREE)
    before = {path.name: path.read_bytes() for path in folder.path.iterdir()}

    request.getfixturevalue("full_disk")
    for write in (
        lambda: folder.write_json(RESULT, {"accuracy": 0.9}),
        lambda: folder.append(LOG, {"epoch": 1}),
        lambda: folder.write_arrays(ALPHAS, {"stem": jnp.ones(3)}),
    ):
        with pytest.raises(OSError, match="No space left"):
            write()
    assert {path.name: path.read_bytes() for path in folder.path.iterdir()} == before


def test_other_files_survive_and_are_no_run(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(UserError, match="exists. Give --overwrite"):
        RunFolder(tmp_path)
    with pytest.raises(UserError, match="nothing was overwritten"):
        RunFolder(tmp_path, overwrite=True)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_overwriting_removes_every_file_of_the_old_run(folder: RunFolder) -> None:
    folder.write_json(CONFIG, {})
    folder.append(LOG, {"epoch": 0})
    (folder.path / f".{ALPHAS}.part").write_bytes(b"killed while writing")
    (folder.path / CHECKPOINTS / "3").mkdir(parents=True)
    assert RunFolder(folder.path, overwrite=True).files() == []
    assert not list(folder.path.iterdir())


def test_a_folder_that_cannot_be_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(UserError, match="cannot be made: Permission denied"):
        RunFolder(tmp_path / "run")

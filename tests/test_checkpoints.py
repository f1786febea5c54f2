"""Checkpoints that are whole, or not counted."""

from __future__ import annotations

import errno
import os
import shutil
from collections import namedtuple
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jaxnas.checkpoints import SEAL, Checkpoints


def arrays(number: int) -> dict[str, np.ndarray]:
    """An array of every kind that a state has."""
    return {
        "state.weights.1.a": np.full((2, 3), number, np.float32),
        "state.step": np.asarray(number, np.int32),
        "state.key": np.asarray([0, 7], np.uint32),
        "state.mask": np.asarray([True, False]),
    }


def kept(folder: Path, last: int) -> Checkpoints:
    checkpoints = Checkpoints(folder)
    for number in range(1, last + 1):
        checkpoints.save(arrays(number), {"log": f"{number}\n", "nested": {"none": None, "third": 1 / 3}})
    checkpoints.close()
    return checkpoints


def assert_restored(folder: Path, number: int, damaged: tuple[str, ...] = ()) -> None:
    found, said = Checkpoints(folder).restore()
    assert found is not None
    assert found.number == number
    assert found.about == {"log": f"{number}\n", "nested": {"none": None, "third": 1 / 3}}
    assert found.arrays.keys() == arrays(number).keys()
    for name, array in arrays(number).items():
        assert found.arrays[name].dtype == array.dtype
        np.testing.assert_array_equal(found.arrays[name], array)
    assert len(said) == len(damaged)
    for sentence, words in zip(said, damaged, strict=True):
        assert words in sentence


def test_the_last_two_are_kept_bit_by_bit(tmp_path: Path) -> None:
    kept(tmp_path / "c", 4)
    assert sorted(path.name for path in (tmp_path / "c").iterdir()) == ["3", "4"]
    assert_restored(tmp_path / "c", 4)
    assert Checkpoints(tmp_path / "nothing").restore() == (None, [])


def flip(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))


DAMAGES: dict[str, Any] = {
    "a byte": flip,
    "cut short": lambda path: path.write_bytes(path.read_bytes()[:-1]),
    "gone": lambda path: path.unlink(),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_to_any_file_falls_back_to_the_one_before(damage: str, tmp_path: Path) -> None:
    kept(tmp_path / "c", 2)
    names = [path.relative_to(tmp_path / "c") for path in sorted((tmp_path / "c" / "2").rglob("*")) if path.is_file()]
    assert len(names) > 5
    for at, name in enumerate(names):
        folder = tmp_path / f"{at}"
        shutil.copytree(tmp_path / "c", folder)
        DAMAGES[damage](folder / name)
        # Without its seal a checkpoint is one that was never finished, of which there is nothing to say.
        unsealed = damage == "gone" and name.name == SEAL
        assert_restored(folder, 1, () if unsealed else ("checkpoint 2 is damaged",))
        assert {path.name for path in folder.iterdir()} == {"1"} | (set() if unsealed else {"damaged-2"})
        assert_restored(folder, 1)


def test_what_a_kill_left_unfinished_is_removed_and_its_number_used_again(tmp_path: Path) -> None:
    checkpoints = kept(tmp_path / "c", 2)
    (tmp_path / "c" / "2" / SEAL).unlink()
    (tmp_path / "c" / "3.orbax-checkpoint-tmp" / "state").mkdir(parents=True)
    assert_restored(tmp_path / "c", 1)
    assert [path.name for path in (tmp_path / "c").iterdir()] == ["1"]
    checkpoints = Checkpoints(tmp_path / "c")
    checkpoints.restore()
    checkpoints.save(arrays(2), {"log": "2\n", "nested": {"none": None, "third": 1 / 3}})
    checkpoints.close()
    assert_restored(tmp_path / "c", 2)


def test_a_full_disk_keeps_what_there_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept(tmp_path / "c", 1)
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(100, 90, 10))
    checkpoints = Checkpoints(tmp_path / "c")
    checkpoints.restore()
    with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)):
        checkpoints.save(arrays(2), {})
    checkpoints.close()
    assert_restored(tmp_path / "c", 1)


def test_errors_of_the_background_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """TensorStore's error of a full disk is a ValueError; here it comes when the checkpoint is sealed."""

    def full(*_: Any) -> None:
        raise ValueError("RESOURCE_EXHAUSTED: Error writing: No space left on device [os_error_code='28']")

    monkeypatch.setattr("jaxnas.checkpoints.write_whole", full)
    checkpoints = Checkpoints(tmp_path / "c")
    checkpoints.save(arrays(1), {})
    with pytest.raises(OSError, match="No space left"):
        checkpoints.wait()
    checkpoints.close()
    assert Checkpoints(tmp_path / "c").restore() == (None, [])

"""Files that are replaced as a whole, and what is written in place."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from jaxnas.whole_files import part_of, write_whole

pytestmark = pytest.mark.quick


@pytest.mark.parametrize("before", [None, b"what was there"])
def test_a_file_is_the_old_one_or_the_new_one(before: bytes | None, tmp_path: Path, full_disk: None) -> None:
    path = tmp_path / "result.json"
    if before is not None:
        with path.open("wb") as file:
            file.write(before)
    with pytest.raises(OSError) as raised:
        write_whole(path, b"what is new")
    assert raised.value.errno == errno.ENOSPC
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == ({} if before is None else {path.name: before})


def test_a_new_file_and_a_second_one(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    for content in (b"first, and longer", b"second"):
        write_whole(path, content)
        assert path.read_bytes() == content
    assert not part_of(path).exists()


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    target, link = tmp_path / "target", tmp_path / "link"
    target.write_bytes(b"old")
    link.symlink_to(target)
    write_whole(link, b"new")
    assert link.is_symlink() and target.read_bytes() == b"new"
    assert not part_of(link).exists()


def test_a_pipe_is_written_to(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    read: list[bytes] = []
    reader = threading.Thread(target=lambda: read.append(pipe.read_bytes()))
    reader.start()
    write_whole(pipe, b"through it")
    reader.join()
    assert read == [b"through it"] and pipe.is_fifo()


def test_standard_output_by_its_name(tmp_path: Path) -> None:
    """Redirected to a file, too."""
    command = "from pathlib import Path; from jaxnas.whole_files import write_whole; write_whole(Path('/dev/fd/1'), b'{}')"
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[1])}
    with (tmp_path / "out").open("wb") as out:
        subprocess.run([sys.executable, "-c", command], env=environment, stdout=out, check=True)
    assert (tmp_path / "out").read_bytes() == b"{}"

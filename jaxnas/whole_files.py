"""Files that are there whole or not at all."""

from __future__ import annotations

from pathlib import Path


def write_whole(path: Path, content: bytes) -> None:
    """Writes a file by way of another name: a kill or a full disk leaves the old one or the new one, never a part.

    What is no regular file is written in place, since it would be lost: a device, a pipe, a link (``/dev/stdout`` is one).

    Raises:
      OSError: it cannot be written.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "result.json"
    >>> write_whole(path, b"{}")
    >>> [file.name for file in path.parent.iterdir()]
    ['result.json']
    """
    if not replaceable(path):
        path.write_bytes(content)
        return
    part = part_of(path)
    try:
        part.write_bytes(content)
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def replaceable(path: Path) -> bool:
    """Whether another file may take the place of what is there: nothing, or a regular file.

    >>> replaceable(Path("/dev/null"))
    False
    """
    return not path.is_symlink() and (path.is_file() or not path.exists())


def part_of(path: Path) -> Path:
    """The other name, under which a file lies while it is being written.

    >>> part_of(Path("runs/log.jsonl")).as_posix()
    'runs/.log.jsonl.part'
    """
    return path.with_name(f".{path.name}.part")

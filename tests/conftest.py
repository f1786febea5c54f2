"""What every test shares: a CPU backend that compiles fast, and the folders of the data that are not in the repository."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

# Read by JAX when it is first imported. Tests compile far longer than they run, so XLA skips most of its optimization;
# a cache of compiled programs would let one run depend on the one before.
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ["JAX_ENABLE_COMPILATION_CACHE"] = "false"
if "xla_backend_optimization_level" not in os.environ.get("XLA_FLAGS", ""):
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --xla_backend_optimization_level=0".strip()

SHARED = Path(__file__).resolve().parents[2] / "shared"


def _existing(folder: Path, holds: str) -> Path:
    if not folder.is_dir():
        pytest.skip(f"{holds} not found: no folder {folder}")
    return folder


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """Folder of the data sets and tables: ``JAXNAS_DATA``, or ``../shared/data`` beside the repository."""
    return _existing(Path(os.environ.get("JAXNAS_DATA", SHARED / "data")), "data sets")


@pytest.fixture(scope="session")
def golden_dir() -> Path:
    """Folder of the reference implementations' recorded values: ``../shared/goldens`` beside the repository."""
    return _existing(SHARED / "goldens", "golden files")


@pytest.fixture
def float64() -> Iterator[None]:
    """Doubles for one test, or a module's with ``pytestmark = pytest.mark.usefixtures("float64")``."""
    import jax  # Not before the variables above are set.

    with jax.enable_x64(True):
        yield


@pytest.fixture
def full_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Half of what is written reaches the disk."""

    def write_half(path: Path, content: bytes) -> int:
        with path.open("wb") as file:
            file.write(content[: len(content) // 2])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", write_half)

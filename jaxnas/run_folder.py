"""The folder that a run leaves: what was asked, where it ran, what happened, what was found."""

from __future__ import annotations

import dataclasses
import datetime
import importlib.metadata
import io
import json
import math
import os
import platform
import shlex
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxnas.errors import UserError
from jaxnas.whole_files import part_of, write_whole

CONFIG, ENVIRONMENT, LOG, TIMING, RESULT = "config.json", "environment.json", "log.jsonl", "timing.jsonl", "result.json"
GENOTYPE_JSON, GENOTYPE_TEXT = "genotype.json", "genotype.txt"
ALPHAS, SUPERNET, NETWORK = "alphas.npz", "supernet.npz", "network.npz"
REPORT, CARD = "report.html", "card.json"
ABANDONED = "abandoned.jsonl"
"""Lines of the log of what a search went back behind, see :mod:`jaxnas.rollback`."""
FILES = (CONFIG, ENVIRONMENT, LOG, TIMING, ABANDONED, RESULT, CARD)
FILES += (GENOTYPE_JSON, GENOTYPE_TEXT, ALPHAS, SUPERNET, NETWORK, REPORT)
CHECKPOINTS, ROLLBACK = "checkpoints", "rollback"


class RunFolder:
    """Writes a run's files; each whole file appears at once or not at all.

    Args:
      path: the folder, made when the run starts.
      overwrite: replace the files of an earlier run there. Other files are never touched.
      resume: keep them, for that run to go on.
      written: of several processes that search together it is one's to write: in the others nothing is, or refused.
      heard: called with every line that is added to the log.

    Raises:
      UserError: it exists and neither ``overwrite`` nor ``resume`` is set, or it cannot be made, or no run is there.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        overwrite: bool = False,
        resume: bool = False,
        written: bool = True,
        heard: Callable[[dict[str, Any]], None] | None = None,
    ) -> None:
        self.path, self.resumed, self.written, self.heard = Path(path), resume, written, heard
        if not written:
            return
        if self.path.exists() and not self.path.is_dir():
            raise UserError(f"{self.path} is a file, not a folder. Choose another --out.")
        if resume:
            if not (self.path / CONFIG).exists():
                raise UserError(f"{self.path} holds no run that could go on. Begin one there first.")
            return
        if self.path.is_dir() and any(self.path.iterdir()):
            if not overwrite:
                raise UserError(
                    f"{self.path} exists. Give --overwrite to replace the run in it, or another --out. "
                    f"A run that was ended goes on: jaxnas resume {shlex.quote(str(self.path))}"
                )
            if not (self.path / CONFIG).exists():
                raise UserError(
                    f"{self.path} holds files, but no run ({CONFIG}): nothing was overwritten. Choose another --out."
                )
            for name in FILES:
                (self.path / name).unlink(missing_ok=True)
                part_of(self.path / name).unlink(missing_ok=True)
            for name in (CHECKPOINTS, ROLLBACK):
                if (self.path / name).is_dir():
                    shutil.rmtree(self.path / name)
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"The run folder {self.path} cannot be made: {error.strerror}.") from error

    def files(self) -> list[str]:
        """Names of the run's files, and folder of checkpoints, that there are."""
        return [name for name in (*FILES, CHECKPOINTS) if (self.path / name).exists()]

    def write_bytes(self, name: str, content: bytes) -> None:
        """Writes a file, whole or not at all."""
        if self.written:
            write_whole(self.path / name, content)

    def write_text(self, name: str, text: str) -> None:
        """Writes a text file."""
        self.write_bytes(name, text.encode())

    def write_json(self, name: str, content: Any) -> None:
        """Writes a JSON file, indented."""
        self.write_text(name, json.dumps(content, indent=2) + "\n")

    def settle(self, name: str, document: dict[str, Any]) -> None:
        """Writes a JSON file that decides what a run does; a resumed run must have been begun with the same.

        Raises:
          UserError: it was begun with another one; the message names the first field that differs.
        """
        if not (self.resumed and (self.path / name).exists()):
            self.write_json(name, document)
        elif (found := difference(read_json(self.path / name), document)) is not None:
            raise UserError(
                f"The run in {self.path} cannot go on: in its {name} {found}. Give the former value, or begin a run elsewhere."
            )

    def write_environment(self) -> None:
        """Writes where the run was begun, and below it where it was resumed each time."""
        if self.resumed and (self.path / ENVIRONMENT).exists():
            begun = read_json(self.path / ENVIRONMENT)
            self.write_json(ENVIRONMENT, begun | {"resumed": [*begun.get("resumed", []), environment()]})
        else:
            self.write_json(ENVIRONMENT, environment())

    def append(self, name: str, line: dict[str, Any]) -> None:
        """Adds a line to a JSON lines file; what is no number becomes null."""
        line = {key: None if isinstance(value, float) and not math.isfinite(value) else value for key, value in line.items()}
        path = self.path / name
        # The whole file anew, so that its lines are whole too: these files are short.
        self.write_bytes(name, (path.read_bytes() if path.exists() else b"") + json.dumps(line).encode() + b"\n")
        if name == LOG and self.heard is not None and self.written:
            self.heard(line)

    def write_arrays(self, name: str, tree: Any) -> None:
        """Writes a tree of arrays as ``.npz``, one array a leaf, named by its path; random keys as their data."""
        archive = io.BytesIO()
        arrays: dict[str, Any] = flat_arrays(tree)
        np.savez(archive, **arrays)
        self.write_bytes(name, archive.getvalue())


def difference(before: Any, now: Any) -> str | None:
    """The first field of two documents that differs as JSON, in words; None where they are the same.

    >>> difference({"search": {"batch": 24, "epochs": 3}}, {"search": {"batch": 12, "epochs": 3}})
    'search.batch is 24, now it is 12'
    """
    missing = "missing"
    old, new = (fields(json.loads(json.dumps(document))) for document in (before, now))
    differ = (name for name in old | new if old.get(name, missing) != new.get(name, missing))
    field = next(differ, None)
    return None if field is None else f"{field} is {old.get(field, missing)}, now it is {new.get(field, missing)}"


def fields(document: Any, prefix: str = "") -> dict[str, Any]:
    """The values of nested JSON objects by their paths.

    >>> fields({"search": {"batch": 24}, "seed": 1})
    {'search.batch': 24, 'seed': 1}
    """
    if not isinstance(document, dict):
        return {prefix.removesuffix("."): document}
    return {path: leaf for key, value in document.items() for path, leaf in fields(value, f"{prefix}{key}.").items()}


def flat_names(tree: Any) -> dict[str, Any]:
    """A nested dictionary of arrays as one flat one, keys joined by dots.

    >>> flat_names({"stem": {0: np.ones(2)}})
    {'stem.0': array([1., 1.])}
    """
    return {jax.tree_util.keystr(path, simple=True, separator="."): leaf for path, leaf in jax.tree.leaves_with_path(tree)}


def flat_arrays(tree: Any) -> dict[str, np.ndarray]:
    """Copies on the host of a tree's leaves, by their paths; random keys as their data.

    >>> flat_arrays({"step": jnp.asarray(3), "key": jax.random.key(1)})
    {'key': array([0, 1], dtype=uint32), 'step': array(3, dtype=int32)}
    """
    # Copies: what JAX hands out on a CPU may be the device's memory, which the next step takes back.
    return {name: np.array(leaf) for name, leaf in jax.device_get(flat_names(jax.tree.map(_key_data, tree))).items()}


def _key_data(leaf: Any) -> Any:
    """A random key as the numbers that it consists of; any other leaf as it is."""
    return jax.random.key_data(leaf) if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key) else leaf


def _as_in(like: Any, array: Any) -> Any:
    """The inverse of :func:`_key_data`."""
    if jnp.issubdtype(like.dtype, jax.dtypes.prng_key):
        return jax.random.wrap_key_data(array, impl=jax.random.key_impl(like))
    return array


def read_arrays(path: Path, like: Any) -> Any:
    """Reads what ``write_arrays`` wrote, into the form of ``like``.

    Of ``like`` no more is needed than its leaves' shapes and dtypes, but a random key must be one.

    Raises:
      UserError: a missing or damaged file, or arrays that do not fit ``like``.
    """
    try:
        with np.load(io.BytesIO(path.read_bytes())) as archive:
            arrays = {name: archive[name] for name in archive.files}
    except FileNotFoundError as error:
        raise UserError(f"{path} is missing. Was the run ended before it was written?") from error
    except Exception as error:  # A damaged archive raises whatever its first bad byte leads to.
        raise UserError(f"{path} is damaged: {error}. Repeat the run.") from error
    return fitted(arrays, like, str(path))


def fitted(arrays: dict[str, np.ndarray], like: Any, where: str) -> Any:
    """Arrays by name in the form of ``like``; the inverse of :func:`flat_arrays`. One without elements may be missing.

    Raises:
      UserError: they do not fit; the message says how the first differs.

    >>> fitted({"step": np.asarray(3)}, {"step": np.zeros((), np.int64)}, "it")
    {'step': array(3)}
    """
    plain_like = flat_names(jax.tree.map(_key_data, like))
    empty = {name: np.zeros(leaf.shape, leaf.dtype) for name, leaf in plain_like.items() if 0 in leaf.shape}
    arrays = {**empty, **arrays}
    expected = {name: f"{leaf.dtype}{list(leaf.shape)}" for name, leaf in plain_like.items()}
    found = {name: f"{array.dtype}{list(array.shape)}" for name, array in arrays.items()}
    if expected != found:
        differ = sorted(name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name))
        name = differ[0]
        raise UserError(
            f"{where} does not fit the run's {CONFIG} and {GENOTYPE_JSON}: {len(differ)} arrays differ, the first is {name}: "
            f"{found.get(name, 'missing')} in the file, {expected.get(name, 'not known')} expected. Were files changed?"
        )
    return jax.tree.map(_as_in, like, jax.tree.unflatten(jax.tree.structure(like), [arrays[name] for name in expected]))


def read_json(path: Path) -> Any:
    """Reads a JSON file of a run.

    Raises:
      UserError: it is missing or does not parse.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UserError(f"{path} is missing. Is {path.parent} the folder of a run?") from error
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not valid JSON: {error}. Was it changed?") from error


def environment() -> dict[str, Any]:
    """Date, devices, processor, versions and platform."""
    return {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "devices": [f"{device.platform}: {device.device_kind}" for device in jax.devices()],
        "processor": _processor(),
        "cpus": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
        "packages": packages(),
        "xla_flags": os.environ.get("XLA_FLAGS", ""),
        "arguments": sys.argv[1:],
    }


def _processor() -> str | None:
    """The name of the first processor, where the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or None
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), None)


def packages() -> dict[str, str | None]:
    """Versions of what decides the numbers of a run."""
    return {name: _version(name) for name in ("jaxnas", "jax", "jaxlib", "flax", "optax", "numpy")}


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def plain(config: Any) -> Any:
    """A dataclass as plain dictionaries, for JSON."""
    return dataclasses.asdict(config)

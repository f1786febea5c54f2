"""jaxnas's own file of a benchmark: what the official files hold of use to searches, in one compressed file with a checksum.

An NPZ file: ``header`` (JSON) names the space, the source and the figures; arrays are named by what they hold, as
``accuracy/cifar10/ori-test/200/mean``. Curves are kept to hundredths of a percent.
"""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from jaxnas.errors import UserError
from jaxnas.tabular.benchmark import Accuracy, Benchmark, Key
from jaxnas.tabular.npz import read_npz
from jaxnas.whole_files import write_whole

_FORMAT = "jaxnas benchmark 1"


def write_compact(benchmark: Benchmark, path: Path, overwrite: bool = False) -> str:
    """Writes a benchmark; the same one gives the same bytes.

    Returns:
      The checksum, 64 hexadecimal digits.

    Raises:
      UserError: the file exists, and is not to be overwritten.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "table.npz"
    >>> checksum = write_compact(Benchmark("macro", {}, {}, {"params": np.arange(6561)}, "a test"), path)
    >>> read_compact(path).counts["params"][3]
    np.int64(3)
    """
    if path.exists() and not overwrite:
        raise UserError(f"{path} exists. Give --overwrite to replace it, or another --out.")
    arrays: dict[str, np.ndarray] = {}
    seeds: dict[str, str] = {}
    for key, found in benchmark.accuracy.items():
        name = _name(key)
        seeds[name] = found.seeds
        arrays |= {f"accuracy/{name}/mean": found.mean, f"accuracy/{name}/runs": found.runs}
        arrays |= {f"accuracy/{name}/seed {seed}": values for seed, values in found.each.items()}
    arrays |= {f"curve/{_name(key)}": np.round(100 * found).astype(np.uint16) for key, found in benchmark.curves.items()}
    arrays |= {f"seconds/{dataset}/{epochs}": found for (dataset, epochs), found in benchmark.seconds.items()}
    arrays |= {f"count/{name}": found for name, found in benchmark.counts.items()}
    header = {"format": _FORMAT, "space": benchmark.space, "source": benchmark.source, "seeds": seeds}
    checksum = _checksum(header, arrays)
    content = io.BytesIO()
    text = json.dumps({**header, "sha256": checksum}).encode()
    np.savez_compressed(content, allow_pickle=False, header=np.frombuffer(text, np.uint8), **arrays)
    write_whole(path, content.getvalue())
    return checksum


def is_compact(path: Path) -> bool:
    """Whether this is a file of :func:`write_compact`, if it is whole."""
    try:
        with zipfile.ZipFile(path) as archive:
            return "header.npy" in archive.namelist()
    except (OSError, zipfile.BadZipFile):
        return False


def read_compact(path: Path) -> Benchmark:
    """The benchmark in a file of :func:`write_compact`.

    Raises:
      UserError: it is damaged, was altered, or is of a version that this one does not know.
      TableFault: its content is not what the benchmark can hold.
    """
    arrays = read_npz(path)
    try:
        header = json.loads(arrays.pop("header").tobytes())
        expected = header.pop("sha256")
    except (ValueError, KeyError, AttributeError) as error:
        raise UserError(f"{path} is damaged ({error}). Convert the official files anew: jaxnas table convert.") from error
    if header.get("format") != _FORMAT:
        raise UserError(f"{path} is of the format {header.get('format')!r}, this jaxnas reads {_FORMAT!r}: convert anew.")
    if (checksum := _checksum(header, arrays)) != expected:
        raise UserError(
            f"{path} was altered: its checksum is {checksum[:16]}..., not {expected[:16]}... Convert the official files anew: "
            "jaxnas table convert."
        )
    parts = {tuple(name.split("/")): values for name, values in arrays.items()}
    return Benchmark(
        space=header["space"],
        accuracy={_key(name): _accuracy(name, arrays, seeds) for name, seeds in header["seeds"].items()},
        seconds={(rest[0], int(rest[1])): values for (kind, *rest), values in parts.items() if kind == "seconds"},
        counts={rest[0]: values for (kind, *rest), values in parts.items() if kind == "count"},
        source=header["source"],
        curves={
            _key("/".join(rest)): values.astype(np.float32) / 100 for (kind, *rest), values in parts.items() if kind == "curve"
        },
    )


def _name(key: Key) -> str:
    return "/".join(map(str, key))


def _key(name: str) -> Key:
    dataset, split, epochs = name.split("/")
    return dataset, split, int(epochs)


def _accuracy(name: str, arrays: Mapping[str, np.ndarray], seeds: str) -> Accuracy:
    before = f"accuracy/{name}/seed "
    each = {int(other.removeprefix(before)): values for other, values in arrays.items() if other.startswith(before)}
    return Accuracy(arrays[f"accuracy/{name}/mean"], arrays[f"accuracy/{name}/runs"], seeds, each)


def _checksum(header: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> str:
    digest = hashlib.sha256(json.dumps(header, sort_keys=True).encode())
    for name, values in sorted(arrays.items()):
        digest.update(f"{name} {values.dtype.str} {values.shape}".encode())
        digest.update(np.ascontiguousarray(values).tobytes())
    return digest.hexdigest()

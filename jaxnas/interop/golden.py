"""Conformance: our networks, gradients and search steps against numeric records of the reference implementations.

A record is an ``.npz`` file whose weights carry the names of the reference's ``state_dict``, and whose ``meta`` holds the
configuration as a Python literal. Everything is computed by the engine that searches and trains - the supernets, the
hypergradients, :func:`jaxnas.bilevel.search_step` - in float64 and in float32, and every array of the file is compared:

    error = ||ours - reference|| / max(||reference||, 1e-3 x norm of all arrays of that quantity in the file together)

since some arrays (biases before a batch norm) are zero up to rounding. After a step the **update** is compared, the
difference to the last recorded value. A key that nothing is compared with fails the file.
"""

from __future__ import annotations

import ast
import dataclasses
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import jax
import numpy as np

from jaxnas.errors import UserError
from jaxnas.interop import golden_networks, golden_supernets
from jaxnas.interop.golden_record import LIMITS, Comparison, Record

PRECISIONS = ("float64", "float32")


@dataclasses.dataclass(frozen=True)
class Line:
    """One quantity of one file in one precision.

    Attributes:
      file, precision, quantity: what.
      arrays: how many were compared.
      worst: name of the array with the largest error.
      error, limit: of that array; counts and genotypes have error 0 or 1 and limit 0.
      passed: the error is within the limit.
    """

    file: str
    precision: str
    quantity: str
    arrays: int
    worst: str
    error: float
    limit: float
    passed: bool


def read(path: Path) -> Record:
    """A record's arrays and configuration.

    Raises:
      UserError: the file is missing, no archive, or holds no such record.
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
        meta = ast.literal_eval(str(arrays.pop("meta")))
        space = meta["space"]
    except FileNotFoundError as error:
        raise UserError(f"{path} is missing.") from error
    except IsADirectoryError as error:
        raise UserError(f"{path} is a folder. Name the .npz files in it.") from error
    except Exception as error:  # A damaged archive raises whatever its first bad byte leads to.
        raise UserError(
            f"{path} is not a golden file (an .npz archive with 'meta'): {type(error).__name__}: {error}"
        ) from error
    if space not in ("darts", "nb201"):
        raise UserError(f"{path} is a record of the unknown space {space!r}; known are darts and nb201.")
    return Record(str(path.name), meta, arrays)


def comparisons(record: Record, precision: str) -> Iterator[Comparison]:
    """Everything of a record that we can compute, as pairs of ours and the reference's."""
    if "genotype" in record.meta:
        yield from golden_networks.compare(record, precision)
    elif record.meta["space"] == "darts":
        yield from golden_supernets.compare_darts(record, precision)
    else:
        yield from golden_supernets.compare_nb201(record, precision)


def verify(path: Path, precision: str) -> tuple[list[Line], list[str]]:
    """Compares one file in one precision.

    Returns:
      A line for each quantity, and the keys that nothing was compared with.
    """
    record = read(path)
    found: dict[tuple[str, str], list[tuple[str, np.ndarray, np.ndarray]]] = {}
    compared: set[str] = set()
    with jax.enable_x64(precision == "float64"):
        for comparison in comparisons(record, precision):
            compared.add(comparison.key)
            found.setdefault((comparison.quantity, comparison.kind), []).append(
                (comparison.key, np.asarray(comparison.ours), np.asarray(comparison.reference))
            )
    lines = []
    for (quantity, kind), triples in found.items():
        limit = LIMITS[kind][precision]
        worst, error = _worst(triples, kind)
        lines.append(Line(path.name, precision, quantity, len(triples), worst, error, limit, bool(error <= limit)))
    return lines, sorted(record.arrays.keys() - compared - record.inputs())


def _worst(triples: list[tuple[str, np.ndarray, np.ndarray]], kind: str) -> tuple[str, float]:
    """The array with the largest error, and that error; NaN counts as infinite."""
    if kind == "equal":
        errors = [0.0 if np.array_equal(ours, reference) else 1.0 for _, ours, reference in triples]
    else:
        together = np.sqrt(sum(np.sum(np.square(reference)) for _, _, reference in triples))
        errors = []
        for key, ours, reference in triples:
            if ours.shape != reference.shape:
                raise UserError(f"{key} has the shape {reference.shape} in the file, {ours.shape} in the network it describes.")
            scale = max(np.linalg.norm(reference), 1e-3 * together, np.finfo(np.float64).tiny)
            error = np.linalg.norm(np.asarray(ours, np.float64) - reference) / scale
            errors.append(float(error) if np.isfinite(error) else float("inf"))
    at = int(np.argmax(errors))
    return triples[at][0], errors[at]


def verify_files(paths: tuple[Path, ...], json_path: Path | None, say: Callable[[str], None] = print) -> bool:
    """Compares files in both precisions and prints a line for each quantity; whether all passed.

    Raises:
      UserError: no file given, a file that is no record, or ``json_path`` cannot be written.
    """
    if not paths:
        raise UserError("Name at least one golden file (.npz).")
    every: list[Line] = []
    missed: dict[str, list[str]] = {}
    for path in paths:
        read(path)  # A file that cannot be read is said before the first is computed.
    for path in paths:
        for precision in PRECISIONS:
            lines, left = verify(path, precision)
            for line in lines:
                mark = "pass" if line.passed else "FAIL"
                say(
                    f"{mark}  {line.file}  {line.precision}  {line.quantity}: {line.arrays} arrays, "
                    f"worst {line.worst} {line.error:.1e} (limit {line.limit:.0e})"
                )
            every.extend(lines)
            if left:
                missed[path.name] = left
    for name, left in missed.items():
        say(f"FAIL  {name}: {len(left)} keys are not compared: {', '.join(left[:20])}{' ...' if len(left) > 20 else ''}")
    passed = all(line.passed for line in every) and not missed
    if json_path is not None:
        report = {"passed": passed, "not_compared": missed, "quantities": [dataclasses.asdict(line) for line in every]}
        try:
            json_path.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
        except OSError as error:
            raise UserError(f"{json_path} cannot be written: {error.strerror}.") from error
    failed = sum(not line.passed for line in every)
    say(f"{len(every)} quantities, {failed} failed" + (", keys left out" if missed else ""))
    return passed

"""Benchmarks in plain tables, CSV or NPZ, with a named column for each figure."""

from __future__ import annotations

import csv
import gzip
import io
import re
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from jaxnas.errors import UserError
from jaxnas.tabular import macro, nb201
from jaxnas.tabular.benchmark import Accuracy, Benchmark, TableFault
from jaxnas.tabular.npz import read_npz

_SETS = {
    ("cifar10", "val"): ("cifar10-valid", "x-valid"),
    ("cifar10", "test"): ("cifar10", "ori-test"),
    ("cifar100", "val"): ("cifar100", "x-valid"),
    ("cifar100", "test"): ("cifar100", "x-test"),
    ("in16", "val"): ("ImageNet16-120", "x-valid"),
    ("in16", "test"): ("ImageNet16-120", "x-test"),
}
_TRAINED = {"cifar10valid": "cifar10-valid", "cifar100": "cifar100", "in16": "ImageNet16-120"}
_ACCURACY = re.compile(r"(cifar10|cifar100|in16)_(val|test)_(\d{1,4})")
_SECONDS = re.compile(r"train_sec_(cifar10valid|cifar100|in16)_(\d{1,4})")
_COUNT = re.compile(r"params_published_cifar10|(params|flops)_(cifar10|cifar100|in16)")
_MACRO_COLUMNS = ("arch", "test_acc_1", "test_acc_2", "test_acc_3", "mean_acc", "params", "flops")

SEEDS_12, SEEDS_200 = "of the benchmark's seeds 111 and 777", "of the benchmark's seeds 777, 888 and 999"
_SEED_12 = "the benchmark's seed 111"


def read_plain(path: Path) -> Benchmark:
    """The benchmark in a plain table.

    NAS-Bench-201: a line for each architecture with ``arch_str``, accuracies in percent in columns as ``cifar10_val_200``,
    ``cifar100_test_12`` and ``in16_val_200``, ``n_seeds`` (runs that those of 200 epochs are means of), seconds in columns as
    ``train_sec_cifar10valid_200``, ``params_published_cifar10`` as the benchmark has it, ``params_cifar10`` and
    ``flops_cifar10`` of the networks. Lines may come in any order. ``cifar10_val`` is the benchmark's ``cifar10-valid``
    ``x-valid``, ``cifar10_test`` its ``cifar10`` ``ori-test``, the others are ``x-valid`` and ``x-test``. NAS-Bench-Macro:
    ``arch``, ``test_acc_1``, ``_2`` and ``_3``, ``mean_acc``, ``params`` and ``flops``; these accuracies are the greatest after
    any of 50 epochs.

    Args:
      path: a CSV file, which may be compressed by gzip, or an NPZ file of arrays by the same names.

    Raises:
      UserError: it cannot be read, or has neither ``arch_str`` nor NAS-Bench-Macro's columns.
      TableFault: an architecture of another space, missing or there twice; a value that is missing or impossible; a column
        that follows from the architecture and is another.
    """
    columns = read_npz(path) if _is_zip(path) else _csv(path)
    try:
        if "arch_str" in columns:
            return _nb201(columns, path)
        if set(_MACRO_COLUMNS) <= columns.keys():
            return _macro(columns, path)
    except TableFault as fault:
        raise TableFault(f"{path}: {fault}") from None
    raise UserError(
        f"{path} has no column arch_str (NAS-Bench-201), nor all of NAS-Bench-Macro's: {', '.join(_MACRO_COLUMNS)}."
    )


def _is_zip(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(4) == b"PK\x03\x04"
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}.") from error


def _csv(path: Path) -> Mapping[str, np.ndarray]:
    try:
        content = path.read_bytes()
        text = (gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content).decode()
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is no CSV file of a benchmark: {error}.") from error
    names, *rows = list(csv.reader(io.StringIO(text))) or [[]]
    for number, row in enumerate(rows, start=2):
        if len(row) != len(names):
            raise TableFault(f"{path}, line {number}: {len(row)} values for {len(names)} columns.")
    return {name: np.array([row[i] for row in rows]) for i, name in enumerate(names)}


def _nb201(columns: Mapping[str, np.ndarray], path: Path) -> Benchmark:
    texts = columns["arch_str"]
    row_of = _rows(texts.astype(np.str_), nb201.indices_of_strings, nb201.SIZE)
    take = _taker(columns, row_of)
    runs_200 = take("n_seeds", np.uint8) if "n_seeds" in columns else None
    accuracy, seconds, counts = {}, {}, {}
    for name in columns:
        if found := _ACCURACY.fullmatch(name):
            dataset, split = _SETS[found[1], found[2]]
            epochs = int(found[3])
            accuracy[dataset, split, epochs] = _accuracy(take(name, np.float32), dataset, epochs, runs_200)
        elif found := _SECONDS.fullmatch(name):
            seconds[_TRAINED[found[1]], int(found[2])] = take(name, np.float32)
        elif _COUNT.fullmatch(name):
            counts[name] = take(name, np.int64)
    _check_derived(columns, take)
    for (dataset, epochs), values in list(seconds.items()):
        # An epoch of either schedule takes as long.
        if epochs == 200 and (dataset, 12) not in seconds:
            seconds[dataset, 12] = values * np.float32(12 / 200)
    return Benchmark("nb201", accuracy, seconds, counts, f"plain table {path.name}")


def _accuracy(mean: np.ndarray, dataset: str, epochs: int, runs_200: np.ndarray | None) -> Accuracy:
    if epochs == 200 and runs_200 is not None:
        return Accuracy(mean, runs_200, SEEDS_200)
    if epochs == 12:
        # The benchmark trained cifar10-valid with two seeds for 12 epochs, all else with one; the official records show it, and
        # accuracies of cifar10-valid are multiples of half an image.
        two = dataset == "cifar10-valid"
        return Accuracy(mean, np.full(len(mean), 1 + two, np.uint8), SEEDS_12 if two else _SEED_12)
    raise TableFault(f"accuracies after {epochs} epochs need a column n_seeds and 200 epochs, or are of 12 epochs.")


def _rows(texts: np.ndarray, parse: Callable[[np.ndarray], np.ndarray], size: int) -> np.ndarray:
    """The row of each architecture, in the benchmark's order."""
    try:
        found = parse(texts)
    except UserError as error:
        raise TableFault(str(error)) from None
    times = np.bincount(found, minlength=size)
    if (times != 1).any():
        first = int(np.flatnonzero(times != 1)[0])
        raise TableFault(f"{len(texts):,} lines for {size:,} architectures; number {first} is there {times[first]} times.")
    return np.argsort(found)


def _taker(columns: Mapping[str, np.ndarray], row_of: np.ndarray) -> Callable[[str, type], np.ndarray]:
    def take(name: str, dtype: type) -> np.ndarray:
        values = columns[name]
        if values.shape != row_of.shape:
            raise TableFault(f"{name} has the shape {values.shape}, the architectures {row_of.shape}.")
        try:
            numbers = values[row_of].astype(np.float64)
        except (ValueError, TypeError) as error:
            raise TableFault(f"{name} has a value that is missing or no number: {error}.") from None
        if not np.isfinite(numbers).all():
            raise TableFault(f"{name}: a value is missing, of architecture {np.flatnonzero(~np.isfinite(numbers))[0]}.")
        if np.issubdtype(dtype, np.integer) and ((numbers != np.round(numbers)) | (numbers < 0) | (numbers > 2**53)).any():
            raise TableFault(f"{name} has a value that is not a count.")
        return numbers.astype(dtype)

    return take


def _check_derived(columns: Mapping[str, np.ndarray], take: Callable[[str, type], np.ndarray]) -> None:
    """Columns that repeat what the architecture says."""
    edges = zip((f"e{source}{target}" for source, target in nb201.EDGES), nb201.all_choices().T, strict=True)
    for name, ours in {"index": np.arange(nb201.SIZE), "isomorph_rep": nb201.classes(), **dict(edges)}.items():
        if name in columns and (wrong := np.flatnonzero(take(name, np.int64) != ours)).size:
            raise TableFault(f"{name} of architecture {wrong[0]} is {take(name, np.int64)[wrong[0]]}, not {ours[wrong[0]]}.")


def _macro(columns: Mapping[str, np.ndarray], path: Path) -> Benchmark:
    row_of = _rows(columns["arch"].astype(np.str_), lambda texts: macro.indices_of_strings(texts.tolist()), macro.SIZE)
    take = _taker(columns, row_of)
    mean = take("mean_acc", np.float32)
    three = np.stack([take(f"test_acc_{run}", np.float64) for run in (1, 2, 3)])
    if (wrong := np.flatnonzero(np.abs(three.mean(0) - mean) > 1e-3)).size:
        raise TableFault(f"mean_acc of {macro.strings(macro.all_choices()[wrong[:1]])[0]} is not the mean of its three runs.")
    images = 100 * three  # Of 10,000.
    for name, values in (("test_acc", three), ("params", take("params", np.int64)), ("flops", take("flops", np.int64))):
        if (wrong := np.flatnonzero(np.atleast_2d(values != values[..., macro.classes()]).any(0))).size:
            this, other = macro.strings(macro.all_choices()[[wrong[0], macro.classes()[wrong[0]]]])
            raise TableFault(f"{name} of {this} is not that of {other}, which is the same network.")
    if (wrong := np.flatnonzero((np.abs(images - np.round(images)) > 0.01).any(0))).size:
        raise TableFault(f"An accuracy of {macro.strings(macro.all_choices()[wrong[:1]])[0]} is no whole number of images.")
    accuracy = {("cifar10", "test", 50): Accuracy(mean, np.full(macro.SIZE, 3, np.uint8), "the benchmark's three")}
    counts = {name: take(name, np.int64) for name in ("params", "flops")}
    return Benchmark("macro", accuracy, {}, counts, f"plain table {path.name}")

"""The files that NATS-Bench and NAS-Bench-201 are published in.

A trial is one training of one architecture: dataset, epochs, seed. The folders that NATS-Bench calls simple, and
NAS-Bench-201's archives, have a file for each architecture; the large files have all in one. All are pickles, some within
bzip2 or as PyTorch saves them; a name in them that is not of numbers is refused. Source: D-X-Y/NATS-Bench, ``api_utils.py``
and ``api_topology.py``; D-X-Y/NAS-Bench-201, ``api_201.py``.
"""

from __future__ import annotations

import bz2
import dataclasses
import math
import re
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any, cast

import numpy as np

from jaxnas.errors import UserError
from jaxnas.pickles import read_numbers
from jaxnas.tabular.benchmark import CODECS, COUNTED_ON, IMAGES, NAMES, Accuracy, Benchmark, Key, Space, TableFault, words

_RECORD = re.compile(r"(\d{1,6})(-FULL)?\.(pickle\.pbz2|pth)")
_EPOCHS = {"less": 12, "full": 200}
"""NAS-Bench-201's own words; NATS-Bench writes the numbers."""

_PYTORCH = 0x1950A86A20F9469CFC6C
"""What PyTorch's older format begins with; the object is the fourth pickle of the file."""


@dataclasses.dataclass(frozen=True)
class Trial:
    """One training of one architecture.

    Attributes:
      dataset, epochs, seed: which.
      accuracy: by split, and by epoch counted from 0, in percent. Most splits were not judged after every epoch.
      seconds: of the training, without the evaluations; None where they are not there.
      parameters, multiply_adds: as the benchmark counts them.
    """

    dataset: str
    epochs: int
    seed: int
    accuracy: Mapping[str, Mapping[int, float]]
    seconds: float | None
    parameters: int
    multiply_adds: int


def is_official(path: Path) -> bool:
    """Whether this is a folder of records, or looks like a file of pickles.

    Raises:
      UserError: it cannot be read.

    >>> is_official(Path(__file__))
    False
    """
    if path.is_dir():
        return True
    try:
        with path.open("rb") as file:
            magic = file.read(4)
        if magic == b"PK\x03\x04":
            with zipfile.ZipFile(path) as archive:
                return any(name.endswith("/data.pkl") for name in archive.namelist())
        return magic[:3] == b"BZh" or magic[:1] == b"\x80"
    except (OSError, zipfile.BadZipFile) as error:
        raise UserError(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}.") from error


def read_official(path: Path, say: Callable[[str], None] = lambda line: None) -> Benchmark:
    """The benchmark in its official files.

    Means are over all trials. A figure that some architectures lack is left out of all, and said; an architecture that is
    missing is an error.

    Args:
      path: a folder with a record for each architecture (``NATS-tss-v1_0-3ffb9-simple``, ``NATS-sss-v1_0-50262-simple``,
        ``NAS-Bench-201-v1_1-archive``), of which one at a time is in memory; or a file with all (``NATS-tss-v1_0-3ffb9.pickle.
        pbz2``, ``NAS-Bench-201-v1_1-096897.pth``), which needs as much memory as with the benchmark's own interface.
      say: what prints a line.

    Raises:
      UserError: it cannot be read, wants more than numbers, or is of something else.
      TableFault: an architecture is missing or there twice, or its record is damaged.
    """
    space, collected = None, None
    for where, number, record in _records(path):
        found, index = _architecture(record, where, number)
        if space is None or collected is None:
            space, collected = found, _Collected(CODECS[found].SIZE)
        if found != space:
            raise TableFault(f"{where} is of {NAMES[found]}, what came before it of {NAMES[space]}.")
        if collected.present[index]:
            raise TableFault(f"{where}: architecture {index} is there twice.")
        collected.add(index, trials(record, where))
        if collected.present.sum() % 1000 == 0:
            say(f"{collected.present.sum():,} architectures read")
    if space is None or collected is None:
        raise UserError(f"{path} has no record of an architecture, such as 000000.pickle.pbz2.")
    return collected.benchmark(space, path, say)


def _records(path: Path) -> Iterator[tuple[str, int, Any]]:
    """Of each architecture where it was read, its number there and its record."""
    if path.is_dir():
        named = {file: _RECORD.fullmatch(file.name) for file in sorted(path.iterdir())}
        for file, match in named.items():
            if match:
                yield str(file), int(match[1]), _content(file)
        return
    content = _content(path)
    if not isinstance(content, dict) or "arch2infos" not in content:
        one = isinstance(content, dict) and {"12", "less", "full", "200"} & content.keys()
        said = "holds one architecture: give the folder that it is in" if one else "is no file of NATS-Bench or NAS-Bench-201"
        raise UserError(f"{path} {said}.")
    if not content["arch2infos"]:
        raise UserError(f"{path} says which architectures there are, not what was measured: give the folder that it is in.")
    for number, record in content["arch2infos"].items():
        yield f"{path}, architecture {number}", number, record


def _content(path: Path) -> Any:
    """What was pickled, or saved by PyTorch in either of its formats."""
    try:
        with path.open("rb") as file:
            magic = file.read(4)
            file.seek(0)
            if magic[:3] == b"BZh":
                with bz2.open(file) as inner:
                    return read_numbers(cast(IO[bytes], inner))
            if magic == b"PK\x03\x04":
                with zipfile.ZipFile(file) as archive:
                    name = next(name for name in archive.namelist() if name.endswith("/data.pkl"))
                    with archive.open(name) as inner:
                        return read_numbers(inner)
            content = read_numbers(file)
            if isinstance(content, int) and content == _PYTORCH:
                _, _, content = (read_numbers(file) for _ in range(3))
            return content
    except UserError as error:
        raise UserError(f"{path} {error}.") from None
    except (OSError, zipfile.BadZipFile, StopIteration) as error:
        raise UserError(f"{path} cannot be read: {error}.") from error


def _architecture(record: Any, where: str, number: int) -> tuple[Space, int]:
    """Space and number of a record's architecture."""
    try:
        texts = {str(part["arch_str"]) for part in record.values()}
        numbers = {int(part["arch_index"]) for part in record.values()} | {number}
        (text,) = texts
        space: Space = "nb201" if "|" in text else "sss"
        (index,) = CODECS[space].indices_of_strings([text]).tolist()
    except UserError as error:
        raise TableFault(f"{where}: {error}") from None
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise TableFault(f"{where} is no record of an architecture ({type(error).__name__}: {error}).") from error
    if numbers != {index}:
        raise TableFault(f"{where}: {text} is number {index}, the record says {sorted(numbers)}.")
    return space, index


def trials(record: Any, where: str) -> list[Trial]:
    """The trials in the record of one architecture.

    Args:
      record: as it was pickled: by ``12``, ``200`` (or ``less``, ``full``; or ``01``, ``12``, ``90``) what was trained so long.
      where: the beginning of messages.

    Raises:
      TableFault: it has another form, trials of another length than it says, or a value that is missing or impossible.

    >>> run = {"epochs": 1, "eval_acc1es": {"ori-test@0": 10.0}, "train_times": {0: 2.5}, "params": 0.5, "flop": 1.5}
    >>> (trial,) = trials({"01": {"all_results": {("cifar10", 777): run}}}, "a record")
    >>> trial.accuracy, trial.seconds, trial.parameters
    ({'ori-test': {0: 10.0}}, 2.5, 500000)
    """
    try:
        return [
            _trial(dataset, _EPOCHS.get(name) or int(name), int(seed), run)
            for name, part in record.items()
            for (dataset, seed), run in part["all_results"].items()
        ]
    except TableFault as fault:
        raise TableFault(f"{where}: {fault}") from None
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise TableFault(f"{where} has no trials that can be read ({type(error).__name__}: {error}).") from error


def _trial(dataset: str, epochs: int, seed: int, run: Mapping[str, Any]) -> Trial:
    which = f"{dataset}, {epochs} epochs, seed {seed}"
    if dataset not in COUNTED_ON:
        raise TableFault(f"{which}: the benchmark has no such dataset; it has {', '.join(COUNTED_ON)}.")
    if run["epochs"] != epochs:
        raise TableFault(f"{which}: the trial was trained for {run['epochs']} epochs.")
    accuracy: dict[str, dict[int, float]] = {}
    for name, value in run["eval_acc1es"].items():
        split, _, epoch = name.partition("@")
        if (dataset, split) not in IMAGES:  # What else was judged is no figure of the benchmark.
            continue
        if not 0 <= int(epoch) < epochs:
            raise TableFault(f"{which}: there is no accuracy {name!r}.")
        accuracy.setdefault(split, {})[int(epoch)] = _number(value, 100, f"{which}: accuracy {name}")
    times = run["train_times"]
    seconds = None
    if times and len(times) == epochs:
        seconds = sum(_number(value, 1e7, f"{which}: seconds of epoch {epoch}") for epoch, value in times.items())
    counts = [round(1e6 * _number(run[name], 1e6, f"{which}: {name}")) for name in ("params", "flop")]
    return Trial(dataset, epochs, seed, accuracy, seconds, *counts)


def _number(value: Any, most: float, what: str) -> float:
    if not isinstance(value, int | float) or not math.isfinite(value) or not 0 <= value <= most:
        raise TableFault(f"{what} is {value!r}, which is missing or impossible.")
    return float(value)


class _Collected:
    """Arrays of what the trials of all architectures have."""

    def __init__(self, size: int) -> None:
        self.present = np.zeros(size, bool)
        self._figures: dict[tuple[Key, int], np.ndarray] = {}
        self._curves: dict[Key, np.ndarray] = {}
        self._seconds: dict[tuple[str, int], np.ndarray] = {}
        self._counts: dict[str, np.ndarray] = {}

    def add(self, index: int, found: Iterable[Trial]) -> None:
        self.present[index] = True
        sums: dict[tuple[str, int], list[float]] = {}
        curves: dict[Key, list[list[float]]] = {}
        for trial in found:
            for split, by_epoch in trial.accuracy.items():
                key = (trial.dataset, split, trial.epochs)
                if trial.epochs - 1 in by_epoch:
                    self._row(self._figures, (key, trial.seed))[index] = by_epoch[trial.epochs - 1]
                    if split == "x-valid":
                        curve = [by_epoch.get(epoch, math.nan) for epoch in range(trial.epochs)]
                        curves.setdefault(key, []).append(curve)
            sums.setdefault((trial.dataset, trial.epochs), []).append(math.nan if trial.seconds is None else trial.seconds)
            short = COUNTED_ON[trial.dataset]
            self._row(self._counts, f"flop_{short}")[index] = trial.multiply_adds
            if short == "cifar10":
                self._row(self._counts, "params_published_cifar10")[index] = trial.parameters
        for kind, seconds in sums.items():
            self._row(self._seconds, kind)[index] = np.mean(seconds)
        for key, runs in curves.items():
            self._row(self._curves, key, key[2])[index] = np.mean(runs, 0)

    def _row(self, rows: dict[Any, np.ndarray], key: Any, *shape: int) -> np.ndarray:
        if key not in rows:
            rows[key] = np.full((len(self.present), *shape), np.nan, np.float32 if shape else np.float64)
        return rows[key]

    def benchmark(self, space: Space, path: Path, say: Callable[[str], None]) -> Benchmark:
        """Those figures that all architectures have."""
        if not self.present.all():
            first = int(np.flatnonzero(~self.present)[0])
            raise TableFault(
                f"{path} has records of {self.present.sum():,} of the {len(self.present):,} architectures of {NAMES[space]}; "
                f"the first that is missing is {first}."
            )
        by_key: dict[Key, dict[int, np.ndarray]] = {}
        for (key, seed), values in sorted(self._figures.items(), key=lambda item: item[0]):
            by_key.setdefault(key, {})[seed] = values
        accuracy = {}
        for key, each in by_key.items():
            runs = np.sum([~np.isnan(values) for values in each.values()], 0)
            if _whole(words(key), runs > 0, say):
                accuracy[key] = _accuracy(each, runs)
        curves = {key: found for key, found in self._curves.items() if key in accuracy and np.isfinite(found).all()}
        seconds = {
            (dataset, epochs): found.astype(np.float32)
            for (dataset, epochs), found in self._seconds.items()
            if _whole(f"seconds of {dataset}, {epochs} epochs", np.isfinite(found), say)
        }
        counts = {name: found.astype(np.int64) for name, found in self._counts.items() if _whole(name, np.isfinite(found), say)}
        return Benchmark(space, accuracy, seconds, counts, f"official files {path.name}", curves)


def _accuracy(each: Mapping[int, np.ndarray], runs: np.ndarray) -> Accuracy:
    mean = np.nansum(list(each.values()), 0) / runs
    *others, last = map(str, each)
    seeds = f"of the benchmark's seeds {', '.join(others)} and {last}" if others else f"the benchmark's seed {last}"
    by_seed = {seed: values.astype(np.float32) for seed, values in each.items()}
    return Accuracy(mean.astype(np.float32), runs.astype(np.uint8), seeds, by_seed)


def _whole(name: str, there: np.ndarray, say: Callable[[str], None]) -> bool:
    if not there.all():
        say(f"left out: {name}, which {int((~there).sum()):,} architectures lack, the first {np.flatnonzero(~there)[0]}")
    return bool(there.all())

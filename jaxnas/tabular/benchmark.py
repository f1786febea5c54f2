"""What a tabular benchmark measured, by dataset, split and epochs; and the part of it that a search sees."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any, Literal

import numpy as np

from jaxnas.errors import UserError
from jaxnas.tabular import macro, nb201, sss
from jaxnas.tabular.table import Table, check_values

Space = Literal["nb201", "sss", "macro"]
NAMES: dict[str, str] = {"nb201": "NAS-Bench-201", "sss": "NATS-Bench's size space", "macro": "NAS-Bench-Macro"}
CODECS: dict[str, Any] = {"nb201": nb201, "sss": sss, "macro": macro}
"""The module with each space's ``SIZE``, ``all_choices``, ``strings`` and ``indices_of_strings``."""

Key = tuple[str, str, int]
"""Dataset, split and epochs. NAS-Bench-201 has the names of its own interface: ``cifar10-valid`` is trained on half of
CIFAR-10's training images and has the split ``x-valid``, the other half; ``cifar10`` is trained on all of them and has only
``ori-test``; ``x-valid`` and ``x-test`` of ``cifar100`` and ``ImageNet16-120`` are halves of their test images."""

IMAGES = {
    ("cifar10-valid", "x-valid"): 25_000,
    ("cifar10-valid", "ori-test"): 10_000,
    ("cifar10", "ori-test"): 10_000,
    ("cifar100", "x-valid"): 5_000,
    ("cifar100", "x-test"): 5_000,
    ("cifar100", "ori-test"): 10_000,
    ("ImageNet16-120", "x-valid"): 3_000,
    ("ImageNet16-120", "x-test"): 3_000,
    ("ImageNet16-120", "ori-test"): 6_000,
}
"""Of NAS-Bench-201 and NATS-Bench: images in a split."""

COUNTED_ON = {"cifar10-valid": "cifar10", "cifar10": "cifar10", "cifar100": "cifar100", "ImageNet16-120": "in16"}
"""Of datasets' names those that columns of parameters and multiply-adds end in."""

SEARCHED: dict[str, tuple[tuple[str, str], tuple[str, str]]] = {
    "cifar10": (("cifar10-valid", "x-valid"), ("cifar10", "ori-test")),
    "cifar100": (("cifar100", "x-valid"), ("cifar100", "x-test")),
    "ImageNet16-120": (("ImageNet16-120", "x-valid"), ("ImageNet16-120", "x-test")),
}
"""Of both: dataset and split that a search looks at, and those that judge it, as their papers have them."""

JUDGED_AFTER: dict[str, int] = {"nb201": 200, "sss": 90}
"""By space: epochs of the training whose test accuracy is what an architecture is worth."""


class TableFault(UserError):
    """A table's content is not what a benchmark can hold."""


@dataclasses.dataclass(frozen=True, eq=False)
class Accuracy:
    """One figure of every architecture.

    Attributes:
      mean: ``[A]`` float32, percent.
      runs: ``[A]`` uint8, over how many runs the mean was formed.
      seeds: in words, of which seeds these are.
      each: by seed ``[A]`` float32, percent, NaN where an architecture has no such run; empty where the means alone are known.
    """

    mean: np.ndarray
    runs: np.ndarray
    seeds: str
    each: Mapping[int, np.ndarray] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, eq=False)
class Benchmark:
    """The figures of every architecture of a benchmark, in its own order.

    Attributes:
      space: whose architectures.
      accuracy: by dataset, split and epochs.
      seconds: by dataset and epochs ``[A]`` float32, of one training from its beginning.
      counts: what the benchmark itself counts, ``[A]`` int64, by names as ``params_published_cifar10`` and ``flops_cifar10``.
      source: where the figures are from.
      curves: by the same keys as accuracies ``[A, epochs]`` float32, percent: after each epoch of that training, means over the
        same runs. Few have them.

    Raises:
      TableFault: a figure of another number of architectures, accuracies that are no percent, seconds that are not positive.
    """

    space: Space
    accuracy: Mapping[Key, Accuracy]
    seconds: Mapping[tuple[str, int], np.ndarray]
    counts: Mapping[str, np.ndarray]
    source: str
    curves: Mapping[Key, np.ndarray] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        size = CODECS[self.space].SIZE
        named = {f"accuracy of {words(key)}": found.mean for key, found in self.accuracy.items()}
        named |= {f"runs of {words(key)}": found.runs for key, found in self.accuracy.items()}
        named |= {f"seconds of {dataset}, {epochs} epochs": found for (dataset, epochs), found in self.seconds.items()}
        try:
            for name, values in {**named, **self.counts}.items():
                if values.shape != (size,):
                    raise UserError(f"{name} has the shape {values.shape}, {NAMES[self.space]} has {size:,} architectures.")
            for key, found in self.accuracy.items():
                check_values(found.mean, 0, 100, f"accuracy of {words(key)}", "an accuracy in percent")
                check_values(found.runs, 1, 255, f"runs of {words(key)}", "a number of runs")
            for key, found in self.curves.items():
                if found.shape != (size, key[2]):
                    raise UserError(f"the curve of {words(key)} has the shape {found.shape}, not {(size, key[2])}.")
                check_values(found, 0, 100, f"curve of {words(key)}", "an accuracy in percent")
            for (dataset, epochs), found in self.seconds.items():
                check_values(found, 1e-6, 1e9, f"seconds of {dataset}, {epochs} epochs", "a time in seconds above 0")
            for name, found in self.counts.items():
                check_values(found, 0, 2**53, name, "a count")
        except UserError as error:
            raise TableFault(str(error)) from None

    def find(self, dataset: str | None, split: str | None, epochs: int | None) -> Accuracy:
        """The figures of one dataset, split and number of epochs.

        Raises:
          UserError: it has none; what it has is listed.
        """
        found = self.accuracy.get((dataset, split, epochs)) if dataset and split and epochs else None
        if found is None:
            asked = [("--dataset", dataset), ("--split", split), ("--epochs", epochs)]
            missing = [option for option, value in asked if value is None]
            said = f"Not said: {', '.join(missing)}." if missing else f"The table has no {words((dataset, split, epochs))}."
            raise UserError(f"{said} It has: {'; '.join(map(words, self.accuracy))}.")
        return found


def words(key: Iterable[object]) -> str:
    """A key as it is printed.

    >>> words(("cifar10", "ori-test", 200))
    'cifar10 ori-test 200 epochs'
    """
    dataset, split, epochs = key
    return f"{dataset} {split} {epochs} epochs"


def table_of(benchmark: Benchmark, dataset: str) -> Table:
    """What a search on NAS-Bench-201, or on NATS-Bench's size space, sees of a dataset.

    The budgets are those for which the benchmark has validation accuracies, 12 and 200 in the tables of NAS-Bench-201; test
    accuracies are after 200 epochs, in the size space after 90: tables of 12 epochs alone are in use as if they were these, and
    are refused. Seconds are of trainings alone, without the evaluation of the splits, since few tables have
    that.

    Args:
      dataset: of :data:`SEARCHED`. ``cifar10`` is validated on ``cifar10-valid``, with the seconds of a training on half of the
        images, and tested on ``cifar10``, trained on all of them, as in the benchmark's paper.

    Raises:
      UserError: another dataset or space, or a table that lacks a figure.
    """
    if benchmark.space == "macro" or dataset not in SEARCHED:
        raise UserError(f"Searches run on NAS-Bench-201's {', '.join(SEARCHED)}, not on {benchmark.space}'s {dataset!r}.")
    (trained, split), (tested, test_split) = SEARCHED[dataset]
    budgets = sorted(epochs for name, part, epochs in benchmark.accuracy if (name, part) == (trained, split))
    if not budgets:
        raise UserError(f"The table has no {trained} {split}. It has: {'; '.join(map(words, benchmark.accuracy))}.")
    test = benchmark.find(tested, test_split, JUDGED_AFTER[benchmark.space])
    missing = [str(epochs) for epochs in budgets if (trained, epochs) not in benchmark.seconds]
    if missing:
        raise UserError(f"The table has no seconds of training on {trained} for {', '.join(missing)} epochs.")
    validation = [benchmark.accuracy[trained, split, epochs] for epochs in budgets]
    said = [f"{words((trained, split, epochs))}: {told(found)}" for epochs, found in zip(budgets, validation, strict=True)]
    if benchmark.space == "nb201":
        positions, operations = [f"{source}->{target}" for source, target in nb201.EDGES], nb201.OPERATIONS
    else:
        positions, operations = [f"channels {layer}" for layer in range(sss.LAYERS)], tuple(map(str, sss.CHANNELS))
    return Table(
        name=f"{NAMES[benchmark.space]} {dataset}",
        positions=tuple(positions),
        operations=(operations,) * len(positions),
        choices=CODECS[benchmark.space].all_choices(),
        budgets=np.array(budgets),
        validation=np.stack([found.mean for found in validation], 1),
        test=test.mean,
        seconds=np.stack([benchmark.seconds[trained, epochs] for epochs in budgets], 1),
        averaged="; ".join([*said, f"test, {words((tested, test_split, JUDGED_AFTER[benchmark.space]))}: {told(test)}"]),
    )


def told(accuracy: Accuracy, index: int | None = None) -> str:
    """What was averaged, in words: of one architecture, or of all."""
    if index is not None and accuracy.each:
        each = [(seed, values[index]) for seed, values in accuracy.each.items() if not np.isnan(values[index])]
        seeds = ", ".join(f"{seed} ({value:.2f})" for seed, value in each)
        return f"mean of {len(each)} runs, of seeds {seeds}" if len(each) > 1 else f"one run, of seed {seeds}"
    runs = sorted(set(accuracy.runs.tolist())) if index is None else [int(accuracy.runs[index])]
    number = f"{runs[0]}" if len(runs) == 1 else f"{runs[0]} to {runs[-1]}"
    return f"one run, {accuracy.seeds}" if runs == [1] else f"mean of {number} runs, {accuracy.seeds}"

"""Whether a table is NAS-Bench-201's: ``jaxnas verify nb201``.

What a table says of networks is compared with the networks, which are built and counted; what it says of trainings with what
is known of them: figures in the literature, and that an accuracy is a whole number of images.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from jaxnas.counting import COUNTERS, by_layer
from jaxnas.nets import Shape, derived
from jaxnas.spaces import from_text
from jaxnas.tabular import IMAGES, SEARCHED, Benchmark, Key, TableFault, nb201, read
from jaxnas.whole_files import write_whole

NETWORKS = {"cifar10": Shape(16, 5, 10), "cifar100": Shape(16, 5, 100), "in16": Shape(16, 5, 120, image_size=16)}
"""The benchmark's networks, by the names of datasets in its plain tables."""

_SKIP = "|skip_connect~0|+|skip_connect~0|skip_connect~1|+|skip_connect~0|skip_connect~1|skip_connect~2|"
_BEST = {"cifar10": 94.37, "cifar100": 73.51, "ImageNet16-120": 47.31}
_SKIPS = {"cifar10": 54.30, "cifar100": 15.61, "ImageNet16-120": 16.32}
"""Test accuracies after 200 epochs as the benchmark's papers print them: of the best architecture, and of skip connections
alone, at which DARTS arrives."""

_FINGERPRINTS: Mapping[Key, str] = {
    ("cifar10-valid", "x-valid", 200): "4dea104bd9dbec6f",
    ("cifar10", "ori-test", 200): "0d9927704c3fef42",
    ("cifar100", "x-valid", 200): "1efd4ded6a0157f5",
    ("cifar100", "x-test", 200): "1fa45546c6a11c4f",
    ("ImageNet16-120", "x-valid", 200): "c695868e4e005052",
    ("ImageNet16-120", "x-test", 200): "7e22a563fcdd7b2a",
    ("cifar10-valid", "x-valid", 12): "4bb0220474c91c18",
    ("cifar10", "ori-test", 12): "50bf41287b7efeb2",
    ("cifar100", "x-valid", 12): "d173be4647165f2e",
    ("cifar100", "x-test", 12): "c5958cf1bc4bf464",
    ("ImageNet16-120", "x-valid", 12): "c3897373ed23442d",
    ("ImageNet16-120", "x-test", 12): "8266b0655ba8cd34",
}
"""Of NATS-Bench v1.0, taken from a plain table in which several extracts agree: by :func:`_digest` of the images that all runs
of each architecture classified as they should. No other figure tells that a single accuracy was altered by whole images."""

_PUBLISHED_PARAMETERS = "8f26f3341b974b96"
"""The same of ``params_published_cifar10``: its 150 exceptions follow no rule that is known."""


@dataclasses.dataclass(frozen=True)
class Check:
    """One comparison, and what was found, in words."""

    name: str
    passed: bool
    found: str


@functools.cache
def counted(dataset: str) -> Mapping[str, np.ndarray]:
    """Parameters and multiply-adds of all architectures' networks, ``[15625]`` int64 each.

    A network costs what is around its edges and what the operation of each edge costs. Ten networks are built: of the five
    that have one operation everywhere the costs are taken, and on five others, in which every edge has every operation once,
    it is made sure that they add up.

    Args:
      dataset: of :data:`NETWORKS`.

    Returns:
      ``parameters``, and for each of :data:`jaxnas.counting.COUNTERS` the multiply-adds by its name.

    Raises:
      ValueError: they do not add up: then the networks are not NAS-Bench-201's.
    """
    edges, operations = len(nb201.EDGES), len(nb201.OPERATIONS)
    uniform = np.arange(operations)[:, None] * np.ones(edges, int)
    everywhere = count_networks(dataset, uniform)
    base = everywhere[nb201.OPERATIONS.index("none")]
    of_operation, rest = np.divmod(everywhere - base, edges)
    every = np.eye(operations, dtype=np.int64)[nb201.all_choices()].sum(1) @ of_operation + base
    square = (np.arange(operations)[:, None] + np.arange(edges)) % operations
    if rest.any() or (every[nb201.indices(square)] != count_networks(dataset, square)).any():
        raise ValueError(f"The costs of NAS-Bench-201's networks on {dataset} are not sums over their edges.")
    return dict(zip(("parameters", *COUNTERS), every.T, strict=True))


def count_networks(dataset: str, choices: np.ndarray) -> np.ndarray:
    """``[N, 3]`` int64: of each network the parameters, and the multiply-adds by each of :data:`jaxnas.counting.COUNTERS`.

    Args:
      dataset: of :data:`NETWORKS`.
      choices: ``[N, 6]`` integers.
    """
    shape, found = NETWORKS[dataset], []
    for text in nb201.strings(choices):
        network = derived(from_text(str(text)), shape)
        layers = by_layer(network, shape.image_size)
        found.append([network.parameters, *(sum(layers[kind] for kind in kinds) for kinds in COUNTERS.values())])
    return np.array(found, np.int64)


def verify_nb201(table: Path, json_path: Path | None, say: Callable[[str], None] = print) -> bool:
    """Checks a table of NAS-Bench-201, and our notation, classes and networks against it.

    Args:
      table: its file.
      json_path: where to write the checks as JSON, if anywhere.
      say: what prints a line.

    Returns:
      Whether all passed. A table whose content no benchmark could have is one that fails.

    Raises:
      UserError: it cannot be read, or is of another benchmark.
    """
    exceptions: list[dict[str, Any]] = []
    checks = [*_of_codecs()]
    try:
        benchmark = read(table, "nb201")
        exceptions = _exceptions(benchmark)
        checks += [*_of_counts(benchmark, exceptions), *_of_trainings(benchmark)]
    except TableFault as fault:
        checks.append(Check("the table can be NAS-Bench-201's", False, str(fault)))
    for check in checks:
        say(f"{'pass' if check.passed else 'FAIL'}  {check.name}: {check.found}")
    if exceptions:
        say("Published parameters that are not the network's (number, ours, published):")
        for one in exceptions:
            say(f"  {one['index']:>6} {one['ours']:>9,} {one['published']:>9,}  {one['architecture']}")
    passed = all(check.passed for check in checks)
    say(f"{sum(check.passed for check in checks)} of {len(checks)} checks passed.")
    if json_path is not None:
        report = {"passed": passed, "table": str(table), "checks": [dataclasses.asdict(check) for check in checks]}
        write_whole(json_path, (json.dumps({**report, "exceptions": exceptions}, indent=2) + "\n").encode())
    return passed


def _of_codecs() -> Iterator[Check]:
    choices, numbers = nb201.all_choices(), np.arange(nb201.SIZE)
    texts = nb201.strings(choices)
    round_trip = (nb201.indices_of_strings(texts) == numbers) & (nb201.indices(choices) == numbers)
    round_trip &= (nb201.from_one_hot(nb201.one_hot(choices)) == choices).all(1)
    yield _all("strings, numbers and one-hot go round", round_trip)
    classes = len(np.unique(nb201.classes()))
    yield Check("classes of isomorphic cells", classes == 6_466, f"{classes:,}")


def _all(name: str, equal: np.ndarray) -> Check:
    first = "" if equal.all() else f", number {int(np.flatnonzero(~equal)[0])} is not"
    return Check(name, bool(equal.all()), f"{int(equal.sum()):,} of {len(equal):,}{first}")


def _exceptions(benchmark: Benchmark) -> list[dict[str, Any]]:
    """The architectures whose published parameters on CIFAR-10 are not those of their networks."""
    published = benchmark.counts.get("params_published_cifar10")
    if published is None:
        return []
    ours, texts = counted("cifar10")["parameters"], nb201.strings(nb201.all_choices())
    return [
        {"index": int(i), "architecture": str(texts[i]), "ours": int(ours[i]), "published": int(published[i])}
        for i in np.flatnonzero(ours != published)
    ]


def _of_counts(benchmark: Benchmark, exceptions: list[dict[str, Any]]) -> Iterator[Check]:
    for name, values in benchmark.counts.items():
        dataset = name.rpartition("_")[2]
        ours = counted(dataset)
        if name == "params_published_cifar10":
            known = _digest(values) == _PUBLISHED_PARAMETERS
            equal = f"{nb201.SIZE - len(exceptions):,} are the networks', {len(exceptions)} are not"
            yield Check(name, known, equal if known else f"{equal}; known are 15,475 and the same 150 of the benchmark's")
        elif name.startswith("params_"):
            yield _all(name, values == ours["parameters"])
        elif name.startswith("flops_"):
            yield _all(f"{name}, counter nasbench201", values == ours["nasbench201"])
        else:  # The official files' own count has the classifier's biases, too.
            yield _all(f"{name}, counter conv_linear and biases", values == ours["conv_linear"] + NETWORKS[dataset].classes)
    for kind in ("params", "flop"):
        if not any(name.startswith(kind) for name in benchmark.counts):
            yield Check(f"{kind}_...", False, "the table has none")


def _of_trainings(benchmark: Benchmark) -> Iterator[Check]:
    skips = int(nb201.indices_of_strings([_SKIP])[0])
    for dataset, (_, test) in SEARCHED.items():
        if (*test, 200) not in benchmark.accuracy:
            yield Check(f"{dataset}, test accuracy after 200 epochs", False, "the table has none")
            continue
        mean = benchmark.accuracy[*test, 200].mean
        for name, found, known in (
            ("best test accuracy", mean.max(), _BEST[dataset]),
            ("skip connections alone", mean[skips], _SKIPS[dataset]),
        ):
            yield Check(f"{dataset}, {name}", round(float(found), 2) == known, f"{found:.2f}, published {known:.2f}")
    for (dataset, split, epochs), found in benchmark.accuracy.items():
        images = found.mean.astype(np.float64) * found.runs * IMAGES[dataset, split] / 100
        name = f"{dataset} {split} {epochs} epochs"
        # Means are kept in float32, whose rounding is up to 0.004 images.
        yield _all(f"{name}, whole numbers of images", np.abs(images - np.round(images)) < 0.01)
        if known := _FINGERPRINTS.get((dataset, split, epochs)):
            same = _digest(np.round(images)) == known
            yield Check(f"{name}, fingerprint", same, "NATS-Bench's figures" if same else "not the figures of NATS-Bench v1.0")
    yield from _of_seconds(benchmark)


def _of_seconds(benchmark: Benchmark) -> Iterator[Check]:
    """The benchmark measured a step and multiplied, so an image takes as long in every dataset."""
    images = {"cifar10-valid": 25_000, "cifar10": 50_000, "cifar100": 50_000, "ImageNet16-120": 151_700}
    per_image = {key: seconds.astype(np.float64) / images[key[0]] / key[1] for key, seconds in benchmark.seconds.items()}
    if not per_image:
        yield Check("seconds of trainings", False, "the table has none")
        return
    first, *others = per_image
    for dataset, epochs in others:
        found = per_image[dataset, epochs]
        yield _all(f"{dataset} {epochs} epochs, seconds in proportion to images", np.abs(found / per_image[first] - 1) < 1e-5)


def _digest(values: np.ndarray) -> str:
    return hashlib.sha256(values.astype("<i8").tobytes()).hexdigest()[:16]

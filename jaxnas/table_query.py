"""What a benchmark says of one architecture, and what was averaged: ``jaxnas query``."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

import numpy as np

from jaxnas import stored
from jaxnas.counting import COUNTERS
from jaxnas.errors import UserError
from jaxnas.latency import read_columns
from jaxnas.spaces import to_text
from jaxnas.table_checks import count_networks
from jaxnas.tabular import CODECS, COUNTED_ON, IMAGES, NAMES, Benchmark, macro, nb201, told

_TRAINED = {
    "cifar10-valid": "trained on half of CIFAR-10's 50,000 training images",
    "cifar10": "trained on all 50,000 training images of CIFAR-10",
    "cifar100": "trained on all 50,000 training images of CIFAR-100",
    "ImageNet16-120": "trained on the 151,700 training images of ImageNet16-120",
}
_JUDGED = {"x-test": "half of the test images", "ori-test": "all test images"}


def architecture(text: str, benchmark: Benchmark) -> int:
    """The number of an architecture in the benchmark's order.

    Args:
      text: its number, its string in the benchmark's notation, the folder of a run that found it, or a genotype's file.

    Raises:
      UserError: none of these, or an architecture of another space.

    >>> architecture("22212220", Benchmark("macro", {}, {}, {}, "nothing"))
    6477
    """
    codec, size = CODECS[benchmark.space], CODECS[benchmark.space].SIZE
    if text.removeprefix("-").isdecimal() and not (benchmark.space == "macro" and len(text) == macro.LAYERS):
        if not 0 <= int(text) < size:
            raise UserError(f"{NAMES[benchmark.space]} has architectures 0 to {size - 1:,}, not {text}.")
        return int(text)
    if os.path.exists(text):  # Unlike Path's, this does not raise for a string that is too long for a name.
        genotype, _, _ = stored.source(text)
        if genotype.family != benchmark.space:
            raise UserError(
                f"{text} holds a genotype of the family {genotype.family}, the table is of {NAMES[benchmark.space]}."
            )
        text = to_text(genotype)
    try:
        return int(codec.indices_of_strings([text])[0])
    except UserError as error:
        raise UserError(
            f"{text[:80]!r} is no architecture of {NAMES[benchmark.space]}, no number and no folder of a run: {error}"
        ) from None


def query(benchmark: Benchmark, index: int, dataset: str | None, split: str | None, epochs: int | None) -> dict[str, Any]:
    """Everything that is known of an architecture in one setting.

    Args:
      index: its number.
      dataset, split, epochs: the setting; each must be said.

    Returns:
      ``index``, ``architecture``, ``benchmark``, ``source``, ``dataset``, ``split``, ``epochs``; ``accuracy`` in percent, the
      mean of ``runs`` runs, with ``runs_by_seed`` where they are known; ``rank``, 1 for the best, of ``architectures``;
      ``isomorphic``, by number the accuracies of the others that are the same network, so one sees what chance does;
      ``averaged``, in words; ``seconds`` of one training, or None; ``in_table``, what the table itself counts;
      ``network``, what we count of its network (of NAS-Bench-201), or None.

    Raises:
      UserError: something was not said, or the table does not have it.
    """
    found = benchmark.find(dataset, split, epochs)
    assert dataset is not None and split is not None and epochs is not None  # None is not found.
    choices = CODECS[benchmark.space].all_choices()[[index]]
    network = None
    if benchmark.space == "nb201":
        parameters, *multiply_adds = count_networks(COUNTED_ON[dataset], choices)[0].tolist()
        network = {
            "parameters": parameters,
            "multiply_adds": dict(zip(COUNTERS, multiply_adds, strict=True)),
        }
    seconds = benchmark.seconds.get((dataset, epochs))
    same = _isomorphic(benchmark, index)
    each = {seed: float(values[index]) for seed, values in found.each.items() if not np.isnan(values[index])}
    return {
        "index": index,
        "architecture": str(CODECS[benchmark.space].strings(choices)[0]),
        "benchmark": NAMES[benchmark.space],
        "source": benchmark.source,
        "dataset": dataset,
        "split": split,
        "epochs": epochs,
        "accuracy": float(found.mean[index]),
        "runs": int(found.runs[index]),
        "runs_by_seed": each,
        "rank": int((found.mean > found.mean[index]).sum()) + 1,
        "architectures": len(found.mean),
        "isomorphic": {number: float(found.mean[number]) for number in same},
        "averaged": f"{told(found, index)}; {_setting(benchmark, dataset, split, epochs)}",
        "seconds": None if seconds is None else float(seconds[index]),
        "in_table": {name: int(values[index]) for name, values in benchmark.counts.items() if _is_of(name, dataset)},
        "network": network,
    }


def _isomorphic(benchmark: Benchmark, index: int) -> list[int]:
    """Numbers of the others that are the same network."""
    if benchmark.space == "sss":
        return []
    classes = CODECS[benchmark.space].classes()
    return [number for number in np.flatnonzero(classes == classes[index]).tolist() if number != index]


def _is_of(name: str, dataset: str) -> bool:
    """Whether a count is of the networks for a dataset."""
    _, _, short = name.rpartition("_")
    return short == COUNTED_ON.get(dataset) or short not in COUNTED_ON.values()


def _setting(benchmark: Benchmark, dataset: str, split: str, epochs: int) -> str:
    if benchmark.space == "macro":  # xiusu/NAS-Bench-Macro, train/train.py keeps the greatest.
        return f"of each run the greatest test accuracy after any of {epochs} epochs; trained on all 50,000 images of CIFAR-10"
    after = f"accuracy after the last of {epochs} epochs, not the best epoch's"
    judged = "the other half" if dataset == "cifar10-valid" and split == "x-valid" else _JUDGED.get(split)
    judged = judged or "the other half of the test images, for validation"
    return f"{after}; {_TRAINED[dataset]}, judged on {judged} ({IMAGES[dataset, split]:,})"


def latencies(path: Path, index: int, benchmark: Benchmark) -> dict[str, float | None]:
    """Latencies of an architecture on devices, joined by its number.

    Args:
      path: a CSV file, which may be compressed by gzip, with a column ``index``, the official numbers, and a column of
        milliseconds for each device. Where a value is negative or left out the device could not run it: None.

    Raises:
      UserError: no such file or column, a number that is there twice or none of the benchmark's, a time that is no number; the
        architecture is not in it.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "phones.csv"
    >>> _ = path.write_text("index,phone,tpu\\n7,2.5,-1\\n")
    >>> latencies(path, 7, Benchmark("nb201", {}, {}, {}, "nothing"))
    {'phone': 2.5, 'tpu': None}
    """
    columns = read_columns(path)
    if "index" not in columns:
        raise UserError(f"{path} has no column 'index' with the numbers of architectures; it has {', '.join(columns)}.")
    size, rows = CODECS[benchmark.space].SIZE, {}
    for line, text in enumerate(columns["index"]):
        if not text.isdecimal() or int(text) >= size:
            raise UserError(f"{path}, line {line + 2}: {NAMES[benchmark.space]} has no architecture {text!r}.")
        if int(text) in rows:
            raise UserError(f"{path}, line {line + 2}: architecture {text} is there twice.")
        rows[int(text)] = line
    if index not in rows:
        raise UserError(f"{path} has no architecture {index}: it has {len(rows):,} of {size:,}.")
    row = rows[index]
    strings = columns.get("arch_str")
    if strings and strings[row] != nb201.strings(nb201.all_choices()[index]):
        raise UserError(f"{path}, line {row + 2}: architecture {index} is not {strings[row]!r} in {NAMES[benchmark.space]}.")
    devices = [name for name in columns if name not in ("index", "arch_str")]
    return {name: _time(columns[name][row], f"{path}, line {row + 2}: {name}") for name in devices}


def _time(text: str, where: str) -> float | None:
    if not text.strip():
        return None
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise UserError(f"{where} is {text!r}, it must be milliseconds.")
    return None if value < 0 else value


def report(answer: dict[str, Any]) -> str:
    """An answer of :func:`query`, with ``latency`` where it was joined, as it is printed."""
    lines = [
        f"architecture {answer['index']} of {answer['benchmark']}: {answer['architecture']}",
        f"{answer['dataset']} {answer['split']}, {answer['epochs']} epochs: {answer['accuracy']:.2f} %, "
        f"rank {answer['rank']:,} of {answer['architectures']:,}",
        f"  {answer['averaged']}",
        f"  from {answer['source']}",
    ]
    if same := answer["isomorphic"]:
        least, most = min(same.values()), max(same.values())
        lines.append(f"isomorphic to it are {len(same)} others, with {least:.2f} to {most:.2f} %")
    lines += [] if answer["seconds"] is None else [f"training: {answer['seconds']:,.1f} s, as the benchmark has it"]
    if answer["network"]:
        counted = answer["network"]["multiply_adds"]
        lines.append(f"parameters, counted by us: {answer['network']['parameters']:,}")
        lines.append(f"multiply-adds, counted by us: {counted['conv_linear']:,} of convolutions and the classifier")
        lines.append(f"               by the benchmark's own convention: {counted['nasbench201']:,}")
    lines += [f"{name}, in the table: {value:,}" for name, value in answer["in_table"].items()]
    if "latency" in answer:
        known = {name: value for name, value in answer["latency"].items() if value is not None}
        lines += ["milliseconds on devices:"] if known else []
        lines += [f"  {value:10.4f}  {name}" for name, value in sorted(known.items(), key=lambda item: item[1])]
        absent = [name for name in answer["latency"] if name not in known]
        lines += [f"  could not be run, or was not measured: {', '.join(absent)}"] if absent else []
    return "\n".join(lines)

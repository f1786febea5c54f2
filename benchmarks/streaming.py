"""Images a second that a stream reads from a folder of JPEG, beside a plain loop over the same files.

``python -m benchmarks.streaming --data-dir DATA --json benchmarks/results/streaming.json`` enlarges CIFAR-10's images to 256
pixels, saves them as JPEG, and reads batches of them in random order: by :class:`jaxnas.data.Stream`, by as many threads
without Grain and without reading ahead, and by one loop of Pillow and NumPy. They take turns, so that whatever else the
machine does falls on all; the first round, which fills the system's cache of files, is not counted.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from PIL import Image

from jaxnas.commands.json_output import to_text
from jaxnas.data import Split, Stream, load
from jaxnas.data.pictures import pictures_of
from jaxnas.data.streams import THREADS
from jaxnas.run_folder import environment

PIXELS, QUALITY, BATCH, AHEAD = 256, 90, 64, 20


def written(folder: Path, images: np.ndarray) -> list[Path]:
    """The images as files."""
    files = [folder / f"{number}.jpg" for number in range(len(images))]
    for file, image in zip(files, images, strict=True):
        Image.fromarray(image).resize((PIXELS, PIXELS), Image.Resampling.BICUBIC).save(file, quality=QUALITY)
    return files


def streamed(files: list[Path], rows: np.ndarray) -> float:
    """Sum of the first pixels of all batches, as of the others: what shows that they read the same."""
    split = Split(pictures_of(len(files), lambda number: (str(files[number]), files[number])), np.zeros(len(files), np.int32))
    with Stream(split, rows, AHEAD) as stream:
        return sum(float(stream.take(1)["images"][..., 0, 0, 0].sum()) for _ in rows)


def by_threads(files: list[Path], rows: np.ndarray) -> float:
    """Threads that decode one batch after the other."""
    with ThreadPoolExecutor(THREADS) as threads:
        return sum(float(np.stack(list(threads.map(_decoded, [files[n] for n in row])))[:, 0, 0, 0].sum()) for row in rows)


def by_loop(files: list[Path], rows: np.ndarray) -> float:
    """What one writes down first."""
    return sum(float(np.stack([_decoded(files[n]) for n in row])[:, 0, 0, 0].sum()) for row in rows)


def _decoded(file: Path) -> np.ndarray:
    with Image.open(file) as image:
        return np.asarray(image.convert("RGB"))


SIDES: dict[str, Callable[[list[Path], np.ndarray], float]] = {"stream": streamed, "threads": by_threads, "loop": by_loop}


def measured(files: list[Path], batches: int, rounds: int) -> dict[str, Any]:
    """Images a second of each side: all rounds and their median; and the median ratio of the stream to each other side."""
    rates: dict[str, list[float]] = {name: [] for name in SIDES}
    for number in range(rounds + 1):
        rows = np.random.default_rng(number).integers(0, len(files), (batches, BATCH))
        sums = set()
        for name, read in SIDES.items():
            began = time.perf_counter()
            sums.add(read(files, rows))
            rates[name].append(rows.size / (time.perf_counter() - began))
        assert len(sums) == 1, sums
    rates = {name: found[1:] for name, found in rates.items()}
    ratios = {
        f"stream_by_{name}": round(statistics.median(a / b for a, b in zip(rates["stream"], rates[name], strict=True)), 3)
        for name in ("threads", "loop")
    }
    medians = {name: round(statistics.median(found), 1) for name, found in rates.items()}
    return {
        "images_per_second": medians,
        **ratios,
        "rounds": {name: [round(rate, 1) for rate in found] for name, found in rates.items()},
    }


def main(json: Path, data_dir: Path | None = None, images: int = 2000, batches: int = 30, rounds: int = 5) -> None:
    """Measures, and writes the record."""
    pixels = load("cifar10", data_dir).test.images[:images]
    with tempfile.TemporaryDirectory() as folder:
        files = written(Path(folder), pixels)
        size = statistics.mean(file.stat().st_size for file in files)
        found = measured(files, batches, rounds)
    what = {"images": images, "pixels": PIXELS, "mean_bytes": round(size), "batch": BATCH, "batches_a_round": batches}
    machine = {"cpus": os.cpu_count(), "threads": THREADS}
    json.write_text(to_text({"environment": environment() | {"arguments": []}, **what, **machine, **found}) + "\n")


if __name__ == "__main__":
    tyro.cli(main)

"""A quarter of an hour of one search with its checkpoints: memory is flat, and no descriptor or thread is left behind.

``python -m benchmarks.soak --json benchmarks/results/soak.json`` searches on digits for so long, in one process, with the files
and checkpoints of a run, and leaves as a run does that is asked to. After every epoch it looks at the process. A line is fitted
to the memory by least squares, without the first fifth, in which caches and pools fill.

Beside the resident memory there is what of it malloc has given out. The rest is free: glibc keeps it for each of its arenas, of
which threads have their own, so it grows by steps with whatever thread next needs the most, until all have. A leak would be
in both. ``MALLOC_ARENA_MAX=1`` in the environment gives all threads one arena.
"""

from __future__ import annotations

import ctypes
import dataclasses
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import tyro

from jaxnas import leaving, searching
from jaxnas.commands.json_output import to_text
from jaxnas.console import Console
from jaxnas.data import load
from jaxnas.feeding import Done
from jaxnas.recipes import RECIPES
from jaxnas.reports import SearchReport
from jaxnas.run_folder import CONFIG, RunFolder, environment, plain
from jaxnas.saves import Saves, saving
from jaxnas.stages import first_part

MEBIBYTE = 2**20
WARM = 0.2
FLAT = 0.02  # Of the memory, over the whole time, by the line.


class Mallinfo(ctypes.Structure):
    """glibc's ``struct mallinfo2``, of all arenas."""

    _fields_ = tuple(
        (name, ctypes.c_size_t)
        for name in "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost".split()
    )


def given_out() -> float:
    """Mebibytes that malloc has given out and not got back, in arenas (``uordblks``) and by ``mmap`` (``hblkhd``)."""
    libc = ctypes.CDLL("libc.so.6")
    libc.mallinfo2.restype = Mallinfo
    found = libc.mallinfo2()
    return (found.uordblks + found.hblkhd) / MEBIBYTE


class Watched(SearchReport):
    """Looks at the process after each epoch, and asks the search to leave when its time is over."""

    def __init__(self, console: Console, saves: Saves, part: Any, seconds: float) -> None:
        super().__init__(console, saves, part)
        self.process, self.seconds, self.began = psutil.Process(), seconds, 0.0
        self.samples: list[dict[str, float]] = []

    def reached(self, state: Any, done: Done) -> None:
        if done.step == 0:
            self.began = self.began or time.perf_counter()  # The first epoch: compilation is not what is looked at.
            elapsed = time.perf_counter() - self.began
            sample = {
                "seconds": round(elapsed, 1),
                "resident_mebibytes": round(self.process.memory_info().rss / MEBIBYTE, 2),
                "given_out_mebibytes": round(given_out(), 2),
                "descriptors": self.process.num_fds(),
                "threads": self.process.num_threads(),
            }
            self.samples.append(sample)
            if elapsed > self.seconds:
                leaving.ask()
        super().reached(state, done)


def soak(seconds: float, folder: Path) -> list[dict[str, float]]:
    """The samples of a search that lasts so long."""
    base = RECIPES["nb201-digits"]
    recipe = dataclasses.replace(base, search=dataclasses.replace(base.search, channels=4, batch=16, epochs=100_000))
    dataset, part = load(recipe.dataset), first_part(recipe.search)
    network = searching.search_network(recipe.search, dataset)
    run_folder = RunFolder(folder)
    config = {CONFIG: {"recipe": "nb201-digits", **plain(recipe)}}
    with Console() as console, saving(run_folder, config, console.note) as saves:
        report = Watched(console, saves, part, seconds)
        try:
            searching.search_cell(recipe, dataset, network, report, part=part)
        except leaving.Left as left:
            console.note(str(left))
    return report.samples


def judged(samples: list[dict[str, float]]) -> dict[str, Any]:
    """The lines through the memory, what else grew, and whether all is flat."""
    warm = [sample for sample in samples if sample["seconds"] >= WARM * samples[-1]["seconds"]]
    at = np.array([sample["seconds"] for sample in warm])
    lines = {}
    for name in ("resident_mebibytes", "given_out_mebibytes"):
        slope, level = np.polyfit(at - at[0], [sample[name] for sample in warm], 1)
        lines[name] = {
            "at_first": round(float(level), 1),
            "per_hour": round(float(slope) * 3600, 2),
            "growth_over_the_fit": round(float(slope * (at[-1] - at[0]) / level), 5),
        }
    grown = {name: int(warm[-1][name] - warm[0][name]) for name in ("descriptors", "threads")}
    return {
        "seconds": samples[-1]["seconds"],
        "epochs": len(samples),
        **lines,
        "most_descriptors": int(max(sample["descriptors"] for sample in warm)),
        "most_threads": int(max(sample["threads"] for sample in warm)),
        **{f"{name}_grown": number for name, number in grown.items()},
        "flat": all(line["growth_over_the_fit"] < FLAT for line in lines.values()) and max(grown.values()) <= 0,
    }


def main(json: Path, minutes: float = 15.0) -> None:
    """Soaks, and writes the record."""
    with tempfile.TemporaryDirectory() as folder:
        samples = soak(60 * minutes, Path(folder) / "run")
    found = judged(samples)
    each = samples[:: max(1, len(samples) // 60)]
    json.write_text(to_text({"environment": environment() | {"arguments": []}, **found, "samples": each}) + "\n")
    sys.exit(0 if found["flat"] else 1)


if __name__ == "__main__":
    tyro.cli(main)

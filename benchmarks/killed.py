"""Searches that are killed with SIGKILL and resumed, against one that was not: the same bytes, each time.

``python -m benchmarks.killed --json benchmarks/results/killed.json`` runs a small search on digits whole, twice, which fills
the cache of compiled programs and shows that the bytes repeat. Then it runs it again and again in new folders, kills each run
once - most at a moment drawn uniformly between its first file and its last, every third as soon as a checkpoint is being
written - and lets ``jaxnas resume`` end it. The trained network's last checkpoint and the search's are both still there: all
arrays of the state are compared, and the files.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import tyro

SEARCH = (
    "search nb201-digits --search.channels 2 --search.epochs 12 --search.batch 64 "
    "--train.channels 2 --train.epochs 1 --train.batch 64 --random-cells 0 --seed 7"
).split()
FILES = ("log.jsonl", "alphas.npz", "supernet.npz", "network.npz", "genotype.json", "genotype.txt", "config.json")
UNFINISHED = "*.orbax-checkpoint-tmp*"


@dataclasses.dataclass
class Kill:
    """One run that was killed.

    Attributes:
      aimed: at a moment, or at a save.
      seconds: since the run's first file.
      within_a_save: whether a checkpoint was being written.
      log_lines: that there were.
      resumed_from: what ``jaxnas resume`` said.
      differ: files and states that are not those of the uninterrupted run. There must be none.
    """

    aimed: str
    seconds: float
    within_a_save: bool
    log_lines: int
    resumed_from: list[str]
    differ: list[str]


def begin(arguments: list[str], cache: Path) -> subprocess.Popen[str]:
    """The command in a process of its own, with a cache of compiled programs."""
    root = Path(__file__).resolve().parents[1]
    environment = {
        **os.environ,
        "PYTHONPATH": str(root),
        "JAX_PLATFORMS": "cpu",
        "JAX_ENABLE_COMPILATION_CACHE": "true",
        "JAX_COMPILATION_CACHE_DIR": str(cache),
    }
    command = [sys.executable, "-m", "jaxnas", *arguments]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def finish(process: subprocess.Popen[str]) -> str:
    """What it printed.

    Raises:
      RuntimeError: it did not end well.
    """
    printed = process.communicate()[0]
    if process.returncode:
        raise RuntimeError(f"{process.args} ended with {process.returncode}:\n{printed}")
    return printed


def fingerprint(folder: Path) -> dict[str, str]:
    """SHA-256 of a run's files, and of all arrays of its last two checkpoints: the search's and the training's."""
    from orbax.checkpoint import v1

    found = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in FILES}
    kept = [path for path in (folder / "checkpoints").iterdir() if path.name.isdecimal()]
    for path in sorted(kept, key=lambda path: int(path.name)):
        whole = hashlib.sha256()
        for name, array in sorted(v1.load(str(path)).items()):
            whole.update(f"{name} {array.dtype} {array.shape}".encode() + array.tobytes())
        found[f"checkpoint {path.name}"] = whole.hexdigest()
    return found


def killed(folder: Path, cache: Path, whole: dict[str, str], moment: float | None) -> Kill | None:
    """Starts a run, kills it after ``moment`` seconds, or else when it saves, and resumes it; None if it ended before."""
    process = begin([*SEARCH, "--out", str(folder)], cache)
    while not (folder / "environment.json").exists() and process.poll() is None:
        time.sleep(0.01)
    began = time.perf_counter()
    # Before a save that is not the first, so that there is something to resume.
    after = random.Random(folder.name).randrange(1, 12)
    while process.poll() is None:
        saving = any((folder / "checkpoints").glob(UNFINISHED))
        if moment is None and saving and lines(folder) > after:
            break
        if moment is not None and time.perf_counter() - began >= moment:
            break
        time.sleep(0.002)
    seconds = time.perf_counter() - began
    process.send_signal(signal.SIGKILL)
    process.communicate()
    if process.returncode != -signal.SIGKILL:
        return None
    within, done = any((folder / "checkpoints").glob(UNFINISHED)), lines(folder)
    printed = finish(begin(["resume", str(folder)], cache))
    said = [line for line in printed.splitlines() if "resumed after" in line or "warning" in line]
    found = fingerprint(folder)
    differ = sorted(name for name in whole.keys() | found.keys() if whole.get(name) != found.get(name))
    return Kill("a save" if moment is None else "a moment", round(seconds, 2), within, done, said, differ)


def lines(folder: Path) -> int:
    """Of the log."""
    log = folder / "log.jsonl"
    return log.read_bytes().count(b"\n") if log.exists() else 0


def run_and_kill(kills: int, folder: Path, seed: int = 0) -> dict[str, Any]:
    """The record: of so many runs that were killed and resumed, what differed."""
    cache, moments = folder / "cache", random.Random(seed)
    fingerprints, seconds = [], 0.0
    for name in ("first", "second"):
        process = begin([*SEARCH, "--out", str(folder / name)], cache)
        while not (folder / name / "environment.json").exists() and process.poll() is None:
            time.sleep(0.01)
        began = time.perf_counter()
        finish(process)
        seconds = time.perf_counter() - began
        fingerprints.append(fingerprint(folder / name))
    done: list[Kill] = []
    started = 0
    while len(done) < kills:
        started += 1
        moment = None if started % 3 == 0 else moments.uniform(0.0, seconds)
        kill = killed(folder / f"killed-{started}", cache, fingerprints[0], moment)
        if kill is not None:
            done.append(kill)
            print(kill, flush=True)
    return {
        "search": SEARCH,
        "compared": sorted(fingerprints[0]),
        "uninterrupted_twice_the_same": fingerprints[0] == fingerprints[1],
        "warm_seconds": round(seconds, 1),
        "kills": len(done),
        "within_a_save": sum(kill.within_a_save for kill in done),
        "with_differences": sum(bool(kill.differ) for kill in done),
        "ended_before_their_moment": started - len(done),
        "each": [dataclasses.asdict(kill) for kill in done],
    }


def main(json: Path, kills: int = 30) -> None:
    """Kills and resumes, and writes the record."""
    from jaxnas.commands.json_output import to_text
    from jaxnas.run_folder import environment

    with tempfile.TemporaryDirectory() as folder:
        record = run_and_kill(kills, Path(folder))
    json.write_text(to_text({"environment": environment() | {"arguments": []}, **record}) + "\n")
    if record["with_differences"] or not record["uninterrupted_twice_the_same"]:
        sys.exit(1)


if __name__ == "__main__":
    tyro.cli(main)

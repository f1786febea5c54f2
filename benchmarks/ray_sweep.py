"""A sweep of six short searches on a Ray cluster of two workers, of which one is killed while it searches.

``python -m benchmarks.ray_sweep --json benchmarks/results/ray_sweep.json`` first runs each search alone, by ``jaxnas search``.
Then it starts a cluster of two nodes on this machine, a worker each, runs ``jaxnas sweep --ray`` on it and sends SIGKILL to a
worker as soon as a search has a few epochs behind it. All six have to end, the one that was killed from its checkpoint and not
anew, with the files and the arrays of those that ran alone.
"""

from __future__ import annotations

import json as json_module
import os
import random
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil
import tyro

from benchmarks.killed import begin, fingerprint, finish, lines

RECIPE = "nb201-digits"
SIZES = (
    "--search.channels 2 --search.cells 1 --search.epochs 20 --train.channels 2 --train.cells 1 --train.epochs 1 "
    "--train.batch 64 --random-cells 0"
).split()
SEEDS, BATCHES = (0, 1, 2), (64, 128)
NAMES = {f"search.batch={batch}-seed={seed}": (batch, seed) for batch in BATCHES for seed in SEEDS}
WORKER = "ray::ImplicitFunc.train"


def kill_a_worker(sweep: Path, process: Any) -> dict[str, Any]:
    """Kills one of those that search as soon as each of them has at least two epochs behind it, and there are two."""
    while process.poll() is None:
        begun = [name for name in NAMES if (sweep / name / "environment.json").exists()]
        epochs = {name: lines(sweep / name) for name in begun if not (sweep / name / "result.json").exists()}
        workers = [one.pid for one in psutil.process_iter(["cmdline"]) if WORKER in " ".join(one.info["cmdline"] or ())]
        if len(epochs) == len(workers) == 2 and min(epochs.values()) >= 2:
            os.kill(random.Random(0).choice(sorted(workers)), signal.SIGKILL)
            return {"epochs_logged": epochs, "seconds_logged": {name: timing(sweep / name) for name in epochs}}
        time.sleep(0.01)
    raise RuntimeError("The sweep ended before a worker could be killed.")


def timing(folder: Path) -> list[float]:
    """Wall-clock seconds of each epoch that is logged: a run that began anew would have others."""
    return [json_module.loads(line)["seconds"] for line in (folder / "timing.jsonl").read_text().splitlines()]


def measured(folder: Path) -> dict[str, Any]:
    """The record."""
    from ray.cluster_utils import Cluster  # pyright: ignore[reportMissingImports]

    cache, alone, sweep = folder / "cache", folder / "alone", folder / "sweep"
    for name, (batch, seed) in NAMES.items():
        search = ["search", RECIPE, *SIZES, "--search.batch", str(batch), "--seed", str(seed), "--out", str(alone / name)]
        finish(begin(search, cache))
    os.environ |= {"PYTHONPATH": str(Path(__file__).resolve().parents[1]), "RAY_USAGE_STATS_ENABLED": "0"}
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    try:
        cluster.add_node(num_cpus=1)
        seeds = [str(seed) for seed in SEEDS]
        setting = f"search.batch={','.join(str(batch) for batch in BATCHES)}"
        arguments = ["sweep", RECIPE, *SIZES, "--seeds", *seeds, "--set", setting, "--out", str(sweep)]
        process = begin([*arguments, "--ray", str(cluster.address)], cache)
        killed = kill_a_worker(sweep, process)
        printed = finish(process)
    finally:
        cluster.shutdown()
    searches = []
    for name in NAMES:
        whole, found = fingerprint(alone / name), fingerprint(sweep / name)
        differ = sorted(file for file in whole.keys() | found.keys() if whole.get(file) != found.get(file))
        begun_again = len(json_module.loads((sweep / name / "environment.json").read_text()).get("resumed", []))
        before = killed["seconds_logged"].get(name, [])
        # A checkpoint may be an epoch older than the log.
        kept = before[: len(before) - 1] == timing(sweep / name)[: len(before) - 1]
        searches.append({"run": name, "begun_again": begun_again, "went_on": kept if begun_again else None, "differ": differ})
    return {
        "sweep": arguments[:-2],
        "workers": 2,
        "killed_when": killed["epochs_logged"],
        "compared": sorted(fingerprint(alone / next(iter(NAMES)))),
        "failed": json_module.loads((sweep / "sweep.json").read_text())["failed"],
        "searches": searches,
        "printed": [line for line in printed.splitlines() if line.startswith(("begun", "ended"))],
    }


def main(json: Path) -> None:
    """Runs, kills, compares, and writes the record; 1 where something is not as it should be."""
    from jaxnas.commands.json_output import to_text
    from jaxnas.run_folder import environment

    with tempfile.TemporaryDirectory() as folder:
        record = measured(Path(folder))
    json.write_text(to_text({"environment": environment() | {"arguments": []}, **record}) + "\n")
    again = [one for one in record["searches"] if one["begun_again"]]
    if record["failed"] or any(one["differ"] for one in record["searches"]) or [one["went_on"] for one in again] != [True]:
        sys.exit(1)


if __name__ == "__main__":
    tyro.cli(main)

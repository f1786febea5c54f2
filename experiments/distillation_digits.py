"""Whether a small network on digits gains by learning from a larger one's outputs beside the labels.

    python experiments/distillation_digits.py [--seeds 10]

The teacher is a network of a cell of NAS-Bench-201's space with 8 channels and 3 cells a stage; the student has the same cell
with 2 channels and one. Each seed's student is trained twice, with the teacher and without, with the same first weights, order
and number of steps. Writes distillation_digits.json.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import tyro

CELL = "|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+|skip_connect~0|nor_conv_3x3~1|nor_conv_1x1~2|"
"""Four convolutions of 3x3, one of 1x1 and a skip connection."""

STUDENT = ("--train.channels", "2", "--train.cells", "1", "--train.epochs", "10")
RECORD = Path(__file__).with_suffix(".json")


def trained(folder: Path, *options: str) -> dict[str, Any]:
    """What ``jaxnas train`` says of the cell's network."""
    command = [sys.executable, "-m", "jaxnas", "train", CELL, "--recipe", "nb201-digits", "--out", str(folder), "--json"]
    found = json.loads(subprocess.run([*command, *options], check=True, capture_output=True, text=True).stdout)["given"]
    return {name: found[name] for name in ("test_accuracy", "parameters")}


def main(seeds: int = 10) -> None:
    """Trains the teacher, then the students by turns, and writes the record."""
    from jaxnas.run_folder import environment

    rows = []
    with tempfile.TemporaryDirectory() as folder:
        runs = Path(folder)
        teacher = trained(runs / "teacher")
        for seed in range(seeds):
            common = (*STUDENT, "--seed", str(seed))
            alone = trained(runs / f"alone{seed}", *common)
            taught = trained(runs / f"taught{seed}", *common, "--train.teacher", str(runs / "teacher"))
            rows.append({"seed": seed, "alone": alone["test_accuracy"], "taught": taught["test_accuracy"]})
            print(rows[-1], flush=True)
    gains = [100 * (row["taught"] - row["alone"]) for row in rows]
    better = sum(gain > 0 for gain in gains)
    record = {
        "cell": CELL,
        "student": [*STUDENT],
        "student_parameters": alone["parameters"],
        "teacher": teacher,
        "rows": rows,
        "gain_points": {"mean": statistics.mean(gains), "deviation": statistics.stdev(gains), "better": better},
        "environment": environment() | {"arguments": []},
    }
    RECORD.write_text(json.dumps(record, indent=2) + "\n")


if __name__ == "__main__":
    tyro.cli(main)

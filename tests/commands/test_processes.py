"""``jaxnas search`` in two processes that find each other: one run, which is that of one device."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jaxnas.recipes import find

SEARCH = (
    *("search", "nb201-digits", "--random-cells", "0", "--search.epochs", "1", "--search.channels", "2"),
    *("--search.cells", "1", "--search.batch", "64", "--train.channels", "2", "--train.cells", "1", "--train.epochs", "1"),
)


def started(devices: int, *arguments: str) -> subprocess.Popen[str]:
    flags = f"{os.environ['XLA_FLAGS']} --xla_force_host_platform_device_count={devices}"
    command = [sys.executable, "-m", "jaxnas", *SEARCH, *arguments]
    pipe: Any = subprocess.PIPE
    return subprocess.Popen(command, env={**os.environ, "XLA_FLAGS": flags}, stdout=pipe, stderr=pipe, text=True)


@pytest.mark.slow
def test_two_processes_search_as_one_device_does(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    among = ("--out", str(tmp_path / "many"), "--coordinator", f"localhost:{port}", "--processes", "2", "--process-id")
    first, second = processes = [started(2, *among, str(number)) for number in range(2)]
    printed = [process.communicate()[0] for process in processes]
    assert (first.returncode, second.returncode) == (0, 0)
    assert "4 x cpu" in printed[0] and "16 images of each batch on each" in printed[0] and "search epoch" in printed[0]
    assert "search" not in printed[1]
    alone = started(1, "--out", str(tmp_path / "one"))
    alone.communicate()
    assert alone.returncode == 0
    logs = [(tmp_path / run / "log.jsonl").read_text().splitlines() for run in ("many", "one")]
    many, one = ([json.loads(line) for line in log] for log in logs)
    assert len(many) == len(one)
    for line, expected in zip(many[:1], one[:1], strict=True):  # Of the training the genotype may differ by a tie.
        assert line.keys() == expected.keys()
        for name in ("train_loss", "valid_loss", "train_accuracy", "weight_gradient_norm"):
            assert line[name] == pytest.approx(expected[name], rel=1e-3)
        # In float32 sums in another order differ by rounding, which Adam, dividing by the gradient's size, turns into a part
        # of a step where the gradient is near 0. That all else is the same is shown in float64 (test_parallel.py).
        step = find("nb201-digits").search.alpha_learning_rate
        np.testing.assert_allclose(line["alphas"]["cell"], expected["alphas"]["cell"], atol=step)

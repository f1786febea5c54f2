"""``jaxnas search`` in two processes that find each other: one run, which is that of one device, and which outlives them."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jaxnas.checkpoints import Checkpoints
from jaxnas.recipes import find
from jaxnas.run_folder import CHECKPOINTS

SEARCH = (
    *("search", "nb201-digits", "--random-cells", "0", "--search.epochs", "1", "--search.channels", "2"),
    *("--search.cells", "1", "--search.batch", "64", "--train.channels", "2", "--train.cells", "1", "--train.epochs", "1"),
)


LINEAR = Path(__file__).with_name("linear_search.py")
EPOCHS = 150
QUICK = f"--random-cells 0 --search.epochs {EPOCHS} --search.batch 24 --train.batch 24 --train.epochs 2".split()
WITHOUT_A_WORD = "This process ended without a word"


def started(devices: int, *arguments: str, program: tuple[str, ...] = ("-m", "jaxnas"), **more: str) -> subprocess.Popen[str]:
    flags = f"{os.environ['XLA_FLAGS']} --xla_force_host_platform_device_count={devices}"
    pipe: Any = subprocess.PIPE
    environment = {**os.environ, "XLA_FLAGS": flags, **more}
    return subprocess.Popen([sys.executable, *program, *arguments], env=environment, stdout=pipe, stderr=pipe, text=True)


def among(count: int) -> list[tuple[str, ...]]:
    """What tells each of so many processes who it is."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    return [("--coordinator", f"localhost:{port}", "--processes", f"{count}", "--process-id", f"{at}") for at in range(count)]


@pytest.mark.slow
def test_two_processes_search_as_one_device_does(tmp_path: Path) -> None:
    first, second = processes = [started(2, *SEARCH, "--out", str(tmp_path / "many"), *who) for who in among(2)]
    printed = [process.communicate()[0] for process in processes]
    assert (first.returncode, second.returncode) == (0, 0)
    assert "4 x cpu" in printed[0] and "16 images of each batch on each" in printed[0] and "search epoch" in printed[0]
    assert "search" not in printed[1]
    alone = started(1, *SEARCH, "--out", str(tmp_path / "one"))
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


def linear(tmp_path: Path, *arguments: str) -> list[subprocess.Popen[str]]:
    """Two processes of one device each, with networks that compile in no time."""
    cache = {"JAX_ENABLE_COMPILATION_CACHE": "true", "JAX_COMPILATION_CACHE_DIR": str(tmp_path / "cache")}
    return [started(1, *arguments, *who, program=(str(LINEAR),), **cache) for who in among(2)]


def after(epochs: int, folder: Path, processes: list[subprocess.Popen[str]]) -> None:
    """Returns when the log has so many epochs, or when a process has ended."""
    log = folder / "log.jsonl"
    while all(process.poll() is None for process in processes):
        if log.exists() and log.read_bytes().count(b"\n") >= epochs:
            return
        time.sleep(0.01)


def left_by(folder: Path) -> dict[str, Any]:
    """What the seed decides: files, and the arrays of the last checkpoint, as bytes."""
    files = ("log.jsonl", "config.json", "genotype.json", "alphas.npz", "supernet.npz", "network.npz")
    last, damaged = Checkpoints(folder / CHECKPOINTS).restore()
    assert last is not None and not damaged
    arrays = {name: (array.dtype, array.tobytes()) for name, array in last.arrays.items()}
    return {**{name: (folder / name).read_bytes() for name in files}, **arrays}


@pytest.mark.slow
def test_a_search_of_two_processes_that_is_ended_in_every_way_leaves_the_bytes_of_one_that_is_not(tmp_path: Path) -> None:
    whole = linear(tmp_path, "search", "nb201-digits", *QUICK, "--out", str(tmp_path / "whole"))
    said = [process.communicate()[1] for process in whole]
    assert [process.returncode for process in whole] == [0, 0], said

    folder = tmp_path / "run"
    command = ("search", "nb201-digits", *QUICK, "--out", str(folder))
    ends = [
        # Whom a signal is sent to, and the exit codes. Where process 0 is gone, JAX may abort the other before it can leave.
        (signal.SIGTERM, (1,), ({75}, {75})),
        (signal.SIGKILL, (1,), ({75}, {-9})),
        (signal.SIGKILL, (0,), ({-9}, {75, -6})),
        (signal.SIGKILL, (0, 1), ({-9}, {-9})),
    ]
    for number, (signal_, to, codes) in enumerate(ends, start=1):
        processes = linear(tmp_path, *command)
        after(EPOCHS * number // 6, folder, processes)
        for at in to:
            processes[at].send_signal(signal_)
        said = [process.communicate(timeout=300)[1] for process in processes]
        for process, expected, words in zip(processes, codes, said, strict=True):
            assert process.returncode in expected, said
            assert f"jaxnas resume {folder} on every host" in words
            killed = signal_ == signal.SIGKILL
            assert process.returncode == 75 or killed
            if process.returncode == -9:
                assert WITHOUT_A_WORD in words
            elif killed:
                assert WITHOUT_A_WORD in words or "Another process of this search is gone" in words
            else:
                assert "Left, as asked" in words
        if codes[0] == {75}:
            assert f"The last good checkpoint is {folder / CHECKPOINTS}" in said[0]
        assert not (folder / "result.json").exists()
        command = ("resume", str(folder))
    processes = linear(tmp_path, *command)
    printed = [process.communicate()[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    assert "search: resumed after epoch" in printed[0] and "resumed" not in printed[1]
    assert left_by(folder) == left_by(tmp_path / "whole")


@pytest.mark.slow
def test_a_search_goes_on_on_another_number_of_devices(tmp_path: Path) -> None:
    def run(devices: int, *arguments: str) -> subprocess.Popen[str]:
        return started(devices, *arguments, program=(str(LINEAR),))

    whole = run(4, "search", "nb201-digits", *QUICK, "--out", str(tmp_path / "whole"))
    whole.communicate()
    assert whole.returncode == 0
    folder = tmp_path / "run"
    process = run(4, "search", "nb201-digits", *QUICK, "--out", str(folder))
    after(EPOCHS // 3, folder, [process])
    process.send_signal(signal.SIGTERM)
    process.communicate()
    assert process.returncode == 75
    before = (folder / "log.jsonl").read_bytes()
    process = run(4, "resume", str(folder), "--devices", "2")
    printed = process.communicate()[0]
    assert process.returncode == 0
    assert "2 x cpu" in printed and "search: resumed after epoch" in printed
    logs = [(path / "log.jsonl").read_bytes() for path in (tmp_path / "whole", folder)]
    assert all(log.startswith(before) for log in logs)
    # Sums of other parts round otherwise: found were 8e-7 in the alphas, and no difference in the losses.
    ends = [json.loads(log.splitlines()[EPOCHS - 1]) for log in logs]
    for name in ("train_loss", "valid_loss"):
        assert ends[1][name] == pytest.approx(ends[0][name], rel=1e-4)
    np.testing.assert_allclose(ends[1]["alphas"]["cell"], ends[0]["alphas"]["cell"], atol=1e-4)

"""What a user gets to read: one message for each mistake, exit code 2, and nothing written; 75 where a run can be resumed."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jaxnas import cli, leaving, run
from jaxnas.errors import TargetMissed

NB201 = "|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+|skip_connect~0|nor_conv_3x3~1|nor_conv_1x1~2|"
CELL = "[('sep_conv_3x3', 0), ('skip_connect', 1)]"
DARTS = f"Genotype(normal={CELL}, normal_concat=[2], reduce={CELL}, reduce_concat=[2])"
TRUNCATED = "data"  # A folder that the test makes, of files cut short.


@pytest.fixture(autouse=True)
def empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Every test runs in a folder of its own, without data sets."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.delenv("JAXNAS_DATA", raising=False)
    return folder


def call(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    """The exit code and all that was printed, without the frames and line breaks of boxes."""
    with pytest.raises(SystemExit) as exit_:
        cli.main(list(arguments))
    printed = capsys.readouterr()
    words = "".join(c for c in printed.out + printed.err if c not in "│╭╮╰╯─").split()
    assert isinstance(exit_.value.code, int)
    return exit_.value.code, " ".join(words)


MISTAKES: dict[str, tuple[list[str], str]] = {
    "no verb": ([], "usage: jaxnas VERB"),
    "unknown verb": (["serch"], "Unknown verb 'serch'. Did you mean search?"),
    "unknown recipe": (["search", "dart-digits"], "Unknown recipe 'dart-digits'. Did you mean darts-digits?"),
    "unknown option": (["search", "--search.chanels", "4"], "Perhaps you meant: --search.channels"),
    "recipe after an option": (
        ["search", "--dry-run", "darts-digits"],
        "If darts-digits is the recipe, it comes before all options: jaxnas search darts-digits",
    ),
    "recipe of a plan after an option": (
        ["plan", "--data-dir", ".", "nb201-digits"],
        "If nb201-digits is the recipe, it comes before all options: jaxnas plan nb201-digits",
    ),
    "recipe of a training as a word": (
        ["train", "DARTS_V2", "darts-imagenet"],
        "If darts-imagenet is the recipe, type: --recipe darts-imagenet",
    ),
    "genotype after an option": (["train", "--overwrite", "DARTS_V2"], "or a genotype in quotes, before all options."),
    "ImageNet without a folder": (
        ["train", "DARTS_V2", "--recipe", "darts-imagenet"],
        "Give --dataset FOLDER with FOLDER/train/CLASS/*.jpg and FOLDER/val/CLASS/*.jpg (or the folder that holds imagenet/ as "
        "--data-dir), or --dataset tfds:NAME. Images are read at 256x256 pixels by the recipes",
    ),
    "option of a part": (["search", "--epochs", "4"], "Perhaps you meant: --search.epochs"),
    "word not listed": (
        ["search", "--search.space", "dart"],
        "('darts', 'drnas', 'nb201', 'gdas', 's1', 's2', 's3', 's4', ",
    ),
    "no number": (["search", "--search.epochs", "many"], "--search.epochs"),
    "no epochs": (["search", "--search.epochs", "0"], "epochs must be positive, got 0."),
    "no finite number": (["search", "--search.alpha-mean", "nan"], "alpha_mean must be a finite number, got nan."),
    "no finite rate": (["search", "--search.learning-rate", "inf"], "learning_rate must be a finite number, got inf."),
    "no probability": (["search", "--train.drop-path", "2"], "drop_path must be at least 0 and below 1, got 2.0."),
    "unknown data set": (["search", "--dataset", "cifr10"], "Did you mean cifar10?"),
    "no data folder": (["search", "darts-first-order"], "No folder is given for data set 'cifar10'."),
    "missing folder": (["search", "darts-first-order", "--data-dir", "nope"], "does not exist"),
    "truncated data": (["search", "darts-first-order", "--data-dir", f"../{TRUNCATED}"], "cut short"),
    "search batch": (["search", "--search.batch", "700"], "A batch of 700 does not fit the training half of the search"),
    "train batch": (["search", "--train.batch", "1298"], "A batch of 1298 does not fit the training set, which has 1297"),
    "too few cells": (["search", "--search.cells", "2"], "at least 3 cells, got 2"),
    "auxiliary head on small images": (["search", "--train.auxiliary-weight", "0.4"], "needs maps of 8x8 pixels"),
    "drop path without": (["search", "nb201-digits", "--train.drop-path", "0.2"], "neither drop path nor"),
    "method that means nothing": (
        ["search", "nb201-digits", "--search.estimator", "gdas", "--search.hypergradient", "unrolled"],
        "hypergradient=unrolled does not go with estimator=gdas",
    ),
    "estimator of another family": (["search", "--search.estimator", "setn"], "it cannot serve the space 'darts'"),
    "mistake of a dry run": (["search", "--dry-run", "--search.batch", "700"], "A batch of 700"),
    "out is a file": (["search", "--out", "../file"], "is a file, not a folder"),
    "out below a file": (["search", "--out", "../file/run"], "cannot be made: Not a directory"),
    "profile in a file": (["search", "--profile", "../file"], "file is a file, not a folder. Give another --profile."),
    "target without a table": (
        ["search", "--target-ms", "4"],
        "--latency-table FILE and --target-ms MILLISECONDS go together.",
    ),
    "no such table": (["search", "--latency-table", "nope.json", "--target-ms", "4"], "nope.json cannot be read"),
    "no latency table": (["search", "--latency-table", "../file", "--target-ms", "4"], "../file is no JSON file"),
    "target that none meets": (
        ["search", "nb201-digits", "--search.parameters.form", "target", "--search.parameters.target", "10"],
        "The target of 10 weights for parameters is below the least of space 'nb201', whose architectures cost 18738 to 91986",
    ),
    "target that all meet": (
        ["pareto", "nb201-digits", "--cost", "parameters", "--targets", "20000", "91986"],
        "is not below the greatest of space 'nb201', whose architectures cost 18738 to 91986 weights. Choose a target between",
    ),
    "latencies without a table": (["pareto", "nb201-digits", "--targets", "4"], "--cost latency needs --latency-table."),
    "no targets": (["pareto", "nb201-digits"], "--targets"),
    "measured without a target": (["derive", ".", "--measured", "3"], "--measured needs --latency-table and --target-ms."),
    "searchers without a table": (["baselines"], "--table"),
    "searchers on no table": (["baselines", "--table", "nope.csv"], "nope.csv cannot be read"),
    "searchers on a table that is none": (["baselines", "--table", "../file"], "../file has no column arch_str"),
    "searchers into a file": (["baselines", "--table", "nope.csv", "--out", "../file"], "../file is a file, not a folder."),
    "unknown searcher": (["blackbox", "--searcher", "evolutoin"], "Did you mean evolution?"),
    "budgets of a searcher that has one": (["blackbox", "--epochs", "1", "2"], "are of successive halving, not of evolution."),
    "a former option": (["blackbox", "--resume"], "goes on with: jaxnas resume RUN"),
    "candidates of no epochs": (["blackbox", "--epochs", "0"], "epochs are positive numbers, got [0]."),
    "plan of no recipe": (["plan", "dart-digits"], "Unknown recipe 'dart-digits'. Did you mean darts-digits?"),
    "plan of no data set": (["plan", "--dataset", "cifr10"], "Did you mean cifar10?"),
    "plan without known shapes": (["plan", "--dataset", "mine.npz"], "mine.npz"),
    "plan of a batch too large": (["plan", "--search.batch", "700"], "A batch of 700 does not fit"),
    "nothing to train": (["train"], "needs the folder of a run, a genotype file, a published"),
    "folder without run": (["train", "."], "config.json is missing. Is . the folder of a run?"),
    "no genotype": (["train", "nope"], "'nope' is no folder of a run, no file, no published genotype, and no genotype"),
    "genotype cut short": (["train", DARTS[:40]], "does not parse"),
    "unknown operation": (["train", NB201.replace("skip_connect", "skip_conect")], "Did you mean skip_connect?"),
    "file without genotype": (["train", "../file"], "A genotype begins with"),
    "genotype of another family": (["train", NB201, "--recipe", "darts-digits"], "of family nb201, but the recipe is"),
    "recipe of another family": (["train", DARTS, "--recipe=nb201-digits"], "of family darts, but the recipe is"),
    "unknown training recipe": (["train", DARTS, "--recipe=darts-digit"], "Did you mean darts-digits?"),
    "recipe without name": (["train", DARTS, "--recipe"], "--recipe needs a value."),
    "long genotype, small images": (
        ["train", DARTS.replace("concat=[2]", f"concat=[{' ' * 500}2]"), "--train.auxiliary-weight", "0.4"],
        "The auxiliary head needs maps of 8x8 pixels",
    ),
    "derive nothing": (["derive"], "the folder of a run"),
    "derive no folder": (["derive", "nope"], "nope is not the folder of a run."),
    "derive no run": (["derive", "."], "config.json is missing. Is . the folder of a run?"),
    "evaluate a file": (["evaluate", "../file"], "is not the folder of a run."),
    "verify nothing": (["verify"], "Type: jaxnas verify golden FILE"),
    "verify something else": (["verify", "gold", "x.npz"], "Unknown check 'gold'. Did you mean golden?"),
    "resume nothing": (["resume"], "jaxnas resume needs the folder of a run, before all options."),
    "resume no folder": (["resume", "nope"], "nope is not the folder of a run."),
    "resume no run": (["resume", "."], "config.json is missing. Is . the folder of a run?"),
    "misspelt published genotype": (["train", "DARTS_V3"], "Did you mean DARTS_V"),
}


@pytest.mark.quick
@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_message_and_leaves_nothing(
    mistake: str, capsys: pytest.CaptureFixture[str], empty_folder: Path
) -> None:
    (empty_folder.parent / "file").write_text("no genotype")
    (empty_folder.parent / TRUNCATED).mkdir()
    (empty_folder.parent / TRUNCATED / "data_batch_1.bin").write_bytes(bytes(3073 * 5 + 1))
    arguments, message = MISTAKES[mistake]
    code, printed = call(capsys, *arguments)
    assert code == 2
    assert message in printed
    assert "Traceback" not in printed
    assert not list(empty_folder.iterdir())


@pytest.mark.parametrize("arguments", (["--help"], *([verb, "--help"] for verb in cli.VERBS)), ids=" ".join)
def test_help(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    code, printed = call(capsys, *arguments)
    assert code == 0
    assert "usage: jaxnas" in printed


def python(command: str) -> subprocess.CompletedProcess[str]:
    """Runs it in a process of its own."""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[1])}
    return subprocess.run([sys.executable, "-c", command], env=environment, capture_output=True, text=True, timeout=60)


def test_usage_imports_nothing_slow() -> None:
    """While the command line itself is imported, Ctrl-C is Python's: a traceback."""
    slow = {"jax", "numpy", "tyro", "rich", "dataclasses"}
    process = python(f"import sys; from jaxnas import cli; cli._run(['--help']); print(sorted({slow} & set(sys.modules)))")
    assert process.stdout.startswith("usage: jaxnas")
    assert process.stdout.endswith("\n[]\n")


@pytest.mark.parametrize("missing", ("", "sys.modules['rich.console'] = None"), ids=("", "without rich"))
def test_interrupt_while_a_verb_is_imported(missing: str) -> None:
    process = python(
        f"import os, signal, sys, time; from jaxnas import cli; {missing}\n"
        "cli.importlib.import_module = lambda _: (os.kill(os.getpid(), signal.SIGINT), time.sleep(60))\n"
        "cli.main(['search'])"
    )
    assert (process.returncode, process.stderr) == (130, "jaxnas: Interrupted. What the run folder holds is whole.\n")


ERRORS_OF_THE_SYSTEM = {
    "full disk": (OSError(errno.ENOSPC, "No space left on device"), "No space is left on the disk."),
    "forbidden": (PermissionError(errno.EACCES, "Permission denied", "there"), "No permission for there."),
    "reader gone": (BrokenPipeError(errno.EPIPE, "Broken pipe"), "What read the output has ended"),
    "name too long": (OSError(errno.ENAMETOOLONG, "File name too long", "there"), "there: File name too long."),
}


@pytest.mark.parametrize("error", ERRORS_OF_THE_SYSTEM)
def test_errors_of_the_system(error: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    raised, message = ERRORS_OF_THE_SYSTEM[error]

    def fail(*_: Any) -> None:
        raise raised

    monkeypatch.setattr(run, "run", fail)
    code, printed = call(capsys, "search", "nb201-digits")
    assert code == 2
    assert printed.startswith(f"jaxnas: {message}")


def test_a_target_that_nothing_meets_has_a_code_of_its_own(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def missed(*_: object) -> None:
        raise TargetMissed("None of the 5 best meets the target.", {})

    monkeypatch.setattr(run, "run", missed)
    code, printed = call(capsys, "search", "nb201-digits")
    assert code == 3 and printed.endswith("jaxnas: None of the 5 best meets the target.")


def test_letters_that_a_terminal_lacks_are_escaped(empty_folder: Path) -> None:
    images = np.random.Generator(np.random.PCG64(0)).integers(0, 256, (12, 4, 4), np.uint8)
    np.savez(empty_folder / "pets.npz", x_train=images, y_train=["größe", "猫"] * 6)
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[1]), "PYTHONIOENCODING": "ascii"}
    printed = [
        subprocess.run(
            [sys.executable, "-m", "jaxnas", "data", "pets.npz", *more],
            env=environment,
            stdout=subprocess.PIPE,
            check=True,
        ).stdout.decode("ascii")
        for more in ([], ["--json"])
    ]
    assert r"\u732b" in printed[0]
    assert json.loads(printed[1])["class_names"] == ["größe", "猫"]


def test_a_run_is_overwritten_only_when_asked(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, empty_folder: Path
) -> None:
    started = []
    monkeypatch.setattr(run, "run", lambda *arguments: started.append(arguments[3].path))
    folder = empty_folder / "runs" / "nb201-digits-seed3"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    (folder / "result.json").write_text("precious")
    (folder / "notes.txt").write_text("mine")
    code, printed = call(capsys, "search", "nb201-digits", "--seed", "3")
    assert code == 2
    assert "runs/nb201-digits-seed3 exists. Give --overwrite" in printed
    assert (folder / "result.json").read_text() == "precious"
    assert not started
    code, printed = call(capsys, "search", "nb201-digits", "--seed", "3", "--overwrite")
    assert code == 0
    assert printed.endswith("next: jaxnas evaluate runs/nb201-digits-seed3")
    assert started == [Path("runs/nb201-digits-seed3")]
    assert [path.name for path in folder.iterdir()] == ["notes.txt"]


def started(*arguments: str) -> subprocess.Popen[str]:
    """The command in a process of its own."""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[1])}
    command = [sys.executable, "-m", "jaxnas", *arguments]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_for(file: Path, process: subprocess.Popen[str]) -> None:
    while not file.exists():
        assert process.poll() is None
        time.sleep(0.05)


@pytest.mark.parametrize("number", (signal.SIGINT, signal.SIGTERM))
def test_a_signal_before_the_first_step_ends_a_run_at_once(
    number: signal.Signals, capsys: pytest.CaptureFixture[str], empty_folder: Path
) -> None:
    process = started("search", "nb201-digits", "--out", "run")
    wait_for(empty_folder / "run" / "environment.json", process)
    process.send_signal(number)  # While it traces or compiles.
    _, message = process.communicate()
    assert process.returncode in (75, 128 + number)  # The second, if the signal comes before the run says that it resumes.
    assert message.startswith("jaxnas: Interrupted. What the run folder holds is whole.")
    assert message.endswith(" Go on with: jaxnas resume run\n") == (process.returncode == 75)
    # The card is begun a moment after the configuration is written.
    assert {path.name for path in (empty_folder / "run").iterdir()} - {"card.json"} == {"config.json", "environment.json"}
    for verb, told in {
        "derive": "has no alphas.npz",
        "evaluate": "has no genotype.json",
        "train": "has no genotype.json",
    }.items():
        code, printed = call(capsys, verb, "run")
        assert code == 2
        assert told in printed
    printed = call(capsys, "search", "nb201-digits", "--out", "run")[1]
    assert "run exists. Give --overwrite" in printed
    assert "jaxnas resume run" in printed


def test_a_run_that_was_asked_to_leave_says_how_to_go_on(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def left(*_: object) -> None:
        with leaving.resumable("jaxnas resume 'runs/my run'"):
            raise leaving.Left(f"Left. {leaving.how_to_resume()}")

    monkeypatch.setattr(run, "run", left)
    assert call(capsys, "search", "nb201-digits") == (75, "jaxnas: Left. Go on with: jaxnas resume 'runs/my run'")


def test_where_another_process_is_gone_the_code_says_that_the_run_can_go_on(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def lost(*_: object) -> None:
        raise leaving.Lost("Another process is gone.")

    monkeypatch.setattr(run, "run", lost)
    assert call(capsys, "search", "nb201-digits") == (75, "jaxnas: Another process is gone.")


@pytest.mark.slow
def test_a_signal_within_an_epoch_saves_and_the_run_goes_on_to_the_same_bytes(
    capsys: pytest.CaptureFixture[str], empty_folder: Path
) -> None:
    sizes = ["--search.channels", "2", "--search.epochs", "40", "--search.batch", "16", "--train.channels", "2"]
    command = ["search", "nb201-digits", *sizes, "--train.epochs", "1", "--train.batch", "128", "--random-cells", "0", "--out"]
    assert call(capsys, *command, "whole")[0] == 0
    process = started(*command, "run")
    wait_for(empty_folder / "run" / "log.jsonl", process)
    process.send_signal(signal.SIGTERM)
    _, message = process.communicate()
    assert process.returncode == 75
    assert "Saving, then leaving." in message
    assert message.endswith("Go on with: jaxnas resume run\n")
    assert call(capsys, "resume", "run")[0] == 0
    for name in ("log.jsonl", "alphas.npz", "supernet.npz", "network.npz", "genotype.json", "config.json"):
        assert (empty_folder / "run" / name).read_bytes() == (empty_folder / "whole" / name).read_bytes()


def test_interrupts_are_the_callers_again_afterwards(capsys: pytest.CaptureFixture[str]) -> None:
    before = signal.getsignal(signal.SIGINT)
    call(capsys, "derive", "nope")
    assert signal.getsignal(signal.SIGINT) is before
    assert signal.set_wakeup_fd(-1) == -1

"""Official files of NATS-Bench and NAS-Bench-201: real records, and whole files with made-up accuracies."""

from __future__ import annotations

import bz2
import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jaxnas import cli
from jaxnas.errors import UserError
from jaxnas.table_checks import counted, verify_nb201
from jaxnas.tabular import (
    Benchmark,
    TableFault,
    nb201,
    read,
    read_official,
    read_plain,
    sss,
    table_of,
    told,
    write_compact,
)
from jaxnas.tabular import trials as trials_of

TEXTS = nb201.strings(nb201.all_choices()).tolist()


def record(nats_records: Path, space: str, number: int) -> dict[str, Any]:
    (folder,) = (nats_records).glob(f"NATS-{space}-*")
    return pickle.loads(bz2.decompress((folder / f"{number:06}.pickle.pbz2").read_bytes()))


@pytest.mark.parametrize("number", [0, 11, 284])
def test_records_say_what_the_plain_table_says(nats_records: Path, nb201_table: Path, number: int) -> None:
    table = read_plain(nb201_table)
    found = trials_of(record(nats_records, "tss", number), "record")
    for (dataset, split, epochs), accuracy in table.accuracy.items():
        trials = [trial for trial in found if (trial.dataset, trial.epochs) == (dataset, epochs)]
        mean = np.mean([trial.accuracy[split][epochs - 1] for trial in trials])
        assert len(trials) == accuracy.runs[number]
        np.testing.assert_allclose(mean, accuracy.mean[number], rtol=1e-6)
        if (dataset, epochs) in table.seconds:
            np.testing.assert_allclose(float(trials[0].seconds or 0), table.seconds[dataset, epochs][number], rtol=1e-6)
    assert {trial.parameters for trial in found if trial.dataset == "cifar10"} == {
        table.counts["params_published_cifar10"][number]
    }


def test_a_record_of_the_size_space(nats_records: Path) -> None:
    found = trials_of(record(nats_records, "sss", 284), "record")
    assert {trial.epochs for trial in found} == {1, 12, 90}
    assert {trial.seed for trial in found if trial.epochs == 12} == {777, 888, 999}
    (one,) = (trial for trial in found if (trial.dataset, trial.epochs) == ("cifar10-valid", 90))
    assert len(one.accuracy["x-valid"]) == 90 and one.parameters == 144_834
    (meta,) = (nats_records).glob("NATS-sss-*/meta.pickle.pbz2")
    names = pickle.loads(bz2.decompress(meta.read_bytes()))["meta_archs"]
    assert sss.strings(sss.all_choices()) == names
    np.testing.assert_array_equal(sss.indices_of_strings(names), np.arange(sss.SIZE))


@pytest.mark.parametrize("text", ["8:8:8:8", "8:8:8:8:12", "|none~0|", "8:8:8:8:8:8"])
def test_what_is_not_of_the_size_space(text: str) -> None:
    with pytest.raises(UserError, match="five numbers of channels"):
        sss.indices_of_strings([text])


def test_a_folder_with_some_of_the_records(nats_records: Path) -> None:
    folder = nats_records / "NATS-tss-v1_0-3ffb9-simple"
    for space in (folder, *folder.parent.glob("NATS-sss-*")):
        with pytest.raises(TableFault, match="records of 3 of the .* the first that is missing is 1"):
            read_official(space)
    with pytest.raises(UserError, match="give the folder that it is in"):
        read_official(folder / "meta.pickle.pbz2")
    with pytest.raises(UserError, match="one architecture: give the folder"):
        read_official(folder / "000011.pickle.pbz2")


NETWORK = {"params": np.float64(0.073306), "flop": 7.78305}
TIMES = dict.fromkeys(range(12), 2.0)


def trial(last: float) -> dict[str, Any]:
    """Of 12 epochs."""
    accuracy = {"train@11": -1.0} | {f"x-valid@{epoch}": last - 11 + epoch for epoch in range(12)}
    return {"epochs": 12, "eval_acc1es": accuracy, "train_times": TIMES, **NETWORK}


def archive(names: tuple[str, str] = ("12", "200")) -> dict[str, Any]:
    """Architecture i has x-valid accuracies of 40 + i / 1000 and, where i is even, of 50 + i / 1000."""
    short, long = names
    infos: dict[int, Any] = {}
    for i, text in enumerate(TEXTS):
        runs = {("cifar10-valid", 777): trial(40 + i / 1000)}
        if i % 2 == 0:
            runs["cifar10-valid", 888] = trial(50 + i / 1000)
        accuracy = {"ori-test@199": 60 + i / 1000}
        test = {("cifar10", 777): {"epochs": 200, "eval_acc1es": accuracy, "train_times": None, **NETWORK}}
        head = {"arch_index": i, "arch_str": text}
        infos[i] = {short: {**head, "all_results": runs}, long: {**head, "all_results": test}}
    return {"meta_archs": TEXTS, "arch2infos": infos, "evaluated_indexes": set(range(len(TEXTS)))}


@pytest.fixture(scope="module")
def whole() -> dict[str, Any]:
    return archive()


def as_bz2(content: Any, path: Path) -> None:
    path.write_bytes(bz2.compress(pickle.dumps(content, 4), 1))


def as_old_pytorch(content: Any, path: Path) -> None:
    parts = (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}, content, [])
    path.write_bytes(b"".join(pickle.dumps(part, 2) for part in parts))


def as_new_pytorch(content: Any, path: Path) -> None:
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("archive/data.pkl", pickle.dumps(content, 2))


@pytest.fixture(scope="module")
def source(whole: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("official") / "NATS-tss.pickle.pbz2"
    as_bz2(whole, path)
    return path


@pytest.fixture(scope="module")
def converted(source: Path) -> tuple[Benchmark, Path]:
    benchmark = read_official(source)
    write_compact(benchmark, source.with_name("table.npz"))
    return benchmark, source.with_name("table.npz")


def test_all_architectures_in_one_file(converted: tuple[Benchmark, Path]) -> None:
    benchmark, path = converted
    number, even = np.arange(nb201.SIZE), np.arange(nb201.SIZE) % 2 == 0
    validation = benchmark.find("cifar10-valid", "x-valid", 12)
    np.testing.assert_allclose(validation.mean, 40 + 5 * even + number / 1000, rtol=1e-6)
    np.testing.assert_array_equal(validation.runs, 1 + even)
    np.testing.assert_allclose(benchmark.curves["cifar10-valid", "x-valid", 12][7], 40.007 - 11 + np.arange(12), rtol=1e-6)
    assert set(benchmark.seconds["cifar10-valid", 12]) == {24} and set(benchmark.counts["flop_cifar10"]) == {7_783_050}
    assert told(validation) == "mean of 1 to 2 runs, of the benchmark's seeds 777 and 888"
    assert told(validation, 4) == "mean of 2 runs, of seeds 777 (40.00), 888 (50.00)"
    assert told(validation, 5) == "one run, of seed 777 (40.01)"
    found = read(path, "nb201").find("cifar10-valid", "x-valid", 12)
    np.testing.assert_array_equal(found.mean, validation.mean)


def test_nas_bench_201_as_pytorch_saved_it(converted: tuple[Benchmark, Path], tmp_path: Path) -> None:
    as_old_pytorch(archive(("less", "full")), tmp_path / "NAS-Bench-201.pth")
    found, (expected, _) = read_official(tmp_path / "NAS-Bench-201.pth"), converted
    assert found.accuracy.keys() == expected.accuracy.keys() and found.seconds.keys() == expected.seconds.keys()
    for key, accuracy in expected.accuracy.items():
        np.testing.assert_array_equal(found.accuracy[key].mean, accuracy.mean)
        np.testing.assert_array_equal(found.accuracy[key].runs, accuracy.runs)
    for name, values in expected.counts.items():
        np.testing.assert_array_equal(found.counts[name], values)


def test_a_figure_that_some_lack_is_left_out_and_said(whole: dict[str, Any], tmp_path: Path) -> None:
    infos = whole["arch2infos"]
    without = {**infos[3], "200": {**infos[3]["200"], "all_results": {}}}
    as_new_pytorch({**whole, "arch2infos": {**infos, 3: without}}, tmp_path / "some.pth")
    said: list[str] = []
    benchmark = read_official(tmp_path / "some.pth", said.append)
    assert list(benchmark.accuracy) == [("cifar10-valid", "x-valid", 12)]
    assert list(benchmark.seconds) == [("cifar10-valid", 12)]
    assert "left out: cifar10 ori-test 200 epochs, which 1 architectures lack, the first 3" in said
    with pytest.raises(
        UserError, match="The table has no cifar10 ori-test 200 epochs. It has: cifar10-valid x-valid 12 epochs"
    ):
        table_of(benchmark, "cifar10")


def changed(part: str, **values: Any) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """A record whose trial of cifar10-valid, or whose part of 12 epochs, has other values."""

    def change(found: dict[str, Any]) -> dict[str, Any]:
        twelve = found["12"]
        if part == "trial":
            run = {**twelve["all_results"]["cifar10-valid", 777], **values}
            values_of_part = {"all_results": {("cifar10-valid", 777): run}}
        else:
            values_of_part = values
        return {**found, "12": {**twelve, **values_of_part}}

    return change


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (changed("trial", epochs=200), "12 epochs, seed 777: the trial was trained for 200 epochs"),
        (changed("trial", eval_acc1es={"x-valid@11": float("nan")}), "x-valid@11 is nan, which is missing or impossible"),
        (changed("trial", eval_acc1es={"x-valid@11": 101.0}), "accuracy x-valid@11 is 101.0"),
        (changed("trial", eval_acc1es={"x-valid@11": None}), "accuracy x-valid@11 is None"),
        (changed("trial", eval_acc1es={"x-valid@12": 50.0}), "there is no accuracy 'x-valid@12'"),
        (changed("trial", params=-1.0), "params is -1.0"),
        (changed("part", arch_index=4), r"is number 5, the record says \[4, 5\]"),
        (changed("part", arch_str="22212220"), "no record|five numbers of channels|not of NAS-Bench-201"),
        (changed("part", all_results={("svhn", 777): trial(50)}), "no such dataset; it has cifar10-valid, cifar10"),
        (changed("part", all_results=3), "has no trials that can be read"),
        (lambda found: {}, "is no record of an architecture"),
    ],
)
def test_a_damaged_record(
    whole: dict[str, Any], tmp_path: Path, change: Callable[[dict[str, Any]], dict[str, Any]], said: str
) -> None:
    as_bz2(change(whole["arch2infos"][5]), tmp_path / "000005.pickle.pbz2")
    with pytest.raises(TableFault, match=said):
        read_official(tmp_path)


def test_an_architecture_that_is_there_twice(whole: dict[str, Any], tmp_path: Path) -> None:
    for name in ("5.pickle.pbz2", "000005.pickle.pbz2"):
        as_bz2(whole["arch2infos"][5], tmp_path / name)
    with pytest.raises(TableFault, match="architecture 5 is there twice"):
        read_official(tmp_path)


class Runs:
    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> Any:
        return os.system, (self.command,)


def code(arguments: list[str]) -> int:
    with pytest.raises(SystemExit) as end:
        cli.main(arguments)
    assert isinstance(end.value.code, int)
    return end.value.code


@pytest.mark.parametrize("save", [as_bz2, as_old_pytorch, as_new_pytorch])
def test_a_pickle_that_wants_more_than_numbers_is_refused_and_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], save: Callable[[Any, Path], None]
) -> None:
    save({"arch2infos": Runs(f"touch {tmp_path / 'was here'}")}, tmp_path / "NATS.pth")
    assert code(["table", "convert", str(tmp_path / "NATS.pth"), "--out", str(tmp_path / "t.npz")]) == 2
    said = capsys.readouterr().err
    assert "NATS.pth asks for posix.system, which no table needs: it may be malicious" in said and "Traceback" not in said
    assert not (tmp_path / "was here").exists() and not (tmp_path / "t.npz").exists()


def test_convert(source: Path, converted: tuple[Benchmark, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "table.npz"
    assert code(["verify", "nb201", "--table", str(source)]) == 2
    assert f"Convert it, once: jaxnas table convert {source} --out table.npz" in capsys.readouterr().err
    assert code(["table", "convert", str(source), "--out", str(out)]) == 0
    said = capsys.readouterr().out
    assert "cifar10-valid x-valid 12 epochs, and after each epoch: mean of 1 to 2 runs" in said and "SHA-256" in said
    assert out.read_bytes() == converted[1].read_bytes()
    assert code(["table", "convert", str(source), "--out", str(out)]) == 2
    assert "exists. Give --overwrite" in capsys.readouterr().err
    assert code(["table", "convert", str(converted[1]), "--out", str(out), "--overwrite"]) == 0
    assert out.read_bytes() == converted[1].read_bytes()
    (tmp_path / "cut.pickle.pbz2").write_bytes(source.read_bytes()[:1000])
    assert code(["table", "convert", str(tmp_path / "cut.pickle.pbz2"), "--out", str(tmp_path / "x.npz")]) == 2
    assert "cut short or damaged" in capsys.readouterr().err
    (tmp_path / "empty").mkdir()
    assert code(["table", "convert", str(tmp_path / "empty"), "--out", str(tmp_path / "x.npz")]) == 2
    assert "no record of an architecture" in capsys.readouterr().err


def of_the_plain_table(nb201_table: Path) -> dict[str, Any]:
    """The published table in the form of the official file: every trial has the mean of its kind."""
    table = read_plain(nb201_table)
    infos: dict[int, Any] = {i: {} for i in range(nb201.SIZE)}
    classes = {"cifar10-valid": 10, "cifar10": 10, "cifar100": 100, "ImageNet16-120": 120}
    for epochs, seeds in ((12, (111, 777)), (200, (777, 888, 999))):
        for i, text in enumerate(TEXTS):
            runs: dict[Any, Any] = {}
            for (dataset, split, trained), found in table.accuracy.items():
                if trained == epochs:
                    for seed in seeds[: found.runs[i]]:
                        run = runs.setdefault((dataset, seed), {"eval_acc1es": {}})
                        run["eval_acc1es"][f"{split}@{epochs - 1}"] = float(found.mean[i])
            for (dataset, _), run in runs.items():
                whole = table.seconds["cifar10-valid" if dataset == "cifar10" else dataset, epochs][i]
                times = dict.fromkeys(range(epochs), float(whole) / epochs * (1 + (dataset == "cifar10")))
                short = "in16" if dataset == "ImageNet16-120" else dataset.removesuffix("-valid")
                flop = (int(counted(short)["conv_linear"][i]) + classes[dataset]) / 1e6
                params = int(table.counts["params_published_cifar10"][i]) / 1e6
                run |= {"epochs": epochs, "train_times": times, "params": params, "flop": flop}
            infos[i][str(epochs)] = {"arch_index": i, "arch_str": text, "all_results": runs}
    return {"meta_archs": TEXTS, "arch2infos": infos, "evaluated_indexes": set(infos)}


@pytest.mark.slow
def test_the_published_figures_in_an_official_file_pass_every_check(nb201_table: Path, tmp_path: Path) -> None:
    as_bz2(of_the_plain_table(nb201_table), tmp_path / "NATS-tss.pickle.pbz2")
    write_compact(read_official(tmp_path / "NATS-tss.pickle.pbz2"), tmp_path / "table.npz")
    said: list[str] = []
    assert verify_nb201(tmp_path / "table.npz", None, said.append)
    assert "pass  flop_in16, counter conv_linear and biases: 15,625 of 15,625" in said
    assert sum("NATS-Bench's figures" in line for line in said) == 12
    table, plain = read(tmp_path / "table.npz"), read_plain(nb201_table)
    for dataset in ("cifar10", "cifar100", "ImageNet16-120"):
        one, other = table_of(table, dataset), table_of(plain, dataset)
        np.testing.assert_array_equal(one.test, other.test)
        np.testing.assert_array_equal(one.validation, other.validation)
        np.testing.assert_allclose(one.seconds, other.seconds, rtol=1e-6)

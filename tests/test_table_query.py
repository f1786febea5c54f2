"""What a benchmark's table says of one architecture."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from jaxnas import cli
from jaxnas.errors import UserError
from jaxnas.recipes import RECIPES
from jaxnas.run_folder import plain
from jaxnas.spaces import PUBLISHED, from_text, to_json
from jaxnas.table_query import architecture, latencies, query, report
from jaxnas.tabular import Benchmark, nb201, read, sss
from jaxnas.tabular.benchmark import Accuracy

SKIPS = "|skip_connect~0|+|skip_connect~0|skip_connect~1|+|skip_connect~0|skip_connect~1|skip_connect~2|"


def made_up(size: int = nb201.SIZE, space: str = "nb201") -> Benchmark:
    """Accuracies fall from 90 by a thousandth for each architecture; every second was trained with another seed, too."""
    mean, runs = (90 - np.arange(size) / 1000).astype(np.float32), (1 + np.arange(size) % 2).astype(np.uint8)
    other = np.where(runs == 2, mean + 1, np.nan).astype(np.float32)
    first = np.where(runs == 2, mean - 1, mean).astype(np.float32)
    accuracy = {
        ("ImageNet16-120", "x-valid", 12): Accuracy(mean, runs, "of the seeds 777 and 888", {777: first, 888: other}),
        ("cifar10", "ori-test", 12): Accuracy(mean, runs, "of the seeds 777 and 888"),
    }
    seconds = {("ImageNet16-120", 12): np.full(size, 7.5, np.float32)}
    counts = {"params_in16": np.arange(size), "params_cifar10": np.arange(size)}
    assert space in ("nb201", "sss")
    return Benchmark("nb201" if space == "nb201" else "sss", accuracy, seconds, counts, "a test")


def test_the_answer() -> None:
    answer = query(made_up(), 1835, "ImageNet16-120", "x-valid", 12)
    assert answer["architecture"] == SKIPS and answer["rank"] == 1836 and answer["runs"] == 2
    assert answer["runs_by_seed"] == pytest.approx({777: 87.165, 888: 89.165})
    assert answer["averaged"] == (
        "mean of 2 runs, of seeds 777 (87.17), 888 (89.17); accuracy after the last of 12 epochs, not the best epoch's; "
        "trained on the 151,700 training images of ImageNet16-120, judged on the other half of the test images, for validation "
        "(3,000)"
    )
    assert answer["isomorphic"] == {}  # Of skip connections alone there is one.
    assert answer["seconds"] == 7.5 and answer["in_table"] == {"params_in16": 1835}
    # The closed form of tests/test_table_checks.py, of a network that has nothing but what is around its cells.
    counted = {"conv_linear": 1_953_280, "nasbench201": 1_993_792}
    assert answer["network"] == {"parameters": 80_456, "multiply_adds": counted}
    others = query(made_up(), 9, "cifar10", "ori-test", 12)["isomorphic"]
    assert len(others) == 29 and 9 not in others and (nb201.classes()[list(others)] == nb201.classes()[9]).all()
    text = report({**answer, "isomorphic": {3: 5.0, 4: 7.0}, "latency": {"slow": 9.0, "none": None, "fast": 1.0}})
    assert "isomorphic to it are 2 others, with 5.00 to 7.00 %" in text
    assert text.index("fast") < text.index("slow") and "could not be run, or was not measured: none" in text


def test_another_setting_has_no_network_of_ours_or_no_seconds() -> None:
    answer = query(made_up(sss.SIZE, "sss"), 284, "cifar10", "ori-test", 12)
    assert answer["architecture"] == "8:8:40:32:40" and answer["network"] is None and answer["seconds"] is None
    assert "mean of 1 run" not in answer["averaged"] and answer["runs_by_seed"] == {}
    assert "trained on all 50,000 training images of CIFAR-10, judged on all test images (10,000)" in answer["averaged"]


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ((None, None, None), "Not said: --dataset, --split, --epochs. It has: ImageNet16-120 x-valid 12 epochs; cifar10"),
        (("cifar10", "ori-test", None), "Not said: --epochs"),
        (("cifar10", "ori-test", 200), "The table has no cifar10 ori-test 200 epochs. It has: .*cifar10 ori-test 12 epochs"),
        (("cifar10", "x-valid", 12), "The table has no cifar10 x-valid 12 epochs"),
        (("svhn", "x-valid", 12), "The table has no svhn"),
    ],
)
def test_there_is_no_default(said: tuple[str | None, str | None, int | None], message: str) -> None:
    with pytest.raises(UserError, match=message):
        query(made_up(), 0, *said)


def test_ways_to_name_an_architecture(tmp_path: Path) -> None:
    benchmark = made_up()
    assert architecture("1835", benchmark) == architecture(SKIPS, benchmark) == 1835
    (tmp_path / "genotype.json").write_text(json.dumps(to_json(from_text(SKIPS), "nb201")))
    assert architecture(str(tmp_path / "genotype.json"), benchmark) == 1835
    (tmp_path / "config.json").write_text(json.dumps({"recipe": "nb201-digits", **plain(RECIPES["nb201-digits"])}))
    assert architecture(str(tmp_path), benchmark) == 1835
    assert architecture("8:8:40:32:40", made_up(sss.SIZE, "sss")) == 284


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("15625", "has architectures 0 to 15,624, not 15625"),
        ("-1", "has architectures 0 to 15,624, not -1"),
        ("22212220", "not 22212220"),
        ("8:8:8:8:8", "no architecture of NAS-Bench-201, no number and no folder of a run"),
        ("|none~0|+|none~0|none~1|+|none~0|none~1|sep_conv_3x3~2|", "sep_conv_3x3"),
        ("DARTS_V2", "no architecture of NAS-Bench-201"),
        ("nowhere/run", "no folder of a run"),
    ],
)
def test_what_is_no_architecture(text: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        architecture(text, made_up())


def test_a_run_of_another_space(tmp_path: Path) -> None:
    (tmp_path / "genotype.json").write_text(json.dumps(to_json(PUBLISHED["PDARTS"], "darts")))
    with pytest.raises(UserError, match="a genotype of the family darts, the table is of NAS-Bench-201"):
        architecture(str(tmp_path / "genotype.json"), made_up())


def test_latencies_join_by_number(device_latencies: Path) -> None:
    folder, benchmark = device_latencies, made_up()
    published = json.loads((folder / "hw_nas_bench_published_examples.json").read_text())["nasbench201"]
    for number in (0, 1, 2):
        found = latencies(folder / "nb201_latency_27devices_ms.csv.gz", number, benchmark)
        assert len(found) == 27
        for device in ("raspi4", "pixel3", "eyeriss", "fpga"):
            assert found[device] == pytest.approx(published[str(number)]["cifar10"][f"{device}_latency"], rel=1e-6)
    with pytest.raises(UserError, match="has no architecture 0: it has 1,999 of 15,625"):
        latencies(folder / "nb201_latency_1999archs_18devices_ms.csv.gz", 0, benchmark)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("arch,phone\n1,2\n", "no column 'index'"),
        ("index,phone\n15625,2\n", "line 2: NAS-Bench-201 has no architecture '15625'"),
        ("index,phone\n1,2\n1,3\n", "line 3: architecture 1 is there twice"),
        ("index,phone\n1,fast\n", "line 2: phone is 'fast', it must be milliseconds"),
        ("index,phone\n1,nan\n", "line 2: phone is 'nan'"),
        (f"index,arch_str,phone\n1,{SKIPS},2\n", "line 2: architecture 1 is not"),
        ("index,phone\n2,2\n", "has no architecture 1: it has 1 of 15,625"),
    ],
)
def test_latencies_that_do_not_join(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "phones.csv").write_text(content)
    with pytest.raises(UserError, match=message):
        latencies(tmp_path / "phones.csv", 1, made_up())


def test_what_a_device_could_not_run(tmp_path: Path) -> None:
    (tmp_path / "phones.csv").write_text(f"index,arch_str,phone,tpu,dsp\n1835,{SKIPS},0.5,-1,\n")
    assert latencies(tmp_path / "phones.csv", 1835, made_up()) == {"phone": 0.5, "tpu": None, "dsp": None}


def test_the_verb(nb201_table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def call(*arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as end:
            cli.main(["query", *arguments])
        assert isinstance(end.value.code, int)
        printed = capsys.readouterr()
        return end.value.code, printed.out, printed.err

    table, asked = str(nb201_table), ["--dataset", "cifar100", "--split", "x-test"]
    code, out, _ = call("9930", "--table", table, *asked, "--epochs", "200", "--json")
    answer = json.loads(out)
    assert code == 0 and (answer["rank"], round(answer["accuracy"], 2)) == (1, 73.51)
    assert answer["network"]["multiply_adds"]["nasbench201"] == answer["in_table"]["flops_cifar100"]
    assert answer["network"]["parameters"] == answer["in_table"]["params_cifar100"]
    code, _, err = call("9930", "--table", table)
    assert code == 2 and "Not said: --dataset, --split, --epochs. It has: " in err
    code, _, err = call(SKIPS[:-3], "--table", table, *asked, "--epochs", "200")
    assert code == 2 and "is no architecture of NAS-Bench-201" in err and "Traceback" not in err
    columns = dict(np.load(table))
    np.savez(tmp_path / "short.npz", allow_pickle=False, **{name: values[:100] for name, values in columns.items()})
    code, _, err = call("7", "--table", str(tmp_path / "short.npz"), *asked, "--epochs", "200")
    assert code == 2 and "100 lines for 15,625 architectures" in err


def test_nas_bench_macro(macro_table: Path) -> None:
    benchmark = read(macro_table)
    answer = query(benchmark, architecture("22212220", benchmark), "cifar10", "test", 50)
    assert answer["rank"] == 1 and round(answer["accuracy"], 2) == 93.13 and answer["runs"] == 3
    assert "of each run the greatest test accuracy after any of 50 epochs" in answer["averaged"]
    assert set(answer["isomorphic"].values()) == {answer["accuracy"]}  # Trained once for all of them.
    assert answer["in_table"]["params"] > 0 and answer["network"] is None
    assert architecture("6560", benchmark) == architecture("22222222", benchmark) == 6560
    with pytest.raises(UserError, match="eight digits|8 digits"):
        architecture("22212223", benchmark)

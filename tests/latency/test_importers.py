"""Published tables: the reference's totals, the benchmarks' own values, and every mistake in a file named."""

from __future__ import annotations

import csv
import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jaxnas.derive import one_hot_mixture
from jaxnas.errors import UserError
from jaxnas.latency import GRAPHS, Graph, Table, costs, importers, kept, warning
from jaxnas.latency.measured import read_measured
from jaxnas.nets import ChainShape, Shape
from jaxnas.spaces import FBNET_SMALL_STRIDES, block_genotype, fbnet, nb201, proxyless, random_genotype, to_text

FBNET, FBNET_SHAPE = fbnet(strides=FBNET_SMALL_STRIDES, head=1504), ChainShape(100, 32)
NB201_SHAPE = Shape(16, 5, 10)


@pytest.fixture
def published(data_dir: Path) -> Any:
    """The path of a published table, by its name under the folder of data."""

    def find(name: str) -> Path:
        if not (data_dir / name).exists():
            pytest.skip(f"{name} is not in the folder of data")
        return data_dir / name

    return find


def test_proxylessnas_totals_are_the_references(published: Any) -> None:
    table = importers.proxylessnas(published("mobile_lut/proxylessnas_mobile_trim.yaml"), "a phone")
    assert len(table.rows) == 72
    by_kind, fixed = costs(table, proxyless(), ChainShape(1000, 224))
    blocks, present = by_kind["blocks"], np.array(proxyless().cell("blocks").present)
    assert fixed == pytest.approx(11.3642, abs=5e-5)
    assert fixed + (blocks.sum(1) / present.sum(1)).sum() == pytest.approx(113.9881, abs=5e-5)
    assert fixed + np.where(present, blocks, np.inf).min(1).sum() == pytest.approx(29.6088, abs=5e-5)
    assert fixed + blocks.max(1).sum() == pytest.approx(191.0299, abs=5e-5)
    # All blocks alike: 3x3, 5x5 and 7x7, each with an expansion of 3 and of 6.
    totals = fixed + blocks.sum(0)[:6]
    assert totals == pytest.approx([76.0481, 136.4663, 87.7203, 158.9527, 103.6662, 191.0299], abs=5e-5)
    stem = table.rows["proxyless:stem-input:224x224x3-output:112x112x32-stride:2"]
    assert (stem.count, stem.spread) == (982, pytest.approx(0.2502372872758427**0.5))


def test_a_width_that_was_not_measured_is_no_default(published: Any) -> None:
    table = importers.proxylessnas(published("mobile_lut/proxylessnas_mobile_trim.yaml"), "a phone")
    with pytest.raises(UserError, match="no row for 70 layer.*proxyless:stem-input:224x224x3-output:112x112x40-stride:2"):
        costs(table, proxyless(width=1.3), ChainShape(1000, 224))
    with pytest.raises(UserError, match=r"no row for 70 layer.*input:192x192x3"):
        costs(table, proxyless(), ChainShape(1000, 192))


@pytest.mark.parametrize("pixels", [160, 176, 192, 208, 224])
def test_once_for_all(pixels: int, published: Any) -> None:
    path = published(f"mobile_lut/ofa_note10_{pixels}_lookup_table.yaml")
    table = importers.proxylessnas(path, "Note10")
    assert len(table.rows) == 96
    assert f"mobilenet_v3:stem-input:{pixels}x{pixels}x3-output:{pixels // 2}x{pixels // 2}x24-stride:2" in table.rows
    # The file's own sum, read without a YAML library.
    lines = [line.split(": ") for line in path.read_text().splitlines() if line.strip().startswith("mean: ")]
    assert sum(row.mean for row in table.rows.values()) == pytest.approx(sum(float(value) for _, value in lines), rel=1e-12)
    with pytest.raises(UserError, match="no row for"):
        costs(table, proxyless(), ChainShape(1000, pixels))


@pytest.mark.parametrize("device", ["eyeriss", "fpga", "pixel3", "raspi4"])
def test_fbnet_of_hw_nas_bench(device: str, published: Any) -> None:
    table = importers.fbnet_json(published("fbnet/fbnet_lut_hw_nas_bench_recovered.json"), device, FBNET, FBNET_SHAPE)
    by_kind, fixed = costs(table, FBNET, FBNET_SHAPE)
    # The benchmark's published value of the network whose blocks are all k3_e1.
    value = {"eyeriss": 3.940896, "fpga": 10.73952, "pixel3": 7.788973, "raspi4": 17.618579}[device]
    assert fixed + by_kind["blocks"][:, 0].sum() == pytest.approx(value, abs=1e-6)
    names, latencies = _lines(published("fbnet/fbnet_5000archs_latency_27devices_ms.csv.gz"), device, 200)
    choices = np.array([[int(part) for part in name.split("_")] for name in names])
    # Eight digits are published.
    assert fixed + by_kind["blocks"][np.arange(22), choices].sum(1) == pytest.approx(latencies, rel=1e-6)


def _lines(path: Path, device: str, count: int) -> tuple[list[str], list[float]]:
    with gzip.open(path, "rt") as file:
        rows = [row for row, _ in zip(csv.DictReader(file), range(count), strict=False)]
    return [next(iter(row.values())) for row in rows], [float(row[device]) for row in rows]


def test_fbnet_in_microseconds(published: Any) -> None:
    path = published("fbnet/fbnet_lut_cpu_microseconds_AnnaAraslanova.csv")
    table = importers.fbnet_csv(path, "a CPU", FBNET, FBNET_SHAPE)
    assert table.rows["blocks/0/k3_e1"].mean == pytest.approx(5.129798)
    assert table.rows["blocks/0/k3_e1_g2"].mean == pytest.approx(3.028798)
    assert table.rows["blocks/21/k5_e6"].mean == pytest.approx(3.618502)
    assert table.rows["blocks/0/skip_connect"].mean == pytest.approx(1.614e-3)
    assert table.intercept == 0 and "without a fixed part" in table.source


YAML_KEY = "expanded_conv-input:8x8x4-output:8x8x4-expand:3-kernel:3-stride:1-idskip:1"
YAML_MISTAKES: dict[str, tuple[str, str]] = {
    "negative": (f"{YAML_KEY}:\n  mean: -1.0\n", f"row {YAML_KEY}: mean is -1.0"),
    "absent": (f"{YAML_KEY}:\n  count: 3\n", f"row {YAML_KEY}: it must have a mean"),
    "null": (f"{YAML_KEY}:\n  mean:\n", f"row {YAML_KEY}: mean is None"),
    "not a number": (f"{YAML_KEY}:\n  mean: .nan\n", f"row {YAML_KEY}: mean is nan"),
    "negative variance": (f"{YAML_KEY}:\n  mean: 1.0\n  var: -1.0\n", f"row {YAML_KEY}: spread is -1.0"),
    "unknown layer": ("Pool-input:8x8x4-output:8x8x4:\n  mean: 1.0\n", "unknown row. Known are .* of Conv, Conv_1, Logits"),
    "other part": (f"{YAML_KEY.replace('kernel', 'size')}:\n  mean: 1.0\n", "a block has expand, kernel, stride, idskip"),
    "shortcut that is none": (f"{YAML_KEY[:-1]}0:\n  mean: 1.0\n", "idskip must be 1 where the block keeps its shape"),
    "shape that does not follow": (
        "expanded_conv-input:8x8x4-output:8x8x6-expand:3-kernel:3-stride:2-idskip:0:\n  mean: 1.0\n",
        "a stride of 2 gives 4x4 pixels",
    ),
    "no mapping": ("- 1\n", "is no table"),
    "empty": ("", "is no table"),
    "no YAML": ("a: [", "is no YAML file"),
    "an object of Python's": ("!!python/object/apply:os.getcwd []\n", "is no YAML file"),
}


@pytest.mark.parametrize("mistake", YAML_MISTAKES)
def test_a_mistake_in_a_yaml_file_is_named(mistake: str, tmp_path: Path) -> None:
    text, said = YAML_MISTAKES[mistake]
    (tmp_path / "lut.yaml").write_text(text)
    with pytest.raises(UserError, match=f"lut.yaml.*{said}"):
        importers.proxylessnas(tmp_path / "lut.yaml", "a phone")


def fbnet_file(**changes: Any) -> dict[str, Any]:
    names = [*FBNET.blocks[0].operations[:8], "skip"]
    device = {"base": 2.0, "delta": [[float(i) for i in range(8)] + [0.0]] * 22}
    return {"unit": "ms", "ops": names, "devices": {"phone": device}, **changes}


JSON_MISTAKES: dict[str, tuple[dict[str, Any], str]] = {
    "another unit": (fbnet_file(unit="us"), "unit is 'us'"),
    "another device": (fbnet_file(devices={"phones": {}}), "Did you mean phones"),
    "a block too few": (fbnet_file(devices={"phone": {"base": 1.0, "delta": [[0.0] * 9] * 21}}), "has 21 blocks"),
    "an operation too few": (fbnet_file(devices={"phone": {"base": 1.0, "delta": [[0.0] * 8] * 22}}), "block 0 has 8 times"),
    "negative": (fbnet_file(devices={"phone": {"base": 1.0, "delta": [[-1.0] * 9] * 22}}), "row blocks/0/k3_e1"),
    "absent": (fbnet_file(devices={"phone": {"base": 1.0, "delta": [[None] * 9] * 22}}), "row blocks/0/k3_e1: None"),
    "no base": (fbnet_file(devices={"phone": {"base": None, "delta": [[0.0] * 9] * 22}}), "base of phone is None"),
    "a negative base": (fbnet_file(devices={"phone": {"base": -1.0, "delta": [[0.0] * 9] * 22}}), "intercept is -1.0"),
    "no table": ({"a": 1}, "is no file of additive tables"),
    "no delta": (fbnet_file(devices={"phone": {"base": 1.0}}), "phone must have base and delta"),
}


@pytest.mark.parametrize("mistake", JSON_MISTAKES)
def test_a_mistake_in_fbnets_file_is_named(mistake: str, tmp_path: Path) -> None:
    content, said = JSON_MISTAKES[mistake]
    (tmp_path / "lut.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match=said):
        importers.fbnet_json(tmp_path / "lut.json", "phone", FBNET, FBNET_SHAPE)


def measured_file(folder: Path, lines: list[str], header: str = "arch,phone") -> Path:
    path = folder / "measured.csv"
    path.write_text("\n".join([header, *lines]) + "\n")
    return path


def additive_lines(count: int, graph: Graph = "whole") -> tuple[list[str], np.ndarray]:
    """Random architectures and milliseconds of what runs, which add up, and what they add up from."""
    space, rng = nb201(), np.random.default_rng(0)
    true = rng.uniform(0, 1, (6, 5))
    genotypes = [random_genotype(space, rng) for _ in range(count)]
    times = [2.0 + float((one_hot_mixture(space, kept(genotype, graph))["cell"] * true).sum()) for genotype in genotypes]
    return [f"{to_text(genotype)},{time!r}" for genotype, time in zip(genotypes, times, strict=True)], true


@pytest.mark.parametrize("graph", GRAPHS)
def test_a_table_is_fitted_to_whole_architectures(graph: Graph, tmp_path: Path) -> None:
    """And finds out what of them ran."""
    lines, true = additive_lines(150, graph)
    table = importers.per_architecture(measured_file(tmp_path, lines), "phone", nb201(), NB201_SHAPE, batch=1)
    by_kind, fixed = costs(table, nb201(), NB201_SHAPE)
    assert np.allclose(by_kind["cell"], true - true.min(1, keepdims=True), atol=1e-6)
    assert fixed == pytest.approx(2 + true.min(1).sum(), abs=1e-6)
    assert table.checks and table.checks.scores.networks == 20 and warning(table) is None
    assert "without a path" in table.source and table.graph == graph


def test_architectures_by_number(tmp_path: Path) -> None:
    lines, _ = additive_lines(60)
    texts, times = zip(*(line.rsplit(",", 1) for line in lines), strict=True)
    path = measured_file(tmp_path, [f"{i},{time}" for i, time in enumerate(times)], "index,phone")
    names = tmp_path / "names.csv.gz"
    # In another order: the index counts, not the line.
    content = "\n".join(["index,arch_str", *(f"{i},{text}" for i, text in reversed(list(enumerate(texts))))])
    names.write_bytes(gzip.compress(content.encode()))
    genotypes, latencies = read_measured(path, "phone", nb201(), names)
    assert [to_text(genotype) for genotype in genotypes] == list(texts)
    assert latencies.tolist() == [float(time) for time in times]
    with pytest.raises(UserError, match="--architectures"):
        read_measured(path, "phone", nb201())
    names.write_bytes(gzip.compress(content.replace("\n7,", "\n700,").encode()))
    with pytest.raises(UserError, match="line 9: .* no architecture of index '7'"):
        read_measured(path, "phone", nb201(), names)


def test_blocks_by_the_numbers_of_their_candidates(tmp_path: Path) -> None:
    choice = [i % 9 for i in range(22)]
    path = measured_file(tmp_path, ["_".join(map(str, choice)) + ",3.5"])
    genotypes, latencies = read_measured(path, "phone", FBNET)
    assert genotypes == [block_genotype(FBNET, [FBNET.blocks[0].operations[i] for i in choice])]
    assert latencies.tolist() == [3.5]


LINE = "|none~0|+|none~0|none~1|+|skip_connect~0|none~1|none~2|"
CSV_MISTAKES: dict[str, tuple[str, list[str], str]] = {
    "negative": ("arch,phone", [f"{LINE},1.0", f"{LINE},-1.0"], "line 3: phone is '-1.0'"),
    "absent": ("arch,phone", [f"{LINE},"], "line 2: phone is ''"),
    "not a number": ("arch,phone", [f"{LINE},nan"], "line 2: phone is 'nan'"),
    "another device": ("arch,phones", [f"{LINE},1.0"], "no column 'phone' of latencies. Did you mean phones"),
    "another space": ("arch,phone", [f"{LINE.replace('skip_connect', 'sep_conv_3x3')},1.0"], "line 2: .*sep_conv_3x3"),
    "no architecture": ("arch,phone", ["cell,1.0"], "line 2: A genotype begins with"),
    "a short line": ("arch,phone", [LINE], "line 2: 1 values for 2 columns"),
    "no architectures": ("name,phone", ["a,1.0"], "needs a column 'arch' or 'index'"),
    "a column twice": ("arch,phone,phone", [f"{LINE},1.0,1.0"], "names a column twice"),
    "nothing": ("arch,phone", [], "no line below"),
    "too few": ("arch,phone", [f"{LINE},1.0"] * 20, "20 networks with a path: too few"),
}


@pytest.mark.parametrize("mistake", CSV_MISTAKES)
def test_a_mistake_in_a_csv_file_is_named(mistake: str, tmp_path: Path) -> None:
    header, lines, said = CSV_MISTAKES[mistake]
    with pytest.raises(UserError, match=said):
        importers.per_architecture(measured_file(tmp_path, lines, header), "phone", nb201(), NB201_SHAPE)


@pytest.mark.parametrize("name", ["7_8", "9" + "_0" * 21, "a" + "_0" * 21])
def test_blocks_that_the_space_does_not_have(name: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="line 2: "):
        read_measured(measured_file(tmp_path, [f"{name},1.0"]), "phone", FBNET)


def test_an_unknown_operation_of_fbnets(tmp_path: Path) -> None:
    (tmp_path / "lut.csv").write_text("layer,ir_k3_e66\n0,1.0\n")
    with pytest.raises(UserError, match="Did you mean ir_k3_e6"):
        importers.fbnet_csv(tmp_path / "lut.csv", "a CPU", FBNET, FBNET_SHAPE)


@pytest.mark.slow
def test_a_published_device_from_end_to_end(published: Any) -> None:
    table: Table = importers.per_architecture(
        published("hw_nas_bench_nb201/nb201_latency_27devices_ms.csv.gz"),
        "fpga",
        nb201(),
        NB201_SHAPE,
        published("nasbench201/nb201_main.csv.gz"),
    )
    assert table.checks and table.checks.scores.mape < 0.01 and table.checks.scores.networks == 1528
    assert "341 without a path" in table.source

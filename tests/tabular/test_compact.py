"""jaxnas's own file of a benchmark: everything comes back, and what was damaged or altered is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from jaxnas.errors import UserError
from jaxnas.tabular import Benchmark, macro, read, read_compact, read_plain, write_compact
from jaxnas.tabular.benchmark import Accuracy


def made_up() -> Benchmark:
    rng = np.random.default_rng(0)
    first = rng.uniform(0, 100, macro.SIZE).astype(np.float32)
    second = np.where(rng.random(macro.SIZE) < 0.5, np.nan, first).astype(np.float32)
    runs = (2 - np.isnan(second)).astype(np.uint8)
    accuracy = {
        ("cifar10", "test", 12): Accuracy(first, runs, "of the seeds 7 and 8", {7: first, 8: second}),
        ("cifar10", "test", 50): Accuracy(first[::-1].copy(), runs, "of some seeds"),
    }
    curves = {("cifar10", "test", 12): rng.uniform(0, 100, (macro.SIZE, 12)).astype(np.float32)}
    seconds = {("cifar10", 12): rng.uniform(1, 9, macro.SIZE).astype(np.float32)}
    return Benchmark("macro", accuracy, seconds, {"params": rng.integers(0, 10**9, macro.SIZE)}, "made up", curves)


def same(one: Benchmark, other: Benchmark) -> None:
    assert one.space == other.space and one.accuracy.keys() == other.accuracy.keys()
    for key, found in one.accuracy.items():
        np.testing.assert_array_equal(found.mean, other.accuracy[key].mean)
        np.testing.assert_array_equal(found.runs, other.accuracy[key].runs)
        assert found.seeds == other.accuracy[key].seeds and found.each.keys() == other.accuracy[key].each.keys()
        for seed, values in found.each.items():
            np.testing.assert_array_equal(values, other.accuracy[key].each[seed])
    for name in ("seconds", "counts", "curves"):
        arrays, others = getattr(one, name), getattr(other, name)
        assert arrays.keys() == others.keys()
        for key, values in arrays.items():
            np.testing.assert_allclose(values, others[key], atol=0.0051 if name == "curves" else 0)


@pytest.fixture
def written(tmp_path: Path) -> Path:
    write_compact(made_up(), tmp_path / "table.npz")
    return tmp_path / "table.npz"


def test_everything_comes_back(written: Path, tmp_path: Path) -> None:
    same(made_up(), read_compact(written))
    same(made_up(), read(written, "macro"))
    checksum = write_compact(made_up(), tmp_path / "again.npz")
    assert (tmp_path / "again.npz").read_bytes() == written.read_bytes() and len(checksum) == 64
    with pytest.raises(UserError, match="is a table of NAS-Bench-Macro, NAS-Bench-201 is asked for"):
        read(written, "nb201")


def test_nothing_is_overwritten_unasked(written: Path) -> None:
    before = written.read_bytes()
    with pytest.raises(UserError, match="exists. Give --overwrite"):
        write_compact(read(written), written)
    assert written.read_bytes() == before
    write_compact(read(written), written, overwrite=True)


def test_what_is_not_as_it_was_written(written: Path, tmp_path: Path) -> None:
    with np.load(written) as file:
        arrays = {name: file[name] for name in file.files}
    altered = arrays["accuracy/cifar10/test/50/mean"].copy()
    altered[7] = 50
    np.savez(tmp_path / "altered.npz", allow_pickle=False, **{**arrays, "accuracy/cifar10/test/50/mean": altered})
    with pytest.raises(UserError, match="was altered: its checksum is"):
        read(tmp_path / "altered.npz")
    np.savez(
        tmp_path / "less.npz", allow_pickle=False, **{name: values for name, values in arrays.items() if "seed" not in name}
    )
    with pytest.raises(UserError, match="was altered: its checksum is"):
        read(tmp_path / "less.npz")
    header = arrays["header"].tobytes().replace(b"benchmark 1", b"benchmark 9")
    np.savez(tmp_path / "newer.npz", allow_pickle=False, **{**arrays, "header": np.frombuffer(header, np.uint8)})
    with pytest.raises(UserError, match="of the format 'jaxnas benchmark 9'"):
        read(tmp_path / "newer.npz")
    np.savez(tmp_path / "none.npz", allow_pickle=False, header=np.frombuffer(b"no JSON", np.uint8))
    with pytest.raises(UserError, match="none.npz is damaged"):
        read(tmp_path / "none.npz")


def test_damage_anywhere_is_noticed(written: Path, tmp_path: Path) -> None:
    content, path = bytearray(written.read_bytes()), tmp_path / "damaged.npz"
    for at in range(100, len(content), len(content) // 40):
        path.write_bytes(content[:at] + bytes([content[at] ^ 0x55]) + content[at + 1 :])
        with pytest.raises(UserError):
            read(path)
    for length in (0, 10, len(content) // 2, len(content) - 10):
        path.write_bytes(content[:length])
        with pytest.raises(UserError):
            read(path)


def test_a_plain_table_converted_is_the_same(nb201_table: Path, tmp_path: Path) -> None:
    plain = read_plain(nb201_table)
    write_compact(plain, tmp_path / "table.npz")
    same(plain, read(tmp_path / "table.npz"))

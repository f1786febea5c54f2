"""``jaxnas load``: weights of PyTorch's names become a run, whichever file they come in; what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
import safetensors.numpy

from jaxnas import cli, stored
from jaxnas.interop import to_state_dict
from jaxnas.nets import Shape, derived
from jaxnas.spaces import from_text

NB201 = "|nor_conv_1x1~0|+|none~0|skip_connect~1|+|none~0|none~1|avg_pool_3x3~2|"
SIZES = ("--train.channels", "2", "--train.cells", "1")


@pytest.fixture(scope="module")
def arrays() -> dict[str, np.ndarray]:
    """A state_dict as PyTorch would have it."""
    rng = np.random.default_rng(0)
    trees = derived(from_text(NB201), Shape(2, 1, 10, 8)).init(jax.random.key(0))
    trees = jax.tree.map(lambda leaf: np.asarray(leaf) + np.abs(rng.normal(size=leaf.shape)).astype(np.float32), trees)
    named = {name: array for tree in trees for name, array in to_state_dict(tree).items()}
    return {**named, "stem.1.num_batches_tracked": np.asarray(7), "auxiliary_head.classifier.bias": np.zeros(10, np.float32)}


def call(*arguments: object) -> int:
    with pytest.raises(SystemExit) as done:
        cli.main([str(argument) for argument in arguments])
    assert isinstance(done.value.code, int)
    return done.value.code


def test_both_kinds_of_files(arrays: dict[str, np.ndarray], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Names as they are and as torch.nn.DataParallel gives them; an auxiliary head and counts of batches are not read."""
    safetensors.numpy.save_file(arrays, tmp_path / "weights.safetensors")
    parallel: dict[str, Any] = {f"module.{name}": array for name, array in arrays.items()}
    np.savez(tmp_path / "weights.npz", **parallel)
    for suffix in ("safetensors", "npz"):
        out = tmp_path / suffix
        assert (
            call("load", tmp_path / f"weights.{suffix}", NB201, *SIZES, "--out", out, "--json", tmp_path / "result.json") == 0
        )
        result = json.loads((tmp_path / "result.json").read_text())
        assert json.loads((out / "result.json").read_text()) == result
        trained, _ = stored.trained_network(out, None)
        for name, array in trained.arrays().items():
            np.testing.assert_array_equal(array, arrays[name])
        assert f"test accuracy {result['given']['test_accuracy']:.2%}" in capsys.readouterr().out
    assert call("load", tmp_path / "weights.npz", NB201, *SIZES, "--out", tmp_path / "npz") == 2
    assert "Give --overwrite" in capsys.readouterr().err
    np.savez(tmp_path / "others.npz", weight=np.zeros(3))
    assert call("load", tmp_path / "others.npz", NB201, *SIZES, "--out", tmp_path / "npz", "--overwrite") == 2
    assert (tmp_path / "npz" / "network.npz").exists()  # What is to be replaced is there until something can take its place.


@pytest.mark.parametrize(
    ("file", "message"),
    [
        ("weights.pt", "is neither .safetensors nor .npz. Where PyTorch is, turn a state_dict into one: python -c"),
        ("damaged.npz", "damaged.npz is damaged"),
        ("damaged.safetensors", "damaged.safetensors is damaged"),
        ("missing.npz", "is no file"),
        ("others.npz", "The names do not fit the network. missing: cells.0"),
    ],
)
def test_what_is_refused(file: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("weights.pt", "damaged.npz", "damaged.safetensors"):
        (tmp_path / name).write_bytes(b"\x80\x02 nothing of the kind")
    np.savez(tmp_path / "others.npz", weight=np.zeros(3))
    assert call("load", tmp_path / file, NB201, *SIZES, "--out", tmp_path / "run") == 2
    assert message in capsys.readouterr().err
    assert not list(tmp_path.glob("run/*"))
    assert call("load", tmp_path / file) == 2
    assert "needs a file of weights and then a genotype" in capsys.readouterr().err

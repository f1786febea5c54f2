"""``jaxnas export``: what it writes is run in fresh processes, without jaxnas, and compared; what it refuses."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import jax
import jax.export
import numpy as np
import pytest

from jaxnas import cli, stored, trainings
from jaxnas.run_folder import CONFIG, GENOTYPE_JSON, NETWORK, RunFolder, plain
from jaxnas.spaces import DartsGenotype, to_json
from jaxnas.training import network_of

GENOTYPE = DartsGenotype((("sep_conv_3x3", 0), ("skip_connect", 1)), (2,), (("max_pool_3x3", 0), ("dil_conv_3x3", 1)), (2,))

FLAX_AND_STABLEHLO = """
import sys
sys.modules["jaxnas"] = None  # An import of it is an error.
import jax.export, numpy as np
from pathlib import Path
here = Path(sys.argv[1])
sys.path.insert(0, str(here))
import network
loaded = network.load(here / "weights.safetensors")
pictures = np.load(here.parent / "images.npz")
images = np.asarray(network.preprocess(pictures["uint8"]))
program = jax.export.deserialize(bytearray((here / "network.stablehlo").read_bytes()))
assert program.platforms == ("cpu", "cuda", "tpu")
np.savez(
    here.parent / "outputs.npz",
    images=images, flax=jax.jit(lambda images: loaded(images))(images), stablehlo=program.call(images),
)
"""

ONNX = """
import sys
sys.modules["jaxnas"] = sys.modules["jax"] = None
import numpy as np, onnxruntime
from pathlib import Path
here = Path(sys.argv[1])
session = onnxruntime.InferenceSession(here / "network.onnx", providers=["CPUExecutionProvider"])
images = np.load(here.parent / "outputs.npz")["images"]
np.save(here.parent / "onnx.npy", session.run(["logits"], {"images": images})[0])
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a training on digits; weights and statistics are drawn."""
    folder = RunFolder(tmp_path_factory.mktemp("runs") / "run")
    training = trainings.find("darts-digits")
    small = dataclasses.replace(training.train, channels=4, cells=3, drop_path=0.0, auxiliary_weight=0.0)
    training = dataclasses.replace(training, train=small)
    rng = np.random.default_rng(0)
    network = network_of(GENOTYPE, small, stored.load("digits"))
    weights, statistics = jax.tree.map(
        lambda leaf: (np.asarray(leaf) + 0.1 * np.abs(rng.normal(size=leaf.shape))).astype(np.float32),
        network.init(jax.random.key(0)),
    )
    folder.write_json(CONFIG, {"recipe": "darts-digits", **plain(training)})
    folder.write_json(GENOTYPE_JSON, to_json(GENOTYPE, "darts"))
    folder.write_arrays(NETWORK, {"weights": weights, "statistics": statistics})
    return folder.path


def call(*arguments: object) -> int:
    with pytest.raises(SystemExit) as done:
        cli.main([str(argument) for argument in arguments])
    assert isinstance(done.value.code, int)
    return done.value.code


def test_every_format_in_a_fresh_process(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "exported"
    assert (
        call("export", run, "--to", "genotype", "flax", "stablehlo", "onnx", "--out", out, "--json", tmp_path / "r.json") == 0
    )
    report = json.loads((tmp_path / "r.json").read_text())
    assert {path.name for path in out.iterdir()} == report["files"].keys() == {
        "genotype.json", "weights.safetensors", "network.py", "network.stablehlo", "network.onnx", "preprocessing.json",
    }  # fmt: skip
    assert report["differences"].keys() == {"flax", "stablehlo", "onnx"}
    assert (out / "genotype.json").read_bytes() == (run / GENOTYPE_JSON).read_bytes()
    told = json.loads((out / "preprocessing.json").read_text())
    assert told["image_size"] == 8 and told["class_names"] == [str(digit) for digit in range(10)]

    trained, _ = stored.trained_network(run, None)
    pictures = stored.load("digits").test.images[:5]
    np.savez(tmp_path / "images.npz", uint8=pictures)
    for script in (FLAX_AND_STABLEHLO, ONNX):
        subprocess.run([sys.executable, "-I", "-c", script, out], check=True, cwd=tmp_path)
    outputs = np.load(tmp_path / "outputs.npz")
    images = ((pictures / np.float32(255) - np.asarray(told["mean"])) / np.asarray(told["std"])).astype(np.float32)
    np.testing.assert_allclose(outputs["images"], images, rtol=0, atol=1e-6)
    logits = np.asarray(trained.logits(jax.numpy.asarray(images)))
    for found in (outputs["flax"], outputs["stablehlo"], np.load(tmp_path / "onnx.npy")):
        np.testing.assert_allclose(found, logits, rtol=0, atol=1e-5 * np.abs(logits).max())
    # In this process it gives the same to the bit.
    program = jax.export.deserialize(bytearray((out / "network.stablehlo").read_bytes()))
    np.testing.assert_array_equal(program.call(outputs["images"]), outputs["stablehlo"])

    ruff = subprocess.run([sys.executable, "-m", "ruff", "check", "--isolated", "--line-length", "128", out / "network.py"])
    assert ruff.returncode == 0
    capsys.readouterr()


def test_nothing_is_overwritten_unasked(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "genotype.json").write_text("mine")
    assert call("export", run, "--to", "genotype", "safetensors", "--out", tmp_path) == 2
    assert "genotype.json exists. Give --overwrite to replace it" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["genotype.json"]
    assert call("export", run, "--to", "genotype", "--out", tmp_path, "--overwrite") == 0
    assert (tmp_path / "genotype.json").read_text() != "mine"


def test_a_run_without_weights(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its genotype can be had; for the rest it says how to get weights."""
    searched = tmp_path / "searched"
    searched.mkdir()
    for name in (CONFIG, GENOTYPE_JSON):
        (searched / name).write_bytes((run / name).read_bytes())
    assert call("export", searched, "--to", "onnx") == 2
    said = capsys.readouterr().err
    assert "has no network.npz: the run was ended before its network was trained" in said and "jaxnas resume" in said
    assert not (searched / "export").exists()
    assert call("export", searched, "--to", "genotype") == 0
    assert (searched / "export" / "genotype.json").read_bytes() == (run / GENOTYPE_JSON).read_bytes()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--to", "safetensor"], "Unknown format 'safetensor'. Did you mean safetensors?"),
        (["--to", "flax", "--out", "{file}"], "is a file, not a folder. Choose another --out."),
    ],
)
def test_what_is_refused(
    run: Path, tmp_path: Path, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("mine")
    assert call("export", run, *(argument.format(file=tmp_path / "file") for argument in arguments)) == 2
    assert message in capsys.readouterr().err
    assert not (run / "export").exists()


def test_no_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("export", tmp_path / "nowhere", "--to", "flax") == 2
    assert "is not the folder of a run" in capsys.readouterr().err


def test_outputs_that_differ_are_not_written(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jaxnas.export.formats.run_onnx", lambda model, images: np.zeros((len(images), 10), np.float32))
    assert call("export", run, "--to", "onnx", "--out", tmp_path / "out") == 1
    assert "Nothing was written: the outputs are not those of the run's network." in capsys.readouterr().err
    assert not (tmp_path / "out").exists()

"""Conformance with the reference implementations' records; file b of the DARTS supernet here, the rest in ``slow``."""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnas.errors import UserError
from jaxnas.interop import golden
from jaxnas.interop.golden_record import LIMITS, Record
from jaxnas.interop.torch_names import to_state_dict
from jaxnas.nets import Shape, derived
from jaxnas.spaces import DartsGenotype, Genotype, from_text, to_text


def altered(path: Path, folder: Path, change: dict[str, np.ndarray | None]) -> Path:
    """A copy of a record with arrays replaced, added or (None) left out."""
    with np.load(path) as archive:
        arrays = {name: archive[name] for name in archive.files}
    for name, array in change.items():
        if array is None:
            del arrays[name]
        else:
            arrays[name] = array
    copy = folder / path.name
    np.savez(copy, **arrays)
    return copy


@pytest.mark.parametrize(("name", "precision"), [("darts_supernet_b.npz", "float64"), ("nb201_supernet_b.npz", "float32")])
def test_a_record_agrees_within_its_limits(golden_dir: Path, name: str, precision: str) -> None:
    lines, left = golden.verify(golden_dir / name, precision)
    assert left == []
    assert {line.quantity for line in lines} >= {"logits", "losses", "weight gradients", "updates of weight", "genotype"}
    assert [line for line in lines if not line.passed] == []


# In a process of its own: the optimization level of the tests rounds otherwise, and three records hold a ReLU's input of
# 1e-8 to 4e-8, where others are 0.4, whose side float32 decides by rounding.
@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        *(f"{space}_supernet_{file}.npz" for space in ("darts", "nb201") for file in "ab"),
        "darts_network_cifar_DARTS_V2.npz",
        "darts_network_imagenet_AmoebaNet.npz",
    ],
)
def test_the_command_passes_every_record(golden_dir: Path, tmp_path: Path, name: str) -> None:
    environment = {key: value for key, value in os.environ.items() if key != "XLA_FLAGS"}
    command = [sys.executable, "-m", "jaxnas", "verify", "golden", golden_dir / name, "--json", tmp_path / "report.json"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    report = json.loads((tmp_path / "report.json").read_text())
    assert [line for line in report["quantities"] if not line["passed"]] == []
    assert {line["precision"] for line in report["quantities"]} == {"float64", "float32"}
    assert report["passed"] and report["not_compared"] == {} and done.returncode == 0


@pytest.mark.slow
def test_a_record_with_one_altered_weight_fails(golden_dir: Path, tmp_path: Path) -> None:
    path = golden_dir / "nb201_supernet_a.npz"
    rng = np.random.default_rng(0)
    with np.load(path) as archive:
        names = [name for name in archive.files if name.startswith("weight/")]
        # A kernel, and a bias before a batch norm, on which no output depends.
        chosen = [rng.choice([n for n in names if n.endswith(".weight")]), "weight/cells.0.edges.1<-0.2.op.1.bias"]
        arrays = {name: archive[name].copy() for name in chosen}
    for name, array in arrays.items():
        array.flat[0] += 1e-3
        lines, _ = golden.verify(altered(path, tmp_path, {name: array}), "float64")
        assert not all(line.passed for line in lines), name


def test_a_key_that_is_not_compared_is_named_and_fails(
    golden_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = altered(golden_dir / "nb201_supernet_a.npz", tmp_path, {"mixture/entropy": np.ones(1)})
    # What is computed is not the matter here, only what is left over.
    everything = [key for key in golden.read(copy).arrays if key != "mixture/entropy"]
    same = [golden.Comparison("all", "value", key, np.zeros(1), np.zeros(1)) for key in everything]
    monkeypatch.setattr(golden, "comparisons", lambda record, precision: iter(same))
    assert not golden.verify_files((copy,), tmp_path / "report.json")
    assert "mixture/entropy" in capsys.readouterr().out
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["not_compared"] == {copy.name: ["mixture/entropy"]}
    assert not report["passed"]


def test_the_error_is_that_of_the_goldens_readme(monkeypatch: pytest.MonkeyPatch) -> None:
    large, zero = np.array([3.0, 4.0]), np.zeros(2)
    # The second reference is zero: it is weighed by 1e-3 of the norm of both together, 5.
    triples = [("a", large + [0.0, 1e-6], large), ("b", zero + [4e-6, 0.0], zero)]
    name, error = golden._worst(triples, "value")
    assert name == "b"
    assert error == pytest.approx(4e-6 / 5e-3)
    assert golden._worst([("a", large * np.nan, large)], "value")[1] == np.inf
    assert golden._worst([("a", np.array(3), np.array(4))], "equal")[1] == 1.0


def test_limits_are_those_of_the_goldens_readme() -> None:
    assert LIMITS["value"] == {"float64": 1e-9, "float32": 1e-4}
    assert LIMITS["weight_gradient"] == {"float64": 1e-9, "float32": 5e-3}
    assert LIMITS["unrolled"] == {"float64": 1e-9, "float32": 2e-2}
    assert LIMITS["finite_difference"] == {"float64": 1e-7, "float32": 2e-2}
    assert LIMITS["update"] == {"float64": 1e-8, "float32": 1e-3}
    assert LIMITS["second_order_update"] == {"float64": 1e-8, "float32": 2e-2}


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "missing"), (b"no archive", "not a golden file"), (b"", "not a golden file")],
)
def test_what_is_no_record_is_refused(tmp_path: Path, content: bytes | None, message: str) -> None:
    path = tmp_path / "record.npz"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=message):
        golden.read(path)


def test_a_record_of_an_unknown_space_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "record.npz", meta=np.array("{'space': 'moon'}"))
    with pytest.raises(UserError, match="moon"):
        golden.read(tmp_path / "record.npz")


def network_record(folder: Path, genotype: Genotype, shape: Shape, meta: dict[str, Any]) -> Path:
    """A record of a derived network without auxiliary head and drop path, as our own float64 makes it."""
    net, rng = derived(genotype, shape), np.random.default_rng(0)
    images, labels = rng.normal(size=(2, 3, shape.image_size, shape.image_size)).astype(np.float32), np.array([0, 1])
    with jax.enable_x64(True):
        weights, statistics = jax.tree.map(lambda leaf: leaf.astype(jnp.float64), net.init(jax.random.key(0)))
        forward = functools.partial(net.forward, images=jnp.asarray(images.transpose(0, 2, 3, 1), jnp.float64), scalars={})
        forward = functools.partial(forward, mixture=None, key=jax.random.key(0))

        def loss(weights: Any) -> Any:
            (logits, _), moments = forward(weights)
            return -jax.nn.log_softmax(logits)[jnp.arange(2), labels].mean(), (logits, moments)

        (value, (logits, moments)), gradients = jax.jit(jax.value_and_grad(loss, has_aux=True))(weights)
        running = jax.tree.map(lambda old, new: 0.9 * old + 0.1 * new, statistics, moments)
        (evaluated, _), _ = jax.jit(lambda w, s: forward(w, statistics=s))(weights, running)
        arrays = {"x_nchw": images, "y": labels, "train/loss": value, "train/logits": logits, "eval/logits": evaluated}
        for prefix, tree in (("weight", weights), ("train/grad_weight", gradients), ("after_one_forward", running)):
            arrays |= {f"{prefix}/{name}": array for name, array in to_state_dict(tree).items()}
    meta = meta | {"C": shape.channels, "classes": shape.classes, "size": shape.image_size, "genotype": to_text(genotype)}
    every: dict[str, Any] = {"meta": np.array(repr(meta)), **arrays}
    np.savez(folder / "network.npz", **every)
    return folder / "network.npz"


@pytest.mark.parametrize(
    ("genotype", "shape", "meta"),
    [
        (from_text("|nor_conv_1x1~0|+|none~0|skip_connect~1|"), Shape(2, 1, 3, 8), {"space": "nb201", "N": 1}),
        pytest.param(
            DartsGenotype((("none", 0), ("conv_7x1_1x7", 1)), (2,), (("conv_3x1_1x3", 0), ("none", 1)), (2,)),
            Shape(4, 3, 3, 32, template="imagenet"),
            {"space": "darts", "network": "imagenet", "layers": 3},
            marks=pytest.mark.slow,
        ),
    ],
)
def test_networks_are_built_as_their_record_says(
    tmp_path: Path, genotype: Genotype, shape: Shape, meta: dict[str, Any]
) -> None:
    lines, left = golden.verify(network_record(tmp_path, genotype, shape, meta), "float64")
    assert left == []
    assert {line.quantity for line in lines} == {"logits", "losses", "weight gradients", "running statistics", "evaluation"}
    assert [line for line in lines if not line.passed] == []


@pytest.mark.parametrize(
    ("meta", "message"),
    [
        ({"genotype": "DARTS_V3"}, "unknown genotype 'DARTS_V3'. Did you mean DARTS_V"),
        ({"genotype": "Genotype(normal=1)"}, "lacks the fields"),
        ({"network": "image"}, "Unknown template 'image'. Did you mean imagenet"),
        ({"C": None}, "configuration lacks C"),
        ({"layers": None}, "configuration lacks layers"),
    ],
)
def test_a_network_that_cannot_be_built_is_refused(meta: dict[str, Any], message: str) -> None:
    whole = {"space": "darts", "network": "cifar", "genotype": "DARTS_V2", "C": 4, "layers": 5, "size": 32, "classes": 10}
    configuration = {name: value for name, value in (whole | meta).items() if value is not None}
    with pytest.raises(UserError, match=message):
        list(golden.comparisons(Record("record.npz", configuration, {}), "float64"))

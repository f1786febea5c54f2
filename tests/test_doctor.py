"""The diagnosis against what the system itself says, and with each thing missing in turn."""

from __future__ import annotations

import importlib.metadata
import json
import logging
import os
import re
import shutil
import subprocess
import sys
import tomllib
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

import jaxnas.data
from jaxnas import cli, doctor
from jaxnas.errors import UserError


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of its own, without data sets and without an NVIDIA driver."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("JAXNAS_DATA", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    return tmp_path


@pytest.fixture
def cache(tmp_path: Path) -> Iterator[Path]:
    """JAX's cache of compiled programs, configured to be in a folder and switched on."""
    before = dict(jax.config.values)
    jax.config.update("jax_compilation_cache_dir", str(tmp_path / "cache"))
    jax.config.update("jax_enable_compilation_cache", True)
    yield tmp_path / "cache"
    jax.config.update("jax_compilation_cache_dir", before["jax_compilation_cache_dir"])
    jax.config.update("jax_enable_compilation_cache", before["jax_enable_compilation_cache"])


def test_versions_are_those_of_the_metadata() -> None:
    found = doctor.examine()
    assert found.packages == {name: importlib.metadata.version(name) for name in found.packages}
    assert found.python == ".".join(map(str, sys.version_info[:3]))


def test_every_dependency_is_examined() -> None:
    pyproject = Path(__file__).resolve().parents[1] / "pyproject.toml"
    dependencies = tomllib.loads(pyproject.read_text())["project"]["dependencies"]
    names = {re.split(r"[^\w-]", dependency)[0].lower().replace("_", "-") for dependency in dependencies}
    assert names <= {distribution for distribution, _, _ in doctor.PACKAGES}


def test_devices_are_those_that_jax_sees() -> None:
    found = doctor.examine()
    assert [(device["platform"], device["kind"]) for device in found.devices] == [
        (device.platform, device.device_kind) for device in jax.devices()
    ]


def test_memory_of_a_device() -> None:
    class Device:
        platform, device_kind = "gpu", "H100"

        def memory_stats(self) -> dict[str, int]:
            return {"bytes_limit": 60 * 2**30, "bytes_in_use": 2**30, "num_allocs": 1}

    assert doctor.device_facts(Device()) == {"platform": "gpu", "kind": "H100", "memory": 60 * 2**30, "memory_in_use": 2**30}


@pytest.mark.skipif(not Path("/proc/meminfo").exists(), reason="no /proc/meminfo to compare with")
def test_the_machine_is_what_the_kernel_says() -> None:
    found = doctor.examine()
    kernel = dict(re.findall(r"^(\w+): +(\d+) kB$", Path("/proc/meminfo").read_text(), re.MULTILINE))
    assert found.memory == 1024 * int(kernel["MemTotal"])
    assert found.memory_free == pytest.approx(1024 * int(kernel["MemAvailable"]), rel=0.2)
    statistics = os.statvfs(".")
    assert found.disk_free == pytest.approx(statistics.f_bavail * statistics.f_frsize, rel=0.05)
    cpus = re.findall(r"^Cpus_allowed:\s+([\da-f,]+)$", Path("/proc/self/status").read_text(), re.MULTILINE)[0]
    assert found.cpus == int(cpus.replace(",", ""), 16).bit_count()


def test_the_compilation_cache_is_measured(cache: Path) -> None:
    assert doctor.compilation_cache() == {"folder": str(cache), "files": 0, "bytes": 0}
    (cache / "deep").mkdir(parents=True)
    (cache / "program").write_bytes(bytes(1000))
    (cache / "deep" / "program").write_bytes(bytes(234))
    assert doctor.compilation_cache() == {"folder": str(cache), "files": 2, "bytes": 1234}
    jax.config.update("jax_enable_compilation_cache", False)
    assert doctor.compilation_cache()["folder"] is None


MISSING = {
    "jax": ("jax", "jax", True),
    "flax": ("flax", "flax", True),
    "digits": ("scikit-learn", "sklearn", False),
    "memory": ("psutil", "psutil", False),
    "images": ("pillow", "PIL", False),
    "TensorFlow Datasets": ("tensorflow-datasets", "tensorflow_datasets", False),
}


@pytest.mark.parametrize("missing", MISSING)
def test_a_missing_package(missing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    distribution, module, stops = MISSING[missing]
    version = importlib.metadata.version

    def without(name: str) -> str:
        if name == distribution:
            raise importlib.metadata.PackageNotFoundError(name)
        return version(name)

    monkeypatch.setattr(importlib.metadata, "version", without)
    monkeypatch.setitem(sys.modules, module, None)
    problems: list[doctor.Problem] = []
    assert doctor.package_versions(problems)[distribution] is None
    own = [problem for problem in problems if problem.what.startswith(f"{distribution} is not installed")]
    assert [problem.stops for problem in own] == [stops]
    assert own[0].remedy.endswith(f"-m pip install {distribution}")


def test_a_broken_package_and_one_that_lacks_another(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(name: str) -> Any:
        if name == "optax":
            raise AttributeError("module 'jax' has no attribute 'old'")
        if name == "chex":
            raise ModuleNotFoundError("No module named 'toolz'", name="toolz")
        if name == "flax":
            raise ModuleNotFoundError("No module named 'optax.tree'", name="optax.tree")

    monkeypatch.setattr(doctor.importlib, "import_module", fail)
    problems: list[doctor.Problem] = []
    doctor.package_versions(problems)
    broken, lacking = problems
    assert broken.what.startswith("optax cannot be imported (AttributeError: module 'jax' has no attribute 'old')")
    assert broken.remedy.endswith("pip install --force-reinstall optax")
    assert lacking.what.startswith("chex cannot be imported") and lacking.remedy.endswith("pip install toolz")
    assert broken.stops and lacking.stops


def installed(folder: Path, name: str, version: str) -> None:
    """A distribution as pip leaves it, as far as its metadata go."""
    (folder / f"{name}-{version}.dist-info").mkdir()
    (folder / f"{name}-{version}.dist-info" / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    )


def test_a_plugin_without_its_device(elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    installed(elsewhere, "jax_cuda12_plugin", "0.10.2")
    installed(elsewhere, "libtpu", "0.0.40")
    installed(elsewhere, "jax_cuda12_pjrt", "0.10.2")  # Comes with the first and is no plugin by itself.
    monkeypatch.syspath_prepend(str(elsewhere))
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    found = doctor.examine()
    assert found.plugins == {"jax_cuda12_plugin": "0.10.2", "libtpu": "0.0.40"}
    cuda, tpu = found.problems
    assert cuda.what.startswith("jax_cuda12_plugin is installed, but JAX sees no GPU.")
    assert tpu.what.startswith("libtpu is installed, but JAX sees no TPU.")
    assert cuda.remedy.startswith("unset JAX_PLATFORMS") and not cuda.stops
    monkeypatch.delenv("JAX_PLATFORMS")
    remedies = [problem.remedy for problem in doctor.examine().problems]
    assert remedies[0].startswith("nvidia-smi")
    assert remedies[1].startswith("JAX_PLATFORMS=tpu ")


def test_a_gpu_without_a_plugin(elsewhere: Path) -> None:
    (elsewhere / "nvidia-smi").touch(0o755)
    (problem,) = doctor.examine().problems
    assert problem.what.startswith("There is an NVIDIA GPU")
    assert f"jax[cuda13]=={jax.__version__}" in problem.remedy
    assert not problem.stops


def test_what_jax_warns_of_is_passed_on(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    devices = jax.devices

    def warn() -> list[Any]:
        logging.getLogger("jax._src.xla_bridge").warning("CUDA backend failed to initialize: %s", "no memory")
        return devices()

    monkeypatch.setattr(jax, "devices", warn)
    (problem,) = doctor.examine().problems
    assert problem.what == "JAX says: CUDA backend failed to initialize: no memory"
    assert capsys.readouterr().err == ""


def test_a_device_that_cannot_compute(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise RuntimeError("Unable to initialize backend 'cuda'\nand more")

    with monkeypatch.context() as patch:
        patch.setattr(jax, "devices", fail)
        found = doctor.examine()
    assert found.devices == [] and not found.ready
    assert found.problems[0].what == "JAX cannot compute (RuntimeError: Unable to initialize backend 'cuda')."
    monkeypatch.setattr(jax, "jit", lambda _: lambda x: np.zeros((8, 8)))
    assert "multiplies matrices wrongly" in doctor.examine().problems[0].what


def test_the_folder_and_its_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: types.SimpleNamespace(free=10**6))
    found = doctor.examine()
    assert found.ready and [problem.what[:13] for problem in found.problems] == ["Only 1 MB are"]
    monkeypatch.setattr(os, "access", lambda *_: False)
    found = doctor.examine()
    assert not found.ready and "cannot be written" in found.problems[0].what


def test_data_are_found_and_damage_is_told(elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (elsewhere / "data_batch_1.bin").write_bytes(bytes(3073 * 5 + 1))
    found = doctor.examine(elsewhere)
    digits = jaxnas.data.load("digits")
    assert found.data["digits"] == {"train": len(digits.train.labels), "test": len(digits.test.labels), "missing": None}
    assert "cut short" in found.data["cifar10"]["missing"]
    assert found.ready

    def nothing(*_: Any) -> None:
        raise UserError("not there")

    monkeypatch.setattr(jaxnas.data, "load", nothing)
    found = doctor.examine(elsewhere)
    assert not found.ready and found.problems[0].what == "No data set can be read."


def test_prepared_datasets_have_the_names_that_load_takes(elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for folder in ("mnist/3.0.1", "mnist/3.0.2", "imagenette/full-size/1.0.0", "not/a/dataset/1.0.0"):
        (elsewhere / folder).mkdir(parents=True)
        (elsewhere / folder / "features.json").touch()
    names = ["tfds:imagenette/full-size:1.0.0", "tfds:mnist:3.0.1", "tfds:mnist:3.0.2"]
    assert doctor.examine(elsewhere).prepared == names
    monkeypatch.setenv("TFDS_DATA_DIR", str(elsewhere))
    assert doctor.examine().prepared == names


def test_the_command(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SystemExit) as done:
        cli.main(["doctor"])
    printed = capsys.readouterr().out
    assert done.value.code == 0
    assert printed.endswith("Searches can run.\n")
    assert f"jax {importlib.metadata.version('jax')}, " in printed
    monkeypatch.setitem(sys.modules, "flax", None)
    with pytest.raises(SystemExit) as done:
        cli.main(["doctor", "--json"])
    out, err = capsys.readouterr()
    found = json.loads(out)
    assert done.value.code == 1
    assert found["ready"] is False and found["problems"][0]["what"].startswith("flax cannot be imported")
    assert err.endswith("Searches cannot run.\n")


def test_it_comes_to_an_end_without_jax() -> None:
    command = "import sys; sys.modules['jax'] = None; from jaxnas import cli; cli.main(['doctor', '--json'])"
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[1])}
    process = subprocess.run([sys.executable, "-c", command], env=environment, capture_output=True, text=True)
    found = json.loads(process.stdout)
    assert process.returncode == 1 and "Traceback" not in process.stderr
    assert [problem["what"].split()[0] for problem in found["problems"]] == ["jax"]  # Not flax, which lacks jax alone.
    assert found["devices"] == [] and found["packages"]["flax"] == importlib.metadata.version("flax")

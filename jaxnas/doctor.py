"""What this machine has for searches, and what is missing: facts, problems and the commands that mend them.

Nothing that may be missing is imported before the examination: it has to come to the end where a search could not begin.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import importlib.metadata
import logging
import os
import platform
import re
import shlex
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from jaxnas.errors import UserError

# Distribution, module that it brings, and what cannot be done without it.
_SEARCH = "search"
PACKAGES = (
    ("jax", "jax", _SEARCH),
    ("jaxlib", "jaxlib", _SEARCH),
    ("flax", "flax", _SEARCH),
    ("optax", "optax", _SEARCH),
    ("chex", "chex", _SEARCH),
    ("numpy", "numpy", _SEARCH),
    ("scipy", "scipy", _SEARCH),
    ("rich", "rich", _SEARCH),
    ("tyro", "tyro", _SEARCH),
    ("orbax-checkpoint", "orbax.checkpoint", _SEARCH),
    ("jinja2", "jinja2", "reports"),
    ("safetensors", "safetensors", "exported weights"),
    ("flatbuffers", "flatbuffers", "networks exported as StableHLO"),
    ("vl-convert-python", "vl_convert", "reports, and pictures as PNG"),
    ("fast-sugiyama", "fast_sugiyama", "reports, and pictures of cells"),
    ("scikit-learn", "sklearn", "the data set digits"),
    ("psutil", "psutil", "the size of the memory"),
    ("pillow", "PIL", "folders of images, and contact sheets"),
    ("pyyaml", "yaml", "published tables of latencies in YAML"),
    ("tensorflow-datasets", "tensorflow_datasets", "data sets of TensorFlow Datasets"),
    ("array-record", "array_record", "data sets of TensorFlow Datasets"),
    ("grain", "grain", "images that stay on disk"),
)
# Names of the distributions that give JAX an accelerator, and the platform of its devices.
_PLUGINS = {r"jax-cuda\d+-plugin": "gpu", r"jax-rocm\d+-plugin": "gpu", r"libtpu(-nightly)?": "tpu"}
LITTLE_DISK = 10**8  # bytes


@dataclasses.dataclass(frozen=True)
class Problem:
    """What is missing.

    Attributes:
      what: one sentence or a few.
      remedy: a command or what else to do.
      stops: searches cannot run.
    """

    what: str
    remedy: str
    stops: bool


@dataclasses.dataclass(frozen=True)
class Diagnosis:
    """All that was found; sizes are in bytes, None is for what is not known or not there.

    Attributes:
      python, system: version and platform.
      packages: version by distribution.
      devices: ``platform``, ``kind``, ``memory`` and ``memory_in_use`` of each that JAX sees.
      plugins: version by distribution of those that give JAX an accelerator.
      data: of each data set the number of ``train`` and ``test`` images, or why it is ``missing``.
      prepared: names of what TensorFlow Datasets prepared; it may be large and is not read.
      compilation_cache: ``folder``, and its ``files`` and ``bytes``.
      cpus: that this process may use.
      memory, memory_free: of the machine.
      disk_free: where the current folder is.
      problems: what is missing, the gravest first.
    """

    python: str
    system: str
    packages: dict[str, str | None]
    devices: list[dict[str, Any]]
    plugins: dict[str, str]
    data: dict[str, dict[str, Any]]
    prepared: list[str]
    compilation_cache: dict[str, Any]
    cpus: int
    memory: int | None
    memory_free: int | None
    disk_free: int
    problems: list[Problem]

    @property
    def ready(self) -> bool:
        """Whether searches can run."""
        return not any(problem.stops for problem in self.problems)


def examine(data_dir: Path | None = None) -> Diagnosis:
    """Looks at everything; nothing is written, and no problem raises."""
    problems: list[Problem] = []
    packages = package_versions(problems)
    plugins = _plugins()
    devices = _devices(plugins, problems)
    _engine(problems)
    data = _data(data_dir, problems)
    cache = compilation_cache()
    memory, memory_free = _memory()
    return Diagnosis(
        python=platform.python_version(),
        system=f"{platform.system()} {platform.machine()}",
        packages=packages,
        devices=devices,
        plugins=plugins,
        data=data,
        prepared=_prepared(data_dir),
        compilation_cache=cache,
        cpus=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        memory=memory,
        memory_free=memory_free,
        disk_free=_disk_free(problems),
        problems=sorted(problems, key=lambda problem: not problem.stops),
    )


def _install(*requirements: str) -> str:
    return shlex.join([sys.executable, "-m", "pip", "install", *requirements])


def _version(distribution: str) -> str | None:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def _said(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0].removesuffix(": ")


def package_versions(problems: list[Problem]) -> dict[str, str | None]:
    """Version of each of the packages, None where there is none. Imports them: one may be there and yet broken."""
    versions = {}
    for distribution, module, use in PACKAGES:
        versions[distribution] = _version(distribution)
        try:
            importlib.import_module(module)
        except Exception as error:
            absent = (error.name or "").partition(".")[0] if isinstance(error, ModuleNotFoundError) else ""
            if absent != module and absent in {module for _, module, _ in PACKAGES}:
                continue  # That one's own line says it.
            state = "is not installed" if versions[distribution] is None else f"cannot be imported ({_said(error)})"
            need = "no search runs without it" if use == _SEARCH else f"it is needed for {use}"
            if absent and absent != module:
                remedy = _install(absent)
            else:
                remedy = _install(*(() if versions[distribution] is None else ("--force-reinstall",)), distribution)
            problems.append(Problem(f"{distribution} {state}: {need}.", remedy, use == _SEARCH))
    return versions


def _plugins() -> dict[str, str]:
    """Distributions that give JAX an accelerator."""
    names = {distribution.metadata["Name"] or "": distribution.version for distribution in importlib.metadata.distributions()}
    return {name: names[name] for name in sorted(names) if _platform_of(name)}


def _platform_of(plugin: str) -> str | None:
    normalised = plugin.lower().replace("_", "-")
    return next((platform for pattern, platform in _PLUGINS.items() if re.fullmatch(pattern, normalised)), None)


@contextlib.contextmanager
def _warnings_of_jax() -> Iterator[list[str]]:
    """What JAX logs of accelerators that it sees and cannot use; it does so once, when it first looks for devices."""
    said: list[str] = []
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: said.append(record.getMessage())
    logger = logging.getLogger("jax")
    propagate, logger.propagate = logger.propagate, False
    kept, logger.handlers = logger.handlers, [handler]
    try:
        yield said
    finally:
        logger.handlers, logger.propagate = kept, propagate


def _devices(plugins: dict[str, str], problems: list[Problem]) -> list[dict[str, Any]]:
    """The devices that JAX sees, after each has computed something."""
    try:
        import jax
        import numpy as np
    except Exception:  # Said by package_versions.
        return []
    try:
        with _warnings_of_jax() as said:
            devices = jax.devices()
        for device in devices:
            ones = jax.device_put(np.ones((8, 8), np.float32), device)
            if not np.array_equal(jax.jit(lambda x: x @ x)(ones), np.full((8, 8), 8.0)):
                raise ArithmeticError(f"{device} multiplies matrices wrongly")
    except Exception as error:
        chosen = os.environ.get("JAX_PLATFORMS")
        remedy = (
            f"unset JAX_PLATFORMS   # it is {chosen!r}"
            if chosen
            else "JAX_PLATFORMS=cpu jaxnas doctor   # without accelerators"
        )
        problems.append(Problem(f"JAX cannot compute ({_said(error)}).", remedy, True))
        return []
    problems.extend(_unseen(plugins, {device.platform for device in devices}, said))
    return [device_facts(device) for device in devices]


def device_facts(device: Any) -> dict[str, Any]:
    """Platform, kind and memory, in bytes, of one of JAX's devices."""
    stats = device.memory_stats() or {}  # None on a CPU
    return {
        "platform": device.platform,
        "kind": device.device_kind,
        "memory": stats.get("bytes_limit"),
        "memory_in_use": stats.get("bytes_in_use"),
    }


def _unseen(plugins: dict[str, str], seen: set[str], said: list[str]) -> Iterator[Problem]:
    """Accelerators that are there and not used: plugins without a device, a GPU without a plugin."""
    why = f" JAX says: {' '.join(said)}" if said else ""
    chosen = os.environ.get("JAX_PLATFORMS")
    nvidia = any(Path("/dev").glob("nvidia*")) or shutil.which("nvidia-smi") is not None
    unseen = {name: _platform_of(name) for name in plugins if _platform_of(name) not in seen}
    for name, platform_ in unseen.items():
        what = f"{name} is installed, but JAX sees no {str(platform_).upper()}.{why}"
        if chosen:
            yield Problem(what, f"unset JAX_PLATFORMS   # it is {chosen!r}", False)
        elif "cuda" in name and not nvidia:
            yield Problem(
                f"{what} The NVIDIA driver shows no device.", "nvidia-smi   # in a container: start it with --gpus all", False
            )
        else:
            backend = next(kind for kind in ("cuda", "rocm", "tpu") if kind in name)
            yield Problem(what, f"JAX_PLATFORMS={backend} {shlex.quote(sys.executable)} -c 'import jax; jax.devices()'", False)
    if nvidia and "gpu" not in seen and "gpu" not in unseen.values():
        remedy = _install(f"jax[cuda13]=={_version('jax')}") + "   # jax[cuda12] with a driver before 580"
        yield Problem("There is an NVIDIA GPU, but JAX's plugin for it is not installed.", remedy, False)
    elif said and not unseen:
        yield Problem(f"JAX says: {' '.join(said)}", "https://docs.jax.dev/en/latest/installation.html", False)


def _engine(problems: list[Problem]) -> None:
    """Everything that a search imports."""
    try:
        importlib.import_module("jaxnas.run")
    except Exception as error:
        if not any(problem.stops for problem in problems):
            problems.append(Problem(f"jaxnas cannot be imported ({_said(error)}).", _install("--upgrade", "jax", "flax"), True))


def _data(data_dir: Path | None, problems: list[Problem]) -> dict[str, dict[str, Any]]:
    """Reads every data set that has a name, which finds damaged files too."""
    try:
        from jaxnas.data import NAMES, load
    except Exception:
        return {}
    data = {}
    for name in NAMES:
        try:
            dataset = load(name, data_dir)
            data[name] = {"train": len(dataset.train.labels), "test": len(dataset.test.labels), "missing": None}
        except UserError as error:
            data[name] = {"train": None, "test": None, "missing": str(error)}
    if all(holds["missing"] for holds in data.values()):
        problems.append(Problem("No data set can be read.", _install("scikit-learn"), True))
    return data


def _prepared(data_dir: Path | None) -> list[str]:
    """Datasets of TensorFlow Datasets, by the names that :func:`jaxnas.data.load` takes."""
    root = Path(data_dir or os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets").expanduser()
    folders = [found.parent for depth in ("*/*", "*/*/*") for found in root.glob(f"{depth}/features.json")]
    return sorted(f"tfds:{folder.parent.relative_to(root).as_posix()}:{folder.name}" for folder in folders)


def compilation_cache() -> dict[str, Any]:
    """JAX's cache of compiled programs on the disk."""
    try:
        from jax import config
    except Exception:
        return {"folder": None, "files": 0, "bytes": 0}
    folder = config.values["jax_compilation_cache_dir"] if config.values["jax_enable_compilation_cache"] else None
    if not folder:
        return {"folder": None, "files": 0, "bytes": 0}
    files = [path for path in Path(folder).rglob("*") if path.is_file()]
    return {"folder": str(folder), "files": len(files), "bytes": sum(path.stat().st_size for path in files)}


def _memory() -> tuple[int | None, int | None]:
    try:
        import psutil
    except ImportError:
        return None, None
    memory = psutil.virtual_memory()
    return memory.total, memory.available


def _disk_free(problems: list[Problem]) -> int:
    """Bytes free where a run is written by default."""
    free = shutil.disk_usage(".").free
    if not os.access(".", os.W_OK):
        problems.append(Problem(f"The folder {Path.cwd()} cannot be written, where runs/ would be made.", "cd ~", True))
    if free < LITTLE_DISK:
        problems.append(Problem(f"Only {free / 1e6:.0f} MB are free on the disk of {Path.cwd()}.", "df -h .", False))
    return free

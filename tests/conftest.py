"""What every test shares: a CPU backend that compiles fast, and the folders of the data that are not in the repository."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

# Read by JAX when it is first imported. Tests compile far longer than they run, so XLA skips most of its optimization;
# a cache of compiled programs would let one run depend on the one before.
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ["JAX_ENABLE_COMPILATION_CACHE"] = "false"
if "xla_backend_optimization_level" not in os.environ.get("XLA_FLAGS", ""):
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --xla_backend_optimization_level=0".strip()

SHARED = Path(__file__).resolve().parents[2] / "shared"


def _existing(path: Path, holds: str) -> Path:
    if not path.exists():
        pytest.skip(f"{holds} not found: no {path}")
    return path


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """Folder of the data sets and tables: ``JAXNAS_DATA``, or ``../shared/data`` beside the repository."""
    return _existing(Path(os.environ.get("JAXNAS_DATA", SHARED / "data")), "data sets")


@pytest.fixture(scope="session")
def nb201_table(data_dir: Path) -> Path:
    """The plain table of NAS-Bench-201."""
    return _existing(data_dir / "nasbench201" / "nb201_main.npz", "NAS-Bench-201's table")


@pytest.fixture(scope="session")
def macro_table(data_dir: Path) -> Path:
    """The plain table of NAS-Bench-Macro."""
    return _existing(data_dir / "nasbench_macro" / "nas_bench_macro_cifar10.csv.gz", "NAS-Bench-Macro's table")


@pytest.fixture(scope="session")
def nats_records(data_dir: Path) -> Path:
    """Folder of some official records of NATS-Bench."""
    return _existing(data_dir / "nats_bench_records", "records of NATS-Bench")


@pytest.fixture(scope="session")
def device_latencies(data_dir: Path) -> Path:
    """Folder of the latencies of NAS-Bench-201's architectures on devices."""
    return _existing(data_dir / "hw_nas_bench_nb201", "device latencies of NAS-Bench-201")


@pytest.fixture(scope="session")
def golden_dir() -> Path:
    """Folder of the reference implementations' recorded values: ``../shared/goldens`` beside the repository."""
    return _existing(SHARED / "goldens", "golden files")


@pytest.fixture
def float64() -> Iterator[None]:
    """Doubles for one test, or a module's with ``pytestmark = pytest.mark.usefixtures("float64")``."""
    import jax  # Not before the variables above are set.

    with jax.enable_x64(True):
        yield


@pytest.fixture
def full_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Half of what is written reaches the disk."""

    def write_half(path: Path, content: bytes) -> int:
        with path.open("wb") as file:
            file.write(content[: len(content) // 2])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", write_half)


@pytest.fixture(scope="session")
def write_run() -> Callable[..., Path]:
    """Writes the folder of a search that never ran, in the real format: alphas and curves are made up, the rest is derived.
    Its card says that the data were digits, whatever the recipe names.

    ``(folder, recipe, epochs=4, seed=0, measured=True, **changes of the recipe's search)``.
    """
    import dataclasses

    import numpy as np

    from jaxnas import card
    from jaxnas.data import load
    from jaxnas.derive import derive
    from jaxnas.recipes import find
    from jaxnas.run_folder import plain
    from jaxnas.spaces import random_genotype, to_json, to_text

    def write(folder: Path, name: str, epochs: int = 4, seed: int = 0, measured: bool = True, **changes: Any) -> Path:
        recipe = find(name)
        recipe = dataclasses.replace(recipe, seed=seed, search=dataclasses.replace(recipe.search, epochs=epochs, **changes))
        space, rng = recipe.search.build_space(), np.random.Generator(np.random.PCG64(seed))
        ends = {kind: rng.normal(size=(len(cell.edges), cell.columns)) for kind, cell in space.cells}
        log, timing, target = [], [], recipe.search.latency.target
        alphas: dict[str, Any] = {}
        for epoch in range(epochs):
            alphas = {kind: (end * (epoch + 1) / epochs).tolist() for kind, end in ends.items()}
            fit = 1 - 0.8 * 0.9 ** (epoch + seed)
            metrics = {"train_loss": 2 - fit, "valid_loss": 2.1 - fit, "train_accuracy": fit, "valid_accuracy": fit - 0.02}
            costs = {"latency": target * (1 + 0.5**epoch)} if recipe.search.latency.form == "target" else {}
            log.append({"stage": "search", "epoch": epoch, **metrics, **costs, "alphas": alphas})
            timing.append({"stage": "search", "epoch": epoch, "seconds": 2.0})
        genotypes = [derive(space, alphas), *(random_genotype(space, rng) for _ in range(3))]
        rows = []
        for label, genotype in zip(("found", "random 1", "random 2", "random 3"), genotypes, strict=True):
            for epoch in range(6):
                loss = 1 / (epoch + 1 + rng.random())
                metrics = {"train_loss": loss, "train_accuracy": 1 - 0.3 * loss}
                log.append({"stage": f"train {label}", "epoch": epoch, **metrics})
                timing.append({"stage": f"train {label}", "epoch": epoch, "seconds": 1.0})
            accuracy = round(0.95 + 0.01 * rng.random(), 4)
            log.append({"stage": f"train {label}", "test_accuracy": accuracy})
            row = {"cell": label, "genotype": to_text(genotype), "test_accuracy": accuracy, "parameters": 40000}
            costs = {"latency": target * (0.9 - 0.2 * rng.random() * bool(rows))}
            rows.append({**row, "train_seconds": 3.0, **({"costs": costs} if recipe.search.latency.form == "target" else {})})
        random = [row["test_accuracy"] for row in rows[1:]]
        result: dict[str, Any] = {"recipe": name, "dataset": recipe.dataset, "space": recipe.search.space, "seed": seed}
        result |= {"genotypes_in_space": space.size, "supernet_parameters": 200000, "alphas": space.alphas}
        result |= {"found": rows[0], "random": rows[1:]}
        result |= {"random_mean": float(np.mean(random)), "random_std": float(np.std(random, ddof=1))}
        result["seconds"] = {"imports": 3.0, "trace": 9.0, "compile": 40.0, "search": 8.0, "train": 12.0, "total": 72.0}
        if recipe.search.latency.form == "target":
            cost = {"unit": "ms", "form": "target", "target": target, "expected": 1.05 * target, "derived": 0.9 * target}
            result["costs"] = {"latency": cost | ({"measured": 0.95 * target} if measured else {})}
            result["candidates"] = [
                {"genotype": row["genotype"], "score": -float(i), "latency": (0.9 - 0.05 * i) * target}
                | ({"measured": (0.93 - 0.05 * i) * target} if measured else {})
                for i, row in enumerate(rows)
            ]
        folder.mkdir(parents=True)
        packages = {"jaxnas": "0.1.0", "jax": "0.10.2"}
        environment = {"date": "2026-11-22T10:00:00+00:00", "devices": ["cpu: cpu"], "cpus": 2, "python": "3.11.7"}
        environment |= {"platform": "Linux x86_64", "packages": packages, "xla_flags": "", "arguments": ["search", name]}
        documents = {"config": {"recipe": name, **plain(recipe)}, "environment": environment, "result": result}
        documents["genotype"] = to_json(genotypes[0], space.name)
        spent = {"trace": 9.0, "compile": 40.0, "search": 2.0 * epochs, "train found": 6.0, "evaluate": 0.5}
        spent |= {f"train random {i}": 6.0 for i in (1, 2, 3)}
        sessions = [{"date": environment["date"], "devices": 1, "seconds": spent, "wall_seconds": 72.0}]
        documents["card"] = {
            "format": 1,
            **card.of_search(name, recipe, load("digits"), space),
            "hardware": [card.hardware()],
            "code": [card.code()],
            "cost": {"whole": True, **card.cost(sessions)},
            "result": {"genotype": rows[0]["genotype"], "accuracy": rows[0]["test_accuracy"], "parameters": 40000},
        }
        documents["card"]["unknown"] = dict.fromkeys(card.nulls(documents["card"]), "made up")
        for file, document in documents.items():
            (folder / f"{file}.json").write_text(json.dumps(document, indent=2) + "\n")
        for file, records in (("log", log), ("timing", timing)):
            (folder / f"{file}.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
        return folder

    return write

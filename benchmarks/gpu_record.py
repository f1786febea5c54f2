"""What the stages of ``gpu.sh`` need of Python: the record of a stage, and the targets of its ProxylessNAS searches.

python -m benchmarks.gpu_record STAGE RUNS OUT
python -m benchmarks.gpu_record targets TABLE SPACE [WIDTH]
"""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path
from typing import Any

from jaxnas.choosing import extremes_of
from jaxnas.commands.profile import IMAGE_SIZES, SPACES
from jaxnas.commands.status import summary
from jaxnas.cost_terms import LatencyTerm
from jaxnas.data import Augmentation, Dataset, load, stand_in
from jaxnas.recipes import find
from jaxnas.run_folder import ENVIRONMENT, RESULT, read_json
from jaxnas.status import status

RUNS_OF = {"trust": ("gdas-[0-9]*", "darts-v1-[0-9]*"), "proxyless": ("proxyless-*-*",)}
"""The names of a stage's runs, where they are not its own with a seed."""

SHARES = (0.25, 0.4, 0.55)
"""Where the targets lie between the least and the greatest latency of an architecture."""


def record(stage: str, runs: Path) -> dict[str, Any]:
    """Of every run of a stage how far it is and, where there is one, its result; what the table and the trust report say."""
    found: dict[str, Any] = {}
    names = RUNS_OF.get(stage, (f"{stage}-[0-9]*",))
    for folder in sorted(path for name in names for path in runs.glob(name) if path.is_dir()):
        one = summary(status(folder)) | {"run": folder.name}
        one |= {"environment": _where(folder), "result": _json(folder / RESULT)}
        one |= {about: _json(runs / f"{folder.name}-{about}.json") for about in ("query", "trust")}
        found[folder.name] = {key: value for key, value in one.items() if value is not None}
    return {"stage": stage, "runs": found}


def _json(path: Path) -> Any:
    return read_json(path) if path.exists() else None


def _where(folder: Path) -> Any:
    """Where a run was begun and resumed, without the commands: these hold paths."""
    found = _json(folder / ENVIRONMENT)
    if found is None:
        return None
    places = [found, *found.pop("resumed", [])]
    return [{key: place[key] for key in ("date", "devices", "processor", "packages") if key in place} for place in places]


def targets(table: Path, space: str, width: float) -> list[float]:
    """Three latencies between the extremes of a space of blocks, in milliseconds by a table."""
    digits = IMAGE_SIZES.get(space) == 8
    recipe = find("proxyless-mobile-digits" if digits else "proxyless")
    dataset: Dataset | None = load("digits") if digits else stand_in("cifar10")
    assert dataset is not None
    term = LatencyTerm(form="target", table=str(table), target=1.0)
    search = dataclasses.replace(recipe.search, space=SPACES[space], width=width, augmentation=Augmentation(), latency=term)
    train = dataclasses.replace(recipe.train, augmentation=Augmentation())
    least, greatest, _ = extremes_of(dataclasses.replace(recipe, search=search, train=train), dataset, "latency")
    return [float(f"{least + share * (greatest - least):.4g}") for share in SHARES]


def main(arguments: list[str]) -> None:
    """Prints targets, or writes a record."""
    if arguments[0] == "targets":
        width = float(arguments[3]) if len(arguments) > 3 else 1.0
        print(*targets(Path(arguments[1]), arguments[2], width))
        return
    stage, runs, out = arguments[0], Path(arguments[1]), Path(arguments[2])
    out.write_text(json.dumps(record(stage, runs), indent=1) + "\n")
    print(f"Wrote: {out}")


if __name__ == "__main__":
    main(sys.argv[1:])

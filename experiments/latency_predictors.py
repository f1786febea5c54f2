"""Latency predictors of a few hundred measured architectures, beside the additive fit of the same ones.

    python experiments/latency_predictors.py DATA

writes ``latency_predictors.json`` and ``latency_predictors.md`` beside this file. DATA is as for ``latency_devices.py``.
Architectures without a path from the input to the output are left out. Every draw takes its training architectures at random,
the same for each device and predictor, and scores on all others.
"""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path

import numpy as np
from latency_devices import read

from jaxnas.latency import scores
from jaxnas.latency.encodings import Encoded
from jaxnas.latency.predictors import PREDICTORS, predictor

DRAWS, SIZES = 5, (100, 300)
Found = dict[str, dict[str, dict[str, list[dict[str, float]]]]]
"""Scores of each draw, by device, number of training architectures and predictor."""


def of_device(networks: Encoded, latencies: np.ndarray) -> dict[str, dict[str, list[dict[str, float]]]]:
    """Scores on what was not drawn."""
    found: dict[str, dict[str, list[dict[str, float]]]] = {}
    for size in SIZES:
        by_predictor: dict[str, list[dict[str, float]]] = {name: [] for name in PREDICTORS}
        for draw in range(DRAWS):
            order = np.random.default_rng(draw).permutation(len(latencies))
            trained, held = order[:size], order[size:]
            for name, rows in by_predictor.items():
                predict = predictor(name, networks.at(trained), latencies[trained])
                rows.append(dataclasses.asdict(scores(latencies[held], predict(networks.at(held)))))
        found[str(size)] = by_predictor
    return found


def compared(additive: list[dict[str, float]], other: list[dict[str, float]]) -> tuple[float, float]:
    """By how much the other's MAPE is smaller, and the standard deviation of this over the draws."""
    gains = np.array([mine["mape"] - theirs["mape"] for mine, theirs in zip(additive, other, strict=True)])
    return float(gains.mean()), float(gains.std(ddof=1))


def verdict(additive: list[dict[str, float]], other: list[dict[str, float]]) -> str:
    """``better`` or ``worse`` than the additive fit by more than the spread of the draws, or ``even``."""
    gain, spread = compared(additive, other)
    return "even" if abs(gain) <= spread else "better" if gain > 0 else "worse"


def markdown(found: Found) -> str:
    """The tables, and where each predictor is better."""
    others = [name for name in PREDICTORS if name != "additive"]
    lines = [
        "# Latency predictors beside the additive fit",
        "",
        f"Made by `python experiments/latency_predictors.py DATA`: MAPE in percent, the mean of {DRAWS} draws and their",
        "standard deviation, on all architectures with a path that were not drawn. `additive` is non-negative least squares on",
        "the choices, `additive-kept` the same after an operation that reaches no output was made none; the other two are",
        "scikit-learn's. `+` marks what is better than the additive fit by more than the standard deviation, over the draws,",
        "of their difference, `-` what is worse by more than that.",
        "",
    ]
    for size in map(str, SIZES):
        lines += [f"## {size} training architectures", "", "| device | additive | " + " | ".join(others) + " |"]
        lines += ["|---" * (2 + len(others)) + "|"]
        where: dict[str, dict[str, list[str]]] = {name: {"better": [], "worse": [], "even": []} for name in others}
        for device, by_size in found.items():
            fits = by_size[size]
            cells = [_mape(fits["additive"])]
            for name in others:
                said = verdict(fits["additive"], fits[name])
                where[name][said].append(device)
                cells.append(_mape(fits[name]) + {"better": " +", "worse": " -", "even": ""}[said])
            lines.append(f"| {device} | " + " | ".join(cells) + " |")
        lines.append("")
        for name in others:
            counts = {said: len(devices) for said, devices in where[name].items()}
            better = f" ({', '.join(where[name]['better'])})" if where[name]["better"] else ""
            lines.append(
                f"- {name}: better on {counts['better']} of {len(found)} devices{better}, worse on {counts['worse']}, even on "
                f"{counts['even']}."
            )
        lines.append("")
    return "\n".join(lines)


def _mape(rows: list[dict[str, float]]) -> str:
    values = np.array([row["mape"] for row in rows])
    return f"{values.mean():.2f} ± {values.std(ddof=1):.2f}"


def main(data: Path) -> None:
    """Writes both files."""
    networks, with_path, devices = read(data)
    networks = networks.at(with_path)
    found: Found = {}
    for device, latencies in devices.items():
        found[device] = of_device(networks, latencies[with_path])
        print(device, flush=True)
    here = Path(__file__)
    here.with_suffix(".json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    here.with_suffix(".md").write_text(markdown(found), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))

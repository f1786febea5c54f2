"""Whether latencies add up: additive tables fitted to the published devices of NAS-Bench-201.

    python experiments/latency_devices.py DATA

writes ``latency_devices.json`` and ``latency_devices.md`` beside this file. DATA holds ``hw_nas_bench_nb201`` (latencies of all
15,625 architectures on 27 devices, HELP and HW-NAS-Bench) and ``nasbench201`` (which architecture an index stands for).
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import sys
from pathlib import Path

import numpy as np

from jaxnas.latency import Scores, encode, has_path, scores
from jaxnas.latency.additive import fit
from jaxnas.latency.encodings import Encoded
from jaxnas.latency.measured import read_columns
from jaxnas.spaces import from_text, nb201


def read(data: Path) -> tuple[Encoded, np.ndarray, dict[str, np.ndarray]]:
    """All architectures in the order of their index, which of them have a path, and milliseconds by device."""
    texts = read_columns(data / "nasbench201" / "nb201_main.csv.gz")
    columns = read_columns(data / "hw_nas_bench_nb201" / "nb201_latency_27devices_ms.csv.gz")
    index = columns.pop("index")
    assert index == texts["index"]
    genotypes = [from_text(text) for text in texts["arch_str"]]
    with_path = np.array([has_path(genotype) for genotype in genotypes])
    devices = {name: np.array([float(value) for value in values]) for name, values in sorted(columns.items())}
    return encode(nb201(), genotypes), with_path, devices


def of_device(networks: Encoded, with_path: np.ndarray, latencies: np.ndarray) -> dict[str, Scores]:
    """Scores of fits, each on the architectures that it is fitted to: 25 numbers for 15,000 leave nothing to be held out."""
    every = np.ones(len(latencies), bool)
    found = {}
    for name, rows, encoding in (
        ("all", every, networks.chosen),
        ("with a path", with_path, networks.chosen),
        ("with a path, what reaches the output", with_path, networks.kept),
    ):
        table = fit(networks.space, encoding[rows], latencies[rows])
        found[name] = scores(latencies[rows], table.predict(encoding[rows]))
    return found


def of_pairs(networks: Encoded, latencies: np.ndarray, fitted: int = 12_000) -> dict[str, Scores]:
    """Scores on what is held out: of the additive fit, and of least squares with a number for every pair of choices.

    Where the second is no better, what the first misses is no interaction of two edges; if there is nothing of three or more,
    it is noise of the measurement.
    """
    order = np.random.default_rng(0).permutation(len(latencies))
    edges = networks.chosen.reshape(len(latencies), 6, 5)
    pairs = [
        np.einsum("na,nb->nab", edges[:, i], edges[:, j]).reshape(len(edges), 25)
        for i, j in itertools.combinations(range(6), 2)
    ]
    found = {}
    for name, inputs in (("additive", networks.chosen), ("pairs", np.concatenate(pairs, axis=1))):
        inputs = np.concatenate([np.ones((len(inputs), 1)), inputs], axis=1)
        trained, held = inputs[order[:fitted]], inputs[order[fitted:]]
        numbers, *_ = np.linalg.lstsq(trained, latencies[order[:fitted]], rcond=None)
        found[name] = scores(latencies[order[fitted:]], held @ numbers)
    return found


def markdown(
    found: dict[str, dict[str, Scores]], pairs: dict[str, dict[str, Scores]], architectures: int, with_path: int
) -> str:
    """The table, and what is to be read in it."""
    lines = [
        "# Additive latency tables on the published devices of NAS-Bench-201",
        "",
        "Made by `python experiments/latency_devices.py DATA`: for each of 27 devices a table of 30 numbers, one for each",
        "operation on each edge, fitted by non-negative least squares to the published milliseconds and compared with them.",
        f"Left: all {architectures:,} architectures. Middle: the {with_path:,} that have a path from the input to the output",
        f"of their cell; the other {architectures - with_path} give out a constant. Right: these again, but an operation that",
        "reaches no output counts as none. MAPE in percent; in bold what misses the limits of a table's check (R2 0.95, MAPE",
        "10 %, Spearman 0.95).",
        "",
        "| device | R2 | MAPE | Spearman | with a path: R2 | MAPE | Spearman | reaching the output: R2 | MAPE | Spearman |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for device, fits in found.items():
        cells = [cell for fit_scores in fits.values() for cell in _cells(fit_scores)]
        lines.append(f"| {device} | {' | '.join(cells)} |")
    failed = {device: fits["with a path"].failures for device, fits in found.items() if not fits["with a path"].passed}
    better = [d for d, fits in found.items() if fits["with a path, what reaches the output"].mape < fits["with a path"].mape]
    only_all = [d for d, fits in found.items() if not fits["all"].passed and fits["with a path"].passed]
    words = "; ".join(f"{device} ({', '.join(said)})" for device, said in failed.items())
    lines += [
        "",
        f"Additive tables pass on {len(found) - len(failed)} of {len(found)} devices with a path, and fail on {words}.",
        f"Where the architectures without a path make the difference: {', '.join(only_all) or 'nowhere'}. pixel3 and raspi4",
        "take nearly no time for them (0.003 ms at least, where the fastest with a path takes 1.1 ms), so a percentage of it",
        "means nothing: hence the MAPE on the left.",
        f"Counting what reaches no output as none gives a smaller MAPE on {', '.join(better) or 'no device'} and a larger one",
        "on every other: those latencies are as of a graph from which a compiler took what nothing reads, the others as of one",
        "that runs every operation that was chosen.",
        "",
        "## Why they fail",
        "",
        "On the devices that fail: scores on 3,284 architectures with a path that neither fit saw, of 12,000 for plain least",
        "squares of the choices and of all pairs of choices (of two edges each).",
        "",
        "| device | additive: R2 | MAPE | pairs: R2 | MAPE |",
        "|---|---|---|---|---|",
    ]
    for device in failed:
        both = (pairs[device][name] for name in ("additive", "pairs"))
        lines.append(f"| {device} | " + " | ".join(f"{each.r2:.4f} | {each.mape:.2f}" for each in both) + " |")
    gains = {device: pairs[device]["pairs"].r2 - pairs[device]["additive"].r2 for device in failed}
    helped = [device for device, gain in gains.items() if gain > 0.01]
    others = [device for device in failed if device not in helped]
    most = max(gains[device] for device in others)
    lines += [
        "",
        f"Pairs explain more on {', '.join(helped)}: there additivity itself fails. On {', '.join(others)} they explain",
        f"{most:.4f} of the variance more at most: what the additive tables miss there does not depend on which two operations",
        "meet, and noise of the measurement is the likelier cause.",
        "",
    ]
    return "\n".join(lines)


def _cells(found: Scores) -> list[str]:
    failed = " ".join(found.failures)
    parts = {"R2": f"{found.r2:.4f}", "MAPE": f"{found.mape:.2f}", "Spearman": f"{found.spearman:.4f}"}
    return [f"**{text}**" if name in failed else text for name, text in parts.items()]


def main(data: Path) -> None:
    """Writes both files."""
    networks, with_path, devices = read(data)
    found = {device: of_device(networks, with_path, latencies) for device, latencies in devices.items()}
    here = Path(__file__)
    pairs = {device: of_pairs(networks.at(with_path), latencies[with_path]) for device, latencies in devices.items()}
    plain = {
        device: {
            name: dataclasses.asdict(each)
            for name, each in (fits | {f"held out, {n}": s for n, s in pairs[device].items()}).items()
        }
        for device, fits in found.items()
    }
    here.with_suffix(".json").write_text(json.dumps(plain, indent=1) + "\n", encoding="utf-8")
    text = markdown(found, pairs, len(with_path), int(with_path.sum()))
    here.with_suffix(".md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main(Path(sys.argv[1]))

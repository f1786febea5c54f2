"""What the searches of ``search.py`` came to: the record, and the figures.

    python experiments/collapse-cpu/tell.py --runs RUNS --table nb201_main.npz

Of every search what the table of NAS-Bench-201 says of the architecture after each epoch, how many skip connections it has,
the curvature, and where RobustDARTS's rule would have ended it: the search that is ended early is the same trajectory, cut
there. The random searches beside them are computed from the table, without chance.
"""

from __future__ import annotations

import dataclasses
import json
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from search import BATCH, ENDED, EPOCHS, KINDS, PIXELS, STEPS, folder_of

from jaxnas import axes, stored
from jaxnas.counting import multiply_adds
from jaxnas.history import moments, read_lines
from jaxnas.instruments import early_stop
from jaxnas.nets import Shape, derived, supernet
from jaxnas.run_folder import ENVIRONMENT, LOG, RESULT, TIMING, read_json
from jaxnas.spaces import from_text, to_text
from jaxnas.spaces import nb201 as nb201_space
from jaxnas.tabular import Table, nb201, read, table_of
from jaxnas.trust import trust

HERE = Path(__file__).parent
PARTS = ("spearman", "regret", "not_scored", "ranking", "search", "discretization")
"""Of a trust report."""

INSTRUMENTS = ("skip_share", "entropy", "accuracy", "derived_accuracy", "hypergradient_cosine", "hypergradient_norm_ratio")
"""What is kept of a search's log, besides the largest eigenvalue."""

GRADIENTS = {"first_order": 2, "unrolled": 6, "finite_difference": 5}
"""Gradients of the network in a step: of the weights, and of the alphas. The exact second order has one of each level and a
forward derivative of a gradient, which costs about two."""


def told(runs: Path, kind: str, seed: int, table: Table, table_path: Path) -> dict[str, Any]:
    """What came out of one search."""
    folder = folder_of(runs, kind, seed)
    recipe = stored.recipe_of(folder)[1]
    log, result = read_lines(folder / LOG)[0], read_json(folder / RESULT)
    texts = [to_text(moment.genotype) for moment in moments(recipe.search, log)[0]]
    numbers = nb201.indices_of_strings(texts)
    measured = [record for record in log if "instruments" in record]
    found: dict[str, Any] = {
        "kind": kind,
        "seed": seed,
        **described(texts[-1], int(numbers[-1]), table),
        "accuracy_by_epoch": [round(float(table.test[number]), 2) for number in numbers],
        "skips_by_epoch": [text.count("skip_connect") for text in texts],
        "supernet_validation_accuracy": round(log[-1]["valid_accuracy"], 4),
        "seconds_of_epochs": round(sum(record["seconds"] for record in read_lines(folder / TIMING)[0]), 1),
        "seconds_of_compilation": round(result["seconds"]["trace"] + result["seconds"]["compile"], 1),
    }
    assert texts[-1] == result["found"]["genotype"]
    found["trust"] = trusted(folder, table_path)
    if measured:
        epochs = [record["epoch"] for record in measured]
        found["measured_after_epoch"] = [epoch + 1 for epoch in epochs]
        found["eigenvalue"] = [round(record["hessian_eigenvalue"], 5) for record in measured]
        found["instruments"] = {name: [round(one["instruments"][name], 4) for one in measured] for name in INSTRUMENTS}
        # As the reference, not after the last epoch: the search has ended then.
        call = early_stop(epochs[:-1], [record["hessian_eigenvalue"] for record in measured[:-1]], 2)
        found["early_stop"] = None
        if call is not None:
            kept = described(texts[call.epoch], int(numbers[call.epoch]), table)
            found["early_stop"] = {
                "seen_after": call.seen_at + 1,
                "kept": call.epoch + 1,
                "ratio": round(call.ratio, 3),
                **kept,
            }
    return found


def trusted(folder: Path, table: Path) -> dict[str, float]:
    """The rank correlation of shared weights with the table, and the parts of the regret; kept beside the run's folder."""
    kept = folder.with_name(f"{folder.name}-trust.json")
    if not kept.exists():
        report = dataclasses.asdict(trust(folder, table, "cifar10"))
        kept.write_text(json.dumps({key: report[key] for key in PARTS}))
    return {key: round(value, 3) for key, value in read_json(kept).items()}


def acting(runs: Path, cut: Mapping[str, Any]) -> dict[str, Any] | None:
    """What the search came to that the rule did end, beside the one that is cut by it; None where it was not run."""
    if not (runs / ENDED / RESULT).exists():
        return None
    genotype = read_json(runs / ENDED / RESULT)["found"]["genotype"]
    ended, whole = (read_lines(folder / LOG)[0] for folder in (runs / ENDED, folder_of(runs, cut["kind"], cut["seed"])))
    same = {"same_genotype": genotype == cut["early_stop"]["genotype"], "same_log": ended == whole[: len(ended)]}
    return {"kind": cut["kind"], "seed": cut["seed"], "genotype": genotype, "epochs": len(ended), **same}


def described(text: str, number: int, table: Table) -> dict[str, Any]:
    """An architecture, and what the table says of it."""
    accuracy = float(table.test[number])
    rank = int((table.test > table.test[number]).sum()) + 1
    return {
        "genotype": text,
        "index": number,
        "accuracy": round(accuracy, 2),
        "rank": rank,
        "skips": text.count("skip_connect"),
    }


def equal_cost() -> dict[str, float]:
    """By hypergradient, and for GDAS: how many random architectures are trained for the multiply-adds of one search.

    Each for as many steps, at the same size. What the alphas need in the second half is data, which such a training would have
    for its weights, too; this is not counted.
    """
    shape, space = Shape(4, 1, 10, PIXELS), nb201_space()
    edges = [f"|{'|'.join(f'{{0}}~{source}' for source in range(node))}|" for node in (1, 2, 3)]
    uniform = [from_text("+".join(edges).format(name)) for name in nb201.OPERATIONS]
    # An architecture's cost is a sum over its edges, so the mean of all is that of the five that have one operation everywhere.
    path = statistics.mean(multiply_adds(derived(genotype, shape), PIXELS, "nasbench201") for genotype in uniform)
    whole = multiply_adds(supernet(space, shape), PIXELS, "nasbench201", space)
    return {name: count * whole / path for name, count in GRADIENTS.items()} | {"gdas": 2.0}


def random_search(table: Table, number: int) -> dict[str, float]:
    """Mean and deviation of what is found: of so many random architectures the best by validation accuracy after 12 epochs.

    The largest of n independent draws has the rank i or a lower one of N with probability (i / N)^n.
    """
    test = table.test[np.argsort(table.validation[:, list(table.budgets).index(12)], kind="stable")].astype(np.float64)
    below = (np.arange(len(test) + 1) / len(test)) ** number
    chance = np.diff(below)
    mean = float(chance @ test)
    return {"number": number, "mean": round(mean, 2), "deviation": round(float(np.sqrt(chance @ (test - mean) ** 2)), 2)}


def summary(found: Sequence[Mapping[str, Any]], table: Table) -> list[dict[str, Any]]:
    """A row for each kind: means and sample deviations over the seeds."""
    rows, cost = [], equal_cost()
    for kind, (name, hypergradient, _) in KINDS.items():
        ends = [one for one in found if one["kind"] == kind]
        if len(ends) < 2:
            continue
        early = [one.get("early_stop") or one for one in ends]
        row: dict[str, Any] = {
            "kind": kind,
            "searches": len(ends),
            "accuracy": _spread(ends, "accuracy"),
            "skips": _spread(ends, "skips"),
        }
        if "early_stop" in ends[0]:
            row["stopped_early"] = sum(one["early_stop"] is not None for one in ends)
            row |= {"accuracy_with_early_stop": _spread(early, "accuracy"), "skips_with_early_stop": _spread(early, "skips")}
        number = max(1, round(cost["gdas" if name == "nb201-gdas" else hypergradient]))
        rows.append(row | {"random_at_equal_cost": random_search(table, number)})
    return rows


def _spread(found: Sequence[Mapping[str, Any]], name: str) -> dict[str, float]:
    values = [float(one[name]) for one in found]
    return {"mean": round(statistics.mean(values), 2), "deviation": round(statistics.stdev(values), 2)}


def draw(kind: str, found: Sequence[Mapping[str, Any]]) -> None:
    """The pictures of a kind: curvature, ringed where the rule calls, and what is derived."""
    name, ends = kind.replace(",", "").replace(" ", "-"), [one for one in found if one["kind"] == kind]
    if ends and "eigenvalue" in ends[0]:
        lines = {f"seed {one['seed']}": list(zip(one["measured_after_epoch"], one["eigenvalue"], strict=True)) for one in ends}
        calls = [(f"seed {one['seed']}", one["early_stop"]["seen_after"]) for one in ends if one["early_stop"]]
        marks = [point for seed, at in calls for point in lines[seed] if point[0] == at]
        title = f"{kind}: largest eigenvalue of the validation loss's Hessian in the alphas"
        (HERE / f"curvature-{name}.svg").write_text(axes.curves(title, "epoch", "eigenvalue", lines, marks))
    if ends:
        lines = {f"seed {one['seed']}": list(enumerate(one["accuracy_by_epoch"], start=1)) for one in ends}
        title = f"{kind}: test accuracy, by the table, of what is derived after each epoch"
        (HERE / f"derived-{name}.svg").write_text(axes.curves(title, "epoch", "percent", lines))


def main(runs: Path, table: Path) -> None:
    """Writes ``record.json`` and the pictures beside this file."""
    seen = table_of(read(table, "nb201"), "cifar10")
    found = [
        told(runs, kind, seed, seen, table)
        for kind in KINDS
        for seed in range(4)
        if (folder_of(runs, kind, seed) / RESULT).exists()
    ]
    where = read_json(folder_of(runs, found[0]["kind"], found[0]["seed"]) / ENVIRONMENT)
    record = {
        "environment": {key: where[key] for key in ("date", "devices", "packages")},
        "steps": EPOCHS * STEPS,
        "images_a_step": BATCH,
        "random_architectures_for_a_search": {name: round(value, 2) for name, value in equal_cost().items()},
        "random": {"one": random_search(seen, 1), "best_of_the_table": round(float(seen.test.max()), 2)},
        "ended_early": acting(runs, found[0]),
        "summary": summary(found, seen),
        "searches": found,
    }
    (HERE / "record.json").write_text(json.dumps(record) + "\n")
    for kind in KINDS:
        draw(kind, found)
    for row in record["summary"]:
        print(json.dumps(row))


if __name__ == "__main__":
    tyro.cli(main)

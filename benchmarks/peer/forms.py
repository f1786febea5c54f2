"""The peer's forms against each other: that what jaxnas is measured against is no slower than the references' plain form.

python -m benchmarks.peer.forms --case darts --json FILE
"""

from __future__ import annotations

import argparse
import json
import statistics
from pathlib import Path
from typing import Any

from benchmarks.cases import CASES
from benchmarks.search_step import LAYOUTS, in_turns, run_facts
from benchmarks.workers import Worker

FORMS = ("plain", "shared")


def measure(case: str, compiled: bool, rounds: int | None) -> dict[str, Any]:
    """Step seconds of every form in every layout, first order and float32, in turns."""
    workers = {}
    for form in FORMS:
        for layout in LAYOUTS:
            options = {"case": case, "form": form, "layout": layout, "compiled": compiled}
            options |= {"hypergradient": "first_order", "precision": "float32"}
            workers[f"{form}_{layout}"] = Worker("benchmarks.peer.side", options)
    seconds = in_turns(workers, rounds or CASES[case].pairs)
    facts = next(iter(workers.values())).facts
    steps = {name: statistics.median(found) for name, found in seconds.items()}
    fastest = {form: min(steps[f"{form}_{layout}"] for layout in LAYOUTS) for form in FORMS}
    record = {
        **run_facts(),
        "torch": facts["torch"],
        "threads": facts["threads"],
        "peer_device": facts["device"],
        "peer_compiled": compiled,
        "rounds": len(next(iter(seconds.values()))),
        **{f"{name}_step_s": value for name, value in steps.items()},
        "plain_over_shared": fastest["plain"] / fastest["shared"],
        **{f"{name}_first_step_s": worker.facts["first_step_s"] for name, worker in workers.items()},
    }
    for worker in workers.values():
        worker.close()
    return record


def main() -> None:
    parser = argparse.ArgumentParser(description="Time the peer's forms in turns.")
    parser.add_argument("--case", choices=CASES, required=True)
    parser.add_argument("--compile", action="store_true", help="each form through torch.compile")
    parser.add_argument("--rounds", type=int, help="steps of each; those of the case by default")
    parser.add_argument("--json", type=Path, help="write the record into this file, too, beside those of other cases")
    arguments = parser.parse_args()
    name = arguments.case + ("-compiled" if arguments.compile else "")
    record = {name: measure(arguments.case, arguments.compile, arguments.rounds)}
    print(json.dumps(record, indent=2))
    if arguments.json is not None:
        before = json.loads(arguments.json.read_text(encoding="utf-8")) if arguments.json.exists() else {}
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        arguments.json.write_text(json.dumps(before | record, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

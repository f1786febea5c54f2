"""The peer's forms against each other: that what jaxnas is measured against is no slower than the references' plain form.

python -m benchmarks.peer.forms --case darts --json FILE
"""

from __future__ import annotations

import argparse
import json
import statistics
from pathlib import Path

from benchmarks.cases import CASES
from benchmarks.search_step import LAYOUTS, in_turns, run_facts
from benchmarks.workers import Worker


def main() -> None:
    parser = argparse.ArgumentParser(description="Time the peer's forms in turns.")
    parser.add_argument("--case", choices=CASES, required=True)
    parser.add_argument("--compile", action="store_true", help="torch.compile of each form, too")
    parser.add_argument("--rounds", type=int, help="steps of each; those of the case by default")
    parser.add_argument("--json", type=Path, help="write the record to this file, too")
    arguments = parser.parse_args()
    workers = {}
    for compiled in (False, True) if arguments.compile else (False,):
        for form in ("plain", "shared"):
            for layout in LAYOUTS:
                options = {"case": arguments.case, "form": form, "layout": layout, "compiled": compiled}
                options |= {"hypergradient": "first_order", "precision": "float32"}
                name = f"{form}_{layout}" + ("_compiled" if compiled else "")
                workers[name] = Worker("benchmarks.peer.side", options)
    seconds = in_turns(workers, arguments.rounds or CASES[arguments.case].pairs)
    facts = next(iter(workers.values())).facts
    steps = {name: statistics.median(found) for name, found in seconds.items()}
    fastest = {form: min(steps[f"{form}_{layout}"] for layout in LAYOUTS) for form in ("plain", "shared")}
    record = {
        "case": arguments.case,
        **run_facts(),
        "torch": facts["torch"],
        "peer_device": facts["device"],
        **{f"{name}_step_s": value for name, value in steps.items()},
        "plain_over_shared": fastest["plain"] / fastest["shared"],
        **{f"{name}_first_step_s": worker.facts["first_step_s"] for name, worker in workers.items()},
    }
    for worker in workers.values():
        worker.close()
    text = json.dumps(record, indent=2)
    print(text)
    if arguments.json is not None:
        arguments.json.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

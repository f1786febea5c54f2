"""jaxnas and the peer in PyTorch in one run: step time in turns, compilation, memory.

    python -m benchmarks.search_step --case darts --json FILE

Both sides run as on their own, with all cores and their default threads, each in a process of its own; one of them works at
a time (see ``workers``). The peer is the fastest of its forms and layouts that pass the golden files of the case's family.
"""

from __future__ import annotations

import argparse
import datetime
import itertools
import json
import os
import platform
import statistics
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.cases import CASES, Family
from benchmarks.workers import Worker

LAYOUTS = ("nchw", "channels_last")
TRIALS = 2  # Turns by which the peer's form and layout are chosen.
CONFORMANCE = Path(__file__).parent / "results" / "peer_golden.json"
"""Record of ``python -m benchmarks.peer.verify``: what of the peer passes which golden file."""


def spread(name: str, values: Sequence[float]) -> dict[str, float]:
    """Median, least and greatest of some pairs.

    >>> spread("step_ratio", [2.0, 1.0, 4.0])
    {'step_ratio_median': 2.0, 'step_ratio_min': 1.0, 'step_ratio_max': 4.0}
    """
    found = {"median": statistics.median(values), "min": min(values), "max": max(values)}
    return {f"{name}_{kind}": value for kind, value in found.items()}


def run_facts() -> dict[str, Any]:
    """When and where."""
    return {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "machine": platform.machine(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
    }


def turns(names: Sequence[str], rounds: int) -> Iterator[tuple[str, ...]]:
    """The order of each round, every other one reversed: what drifts with time then favours nobody.

    >>> list(turns(["a", "b"], 2))
    [('a', 'b'), ('b', 'a')]
    """
    for i in range(rounds):
        yield tuple(names) if i % 2 == 0 else tuple(reversed(names))


def in_turns(workers: Mapping[str, Worker], rounds: int) -> dict[str, list[float]]:
    """Seconds of a step of each worker, by turns."""
    seconds: dict[str, list[float]] = {name: [] for name in workers}
    for order in turns(list(workers), rounds):
        for name in order:
            seconds[name].append(workers[name].ask("step"))
    return seconds


def conforming(family: Family, comparisons: Sequence[Mapping[str, Any]]) -> list[tuple[str, str]]:
    """Forms and layouts of the peer that passed every file of a family, in the order of their first comparison.

    >>> one = {"family": "darts", "form": "plain", "layout": "nchw"}
    >>> conforming("darts", [one | {"passed": True}, one | {"layout": "channels_last", "passed": False}])
    [('plain', 'nchw')]
    """
    passed: dict[tuple[str, str], bool] = {}
    for one in comparisons:
        if one["family"] == family:
            way = (one["form"], one["layout"])
            passed[way] = passed.get(way, True) and one["passed"]
    return [way for way, every in passed.items() if every]


def fastest_peer(arguments: argparse.Namespace) -> tuple[Worker, dict[str, Any]]:
    """The peer in its fastest way that conforms, and the seconds that each took on its own.

    The ways are tried uncompiled: ``torch.compile`` takes minutes for each, so it is given the fastest of them alone.
    """
    estimators = ("first_order",) if arguments.order == "first" else ("finite_difference", "unrolled")
    ways = conforming(CASES[arguments.case].family, json.loads(CONFORMANCE.read_text(encoding="utf-8"))["comparisons"])
    best, seconds, chosen, record = None, float("inf"), {}, {}
    for estimator, (form, layout) in itertools.product(estimators, ways):
        options = {
            "case": arguments.case,
            "form": form,
            "layout": layout,
            "hypergradient": estimator,
            "precision": arguments.dtype,
        }
        worker = Worker("benchmarks.peer.side", options | {"compiled": False})
        found = min(worker.ask("step") for _ in range(TRIALS))
        record[f"peer_alone_{estimator}_{form}_{layout}_step_s"] = found
        if found < seconds:
            loser, best, seconds, chosen = best, worker, found, options
            record.update(peer_form=form, peer_layout=layout, peer_estimator=estimator)
        else:
            loser = worker
        if loser is not None:
            loser.close()
    assert best is not None
    if arguments.compile_peer:
        best.close()
        best = Worker("benchmarks.peer.side", chosen | {"compiled": True})
        record["peer_compiled_first_step_s"] = best.facts["first_step_s"]
    return best, record


def our_worker(arguments: argparse.Namespace, order: str, cache: str) -> Worker:
    """Our side in a fresh process, with a persistent compilation cache in that folder."""
    options = {
        "case": arguments.case,
        "order": order,
        "precision": arguments.dtype,
        "rematerialise": arguments.rematerialise,
    }
    # As the command line sets it (jaxnas.cli); without preallocation, since PyTorch may share the GPU.
    environment = {
        "JAX_COMPILATION_CACHE_DIR": cache,
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
    }
    return Worker("benchmarks.ours", options, environment)


def measure(arguments: argparse.Namespace, cache: str) -> dict[str, Any]:
    """The record of one case, with an empty folder for compiled programs."""
    workers = {"jaxnas": our_worker(arguments, arguments.order, cache)}
    warm = our_worker(arguments, arguments.order, cache)
    warm.close()
    if arguments.order == "second":
        workers["first_order"] = our_worker(arguments, "first", cache)
    workers["peer"], record = fastest_peer(arguments)
    ours, peer = workers["jaxnas"], workers["peer"]
    pairs = arguments.pairs or CASES[arguments.case].pairs
    seconds = in_turns(workers, pairs)
    facts, peer_bytes = ours.facts, peer.ask("memory_bytes")
    record |= {f"{name}_step_s": statistics.median(found) for name, found in seconds.items()}
    record |= spread("step_ratio", [a / b for a, b in zip(seconds["jaxnas"], seconds["peer"], strict=True)])
    record |= {
        "pairs": pairs,
        **{name: facts[name] for name in ("import_s", "start_s", "trace_s", "compile_s")},
        "trace_and_compile_s": facts["trace_s"] + facts["compile_s"],
        "to_first_step_cold_s": facts["to_first_step_s"],
        "to_first_step_warm_s": warm.facts["to_first_step_s"],
        "warm_from_cache": warm.facts["from_cache"],
        "warm_trace_s": warm.facts["trace_s"],
        "warm_load_s": warm.facts["compile_s"],
        **{f"jaxnas_{name}": facts[name] for name in facts if name.endswith("_bytes")},
        "peer_memory_bytes": peer_bytes,
        "memory_ratio": facts["memory_bytes"] / peer_bytes,
        "outside_program_share": ours.ask("epoch"),
    }
    if "first_order" in workers:
        first = workers["first_order"]
        ratios = [a / b for a, b in zip(seconds["jaxnas"], seconds["first_order"], strict=True)]
        record |= spread("second_over_first_step_ratio", ratios)
        record["second_over_first_memory_ratio"] = facts["memory_bytes"] / first.facts["memory_bytes"]
    versions = {name: facts[name] for name in ("jax", "jaxlib")} | {name: peer.facts[name] for name in ("torch", "threads")}
    for worker in workers.values():
        worker.close()
    return {
        "case": arguments.case,
        "order": arguments.order,
        "dtype": arguments.dtype,
        "rematerialise": arguments.rematerialise,
        "peer_compiled": arguments.compile_peer,
        **run_facts(),
        "device": facts["device"],
        "peer_device": peer.facts["device"],
        **versions,
        **record,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--case", choices=CASES, required=True)
    parser.add_argument("--order", choices=("first", "second"), default="first", help="of the alphas' gradient")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--rematerialise", action="store_true", help="jaxnas computes cells again on the way back")
    parser.add_argument("--compile-peer", action="store_true", help="the peer through torch.compile")
    parser.add_argument("--pairs", type=int, help="turns of each side; those of the case by default")
    parser.add_argument("--json", type=Path, help="write the record to this file, too")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as cache:
        text = json.dumps(measure(arguments, cache), indent=2)
    print(text)
    if arguments.json is not None:
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        arguments.json.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

"""The search step of k seeds: k in one program beside one after the other, for supernets of several sizes.

``python -m benchmarks.seeds_axis --json benchmarks/results/seeds_axis.json`` times dispatches of both by turns, on the
space of NAS-Bench-201 and digits. One after the other all seeds have the same compiled program, so its compilation counts once.
"""

from __future__ import annotations

import dataclasses
import statistics
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np
import tyro

STEPS = 10
"""Of one dispatch."""


def stages_of(channels: int, batch: int, seeds: int) -> list[Any]:
    """The stage of each seed, alike in all else."""
    from jaxnas.data import load
    from jaxnas.recipes import find
    from jaxnas.searching import search_network, search_stage

    recipe, dataset = find("nb201-digits"), load("digits")
    search = dataclasses.replace(recipe.search, channels=channels, cells=1, batch=batch)
    network = search_network(search, dataset)
    recipes = [dataclasses.replace(recipe, search=search, seed=seed) for seed in range(seeds)]
    return [search_stage(one, dataset, network, STEPS) for one in recipes]


class Timed:
    """A compiled stage and its state."""

    def __init__(self, stage: Any) -> None:
        from jaxnas.feeding import compile_stage

        self.compiled = compile_stage(stage)
        self.state, self.data = stage.start(), jax.tree.map(jax.numpy.asarray, stage.data)
        self.rows = tuple(jax.numpy.asarray(rows) for rows in stage.indices(0))
        self()  # Pages are touched, buffers are there.

    def __call__(self) -> float:
        """Seconds of a step, of which a dispatch does several."""
        start = time.perf_counter()
        self.state, metrics = self.compiled.call(self.state, self.data, self.rows, np.int32(STEPS))
        jax.block_until_ready((self.state, metrics))
        return (time.perf_counter() - start) / STEPS

    @property
    def seconds_to_compile(self) -> float:
        return self.compiled.trace_seconds + self.compiled.compile_seconds


def compared(channels: int, batch: int, seeds: tuple[int, ...], pairs: int) -> list[dict[str, Any]]:
    """For each number of seeds the milliseconds of a step, and the ratios of the pairs."""
    from jaxnas.seeds import together

    stages = stages_of(channels, batch, max(seeds))
    alone, rows = Timed(stages[0]), []
    for count in seeds:
        several = Timed(together(stages[:count]))
        times = [(alone(), several()) for _ in range(pairs)]
        ratios = [joint / (count * one) for one, joint in times]
        milliseconds = [1e3 * statistics.median(series) for series in zip(*times, strict=True)]
        row = {"channels": channels, "batch": batch, "seeds": count, "step_ms_of_one": milliseconds[0]}
        row |= {"step_ms_together": milliseconds[1], "ratio": statistics.median(ratios)}
        row |= {"ratio_least": min(ratios), "ratio_greatest": max(ratios)}
        row |= {"compile_s_of_one": alone.seconds_to_compile, "compile_s_together": several.seconds_to_compile}
        rows.append({name: round(value, 3) if isinstance(value, float) else value for name, value in row.items()})
        print(rows[-1], flush=True)
    return rows


def main(
    json: Path,
    channels: tuple[int, ...] = (2, 4, 8, 16),
    batches: tuple[int, ...] = (16,),
    seeds: tuple[int, ...] = (2, 4),
    pairs: int = 9,
) -> None:
    """Measures, and writes the record after each size: ratios below 1 say that together is faster."""
    from jaxnas.commands.json_output import to_text
    from jaxnas.run_folder import environment

    record = {"environment": environment() | {"arguments": []}, "steps_of_a_dispatch": STEPS, "pairs": pairs, "rows": []}
    for batch in batches:
        for size in channels:
            record["rows"] += compared(size, batch, seeds, pairs)
            json.write_text(to_text(record) + "\n")


if __name__ == "__main__":
    tyro.cli(main)

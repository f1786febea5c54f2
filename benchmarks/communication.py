"""What the devices of a search say to each other in one step, counted in the program that XLA compiles for them.

    python benchmarks/communication.py [nb201-digits nb201-darts-v1 ...] [--devices 8] [--out FILE]

The step is compiled for a mesh of simulated devices and not run. Every reduction of the program is counted as often as it runs
in one step: loops by their trip counts, of a conditional's branches the one with the most. ``number`` and ``bytes`` are what is
reduced, by what it is for; ``sent`` is what each device sends of it, by the number of devices, where a reduction is a ring's:
2 (n - 1) / n of its bytes. Neither number nor bytes depend on the number of devices.
"""

from __future__ import annotations

import collections
import dataclasses
import json
import os
import re
from pathlib import Path
from typing import Any

import tyro

RECORD = Path(__file__).parent / "results" / "communication.json"
SIZES = {"f64": 8, "s64": 8, "u64": 8, "f32": 4, "s32": 4, "u32": 4, "bf16": 2, "f16": 2, "s8": 1, "u8": 1, "pred": 1}
SCOPES = {"mean_of_gradients": "gradients", "moments_of_the_batch": "batch norms"}
OTHERS = "losses and metrics"


@dataclasses.dataclass(frozen=True)
class Reduction:
    """A reduction of a program: what it is for, its bytes, and how often it runs."""

    kind: str
    bytes: int
    times: int


def reductions(program: str) -> list[Reduction]:
    """The reductions of a compiled program, as often as they run in one turn of its loops of unknown length.

    Args:
      program: XLA's text.
    """
    found: list[Reduction] = []
    bodies = _computations(program)

    def walk(name: str, times: int) -> list[Reduction]:
        of_computation = []
        for line in bodies[name]:
            if (match := re.search(r"= (.*?) all-reduce(?:-start)?\(", line)) is not None:
                of_computation.append(Reduction(_kind(line), _bytes(match[1]), times))
            elif (match := re.search(r" while\(.*body=%?([\w.\-]+)", line)) is not None:
                count = re.search(r'known_trip_count":\{"n":"(\d+)"', line)
                of_computation += walk(match[1], times * (int(count[1]) if count else 1))
            elif " conditional(" in line:
                named = re.search(r"branch_computations=\{(.*?)\}", line)
                branches = re.findall(r"%?([\w.\-]+)", named[1]) if named else re.findall(
                    r"(?:true|false)_computation=%?([\w.\-]+)", line
                )  # fmt: skip
                of_computation += max((walk(branch, times) for branch in branches), key=len)
            elif (match := re.search(r" call\(.*to_apply=%?([\w.\-]+)", line)) is not None:
                of_computation += walk(match[1], times)
        return of_computation

    found += walk("ENTRY", 1)
    return found


def _computations(program: str) -> dict[str, list[str]]:
    """The lines of every computation by its name; the first is ENTRY."""
    bodies: dict[str, list[str]] = {}
    lines: list[str] = []
    for line in program.splitlines():
        if line.endswith("{") and "->" in line and " = " not in line.split("->")[0]:
            entry = line.startswith("ENTRY")
            lines = bodies.setdefault("ENTRY" if entry else line.lstrip("%").split(" ")[0].split("(")[0], [])
        else:
            lines.append(line)
    return bodies


def _bytes(shape: str) -> int:
    """Of an array, or of a tuple of arrays, in XLA's notation.

    >>> _bytes("(f32[2,1,8]{2,1,0}, f64[])")
    72
    """
    total = 0
    for dtype, sides in re.findall(r"(\w+)\[([\d,]*)\]", shape):
        count = 1
        for side in filter(None, sides.split(",")):
            count *= int(side)
        total += SIZES[dtype] * count
    return total


def _kind(line: str) -> str:
    """What most of a reduction is for: XLA merges small ones, whose names it then lists."""
    of_line = [kind for scope, kind in SCOPES.items() if scope in line]
    return of_line[0] if of_line else OTHERS


def counted(recipe_name: str, devices: int) -> dict[str, Any]:
    """What one step of a recipe's search reduces."""
    from jaxnas import parallel, searching
    from jaxnas.data import load, stand_in
    from jaxnas.errors import UserError
    from jaxnas.feeding import compile_stage
    from jaxnas.recipes import find

    recipe = find(recipe_name)
    try:
        dataset = load(recipe.dataset)
    except UserError:
        dataset = stand_in(recipe.dataset)  # Shapes are all that is compiled for.
        assert dataset is not None
    dataset = searching.search_data(recipe, dataset)
    network = searching.search_network(recipe.search, dataset)
    mesh = parallel.mesh_for(recipe.search.batch, devices)
    compiled = compile_stage(searching.search_stage(recipe, dataset, network, mesh=mesh))
    kinds: dict[str, dict[str, int]] = collections.defaultdict(lambda: {"in_program": 0, "number": 0, "bytes": 0})
    for one in reductions(compiled.call.as_text()):
        of_kind = kinds[one.kind]
        of_kind["in_program"] += 1
        of_kind["number"] += one.times
        of_kind["bytes"] += one.times * one.bytes
    total = sum(of_kind["bytes"] for of_kind in kinds.values())
    return {
        "recipe": recipe_name,
        "batch": recipe.search.batch,
        "weights": network.parameters,
        "reduced": dict(kinds),
        "sent": {str(n): round(2 * (n - 1) / n * total) for n in (1, 2, 8, 64, 512)},
        "compile_seconds": round(compiled.compile_seconds, 1),
    }


def main(recipes: tyro.conf.Positional[tuple[str, ...]] = ("nb201-digits",), devices: int = 8, out: Path = RECORD) -> None:
    """Counts the reductions of recipes' steps and writes them."""
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count={devices}"
    os.environ.update(XLA_FLAGS=flags.strip(), JAX_PLATFORMS="cpu")
    from jaxnas.run_folder import environment  # Here: JAX reads the variables when it is imported.

    record = {"devices": devices, "steps": [counted(name, devices) for name in recipes], "environment": environment()}
    out.write_text(json.dumps(record, indent=2) + "\n")
    print(json.dumps(record["steps"], indent=2))


if __name__ == "__main__":
    tyro.cli(main)

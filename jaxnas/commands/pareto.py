"""``jaxnas pareto``: one recipe searched at several targets."""

# No "from __future__ import annotations" here: tyro reads the annotations of a nested function.

import dataclasses
from pathlib import Path
from typing import Annotated, Any, Literal

import rich.table
import tyro

from jaxnas import pareto, recipes, run
from jaxnas.choosing import extremes_of
from jaxnas.commands.arguments import JsonTarget, check_trained, parse, recipe_first, take_name
from jaxnas.commands.json_output import json_output, to_text
from jaxnas.commands.reported import reported
from jaxnas.console import Console
from jaxnas.data import Dataset, load
from jaxnas.errors import TargetMissed, UserError
from jaxnas.parallel import mesh_for
from jaxnas.run_folder import RunFolder
from jaxnas.whole_files import write_whole

JSON, PICTURE = "pareto.json", "pareto.svg"


def main(arguments: list[str]) -> int:
    """Searches, trains and compares; 3 where no search found a network that meets its target. The JSON is ``pareto.json``."""
    name, rest = take_name(arguments)
    name = recipes.MAIN if name is None else name
    recipe = recipes.find(name)

    def search_at_targets(
        targets: tuple[float, ...],
        recipe: Annotated[recipes.Recipe, tyro.conf.arg(name="")] = recipe,
        cost: Literal["latency", "multiply_adds", "parameters"] = "latency",
        latency_table: Path | None = None,
        out: Path | None = None,
        overwrite: bool = False,
        data_dir: Path | None = None,
        json: JsonTarget = None,
    ) -> int:
        """Search at several targets.

        Args:
          targets: what networks may cost, in milliseconds, multiply-adds or weights: a search for each.
          recipe: values of the recipe.
          cost: what the targets are of.
          latency_table: table of latencies, for that cost.
          out: folder of the runs and of what compares them, runs/pareto-RECIPE-seedSEED by default.
          overwrite: replace the runs in --out.
          data_dir: folder of the dataset's official files.
        """
        if not targets:
            raise UserError("--targets needs at least one number.")
        with json_output(json) as write:
            at = {target: at_target(recipe, cost, latency_table, target) for target in targets}
            dataset = load(recipe.dataset, data_dir, recipe.image_size)
            for one in at.values():
                run.check(one, dataset)
            folder = out or Path("runs") / f"pareto-{name}-seed{recipe.seed}"
            with Console() as console:
                result = _compared(name, cost, at, dataset, folder, overwrite, console)
            write(result)
        return 0 if result["networks"] else 3

    about = f"Search with the recipe {name} at several targets. Recipes: {', '.join(recipes.RECIPES)}."
    return parse(search_at_targets, rest, f"pareto {name}", about, recipe_first("pareto", recipes.RECIPES))


def at_target(recipe: recipes.Recipe, cost: str, table: Path | None, target: float) -> recipes.Recipe:
    """The recipe with a target for one cost.

    Raises:
      UserError: a latency without a table, or a table for another cost, or a recipe that only searches.
    """
    check_trained(recipe, "pareto")
    if (cost == "latency") != (table is not None):
        raise UserError(f"--cost {cost} {'needs' if table is None else 'takes no'} --latency-table.")
    changes: dict[str, Any] = {"form": "target", "target": target} | ({} if table is None else {"table": str(table)})
    term = dataclasses.replace(getattr(recipe.search, cost), **changes)
    return dataclasses.replace(recipe, search=dataclasses.replace(recipe.search, **{cost: term}))


def _compared(
    name: str,
    cost: str,
    at: dict[float, recipes.Recipe],
    dataset: Dataset,
    folder: Path,
    overwrite: bool,
    console: Console,
) -> dict[str, Any]:
    """Runs the searches one after the other and leaves what compares them; a missed target is said and stops nothing."""
    networks, missed = [], []
    for target, recipe in at.items():
        console.note(f"\ntarget {target:g}")
        try:
            run_folder = RunFolder(folder / f"target-{target:g}", overwrite)
            mesh = mesh_for(recipe.search.batch, None, recipe.search.micro_batches)
            with reported(run_folder, console):
                found = run.run(name, recipe, dataset, run_folder, console, 0.0, None, mesh)
        except TargetMissed as error:
            console.note(str(error))
            missed.append({"target": target, "why": str(error)})
            continue
        networks.append({**found["costs"][cost], "test_accuracy": found["found"]["test_accuracy"], **_of(found)})
    points = [(one.get("measured", one["derived"]), one["test_accuracy"]) for one in networks]
    for one, kept in zip(networks, pareto.non_dominated(points), strict=True):
        one["non_dominated"] = kept
    dearest, unit = extremes_of(next(iter(at.values())), dataset, cost)[1:]
    result = {
        "recipe": name,
        "cost": cost,
        "unit": unit,
        "networks": networks,
        "missed": missed,
        # The dearest architecture of the space, and an accuracy of nothing.
        "hypervolume": {"value": pareto.hypervolume(points, (dearest, 0.0)), "reference": [dearest, 0.0]},
    }
    folder.mkdir(parents=True, exist_ok=True)
    write_whole(folder / JSON, (to_text(result) + "\n").encode())
    if networks:
        labels = [f"{one['target']:g}" for one in networks]
        drawn = pareto.picture(points, labels, f"{name}: networks at their targets", f"{cost} in {unit}")
        write_whole(folder / PICTURE, drawn.encode())
    _table(result, console)
    console.note(f"files: {folder}/ ({JSON}, {PICTURE if networks else 'no picture'}, a run for each target)")
    return result


def _of(found: dict[str, Any]) -> dict[str, Any]:
    return {"genotype": found["found"]["genotype"], "parameters": found["found"]["parameters"]}


def _table(result: dict[str, Any], console: Console) -> None:
    table = rich.table.Table(box=None, pad_edge=False)
    columns = ("target", "expected", "derived", "measured")
    for column in (*columns, "test accuracy", "non-dominated"):
        table.add_column(column, justify="right")
    for one in result["networks"]:
        numbers = [f"{one[column]:.6g}" if column in one else "-" for column in columns]
        table.add_row(*numbers, f"{one['test_accuracy']:.2%}", "yes" if one["non_dominated"] else "no")
    console.note(f"\n{result['cost']} in {result['unit']}")
    console.out.print(table)
    volume = result["hypervolume"]
    console.note(f"hypervolume {volume['value']:.6g}, up to {volume['reference'][0]:.6g} {result['unit']} and an accuracy of 0")
    for one in result["missed"]:
        console.note(f"target {one['target']:g}: {one['why']}")

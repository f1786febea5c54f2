"""``jaxnas search``: the whole run, from supernet to comparison."""

# No "from __future__ import annotations" here: tyro reads the annotations of a nested function.

import time
from pathlib import Path
from typing import Annotated

import jax
import tyro

from jaxnas import parallel, processes, profiling, recipes, run
from jaxnas.commands import STARTED
from jaxnas.commands.arguments import ALONE, JsonTarget, Together, next_command, parse, recipe_first, take_name, with_target
from jaxnas.commands.json_output import json_output
from jaxnas.commands.reported import reported
from jaxnas.console import Console
from jaxnas.data import load
from jaxnas.errors import UserError
from jaxnas.run_folder import RunFolder
from jaxnas.tensorboard import Scalars


def main(arguments: list[str]) -> int:
    """Searches with a recipe; the JSON is the run's ``result.json``."""
    name, rest = take_name(arguments)
    name = recipes.MAIN if name is None else name
    recipe = recipes.find(name)

    def search(
        recipe: Annotated[recipes.Recipe, tyro.conf.arg(name="")] = recipe,
        latency_table: Path | None = None,
        target_ms: float | None = None,
        data_dir: Path | None = None,
        out: Path | None = None,
        overwrite: bool = False,
        dry_run: bool = False,
        profile: Path | None = None,
        tensorboard: Path | None = None,
        devices: int | None = None,
        together: Annotated[Together, tyro.conf.arg(name="")] = ALONE,
        json: JsonTarget = None,
    ) -> int:
        """Search a cell, or a mobile network.

        Args:
          recipe: values of the recipe.
          latency_table: table of latencies (jaxnas profile, jaxnas latency) for --target-ms.
          target_ms: milliseconds that the network that is found may take. Where none meets it, the exit code is 3.
          data_dir: folder of the dataset's official files.
          out: the run's folder, runs/RECIPE-seedSEED by default.
          overwrite: replace the run in --out, and the profile in --profile.
          dry_run: two steps, and nothing written.
          profile: write a profile of three steps to that folder, for Perfetto, TensorBoard and XProf; they are done once the
            step is compiled and warm, on a copy of what the search begins with, which then begins as it would without.
          tensorboard: write the metrics of every epoch to that folder, too, for TensorBoard.
          devices: how many devices share every batch, all by default.
          together: which process this is of those that search together.
        """
        import_seconds = time.perf_counter() - STARTED
        if dry_run and json is not None:
            raise UserError("A dry run has no result. Give --json without --dry-run.")
        recipe = with_target(recipe, latency_table, target_ms)
        processes.join(together.coordinator, together.processes, together.process_id)
        first = processes.is_first()
        if profile is not None and jax.process_count() > 1:
            raise UserError("A profile is of one process. Give --profile without others.")
        with json_output(json if first else None) as write:
            if profile is not None:
                profiling.check_folder(profile, overwrite)
            dataset = load(recipe.dataset, data_dir, recipe.image_size)
            run.check(recipe, dataset)
            mesh = parallel.mesh_for(recipe.search.batch, devices, recipe.search.micro_batches)
            with Console(quiet=not first) as console:
                if dry_run:
                    run.dry_run(name, recipe, dataset, console, profile, mesh)
                    _profiled(profile, console)
                    return 0
                heard = None if tensorboard is None or not first else Scalars(tensorboard)
                folder = RunFolder(out or Path("runs") / f"{name}-seed{recipe.seed}", overwrite, written=first, heard=heard)
                with reported(folder, console):
                    write(run.run(name, recipe, dataset, folder, console, import_seconds, profile, mesh))
                _profiled(profile, console)
                console.note(f"next:  {next_command(folder.path, data_dir, not recipe.only_search)}")
        return 0

    about = f"Search with the recipe {name}. Recipes: {', '.join(recipes.RECIPES)}."
    return parse(search, rest, f"search {name}", about, recipe_first("search", recipes.RECIPES))


def _profiled(folder: Path | None, console: Console) -> None:
    if folder is not None:
        console.note(f"profile: open {profiling.trace_file(folder)} in ui.perfetto.dev, or: tensorboard --logdir {folder}")

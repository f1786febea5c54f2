"""``jaxnas resume``: going on with a run that was ended."""

# No "from __future__ import annotations" here: tyro reads the annotations of a nested function.

import json as json_format
import time
from pathlib import Path
from typing import Annotated, Any

import jax
import tyro

from jaxnas import candidates, parallel, processes, run, stored
from jaxnas.commands import STARTED, blackbox
from jaxnas.commands.arguments import ALONE, JsonTarget, Together, next_command, parse, take_name
from jaxnas.commands.json_output import json_output
from jaxnas.commands.reported import reported
from jaxnas.console import Console
from jaxnas.data import load
from jaxnas.errors import TargetMissed, UserError
from jaxnas.recipes import Training
from jaxnas.run_folder import RESULT, RunFolder, read_json


def main(arguments: list[str]) -> int:
    """Goes on with a search, a training or a black-box search; the JSON is the run's ``result.json``."""
    path, rest = take_name(arguments)
    if path is None and not {"-h", "--help"} & set(rest):
        raise UserError("jaxnas resume needs the folder of a run, before all options.")

    def resume(
        data_dir: Path | None = None,
        devices: int | None = None,
        together: Annotated[Together, tyro.conf.arg(name="")] = ALONE,
        json: JsonTarget = None,
    ) -> int:
        """Go on with a run that was ended.

        Args:
          data_dir: folder of the dataset's official files.
          devices: how many devices share every batch of a search, all by default. With another number than before the bytes are
            others: sums are then of other parts.
          together: which process this is of those that search together.
        """
        assert path is not None
        processes.join(together.coordinator, together.processes, together.process_id)
        first = processes.is_first()
        with json_output(json if first else None) as write, Console(quiet=not first) as console:
            result = resumed(Path(path), data_dir, console, time.perf_counter() - STARTED, devices)
            write(result)
            trained = "test_accuracy" in result.get("found", result.get("given", {}))
            console.note(f"next:  {next_command(Path(path), data_dir, trained)}")
        return 0

    about = (
        "Go on with a search or a training that was ended, from its last checkpoint, to the bytes that it would have left; "
        "with a black-box search from its finished candidates. The configuration is in the folder. A run that is finished is "
        "left as it is. A search of several processes goes on in several, which are told what the first one reads."
    )
    return parse(resume, rest, "resume RUN", about)


def resumed(
    path: Path, data_dir: Path | None, console: Console, import_seconds: float, devices: int | None = None
) -> dict[str, Any]:
    """Goes on with a run; returns its ``result.json``, at once where it is finished.

    Raises:
      UserError: no run is there, or one that cannot go on, or its data are missing.
      TargetMissed: the run ended, or ends, with that.
      Lost: another process is gone.
    """
    first = processes.is_first()
    begun = _begun(path) if first else {}
    begun = json_format.loads(processes.told(json_format.dumps(begun).encode()))
    name, recipe = stored.config_in(begun["config"])
    folder = RunFolder(path, resume=True, written=first)
    if (result := begun["result"]) is not None:
        if "missed" in result:
            raise TargetMissed(result["missed"], result)
        console.note(f"{path} is finished: nothing is left to do.")
        return result
    if isinstance(recipe, Training) and jax.process_count() > 1:
        raise UserError(f"{path} is no search by gradient, and so of one process. Give --processes 1.")
    if isinstance(recipe, Training) and (what := candidates.begun(path)) is not None:
        blackbox.check(name, recipe, data_dir)
        return blackbox.searched(name, what, recipe, data_dir, folder, console)
    if isinstance(recipe, Training):
        genotype, dataset = stored.genotype_of(path), load(recipe.dataset, data_dir, recipe.image_size)
        run.check_training(genotype, recipe, dataset)
        return run.train_only(name, recipe, genotype, dataset, folder, console, import_seconds)
    dataset = load(recipe.dataset, data_dir, recipe.image_size)
    run.check(recipe, dataset)
    mesh = parallel.mesh_for(recipe.search.batch, devices, recipe.search.micro_batches)
    with reported(folder, console):
        return run.run(name, recipe, dataset, folder, console, import_seconds, None, mesh)


def _begun(path: Path) -> dict[str, Any]:
    """What a folder says of its run: how it was begun, and its end."""
    config = stored.read_config(path)
    return {"config": config, "result": read_json(path / RESULT) if (path / RESULT).exists() else None}

"""``jaxnas sweep``: a search for every seed and setting, each in a folder of its own."""

# No "from __future__ import annotations" here: tyro reads the annotations of a nested function.

import contextlib
import dataclasses
import io
import itertools
import statistics
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import rich.table
import tyro

from jaxnas import leaving, parallel, recipes, run
from jaxnas.commands.arguments import JsonTarget, check_trained, parse, recipe_first, take_name
from jaxnas.commands.json_output import json_output, to_text
from jaxnas.commands.reported import reported
from jaxnas.console import Console
from jaxnas.data import Dataset, load
from jaxnas.errors import TargetMissed, UserError
from jaxnas.run_folder import CONFIG, RESULT, RunFolder, difference, plain, read_json
from jaxnas.whole_files import write_whole

JSON = "sweep.json"


def main(arguments: list[str]) -> int:
    """Searches with every seed and setting; the JSON is the sweep's ``sweep.json``. 1 where a search failed."""
    name, rest = take_name(arguments)
    name = recipes.MAIN if name is None else name
    recipe = recipes.find(name)

    def sweep(
        recipe: Annotated[recipes.Recipe, tyro.conf.arg(name="")] = recipe,
        seeds: tuple[int, ...] = (0, 1, 2),
        set: tuple[str, ...] = (),
        data_dir: Path | None = None,
        out: Path | None = None,
        json: JsonTarget = None,
    ) -> int:
        """Search with every seed and every combination of settings.

        Args:
          recipe: values of the recipe that all searches have.
          seeds: a search for each.
          set: KEY=VALUE,VALUE of an option of the recipe: a search for each of the values (search.batch=32,64).
          data_dir: folder of the dataset's official files.
          out: the folder of the runs, runs/sweep-RECIPE by default. What is finished there is kept, what was ended goes on.
        """
        folder = out or Path("runs") / f"sweep-{name}"
        wanted = searches(recipe, seeds, settings(set))
        with json_output(json) as write:
            dataset = load(recipe.dataset, data_dir)
            for one in wanted.values():
                run.check(one, dataset)
            with Console() as console:
                result = _all_runs(name, wanted, dataset, folder, console)
            write(result)
        return 1 if result["failed"] else 0

    about = (
        f"Search with the recipe {name} for every seed and setting; repeat the command to go on. Recipes: "
        f"{', '.join(recipes.RECIPES)}."
    )
    return parse(sweep, rest, f"sweep {name}", about, recipe_first("sweep", recipes.RECIPES))


def settings(given: Iterable[str]) -> list[tuple[tuple[str, str], ...]]:
    """Every combination of the values of some options.

    Raises:
      UserError: no ``KEY=VALUE,VALUE``.

    >>> settings(["search.batch=32,64", "train.epochs=5"])
    [(('search.batch', '32'), ('train.epochs', '5')), (('search.batch', '64'), ('train.epochs', '5'))]
    """
    options = []
    for text in given:
        key, equals, values = text.partition("=")
        if not (key and equals and all(values.split(","))):
            raise UserError(f"--set needs KEY=VALUE,VALUE, as search.batch=32,64; got {text!r}.")
        if "/" in values or key in ("seed", "dataset"):
            raise UserError(f"--set {text}: it names folders, so without /; seeds have --seeds, and all have one dataset.")
        options.append([(key, value) for value in values.split(",")])
    return list(itertools.product(*options))


def searches(
    recipe: recipes.Recipe, seeds: Iterable[int], combinations: Iterable[tuple[tuple[str, str], ...]]
) -> dict[tuple[str, int], recipes.Recipe]:
    """The recipe of each search, by its setting in words and its seed.

    Raises:
      UserError: an unknown option, a value that is none of it, or searches that train nothing.

    >>> from jaxnas.recipes import find
    >>> [(words, seed, one.search.batch) for (words, seed), one in
    ...  searches(find("nb201-digits"), (4,), settings(["search.batch=32,64"])).items()]
    [('search.batch=32', 4, 32), ('search.batch=64', 4, 64)]
    """
    found = {}
    for combination in combinations:
        arguments = [word for key, value in combination for word in (f"--{key}", value)]
        said = io.StringIO()
        try:
            with contextlib.redirect_stderr(said):
                one = tyro.cli(recipes.Recipe, default=recipe, args=arguments, prog="jaxnas sweep --set", console_outputs=True)
        except SystemExit as end:
            words = " ".join("".join(c for c in said.getvalue() if c not in "│╭╮╰╯─").split())
            raise UserError(f"--set {' '.join(f'{key}={value}' for key, value in combination)}: {words}") from end
        check_trained(one, "sweep")
        setting = " ".join(f"{key}={value}" for key, value in combination)
        found |= {(setting, seed): dataclasses.replace(one, seed=seed) for seed in seeds}
    return found


def _all_runs(
    name: str, wanted: dict[tuple[str, int], recipes.Recipe], dataset: Dataset, folder: Path, console: Console
) -> dict[str, Any]:
    """Runs what is not finished, one after the other; a search that fails is said and stops nothing."""
    rows: list[dict[str, Any]] = []
    failed: list[dict[str, Any]] = []
    for (setting, seed), recipe in wanted.items():
        path = folder / f"{setting} seed={seed}".strip().replace(" ", "-")
        console.note(f"\n{path}")
        try:
            found = _one_run(name, recipe, dataset, path, console)
        except (UserError, TargetMissed) as error:
            console.note(f"failed: {error}")
            failed.append({"setting": setting, "seed": seed, "why": str(error)})
            continue
        except leaving.Left as left:
            raise leaving.Left(f"{left} Or repeat the sweep's command: what is finished is kept.") from left
        row = {"setting": setting, "seed": seed, "run": path.name, "test_accuracy": found["found"]["test_accuracy"]}
        rows.append({**row, "random_mean": found["random_mean"], "genotype": found["found"]["genotype"]})
    result = {"recipe": name, "settings": summary(rows), "runs": rows, "failed": failed}
    folder.mkdir(parents=True, exist_ok=True)
    write_whole(folder / JSON, (to_text(result) + "\n").encode())
    _table(result, console)
    console.note(f"files: {folder}/ ({JSON}, a run for each seed and setting)")
    return result


def _one_run(name: str, recipe: recipes.Recipe, dataset: Dataset, path: Path, console: Console) -> dict[str, Any]:
    """The result of a run that is begun, goes on, or is finished.

    Raises:
      UserError: a run of another configuration is there.
    """
    begun = (path / CONFIG).exists()
    if begun and (found := difference(read_json(path / CONFIG), {"recipe": name, **plain(recipe)})) is not None:
        raise UserError(f"{path} is of another configuration: there {found}. Choose another --out.")
    if begun and (path / RESULT).exists():
        result = read_json(path / RESULT)
        if "missed" in result:
            raise TargetMissed(result["missed"], result)
        console.note("finished before")
        return result
    mesh = parallel.mesh_for(recipe.search.batch, None, recipe.search.micro_batches)
    run_folder = RunFolder(path, resume=begun)
    with reported(run_folder, console):
        return run.run(name, recipe, dataset, run_folder, console, 0.0, None, mesh)


def summary(rows: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Mean and sample deviation over the seeds of each setting; of one seed there is no deviation.

    >>> summary([{"setting": "a=1", "test_accuracy": accuracy} for accuracy in (0.25, 0.5, 0.75)])
    [{'setting': 'a=1', 'seeds': 3, 'mean': 0.5, 'std': 0.25}]
    """
    by_setting: dict[str, list[float]] = {}
    for row in rows:
        by_setting.setdefault(row["setting"], []).append(row["test_accuracy"])
    return [
        {
            "setting": setting,
            "seeds": len(accuracies),
            "mean": statistics.mean(accuracies),
            "std": statistics.stdev(accuracies) if len(accuracies) > 1 else None,
        }
        for setting, accuracies in by_setting.items()
    ]


def _table(result: dict[str, Any], console: Console) -> None:
    table = rich.table.Table(box=None, pad_edge=False)
    table.add_column("setting")
    for column in ("seeds", "test accuracy", "sample deviation"):
        table.add_column(column, justify="right")
    for one in result["settings"]:
        spread = "-" if one["std"] is None else f"{one['std']:.2%}"
        table.add_row(one["setting"] or result["recipe"], str(one["seeds"]), f"{one['mean']:.2%}", spread)
    console.out.print(table)
    for one in result["failed"]:
        console.note(f"failed: {one['setting']} seed {one['seed']}: {one['why']}")

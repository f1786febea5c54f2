"""``jaxnas sweep``: a search for every seed and setting, each in a folder of its own."""

# No "from __future__ import annotations" here: tyro reads the annotations of a nested function.

import contextlib
import dataclasses
import io
import itertools
import statistics
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any

import jax
import rich.table
import tyro

from jaxnas import leaving, parallel, recipes, run
from jaxnas.commands import sweep_ray, sweep_together
from jaxnas.commands.arguments import JsonTarget, check_trained, parse, recipe_first, take_name
from jaxnas.commands.json_output import json_output, to_text
from jaxnas.commands.reported import reported
from jaxnas.console import Console
from jaxnas.data import Dataset, load
from jaxnas.errors import TargetMissed, UserError
from jaxnas.run_folder import CONFIG, RESULT, RunFolder, difference, plain, read_json
from jaxnas.whole_files import write_whole

JSON = "sweep.json"

Outcome = dict[str, Any] | str
"""What a run's ``result.json`` has, or why there is none."""

Go = Callable[[dict[Path, recipes.Recipe]], Iterator[tuple[Path, Outcome]]]
"""Begins the runs that are to be in these folders, or goes on with them; tells the outcome of each."""


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
        together: bool = False,
        ray: str | None = None,
        ray_cpus: float = 1.0,
        ray_gpus: float = 0.0,
        json: JsonTarget = None,
    ) -> int:
        """Search with every seed and every combination of settings.

        Args:
          recipe: values of the recipe that all searches have.
          seeds: a search for each.
          set: KEY=VALUE,VALUE of an option of the recipe: a search for each of the values (search.batch=32,64).
          data_dir: folder of the dataset's official files.
          out: the folder of the runs, runs/sweep-RECIPE by default. What is finished there is kept, what was ended goes on.
          together: search with all seeds of a setting by one program on one device, which is faster for small supernets; what
            is found is trained one after the other. What was ended goes on alone.
          ray: search on a Ray cluster, several at a time: HOST:PORT, auto for the one that this machine is of, or local for one
            on this machine alone, which ends with the sweep. All its machines have jaxnas, and see this folder, --out and the
            data under the same paths: storage that they share. A search whose worker dies goes on from its checkpoint.
          ray_cpus: processors that Ray reserves for each search.
          ray_gpus: accelerators that it gives to each.
        """
        folder = out or Path("runs") / f"sweep-{name}"
        wanted = searches(recipe, seeds, settings(set))
        if together:
            if ray is not None:
                raise UserError("--together is one program, --ray one search a worker. Give one of the two.")
            sweep_together.check(wanted.values())
        cluster = None if ray is None else sweep_ray.Cluster(ray, ray_cpus, ray_gpus)
        with json_output(json) as write, Console() as console, contextlib.ExitStack() as connected:
            if cluster is None:
                dataset = _checked(wanted, load(recipe.dataset, data_dir, recipe.image_size))
                go = _in_turn(name, dataset, console, together)
            else:
                # This process only waits: it must not hold the accelerator that a worker on this machine is given.
                jax.config.update("jax_platforms", "cpu")
                client = connected.enter_context(sweep_ray.joined(cluster))
                _checked(wanted, load(recipe.dataset, data_dir, recipe.image_size))
                go = on_ray(name, lambda runs: sweep_ray.search(client, cluster, runs, data_dir, folder, console.note))
            result = all_runs(name, wanted, folder, console, go)
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


def all_runs(
    name: str, wanted: dict[tuple[str, int], recipes.Recipe], folder: Path, console: Console, go: Go
) -> dict[str, Any]:
    """Runs what is not finished; a search that fails is said and stops nothing."""
    keys = {folder / f"{setting} seed={seed}".strip().replace(" ", "-"): (setting, seed) for setting, seed in wanted}
    outcomes = dict(go({path: wanted[key] for path, key in keys.items()}))
    rows: list[dict[str, Any]] = []
    failed: list[dict[str, Any]] = []
    for path, (setting, seed) in keys.items():
        found = outcomes[path]
        if isinstance(found, str):
            failed.append({"setting": setting, "seed": seed, "why": found})
            continue
        row = {"setting": setting, "seed": seed, "run": path.name, "test_accuracy": found["found"]["test_accuracy"]}
        rows.append({**row, "random_mean": found["random_mean"], "genotype": found["found"]["genotype"]})
    result = {"recipe": name, "settings": summary(rows), "runs": rows, "failed": failed}
    folder.mkdir(parents=True, exist_ok=True)
    write_whole(folder / JSON, (to_text(result) + "\n").encode())
    _table(result, console)
    console.note(f"files: {folder}/ ({JSON}, a run for each seed and setting)")
    return result


def _checked(wanted: dict[tuple[str, int], recipes.Recipe], dataset: Dataset) -> Dataset:
    """The dataset, with which all these searches could run."""
    for one in wanted.values():
        run.check(one, dataset)
    return dataset


def _in_turn(name: str, dataset: Dataset, console: Console, together: bool) -> Go:
    """One run after the other, in this process; those that begin may first search together."""

    def go(runs: dict[Path, recipes.Recipe]) -> Iterator[tuple[Path, Outcome]]:
        if together:
            search_together({path: recipe for path, recipe in runs.items() if not (path / CONFIG).exists()})
        for path, recipe in runs.items():
            console.note(f"\n{path}")
            try:
                outcome: Outcome = one(path, recipe)
            except (UserError, TargetMissed) as error:
                console.note(f"failed: {error}")
                outcome = str(error)
            except leaving.Left as left:
                raise _left(left) from left
            yield path, outcome

    def search_together(begin: dict[Path, recipes.Recipe]) -> None:
        for group in sweep_together.by_setting(begin):
            if len(group) > 1:
                try:
                    sweep_together.search(name, group, dataset, console)
                except UserError as error:
                    console.note(f"not together any more: {error}")
                except leaving.Left as left:
                    raise _left(left) from left

    def one(path: Path, recipe: recipes.Recipe) -> dict[str, Any]:
        resume = _begun(name, recipe, path)
        if (found := _finished(path)) is not None:
            console.note("finished before")
            return found
        mesh = parallel.mesh_for(recipe.search.batch, None, recipe.search.micro_batches)
        folder = RunFolder(path, resume=resume)
        with reported(folder, console):
            return run.run(name, recipe, dataset, folder, console, 0.0, None, mesh)

    return go


def _left(left: leaving.Left) -> leaving.Left:
    return leaving.Left(f"{left} Or repeat the sweep's command: what is finished is kept.")


def on_ray(name: str, search: Callable[[list[Path]], dict[Path, str]]) -> Go:
    """All that are not finished on a cluster: each is begun here, and there goes on. The search tells why some did not end."""

    def go(runs: dict[Path, recipes.Recipe]) -> Iterator[tuple[Path, Outcome]]:
        failed: dict[Path, str] = {}
        left: list[Path] = []
        for path, recipe in runs.items():
            try:
                if not _begun(name, recipe, path):
                    RunFolder(path).write_json(CONFIG, {"recipe": name, **plain(recipe)})
                if _finished(path) is None:
                    left.append(path)
            except (UserError, TargetMissed) as error:
                failed[path] = str(error)
        if left:
            with leaving.resumable("the same command"):
                failed |= search(left)
        for path in runs:
            found = failed.get(path) or _finished(path)
            yield path, found or "it ended, but left no result here: --out must be storage that all machines share."

    return go


def _begun(name: str, recipe: recipes.Recipe, path: Path) -> bool:
    """Whether this run is in that folder.

    Raises:
      UserError: a run of another configuration is.
    """
    if not (path / CONFIG).exists():
        return False
    if (found := difference(read_json(path / CONFIG), {"recipe": name, **plain(recipe)})) is not None:
        raise UserError(f"{path} is of another configuration: there {found}. Choose another --out.")
    return True


def _finished(path: Path) -> dict[str, Any] | None:
    """The result of the run in a folder; None where it has not ended.

    Raises:
      TargetMissed: it ended with that.
    """
    if not (path / RESULT).exists():
        return None
    result = read_json(path / RESULT)
    if "missed" in result:
        raise TargetMissed(result["missed"], result)
    return result


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

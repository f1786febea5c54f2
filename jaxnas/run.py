"""One run: search, derive the genotype, train the network it stands for, and those of random genotypes at the same budget."""

from __future__ import annotations

import dataclasses
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np
from jax.sharding import Mesh

from jaxnas import card, methods, rollback, searching
from jaxnas.budget import Budget
from jaxnas.choosing import choose, described, known_costs, within_targets
from jaxnas.console import Console
from jaxnas.data import Dataset
from jaxnas.errors import TargetMissed, UserError
from jaxnas.estimators import ESTIMATORS
from jaxnas.feeding import check_batch
from jaxnas.nets import Network
from jaxnas.pricing import check_prices
from jaxnas.probe import check_probed
from jaxnas.recipes import Recipe, Training
from jaxnas.reports import Seconds, StageReport, write_genotype
from jaxnas.run_folder import CONFIG, GENOTYPE_JSON, GENOTYPE_TEXT, LOG, NETWORK, RESULT, RunFolder, plain
from jaxnas.saves import Saves, saving
from jaxnas.spaces import Genotype, Space, from_text, random_genotype, to_json, to_text
from jaxnas.stages import example_parts
from jaxnas.stored import teacher_of
from jaxnas.training import network_of, train


def check(recipe: Recipe, dataset: Dataset) -> None:
    """Refuses what could not run, before anything is written.

    Raises:
      UserError: a batch larger than its split, a share without an image of a class, a network that cannot be built, a method
        whose parts do not go together, costs that are not known or targets that no network meets.
    """
    check_probed(recipe.search)
    rollback.check_early_stop(recipe.search)
    parts = example_parts(recipe.search, recipe.seed)
    for part in parts:
        methods.build(part.search, part.space, 1)
    dataset = searching.search_data(recipe, dataset)
    halves = {"training half of the search": dataset.search_train, "validation half of the search": dataset.search_valid}
    for half, split in halves.items():
        check_batch(recipe.search.batch, len(split.labels), half)
    for part in parts:
        searching.search_network(part.search, dataset, part.space)
    check_prices(recipe, dataset)
    any_genotype = random_genotype(recipe.search.build_space(), np.random.Generator(np.random.PCG64(0)))
    check_training(any_genotype, recipe.training, dataset)


def check_training(genotype: Genotype, training: Training, dataset: Dataset) -> None:
    """Refuses a training that could not run.

    Raises:
      UserError: as :func:`check`, and where genotype and recipe are of different families.
    """
    if genotype.family != training.family:
        raise UserError(
            f"The genotype {to_text(genotype)[:40]}... is of family {genotype.family}, but the recipe is for family "
            f"{training.family}. Choose another --recipe."
        )
    check_batch(training.train.batch, len(dataset.train.labels), "training set")
    network_of(genotype, training.train, dataset)
    teacher_of(training, dataset)


def run(
    name: str,
    recipe: Recipe,
    dataset: Dataset,
    folder: RunFolder,
    console: Console,
    import_seconds: float,
    profile_folder: Path | None = None,
    mesh: Mesh | None = None,
    budget: Budget | None = None,
) -> dict[str, Any]:
    """The whole run; returns what is written to ``result.json``. A folder for a profile gets one of the search.

    The search is split over the devices of a mesh; what it found is trained on one. A budget, for a recipe as from
    :func:`jaxnas.budget.for_budget`, decides the steps of the epochs; such a run cannot be resumed.

    In a folder that is resumed the run goes on from its last checkpoint. But for the seconds and what is timed, it then leaves
    the bytes of a run that was never interrupted.

    Raises:
      TargetMissed: no architecture meets the recipe's targets; ``result.json`` says what was compared.
      UserError: a run that cannot go on (:class:`jaxnas.saves.Saves`), or numbers that are not finite.
      Left: the run was asked to leave and has saved its state.

    The test split is read only by :func:`jaxnas.training.train`, once for each network, after its last epoch.
    """
    start = time.perf_counter()
    seconds = Seconds(imports=import_seconds)
    dataset, space = searching.search_data(recipe, dataset), recipe.search.build_space()
    network = searching.search_network(recipe.search, dataset)
    within = {} if budget is None else {"budget": {"minutes": budget.minutes}}
    config = settled(folder, {CONFIG: {"recipe": name, **plain(recipe), **within}})
    console.first_screen(name, recipe, dataset, space, network, mesh)
    for line in described(recipe.search, recipe.train, dataset, space):
        console.note(line)

    about = card.of_search(name, recipe, dataset, space, within)
    kept = card.Card(folder, about, 1 if mesh is None else mesh.size, import_seconds)
    with saving(folder, config, console.note, kept.spent) as saves:
        if "found" not in saves.notes:
            how = (profile_folder, mesh, budget)
            try:
                saves.notes["found"] = _search(name, recipe, dataset, network, console, saves, seconds, *how)
            except TargetMissed:
                kept.finish(None, None, None)
                raise
        found = saves.notes["found"]
        genotype, costs = from_text(found["genotype"]), found["report"].get("costs", {})
        console.genotype(genotype)
        console.costs(costs)

        rng = np.random.Generator(np.random.PCG64([recipe.seed, 1]))
        number = 0 if recipe.only_search else recipe.random_cells
        random = within_targets(recipe.search, recipe.train, dataset, space, rng, number)
        candidates = [("found", genotype)] + [(f"random {i}", genotype) for i, genotype in enumerate(random, start=1)]
        if recipe.only_search:
            saves.notes["rows"] = [{"cell": "found", "genotype": to_text(genotype)}]
        rows: list[dict[str, Any]] = saves.notes.setdefault("rows", [])
        for label, candidate in candidates[len(rows) :]:
            rows.append(_train_row(label, candidate, recipe.training, dataset, console, saves, seconds, budget))
    for row, (_, candidate) in zip(rows, candidates, strict=True):
        costs = known_costs(recipe.search, recipe.train, dataset, space, candidate)
        row |= {"costs": costs} if costs else {}
    seconds.total = import_seconds + time.perf_counter() - start
    result = {**_result(name, recipe, space, rows, found["stages"], seconds), **found["report"]}
    result |= {} if budget is None else {"budget": budget.report()}
    folder.write_json(RESULT, result)
    kept.finish(rows[0]["genotype"], rows[0].get("test_accuracy"), rows[0].get("parameters"))
    rollback.remove(folder)
    console.last_screen(result, folder)
    return result


def settled(folder: RunFolder, documents: dict[str, Any]) -> dict[str, Any]:
    """Writes what decides a run, by the names of its files, and where it runs."""
    for name, document in documents.items():
        folder.settle(name, document)
    folder.write_environment()
    return documents


def _search(
    name: str,
    recipe: Recipe,
    dataset: Dataset,
    network: Network,
    console: Console,
    saves: Saves,
    seconds: Seconds,
    profile_folder: Path | None,
    mesh: Mesh | None,
    budget: Budget | None,
) -> dict[str, Any]:
    """Searches and chooses: the genotype in words, what is reported of it, and the sizes of the stages."""
    began = time.perf_counter()
    searched, state = searching.search_parts(
        recipe, dataset, network, console, saves, seconds, None, profile_folder, mesh, budget
    )
    seconds.search = time.perf_counter() - began - seconds.trace - seconds.compile
    began = time.perf_counter()
    try:
        chosen = choose(recipe, *searched[-1], dataset, state)
    except TargetMissed as missed:
        result = {"recipe": name, "missed": str(missed), **missed.report, "seconds": _rounded(seconds)}
        saves.folder.write_json(RESULT, result)
        raise
    saves.spent("choice", time.perf_counter() - began, True)
    write_genotype(saves.folder, chosen.genotype, searched[0][0].space.name)
    stages = [{"supernet_parameters": network.parameters, "alphas": part.space.alphas} for part, network in searched]
    report = chosen.report
    if "early_stop" in saves.notes:
        report = {**report, "early_stop": saves.notes["early_stop"]}
    return {"genotype": to_text(chosen.genotype), "report": report, "stages": stages}


def train_only(
    name: str,
    training: Training,
    genotype: Genotype,
    dataset: Dataset,
    folder: RunFolder,
    console: Console,
    import_seconds: float,
) -> dict[str, Any]:
    """Trains the network of a genotype that is given; returns what is written to ``result.json``.

    Raises:
      UserError: as :func:`run`.
    """
    start = time.perf_counter()
    seconds = Seconds(imports=import_seconds)
    config = {"recipe": name, **plain(training)}
    begun_with = settled(folder, {CONFIG: config, GENOTYPE_JSON: to_json(genotype, training.family)})
    folder.write_text(GENOTYPE_TEXT, to_text(genotype) + "\n")
    console.note(to_text(genotype))
    kept = card.Card(folder, card.of_training(name, training, dataset, to_text(genotype)), imports=import_seconds)
    with saving(folder, begun_with, console.note, kept.spent) as saves:
        row = _train_row("given", genotype, training, dataset, console, saves, seconds)
    seconds.total = import_seconds + time.perf_counter() - start
    result = {
        "recipe": name,
        "dataset": training.dataset,
        "seed": training.seed,
        "given": row,
        "seconds": _rounded(seconds),
    }
    folder.write_json(RESULT, result)
    kept.finish(row["genotype"], row["test_accuracy"], row["parameters"])
    console.note(f"test accuracy {row['test_accuracy']:.2%}, {row['parameters']:,} parameters")
    console.files(folder)
    return result


def _train_row(
    label: str,
    genotype: Genotype,
    training: Training,
    dataset: Dataset,
    console: Console,
    saves: Saves,
    seconds: Seconds,
    budget: Budget | None = None,
) -> dict[str, Any]:
    """Trains one network and keeps the weights of all but the random ones."""
    began = time.perf_counter()
    folder, stage = saves.folder, f"train {label}"
    report, teacher = StageReport(stage, console, saves), teacher_of(training, dataset)
    trained = train(genotype, training.train, dataset, training.seed, report, budget, teacher)
    elapsed = time.perf_counter() - began - trained.trace_seconds - trained.compile_seconds
    seconds.add_compilation(trained)
    seconds.train += elapsed
    folder.append(LOG, {"stage": stage, "test_accuracy": trained.test_accuracy})
    if not label.startswith("random"):
        folder.write_arrays(NETWORK, {"weights": trained.weights, "statistics": trained.statistics})
    return {
        "cell": label,
        "genotype": to_text(genotype),
        "test_accuracy": trained.test_accuracy,
        "parameters": trained.parameters,
        "train_seconds": round(elapsed, 3),
    }


def dry_run(
    name: str,
    recipe: Recipe,
    dataset: Dataset,
    console: Console,
    profile_folder: Path | None = None,
    mesh: Mesh | None = None,
) -> Genotype:
    """Two steps of every stage, so that errors show before hours are spent. Writes nothing but a profile, if asked."""
    dataset = searching.search_data(recipe, dataset)
    space, network = recipe.search.build_space(), searching.search_network(recipe.search, dataset)
    console.first_screen(name, recipe, dataset, space, network, mesh)
    searched, state = searching.search_parts(recipe, dataset, network, console, None, Seconds(), 2, profile_folder, mesh)
    scores = ESTIMATORS[recipe.search.estimator].scores(searched[-1][0].space, state.alphas)
    genotype = searched[-1][0].genotype(scores)
    network = network_of(genotype, recipe.train, dataset)
    written = "nothing written" if profile_folder is None else "only a profile written"
    steps = "two steps" if len(searched) == 1 else f"two steps of each of {len(searched)} stages"
    console.note(f"Dry run: {steps} done, {written}. The network would have {network.parameters:,} parameters.")
    return genotype


def _result(
    name: str,
    recipe: Recipe,
    space: Space,
    rows: list[dict[str, Any]],
    stages: list[dict[str, Any]],
    seconds: Seconds,
) -> dict[str, Any]:
    random = [row["test_accuracy"] for row in rows[1:]]
    return {
        "recipe": name,
        "dataset": recipe.dataset,
        "space": recipe.search.space,
        "genotypes_in_space": space.size,
        "seed": recipe.seed,
        **stages[-1],
        **({"stages": stages} if recipe.search.next_stages else {}),
        "found": rows[0],
        "random": rows[1:],
        "random_mean": statistics.mean(random) if random else None,
        # Sample deviation: of one cell there is none.
        "random_std": statistics.stdev(random) if len(random) > 1 else None,
        "seconds": _rounded(seconds),
    }


def _rounded(seconds: Seconds) -> dict[str, float]:
    return {stage: round(value, 3) for stage, value in dataclasses.asdict(seconds).items()}

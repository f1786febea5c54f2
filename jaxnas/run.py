"""One run: search, derive the genotype, train the network it stands for, and those of random genotypes at the same budget."""

from __future__ import annotations

import dataclasses
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax import Array
from jax.sharding import Mesh

from jaxnas import estimators, methods
from jaxnas.choosing import choose, described, known_costs, within_targets
from jaxnas.compiling import Compiled
from jaxnas.console import Console
from jaxnas.data import Dataset, augment, with_shares
from jaxnas.errors import TargetMissed, UserError
from jaxnas.feeding import Stage, check_batch, epochs_of_steps, fresh_batches, index_batches
from jaxnas.losses import cross_entropy
from jaxnas.nets import ChainShape, Network, Shape, supernet
from jaxnas.parallel import AXIS
from jaxnas.pricing import check_prices, prices
from jaxnas.probe import Probe, check_probed
from jaxnas.recipe import HALF
from jaxnas.recipes import Recipe, SearchRecipe, Training
from jaxnas.reports import SearchReport, Seconds, StageReport, write_genotype
from jaxnas.run_folder import CONFIG, GENOTYPE_JSON, GENOTYPE_TEXT, LOG, NETWORK, RESULT, RunFolder, plain
from jaxnas.saves import Saves, saving
from jaxnas.search import TRAIN_BATCH, VALID_BATCH, Loss, Method, Restage, SearchState, draw, initial_state, search_step
from jaxnas.spaces import BlockSpace, Genotype, Space, from_text, random_genotype, to_json, to_text
from jaxnas.stages import Part, carried, example_parts, first_part, next_part, pruned, stage_key
from jaxnas.training import network_image_size, network_of, train


def search_data(recipe: Recipe, dataset: Dataset) -> Dataset:
    """The dataset with the two parts of its training images that a search uses: its own halves, or the recipe's shares.

    Raises:
      UserError: a class of which a part would have none.
    """
    shares = recipe.search.train_share, recipe.search.valid_share
    return dataset if shares == (HALF, HALF) else with_shares(dataset, *shares, recipe.seed)


def search_network(recipe: SearchRecipe, dataset: Dataset, space: Space | None = None) -> Network:
    """The supernet of a search, or of a stage with a space of its own.

    Raises:
      UserError: a size that it cannot have.
    """
    size = network_image_size(recipe.augmentation, dataset)
    space = recipe.build_space() if space is None else space
    if isinstance(space, BlockSpace):
        return supernet(space, ChainShape(dataset.classes, size), recipe.share, recipe.dtype, recipe.rematerialise)
    shape = Shape(recipe.channels, recipe.cells, dataset.classes, size, recipe.affine, recipe.template)
    return supernet(space, shape, recipe.share, recipe.dtype, recipe.rematerialise)


Build = Callable[[SearchRecipe, Space, int], Method]
"""From a recipe, its space and the steps of an epoch to a method."""


def search_stage(
    recipe: Recipe,
    dataset: Dataset,
    network: Network,
    steps: int | None = None,
    build: Build = methods.build,
    part: Part | None = None,
    state: SearchState | None = None,
    mesh: Mesh | None = None,
) -> Stage:
    """A stage of the search alone, not yet run: all that decides its compiled step, with the shapes of the data.

    Args:
      recipe: what to search, and how.
      dataset: its two search halves are used, nothing else of it; they are those of :func:`search_data`.
      network: as from :func:`search_network`.
      steps: do at most so many steps of one epoch.
      build: makes the method of a recipe; one's own, to search with an estimator that recipes do not name.
      part: the stage; the first by default.
      state: what it begins with, donated to its first step; drawn anew by default.
      mesh: devices that every batch is split over, see :func:`jaxnas.parallel.mesh_for`; one device by default.
    """
    part = first_part(recipe.search) if part is None else part
    search, space = part.search, part.space
    halves = {"train": dataset.search_train, "valid": dataset.search_valid}
    if search.order == "together":
        halves = {"train": dataset.train, "valid": dataset.train}  # One level: the second batch is not read.
    sizes = {half: len(split.labels) for half, split in halves.items()}
    # The steps of an epoch are the training half's; a shorter validation half bounds them where it is gone through.
    steps_per_epoch = (min(sizes.values()) if search.valid_order == "shuffled" else sizes["train"]) // search.batch
    if steps is not None:
        steps_per_epoch = min(steps, steps_per_epoch)
    method, priced = build(search, space, steps_per_epoch), prices(search, recipe.train, dataset, space)
    method = method if priced is None else priced.method(method, space)
    axis = None if mesh is None else AXIS

    def loss_of(smoothing: float) -> Loss:
        return cross_entropy(network, smoothing, axis, search.micro_batches)

    loss = loss_of(0.0)
    # The weights' own loss only where it is another: one loss for both lets one piece of program serve both updates.
    step = search_step(method, loss_of(search.label_smoothing) if search.label_smoothing else loss, loss)

    def key_of(purpose: int) -> Array:
        # Drawn anew at each call: the one in the state is donated to the first step.
        return jax.random.fold_in(stage_key(recipe.seed, part.number), purpose)

    def start() -> SearchState:
        if state is not None:
            return state
        weights, batch_statistics = network.init(key_of(0))
        alphas = estimators.start(search, space, key_of(1))
        return initial_state(method, key_of(2), weights, alphas, batch_statistics, priced and priced.duals)

    def data_step(
        state: SearchState, data: Any, train_indices: Array, valid_indices: Array
    ) -> tuple[SearchState, dict[str, Array]]:
        def batch(half: str, indices: Array, purpose: int) -> dict[str, Array]:
            key = draw(state.key, state.step, purpose)
            images = augment(key, data[half]["images"][indices], search.augmentation, dataset.mean, dataset.std, axis)
            return {"images": images, "labels": data[half]["labels"][indices]}

        return step(state, batch("train", train_indices, TRAIN_BATCH), batch("valid", valid_indices, VALID_BATCH))

    valid_batches = index_batches if search.valid_order == "shuffled" else fresh_batches

    def indices(epoch: int) -> tuple[Array, Array]:
        train_key, valid_key = (jax.random.fold_in(key_of(purpose), epoch) for purpose in (3, 4))
        return (
            index_batches(train_key, sizes["train"], search.batch, steps_per_epoch),
            valid_batches(valid_key, sizes["valid"], search.batch, steps_per_epoch),
        )

    data = {half: {"images": split.images, "labels": split.labels} for half, split in halves.items()}
    end = part.first_epoch + 1 if steps else part.end_epoch
    return Stage(data_step, start, data, indices, end, steps_per_epoch, part.first_epoch, mesh)


def search_cell(
    recipe: Recipe,
    dataset: Dataset,
    network: Network,
    report: StageReport,
    steps: int | None = None,
    build: Build = methods.build,
    profile_folder: Path | None = None,
    part: Part | None = None,
    state: SearchState | None = None,
    mesh: Mesh | None = None,
) -> tuple[SearchState, Compiled]:
    """Runs :func:`search_stage`, whose arguments it has: the state after the last step and the compiled program's seconds.

    A folder for a profile gets one, see :func:`jaxnas.feeding.epochs_of_steps`.

    Raises:
      UserError: a loss that is not finite.
    """
    return epochs_of_steps(search_stage(recipe, dataset, network, steps, build, part, state, mesh), report, profile_folder)


def restage(recipe: Recipe, dataset: Dataset, part: Part) -> Restage:
    """What happens after a stage: the candidates that its alphas leave, and the state with which the next one begins.

    It begins anew, drawn by the key of the new stage (P-DARTS), or with what survives of the weights, the alphas and both
    optimizers (:func:`jaxnas.stages.carried`, to which the key goes), as the recipe says.
    """
    operations = recipe.search.next_stages[part.number].operations

    def to_next(state: SearchState, key: Array) -> tuple[Space, SearchState]:
        after = next_part(recipe.search, part, pruned(part.space, state.alphas, operations)[0])
        stage = search_stage(recipe, dataset, search_network(after.search, dataset, after.space), part=after)
        start = stage.start()
        if recipe.search.between_stages == "carried":
            method = methods.build(after.search, after.space, stage.steps_per_epoch)
            start = carried(part, after, method, state, start, key)
        return after.space, start

    return to_next


def search_parts(
    recipe: Recipe,
    dataset: Dataset,
    network: Network,
    console: Console,
    saves: Saves | None,
    seconds: Seconds,
    steps: int | None = None,
    profile_folder: Path | None = None,
    mesh: Mesh | None = None,
) -> tuple[list[tuple[Part, Network]], SearchState]:
    """Runs the stages of a search one after the other, each with a step of its own; those that a resumed run has behind it not.

    Args:
      recipe, dataset, steps: as of :func:`search_stage`; the steps are of each stage.
      network: the supernet of the first stage.
      console, saves: what is told of every epoch.
      seconds: those of compilation are added to it.
      profile_folder: gets a profile of the first stage.
      mesh: as of :func:`search_stage`.

    Returns:
      The stages with their supernets, and the state after the last step.

    Raises:
      UserError: as :func:`search_cell`.
    """
    searched: list[tuple[Part, Network]] = []
    ended: list[dict[str, Any]] = [] if saves is None else saves.notes.setdefault("ended", [])  # Alphas of ended stages.
    part, state = first_part(recipe.search), None
    for number in range(1 + len(recipe.search.next_stages)):
        if number:
            space = pruned(part.space, ended[number - 1], recipe.search.next_stages[number - 1].operations)[0]
            if state is not None:
                space, state = restage(recipe, dataset, part)(state, jax.random.fold_in(stage_key(recipe.seed, number), 6))
            part = next_part(recipe.search, part, space)
            network = search_network(part.search, dataset, space)
        searched.append((part, network))
        if number < len(ended):
            continue
        probe = Probe(recipe, dataset, network, part) if part.search.instruments_every else None
        report = SearchReport(console, saves, part, probe)
        profile = None if number else profile_folder
        state, compiled = search_cell(
            recipe, dataset, network, report, steps, profile_folder=profile, part=part, state=state, mesh=mesh
        )
        seconds.add_compilation(compiled)
        if probe is not None and probe.compiled is not None:
            seconds.add_compilation(probe.compiled)
        if number < len(recipe.search.next_stages):
            ended.append({kind: np.asarray(alpha).tolist() for kind, alpha in state.alphas.items()})
    assert state is not None
    return searched, state


def check(recipe: Recipe, dataset: Dataset) -> None:
    """Refuses what could not run, before anything is written.

    Raises:
      UserError: a batch larger than its split, a share without an image of a class, a network that cannot be built, a method
        whose parts do not go together, costs that are not known or targets that no network meets.
    """
    check_probed(recipe.search)
    parts = example_parts(recipe.search, recipe.seed)
    for part in parts:
        methods.build(part.search, part.space, 1)
    dataset = search_data(recipe, dataset)
    halves = {"training half of the search": dataset.search_train, "validation half of the search": dataset.search_valid}
    for half, split in halves.items():
        check_batch(recipe.search.batch, len(split.labels), half)
    for part in parts:
        search_network(part.search, dataset, part.space)
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


def run(
    name: str,
    recipe: Recipe,
    dataset: Dataset,
    folder: RunFolder,
    console: Console,
    import_seconds: float,
    profile_folder: Path | None = None,
    mesh: Mesh | None = None,
) -> dict[str, Any]:
    """The whole run; returns what is written to ``result.json``. A folder for a profile gets one of the search.

    The search is split over the devices of a mesh; what it found is trained on one.

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
    dataset, space = search_data(recipe, dataset), recipe.search.build_space()
    network = search_network(recipe.search, dataset)
    config = _settled(folder, {CONFIG: {"recipe": name, **plain(recipe)}})
    console.first_screen(name, recipe, dataset, space, network, mesh)
    for line in described(recipe.search, recipe.train, dataset, space):
        console.note(line)

    with saving(folder, config, console.note) as saves:
        if "found" not in saves.notes:
            saves.notes["found"] = _search(name, recipe, dataset, network, console, saves, seconds, profile_folder, mesh)
        found = saves.notes["found"]
        genotype, costs = from_text(found["genotype"]), found["report"].get("costs", {})
        console.genotype(genotype)
        console.costs(costs)

        rng = np.random.Generator(np.random.PCG64([recipe.seed, 1]))
        random = within_targets(recipe.search, recipe.train, dataset, space, rng, recipe.random_cells)
        candidates = [("found", genotype)] + [(f"random {i}", genotype) for i, genotype in enumerate(random, start=1)]
        rows: list[dict[str, Any]] = saves.notes.setdefault("rows", [])
        for label, candidate in candidates[len(rows) :]:
            rows.append(_train_row(label, candidate, recipe.training, dataset, console, saves, seconds))
    for row, (_, candidate) in zip(rows, candidates, strict=True):
        costs = known_costs(recipe.search, recipe.train, dataset, space, candidate)
        row |= {"costs": costs} if costs else {}
    seconds.total = import_seconds + time.perf_counter() - start
    result = {**_result(name, recipe, space, rows, found["stages"], seconds), **found["report"]}
    folder.write_json(RESULT, result)
    console.last_screen(result, folder)
    return result


def _settled(folder: RunFolder, documents: dict[str, Any]) -> dict[str, Any]:
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
) -> dict[str, Any]:
    """Searches and chooses: the genotype in words, what is reported of it, and the sizes of the stages."""
    began = time.perf_counter()
    searched, state = search_parts(recipe, dataset, network, console, saves, seconds, None, profile_folder, mesh)
    seconds.search = time.perf_counter() - began - seconds.trace - seconds.compile
    try:
        chosen = choose(recipe, *searched[-1], dataset, state)
    except TargetMissed as missed:
        result = {"recipe": name, "missed": str(missed), **missed.report, "seconds": _rounded(seconds)}
        saves.folder.write_json(RESULT, result)
        raise
    write_genotype(saves.folder, chosen.genotype, searched[0][0].space.name)
    stages = [{"supernet_parameters": network.parameters, "alphas": part.space.alphas} for part, network in searched]
    return {"genotype": to_text(chosen.genotype), "report": chosen.report, "stages": stages}


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
    begun_with = _settled(folder, {CONFIG: config, GENOTYPE_JSON: to_json(genotype, training.family)})
    folder.write_text(GENOTYPE_TEXT, to_text(genotype) + "\n")
    console.note(to_text(genotype))
    with saving(folder, begun_with, console.note) as saves:
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
) -> dict[str, Any]:
    """Trains one network and keeps the weights of all but the random ones."""
    began = time.perf_counter()
    folder, stage = saves.folder, f"train {label}"
    trained = train(genotype, training.train, dataset, training.seed, StageReport(stage, console, saves))
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
    dataset = search_data(recipe, dataset)
    space, network = recipe.search.build_space(), search_network(recipe.search, dataset)
    console.first_screen(name, recipe, dataset, space, network, mesh)
    searched, state = search_parts(recipe, dataset, network, console, None, Seconds(), 2, profile_folder, mesh)
    scores = estimators.ESTIMATORS[recipe.search.estimator].scores(searched[-1][0].space, state.alphas)
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

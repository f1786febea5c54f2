"""One run: search a cell, derive its genotype, train the network it stands for, and random cells at the same budget."""

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

from jaxnas import estimators, methods, selection
from jaxnas.compiling import Compiled
from jaxnas.console import Console
from jaxnas.data import Dataset, augment
from jaxnas.derive import derive
from jaxnas.errors import UserError
from jaxnas.estimators import ESTIMATORS
from jaxnas.feeding import Stage, check_batch, epochs_of_steps, fresh_batches, index_batches
from jaxnas.losses import cross_entropy
from jaxnas.nets import ChainShape, Network, Shape, supernet
from jaxnas.recipes import Recipe, SearchRecipe, Training
from jaxnas.run_folder import (
    ALPHAS,
    CONFIG,
    GENOTYPE_JSON,
    GENOTYPE_TEXT,
    LOG,
    NETWORK,
    RESULT,
    SUPERNET,
    TIMING,
    RunFolder,
    plain,
)
from jaxnas.search import TRAIN_BATCH, VALID_BATCH, Method, SearchState, draw, initial_state, search_step
from jaxnas.spaces import BlockSpace, CellSpace, Genotype, Space, random_genotype, to_json, to_text
from jaxnas.training import network_image_size, network_of, train


@dataclasses.dataclass
class Seconds:
    """Wall-clock seconds by stage; trace and compile are of all programs of the run."""

    imports: float = 0.0
    trace: float = 0.0
    compile: float = 0.0
    search: float = 0.0
    train: float = 0.0
    total: float = 0.0

    def add_compilation(self, compiled: Any) -> None:
        self.trace += compiled.trace_seconds
        self.compile += compiled.compile_seconds


class StageReport:
    """Hands one stage's progress to the screen and, where there is a folder, the run's files."""

    def __init__(self, stage: str, console: Console, folder: RunFolder | None) -> None:
        self.stage, self.console, self.folder = stage, console, folder
        console.compiling(stage)

    def begin(self, state: Any) -> tuple[Any, int]:
        return state, 0

    def compiled(self, compiled: Compiled) -> None:
        self.console.compiled(self.stage, compiled)

    def progress(self, epoch: int, epochs: int, step: int, steps: int, metrics: dict[str, float]) -> None:
        self.console.progress(self.stage, epoch, epochs, step, steps, metrics)

    def epoch(self, epoch: int, epochs: int, metrics: dict[str, float], state: Any, seconds: float) -> None:
        if self.folder is not None:
            self.folder.append(LOG, {"stage": self.stage, "epoch": epoch, **metrics, **self.keep(self.folder, state)})
            self.folder.append(TIMING, {"stage": self.stage, "epoch": epoch, "seconds": round(seconds, 3)})
        self.console.epoch(self.stage, epoch, epochs, metrics, seconds)

    def keep(self, folder: RunFolder, state: Any) -> dict[str, Any]:
        """Writes what is to outlive the epoch and returns what the log says of it: nothing, by default."""
        return {}


class ResumableReport(StageReport):
    """Keeps the whole state of every epoch, and begins with it where the run is resumed."""

    def __init__(self, stage: str, console: Console, folder: RunFolder) -> None:
        super().__init__(stage, console, folder)
        self.states = folder

    def begin(self, state: Any) -> tuple[Any, int]:
        state, epochs = self.states.read_state(self.stage, state)
        if self.states.resumed:
            self.console.note(f"{self.stage}: resumed after {epochs} epochs")
            self.console.compiling(self.stage)
        return state, epochs

    def epoch(self, epoch: int, epochs: int, metrics: dict[str, float], state: Any, seconds: float) -> None:
        super().epoch(epoch, epochs, metrics, state, seconds)
        self.states.write_state(self.stage, epoch + 1, state)


class SearchReport(StageReport):
    """Keeps the state of every epoch in place of the one before: whatever ends a run, its last whole epoch is there."""

    def __init__(self, console: Console, folder: RunFolder | None, space: CellSpace) -> None:
        super().__init__("search", console, folder)
        self.space = space

    def keep(self, folder: RunFolder, state: SearchState) -> dict[str, Any]:
        """Writes alphas, supernet and genotype; the log has the alphas."""
        genotype = derive(self.space, state.alphas)  # First of all: it refuses alphas that are not finite.
        folder.write_arrays(ALPHAS, state.alphas)
        folder.write_arrays(SUPERNET, state.weights)
        write_genotype(folder, genotype, self.space.name)
        return {"alphas": {kind: np.asarray(alpha).tolist() for kind, alpha in state.alphas.items()}}


def write_genotype(folder: RunFolder, genotype: Genotype, space_name: str) -> None:
    """Writes a genotype in both notations."""
    folder.write_json(GENOTYPE_JSON, to_json(genotype, space_name))
    folder.write_text(GENOTYPE_TEXT, to_text(genotype) + "\n")


def search_network(recipe: SearchRecipe, dataset: Dataset) -> Network:
    """The supernet of a search.

    Raises:
      UserError: a size that it cannot have.
    """
    size = network_image_size(recipe.augmentation, dataset)
    space = recipe.build_space()
    if isinstance(space, BlockSpace):
        return supernet(space, ChainShape(dataset.classes, size), recipe.share)
    shape = Shape(recipe.channels, recipe.cells, dataset.classes, size, recipe.affine)
    return supernet(space, shape, recipe.share, recipe.dtype, recipe.rematerialise)


Build = Callable[[SearchRecipe, Space, int], Method]
"""From a recipe, its space and the steps of an epoch to a method."""


def search_stage(
    recipe: Recipe, dataset: Dataset, network: Network, steps: int | None = None, build: Build = methods.build
) -> Stage:
    """The search alone, not yet run: all that decides its compiled step, with the shapes of the data.

    Args:
      recipe: what to search, and how.
      dataset: its two search halves are used, nothing else of it.
      network: as from :func:`search_network`.
      steps: do at most so many steps of one epoch.
      build: makes the method of a recipe; one's own, to search with an estimator that recipes do not name.
    """
    search = recipe.search
    halves = {"train": dataset.search_train, "valid": dataset.search_valid}
    if search.order == "together":
        halves = {"train": dataset.train, "valid": dataset.train}  # One level: the second batch is not read.
    sizes = {half: len(split.labels) for half, split in halves.items()}
    # The steps of an epoch are the training half's; a shorter validation half bounds them where it is gone through.
    steps_per_epoch = (min(sizes.values()) if search.valid_order == "shuffled" else sizes["train"]) // search.batch
    if steps is not None:
        steps_per_epoch = min(steps, steps_per_epoch)
    space = search.build_space()
    method = build(search, space, steps_per_epoch)
    step = search_step(method, cross_entropy(network, search.label_smoothing), cross_entropy(network))

    def key_of(purpose: int) -> Array:
        # Drawn anew at each call: the one in the state is donated to the first step.
        return jax.random.fold_in(jax.random.key(recipe.seed), purpose)

    def start() -> SearchState:
        weights, batch_statistics = network.init(key_of(0))
        return initial_state(method, key_of(2), weights, estimators.start(search, space, key_of(1)), batch_statistics)

    def data_step(
        state: SearchState, data: Any, train_indices: Array, valid_indices: Array
    ) -> tuple[SearchState, dict[str, Array]]:
        def batch(half: str, indices: Array, purpose: int) -> dict[str, Array]:
            key = draw(state.key, state.step, purpose)
            images = augment(key, data[half]["images"][indices], search.augmentation, dataset.mean, dataset.std)
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
    epochs = 1 if steps else search.warmup_epochs + search.epochs
    return Stage(data_step, start, data, indices, epochs, steps_per_epoch)


def search_cell(
    recipe: Recipe,
    dataset: Dataset,
    network: Network,
    report: StageReport,
    steps: int | None = None,
    build: Build = methods.build,
    profile_folder: Path | None = None,
) -> tuple[SearchState, Compiled]:
    """Runs :func:`search_stage`, whose arguments it has: the state after the last step and the compiled program's seconds.

    A folder for a profile gets one, see :func:`jaxnas.feeding.epochs_of_steps`.

    Raises:
      UserError: a loss that is not finite.
    """
    return epochs_of_steps(search_stage(recipe, dataset, network, steps, build), report, profile_folder)


def check(recipe: Recipe, dataset: Dataset) -> None:
    """Refuses what could not run, before anything is written.

    Raises:
      UserError: a batch larger than its split, a network that cannot be built, a method whose parts do not go together.
    """
    methods.build(recipe.search, recipe.search.build_space(), 1)
    halves = {"training half of the search": dataset.search_train, "validation half of the search": dataset.search_valid}
    for half, split in halves.items():
        check_batch(recipe.search.batch, len(split.labels), half)
    search_network(recipe.search, dataset)
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
) -> dict[str, Any]:
    """The whole run; returns what is written to ``result.json``. A folder for a profile gets one of the search.

    The test split is read only by :func:`jaxnas.training.train`, once for each network, after its last epoch.
    """
    start = time.perf_counter()
    seconds = Seconds(imports=import_seconds)
    space = recipe.search.build_space()
    network = search_network(recipe.search, dataset)
    folder.settle(CONFIG, {"recipe": name, **plain(recipe)})
    folder.write_environment()
    console.first_screen(name, recipe, dataset, space, network)

    began = time.perf_counter()
    report = SearchReport(console, folder, space)
    state, compiled = search_cell(recipe, dataset, network, report, profile_folder=profile_folder)
    seconds.add_compilation(compiled)
    seconds.search = time.perf_counter() - began - compiled.trace_seconds - compiled.compile_seconds
    genotype = _chosen(recipe, space, dataset, network, state)
    write_genotype(folder, genotype, space.name)
    console.genotype(genotype)

    rng = np.random.Generator(np.random.PCG64([recipe.seed, 1]))
    candidates = [("found", genotype)] + [(f"random {i + 1}", random_genotype(space, rng)) for i in range(recipe.random_cells)]
    rows = [
        _train_row(label, candidate, recipe.training, dataset, folder, StageReport(f"train {label}", console, folder), seconds)
        for label, candidate in candidates
    ]
    seconds.total = import_seconds + time.perf_counter() - start
    result = _result(name, recipe, space, rows, network, seconds)
    folder.write_json(RESULT, result)
    console.last_screen(result, folder)
    return result


def _chosen(recipe: Recipe, space: Space, dataset: Dataset, network: Network, state: SearchState) -> Genotype:
    """The genotype of the strongest alphas, or of the highest accuracy where the estimator leaves that to the weights."""
    estimator = recipe.search.estimator
    if not ESTIMATORS[estimator].selects:
        return derive(space, state.alphas)
    compared = selection.candidates(estimator, space, state.alphas, recipe.seed)
    key = jax.random.fold_in(jax.random.key(recipe.seed), 5)  # The search draws by 0 to 4.
    return selection.best(compared, space, network, state.weights, dataset, key)[0]


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

    In a folder that is resumed it goes on after the last whole epoch. But for the seconds, what it then leaves are the bytes
    of a run that was never interrupted.

    Raises:
      UserError: the run in the folder is of another configuration or genotype; the message names the first field.
    """
    start = time.perf_counter()
    seconds = Seconds(imports=import_seconds)
    folder.settle(CONFIG, {"recipe": name, **plain(training)})
    folder.settle(GENOTYPE_JSON, to_json(genotype, training.family))
    folder.write_text(GENOTYPE_TEXT, to_text(genotype) + "\n")
    folder.write_environment()
    console.note(to_text(genotype))
    row = _train_row("given", genotype, training, dataset, folder, ResumableReport("train given", console, folder), seconds)
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
    folder: RunFolder,
    report: StageReport,
    seconds: Seconds,
) -> dict[str, Any]:
    """Trains one network and keeps the weights of all but the random ones."""
    began = time.perf_counter()
    trained = train(genotype, training.train, dataset, training.seed, report)
    elapsed = time.perf_counter() - began - trained.trace_seconds - trained.compile_seconds
    seconds.add_compilation(trained)
    seconds.train += elapsed
    folder.append(LOG, {"stage": f"train {label}", "test_accuracy": trained.test_accuracy})
    if not label.startswith("random"):
        folder.write_arrays(NETWORK, {"weights": trained.weights, "statistics": trained.statistics})
    return {
        "cell": label,
        "genotype": to_text(genotype),
        "test_accuracy": trained.test_accuracy,
        "parameters": trained.parameters,
        "train_seconds": round(elapsed, 3),
    }


def dry_run(name: str, recipe: Recipe, dataset: Dataset, console: Console, profile_folder: Path | None = None) -> Genotype:
    """Two steps of the search, so that errors show before hours are spent. Writes nothing but a profile, if asked."""
    space = recipe.search.build_space()
    network = search_network(recipe.search, dataset)
    console.first_screen(name, recipe, dataset, space, network)
    state, _ = search_cell(recipe, dataset, network, SearchReport(console, None, space), 2, profile_folder=profile_folder)
    genotype = derive(space, state.alphas)
    network = network_of(genotype, recipe.train, dataset)
    written = "nothing written" if profile_folder is None else "only a profile written"
    console.note(f"Dry run: two steps done, {written}. The network would have {network.parameters:,} parameters.")
    return genotype


def _result(
    name: str, recipe: Recipe, space: CellSpace, rows: list[dict[str, Any]], network: Network, seconds: Seconds
) -> dict[str, Any]:
    random = [row["test_accuracy"] for row in rows[1:]]
    return {
        "recipe": name,
        "dataset": recipe.dataset,
        "space": recipe.search.space,
        "genotypes_in_space": space.size,
        "seed": recipe.seed,
        "supernet_parameters": network.parameters,
        "alphas": space.alphas,
        "found": rows[0],
        "random": rows[1:],
        "random_mean": statistics.mean(random) if random else None,
        # Sample deviation: of one cell there is none.
        "random_std": statistics.stdev(random) if len(random) > 1 else None,
        "seconds": _rounded(seconds),
    }


def _rounded(seconds: Seconds) -> dict[str, float]:
    return {stage: round(value, 3) for stage, value in dataclasses.asdict(seconds).items()}

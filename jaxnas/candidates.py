"""Black-box searches on the real thing: what a searcher asks is trained, several at a time, and a search can go on."""

from __future__ import annotations

import collections
import dataclasses
import itertools
import json
import multiprocessing
import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import numpy as np

from jaxnas import card
from jaxnas.blackbox import (
    INDEPENDENT_RATE,
    LSTM_RATE,
    Asking,
    AskTell,
    Trial,
    independent,
    local_search,
    lstm,
    random_search,
    regularised_evolution,
    reinforce,
    successive_halving,
)
from jaxnas.console import Console
from jaxnas.data import Dataset, load
from jaxnas.derive import derive
from jaxnas.errors import UserError, did_you_mean
from jaxnas.feeding import Done, Report
from jaxnas.recipes import Training
from jaxnas.reports import write_genotype
from jaxnas.run_folder import CONFIG, RESULT, RunFolder, plain, read_json
from jaxnas.spaces import NONE, CellSpace, Genotype, Space, to_text
from jaxnas.stored import teacher_of
from jaxnas.training import train
from jaxnas.whole_files import write_whole

SEARCH, CANDIDATES = "blackbox.json", "candidates"
SECONDS = ("seconds", "trace_seconds", "compile_seconds")
ARMS = 8
"""Of successive halving's first rung: trainings cost more than rows of a table."""


@dataclasses.dataclass(frozen=True)
class Search:
    """What decides a search, besides the training of its candidates.

    Attributes:
      searcher: of :data:`SEARCHERS`.
      space: name of the space, for what is written.
      epochs: of one training; successive halving has several numbers, rising, the others one.
      trainings: how many candidates are trained.
      workers: trainings at a time. It counts: more are asked before the first is told.
    """

    searcher: str
    space: str
    epochs: tuple[int, ...]
    trainings: int
    workers: int = 1

    def __post_init__(self) -> None:
        if self.searcher not in SEARCHERS:
            raise UserError(f"Unknown searcher {self.searcher!r}. {did_you_mean(self.searcher, SEARCHERS)}")
        for name in ("trainings", "workers"):
            if getattr(self, name) < 1:
                raise UserError(f"{name} must be positive, got {getattr(self, name)}.")
        if not self.epochs or min(self.epochs) < 1:
            raise UserError(f"epochs are positive numbers, got {list(self.epochs)}.")
        if self.searcher != "halving" and len(self.epochs) > 1:
            raise UserError(
                f"Several numbers of epochs, {list(self.epochs)}, are of successive halving, not of {self.searcher}."
            )


def begun(folder: Path) -> Search | None:
    """The search that was begun in a folder; None where none was.

    Raises:
      UserError: its file is damaged.
    """
    if not (folder / SEARCH).exists():
        return None
    document = read_json(folder / SEARCH)
    try:
        return Search(**{**document, "epochs": tuple(document["epochs"])})
    except (TypeError, KeyError) as error:
        raise UserError(f"{folder / SEARCH} is not what a search was begun with: {error}. Was it changed?") from error


def _asked(searcher: Any, seed: int) -> Asking:
    return AskTell(searcher, seed)


def _bayesian(cardinality: tuple[int, ...], epochs: tuple[int, ...], seed: int) -> Asking:
    from jaxnas.blackbox.bayesian import Bayesian  # Not above: scikit-learn takes seconds to import.

    return Bayesian(cardinality, seed)


SEARCHERS: dict[str, Callable[[tuple[int, ...], tuple[int, ...], int], Asking]] = {
    "random": lambda cardinality, epochs, seed: _asked(random_search(cardinality), seed),
    "evolution": lambda cardinality, epochs, seed: _asked(regularised_evolution(cardinality), seed),
    "local": lambda cardinality, epochs, seed: _asked(local_search(cardinality), seed),
    "reinforce": lambda cardinality, epochs, seed: _asked(reinforce(independent(cardinality), INDEPENDENT_RATE), seed),
    "reinforce-lstm": lambda cardinality, epochs, seed: _asked(reinforce(lstm(cardinality), LSTM_RATE), seed),
    "halving": lambda cardinality, epochs, seed: _asked(successive_halving(cardinality, epochs, ARMS), seed),
    "bayesian": _bayesian,
}
"""By name: ``build(cardinality, epochs, seed)``."""


def cardinality_of(space: Space) -> tuple[int, ...]:
    """How many choices each position has: the candidates of every edge or block; of DARTS's cells for every node its pair of
    inputs, then the operation of each, none left out.

    >>> from jaxnas.spaces import darts, nb201
    >>> cardinality_of(nb201()), cardinality_of(darts())[:6]
    ((5, 5, 5, 5, 5, 5), (1, 7, 7, 3, 7, 7))
    """
    if not isinstance(space, CellSpace) or space.family != "darts":
        return tuple(len(names) for names in space.cells[0][1].operations)
    numbers: list[int] = []
    for _, cell in space.cells:
        for node in range(cell.nodes):
            rows = cell.incoming(node)
            names = {tuple(name for name in cell.operations[row] if name != NONE) for row in rows}
            if len(names) > 1:
                raise UserError(f"Edges of space {space.name!r} differ in their candidates: no searcher can choose among them.")
            numbers += [len(rows) * (len(rows) - 1) // 2, *[len(names.pop())] * 2]
    return tuple(numbers)


def genotype_of(space: Space, choices: tuple[int, ...]) -> Genotype:
    """The genotype of choices at the positions of :func:`cardinality_of`.

    >>> from jaxnas.spaces import nb201_family
    >>> genotype_of(nb201_family("one edge", ("none", "skip_connect"), nodes=1), (1,))
    Nb201Genotype(nodes=((('skip_connect', 0),),))
    """
    alphas = {kind: np.zeros((len(cell.edges), cell.columns)) for kind, cell in space.cells}
    if not isinstance(space, CellSpace) or space.family != "darts":
        alphas[space.cells[0][0]][np.arange(len(choices)), choices] = 1
        return derive(space, alphas)
    left = list(choices)
    for kind, cell in space.cells:
        for node in range(cell.nodes):
            pair, first, second, *left = left
            rows = list(itertools.combinations(cell.incoming(node), 2))[pair]
            for row, choice in zip(rows, (first, second), strict=True):
                columns = [column for column, name in enumerate(cell.operations[row]) if name != NONE]
                alphas[kind][row, columns[choice]] = 1
    return derive(space, alphas)


def of_halves(dataset: Dataset) -> Dataset:
    """A dataset whose training images are the search's training half, and whose test images its validation half."""
    return dataclasses.replace(dataset, train=dataset.search_train, test=dataset.search_valid)


@dataclasses.dataclass(frozen=True)
class Job:
    """One training, as a worker gets it.

    Attributes:
      folder: its own.
      trial: what was asked.
      genotype: what it stands for.
      training: with the epochs of the trial's budget.
      data_dir: of the dataset's files.
    """

    folder: Path
    trial: Trial
    genotype: Genotype
    training: Training
    data_dir: Path | None


class _Silent(Report):
    """Tells nothing of a training: several go on at a time."""

    def begin(self, state: Any, done: Done) -> tuple[Any, Done]:
        return state, done


def trained(job: Job) -> dict[str, Any]:
    """Trains a candidate and leaves ``result.json`` in its folder, which says that it is finished.

    A training whose loss is not finite has the worst accuracy that there is, 0, and says why.
    """
    began = time.perf_counter()
    result: dict[str, Any] = {
        "choices": list(job.trial.choices),
        "budget": job.trial.budget,
        "genotype": to_text(job.genotype),
        "epochs": job.training.train.epochs,
    }
    dataset = of_halves(load(job.training.dataset, job.data_dir, job.training.image_size))
    try:
        teacher = teacher_of(job.training, dataset)
        found = train(job.genotype, job.training.train, dataset, job.training.seed, _Silent(), None, teacher)
        result |= {"validation_accuracy": found.test_accuracy, "parameters": found.parameters}
        result |= {"trace_seconds": round(found.trace_seconds, 3), "compile_seconds": round(found.compile_seconds, 3)}
    except UserError as error:
        result |= {"validation_accuracy": 0.0, "failed": str(error)}
    result["seconds"] = round(time.perf_counter() - began, 3)
    job.folder.mkdir(parents=True, exist_ok=True)
    write_whole(job.folder / RESULT, (json.dumps(result, indent=2) + "\n").encode())
    return result


def finished(job: Job) -> dict[str, Any] | None:
    """What a former run left of this training; None where it did not end.

    Raises:
      UserError: it is of another candidate.
    """
    if not (job.folder / RESULT).exists():
        return None
    result = read_json(job.folder / RESULT)
    if (result.get("choices"), result.get("budget")) != (list(job.trial.choices), job.trial.budget):
        raise UserError(f"{job.folder / RESULT} is of another candidate than the search asks there. Was it changed?")
    return result


def search(
    name: str,
    what: Search,
    space: Space,
    training: Training,
    data_dir: Path | None,
    folder: RunFolder,
    console: Console,
    train_one: Callable[[Job], dict[str, Any]] = trained,
) -> dict[str, Any]:
    """Searches, and leaves the genotype of the best candidate at the largest number of epochs that was reached.

    Answers are told in the order of their questions, whichever ends first: so a search is its seed and its number of workers,
    and one that goes on asks what it asked. What is finished is told again from its folder, what was not is trained anew; a
    candidate that is asked again at the same epochs is not trained again.

    Args:
      name: of the recipe.
      training: of the candidates, but for the epochs; its seed is also the searcher's.
      train_one: trains one, in a worker's process where there are several.

    Returns:
      What ``result.json`` has.

    Raises:
      UserError: the folder holds another search; a worker's process was ended; no candidate was trained.
    """
    folder.settle(CONFIG, {"recipe": name, **plain(training)})
    folder.settle(SEARCH, plain(what))
    folder.write_environment()
    dataset = load(training.dataset, data_dir, training.image_size)
    kept = card.Card(folder, card.of_blackbox(name, plain(what), training, dataset, space))
    asking = SEARCHERS[what.searcher](cardinality_of(space), what.epochs, training.seed)
    waiting: collections.deque[tuple[int, Trial, Future[dict[str, Any]]]] = collections.deque()
    known: dict[Trial, Future[dict[str, Any]]] = {}
    results: list[dict[str, Any]] = []
    numbers = itertools.count()
    with _workers(what.workers) as submit:

        def ask(number: int) -> bool:
            trial = asking.ask()
            if trial is None:
                return False
            if trial not in known:
                train_recipe = dataclasses.replace(training.train, epochs=what.epochs[trial.budget])
                own = dataclasses.replace(training, train=train_recipe)
                place = folder.path / CANDIDATES / f"{number:04d}"
                job = Job(place, trial, genotype_of(space, trial.choices), own, data_dir)
                before = finished(job)
                known[trial] = submit(train_one, job) if before is None else _done(before)
            waiting.append((number, trial, known[trial]))
            return True

        asked = 0
        while len(results) < what.trainings:
            while len(waiting) < what.workers and asked < what.trainings and ask(next(numbers)):
                asked += 1
            number, trial, future = waiting.popleft()
            try:
                result = future.result()
            except BrokenProcessPool as error:
                raise UserError(
                    f"A worker was ended; what is finished is kept. To go on: jaxnas resume {folder.path}"
                ) from error
            asking.tell(trial, result["validation_accuracy"])
            results.append(result)
            _spent(kept, f"candidates {'-'.join(map(str, trial.choices))} for {result['epochs']}", result)
            failed = f", failed: {result['failed']}" if "failed" in result else ""
            accuracy = f"{result['validation_accuracy']:.2%} after {result['epochs']} epochs"
            console.note(f"{number:4d}  {accuracy}  {result['genotype']}{failed}")
    longest = max(result["budget"] for result in results)
    best = max((result for result in results if result["budget"] == longest), key=lambda result: result["validation_accuracy"])
    genotype = genotype_of(space, tuple(best["choices"]))
    write_genotype(folder, genotype, space.name)
    found = {
        "recipe": name,
        **plain(what),
        "seed": training.seed,
        "found": {key: best[key] for key in ("genotype", "validation_accuracy", "epochs")},
        "epochs_trained": sum(future.result()["epochs"] for future in known.values()),
        "candidates": [{key: value for key, value in result.items() if key not in SECONDS} for result in results],
    }
    folder.write_json(RESULT, found)
    kept.finish(best["genotype"], best["validation_accuracy"], best.get("parameters"))
    return found


def _spent(kept: card.Card, name: str, result: dict[str, Any]) -> None:
    """Adds a candidate's seconds to the card, once, though it may be asked, or told by a process that goes on, again."""
    if not kept.knows(name):
        compiling = [result.get(f"{part}_seconds", 0.0) for part in card.COMPILING]
        for part, seconds in zip(card.COMPILING, compiling, strict=True):
            kept.spent(part, seconds)
        kept.spent(name, result.get("seconds", 0.0) - sum(compiling), now=True)


def _done(result: dict[str, Any]) -> Future[dict[str, Any]]:
    future: Future[dict[str, Any]] = Future()
    future.set_result(result)
    return future


class _workers:
    """Trains in this process where there is one worker, else in processes of their own, which end with this one."""

    def __init__(self, count: int) -> None:
        # Spawned: a process that runs JAX must not be forked.
        context = multiprocessing.get_context("spawn")
        self._pool = ProcessPoolExecutor(count, context, initializer=_end_with_parent) if count > 1 else None

    def __enter__(self) -> Callable[..., Future[dict[str, Any]]]:
        pool = self._pool
        return (
            (lambda function, job: _done(function(job))) if pool is None else (lambda function, job: pool.submit(function, job))
        )

    def __exit__(self, *_: object) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None

    def wait() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()

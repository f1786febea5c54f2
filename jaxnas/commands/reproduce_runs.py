"""The searches and trainings of a published result, by the verbs that a person would type; what is finished is kept."""

from __future__ import annotations

import dataclasses
import importlib
import json
import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from jaxnas import candidates, card, stored, trainings
from jaxnas.blackbox import Trial
from jaxnas.errors import UserError
from jaxnas.registry import Choice, Jobs, Result
from jaxnas.reproducing import Values, looked_up, trained
from jaxnas.run_folder import CARD, CONFIG, RESULT, difference, read_json
from jaxnas.whole_files import write_whole

PROTOCOL = "reproduce.json"
TABLE = "{table}"
"""In the arguments of a result's commands: the file that is given with --table."""


@dataclasses.dataclass(frozen=True)
class Place:
    """Where a result is reproduced, and from what.

    Attributes:
      folder: of all its runs.
      data_dir: of the dataset's files.
      table: of NAS-Bench-201, or of latencies, where the result needs one.
    """

    folder: Path
    data_dir: Path | None
    table: Path | None


Command = tuple[list[str], Path]
"""The words after ``jaxnas``, and the folder of the run."""


def commands(result: Result, place: Place, kept: str) -> tuple[list[Command], list[Command]]:
    """The searches, and the trainings of what is kept, by its folder's name.

    Raises:
      UserError: the result needs a table, and there is none.
    """
    assert result.searches is not None
    jobs = (result.searches, result.trainings or Jobs(""))
    if place.table is None and (result.looked_up or any(TABLE in one.arguments for one in jobs)):
        what = "of NAS-Bench-201, in which what is found is looked up" if result.looked_up else "of latencies"
        raise UserError(f"{result.name} needs a table {what}: --table FILE")
    searches = _commands(["search", result.searches.recipe, "--only-search"], result.searches, place, "search")
    after = _commands(["train", str(place.folder / kept)], jobs[1], place, "train") if result.trainings else []
    return searches, after


def _commands(begin: list[str], jobs: Jobs, place: Place, called: str) -> list[Command]:
    words = [*begin, *(["--recipe", jobs.recipe] if called == "train" else []), *jobs.arguments]
    words = [str(place.table) if word == TABLE else word for word in words]
    data = [] if place.data_dir is None else ["--data-dir", str(place.data_dir)]
    folders = [place.folder / f"{called}-seed{seed}" for seed in jobs.seeds]
    return [
        ([*words, "--seed", str(seed), *data, "--out", str(folder)], folder)
        for seed, folder in zip(jobs.seeds, folders, strict=True)
    ]


def planned(result: Result, place: Place) -> Iterator[str]:
    """What would be run, a line each."""
    kept = f"search-seed{result.searches.seeds[0]}" if result.searches and not result.choice else "KEPT"
    searches, after = commands(result, place, kept)
    yield from (shlex.join(["jaxnas", *words]) for words, _ in searches)
    if result.choice is not None:
        yield (
            f"KEPT: each trained by {result.choice.recipe} for {result.choice.epochs} epochs on the search's training half; "
            "the most accurate on its validation half"
        )
    yield from (shlex.join(["jaxnas", *words]) for words, _ in after)
    if result.looked_up:
        yield f"each looked up in {place.table}"


def run(result: Result, place: Place) -> tuple[Values, dict[str, float | None]]:
    """Runs what is not finished; what came out, and the seconds of devices by what they were spent on.

    Raises:
      UserError: the folder holds the runs of another protocol, or a run cannot begin or go on.
    """
    searches, _ = commands(result, place, "")
    if result.looked_up and place.table is not None:
        looked_up(result, ["0"], place.table)  # Before hours are spent: whether the table has what is asked.
    _settle(result, place)
    for words, folder in searches:
        _one(words, folder, place)
    folders = {"searches": [folder for _, folder in searches]}
    if result.looked_up:
        assert place.table is not None
        return looked_up(result, [str(folder) for _, folder in searches], place.table), _cost(folders, None)
    kept, chosen_in = searches[0][1].name, None
    if result.choice is not None:
        chosen = [_briefly(folder, result.choice, place) for _, folder in searches]
        kept = searches[max(range(len(chosen)), key=lambda i: chosen[i][0])][1].name
        chosen_in = sum(seconds for _, seconds in chosen)
        print(f"kept: {kept}, of validation accuracies {', '.join(f'{accuracy:.2%}' for accuracy, _ in chosen)}")
    _, after = commands(result, place, kept)
    for words, folder in after:
        _one(words, folder, place)
    folders["trainings"] = [folder for _, folder in after]
    accuracies = [read_json(folder / RESULT)["given"]["test_accuracy"] for _, folder in after]
    return trained(accuracies), _cost(folders, chosen_in)


def _settle(result: Result, place: Place) -> None:
    """Writes by which protocol the folder's runs are, or refuses those of another."""
    protocol = {
        name: None if (part := getattr(result, name)) is None else dataclasses.asdict(part)
        for name in ("searches", "choice", "trainings")
    }
    document, path = {"result": result.name, **protocol}, place.folder / PROTOCOL
    if path.exists():
        found = difference(read_json(path), document)
        if found is not None:
            raise UserError(f"{place.folder} holds runs of another protocol: {found}. Choose another --out.")
        return
    if place.folder.is_dir() and any(place.folder.iterdir()):
        raise UserError(f"{place.folder} holds files that are not of {result.name}. Choose another --out.")
    place.folder.mkdir(parents=True, exist_ok=True)
    write_whole(path, (json.dumps(document, indent=2) + "\n").encode())


def _one(words: list[str], folder: Path, place: Place) -> None:
    """Begins a run, goes on with it, or finds it finished."""
    if (folder / RESULT).exists():
        print(f"{folder}: finished before")
        return
    if (folder / CONFIG).exists():
        data = [] if place.data_dir is None else ["--data-dir", str(place.data_dir)]
        words = ["resume", str(folder), *data]
    print(shlex.join(["jaxnas", *words]))
    importlib.import_module(f"jaxnas.commands.{words[0]}").main(words[1:])


def _briefly(search: Path, choice: Choice, place: Place) -> tuple[float, float]:
    """Validation accuracy of what a search found, trained on the other half, and the seconds without compilation.

    Raises:
      UserError: the training failed.
    """
    training = trainings.find(choice.recipe)
    training = dataclasses.replace(training, train=dataclasses.replace(training.train, epochs=choice.epochs))
    folder = place.folder / search.name.replace("search", "choice")
    job = candidates.Job(folder, Trial((), 0), stored.genotype_of(search), training, place.data_dir)
    found = candidates.finished(job) or candidates.trained(job)
    if "failed" in found:
        raise UserError(
            f"The training that judges {search.name} failed: {found['failed']} The choice is among all searches: mend what it "
            f"says, remove {folder} and go on with the same command."
        )
    compiling = found.get("trace_seconds", 0.0) + found.get("compile_seconds", 0.0)
    return found["validation_accuracy"], found["seconds"] - compiling


def _cost(folders: Mapping[str, Sequence[Path]], choice: float | None) -> dict[str, float | None]:
    """Device seconds by the cards of runs, compilation apart."""
    costs = {what: [card.read(path)["cost"] for path in paths if (path / CARD).exists()] for what, paths in folders.items()}
    found: dict[str, float | None] = {
        what: round(sum(cost["device_seconds"]["total"] for cost in each), 3) for what, each in costs.items()
    }
    every = [cost for each in costs.values() for cost in each]
    compiling = sum(sum(cost["compile_seconds"].values()) for cost in every)
    return {**found, "choice": None if choice is None else round(choice, 3), "compilation": round(compiling, 3)}

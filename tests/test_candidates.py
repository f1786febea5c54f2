"""Searches that train their candidates: they ask what the searcher asks alone, go on where they ended, and train for real."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jaxnas import candidates, card
from jaxnas.blackbox import AskTell, regularised_evolution, successive_halving
from jaxnas.candidates import Job, Search, cardinality_of, genotype_of, of_halves, search, trained
from jaxnas.console import Console
from jaxnas.data import load
from jaxnas.errors import UserError
from jaxnas.recipes import find
from jaxnas.run_folder import RunFolder
from jaxnas.spaces import check_fits, darts, fbnet, from_text, nb201, nb201_family, random_genotype, to_text

SPACE = nb201_family("three edges", ("none", "skip_connect", "nor_conv_1x1"), nodes=2)
TRAINING = find("nb201-digits").training
WORTH = {at: number / 100 for at, number in zip(np.ndindex(3, 3, 3), np.random.default_rng(0).permutation(27), strict=True)}


class Trainer:
    """In place of a training: what the candidate is worth, in its folder; and which were trained."""

    def __init__(self, end_after: int | None = None) -> None:
        self.jobs: list[Job] = []
        self.end_after = end_after

    def __call__(self, job: Job) -> dict[str, Any]:
        if self.end_after is not None and len(self.jobs) == self.end_after:
            raise KeyboardInterrupt
        self.jobs.append(job)
        value = WORTH[job.trial.choices] + job.trial.budget / 10
        result = {
            "choices": list(job.trial.choices),
            "budget": job.trial.budget,
            "genotype": to_text(job.genotype),
            "epochs": job.training.train.epochs,
            "seconds": 2.5,
            "trace_seconds": 0.5,
            "compile_seconds": 1.0,
        }
        job.folder.mkdir(parents=True)
        (job.folder / "result.json").write_text(json.dumps({**result, "validation_accuracy": value}))
        return {**result, "validation_accuracy": value}


def searched(path: Path, what: Search, trainer: Trainer, resume: bool = False, seed: int = 0) -> dict[str, Any]:
    with Console() as console:
        training = dataclasses.replace(TRAINING, seed=seed)
        return search("toy", what, SPACE, training, None, RunFolder(path, resume=resume), console, trainer)


def test_it_asks_what_the_searcher_asks_alone_and_trains_nothing_twice(tmp_path: Path) -> None:
    trainer = Trainer()
    found = searched(tmp_path / "run", Search("evolution", "toy", (3,), 30), trainer)
    alone, asked = AskTell(regularised_evolution((3, 3, 3)), 0), []
    for _ in range(30):
        trial = alone.ask()
        assert trial is not None
        asked.append(trial.choices)
        alone.tell(trial, WORTH[trial.choices])
    assert [tuple(one["choices"]) for one in found["candidates"]] == asked
    assert [job.trial.choices for job in trainer.jobs] == list(dict.fromkeys(asked))
    assert all(job.training.train.epochs == 3 for job in trainer.jobs) and found["epochs_trained"] == 3 * len(set(asked))
    best = max(asked, key=lambda choices: WORTH[choices])
    assert found["found"]["genotype"] == to_text(genotype_of(SPACE, best))
    assert from_text((tmp_path / "run" / "genotype.txt").read_text()) == genotype_of(SPACE, best)


@pytest.mark.parametrize("searcher", ["evolution", "halving", "bayesian"])
def test_a_search_that_was_ended_goes_on_as_if_it_had_not(tmp_path: Path, searcher: str) -> None:
    what = Search(searcher, "toy", (2, 4) if searcher == "halving" else (2,), 14)
    whole, first, second = Trainer(), Trainer(end_after=6), Trainer()
    found = searched(tmp_path / "whole", what, whole)
    with pytest.raises(KeyboardInterrupt):
        searched(tmp_path / "ended", what, first)
    assert searched(tmp_path / "ended", what, second, resume=True) == found
    folders = [[job.folder.name for job in trainer.jobs] for trainer in (whole, first, second)]
    assert folders[0] == folders[1] + folders[2] and len(folders[1]) == 6
    for name in folders[0]:
        left = [(tmp_path / run / "candidates" / name / "result.json").read_bytes() for run in ("whole", "ended")]
        assert left[0] == left[1]
    assert searched(tmp_path / "ended", what, Trainer(end_after=0), resume=True) == found  # All is there: nothing is trained.
    for run, sessions in (("whole", 1), ("ended", 3)):
        kept = card.read(tmp_path / run)
        assert kept["cost"]["device_seconds"]["candidates"] == len(folders[0])  # 2.5 seconds each, less 1.5 of compilation.
        assert kept["cost"]["compile_seconds"] == {"trace": 0.5 * len(folders[0]), "compile": 1.0 * len(folders[0])}
        assert len(kept["cost"]["sessions"]) == sessions
        assert kept["result"]["genotype"] == found["found"]["genotype"]


def test_halving_trains_few_for_longer_and_ends_with_the_best_of_those(tmp_path: Path) -> None:
    trainer = Trainer()
    found = searched(tmp_path / "run", Search("halving", "toy", (2, 4), 12), trainer)
    assert [one["epochs"] for one in found["candidates"]] == [2] * 8 + [4] * 4
    alone = AskTell(successive_halving((3, 3, 3), (2, 4), 8), 0)
    asked = [trial for trial in (alone.ask() for _ in range(8)) if trial]
    best = max((trial.choices for trial in asked), key=lambda choices: WORTH[choices])
    assert found["found"] == {
        "genotype": to_text(genotype_of(SPACE, best)), "validation_accuracy": WORTH[best] + 0.1, "epochs": 4
    }  # fmt: skip


def test_what_does_not_belong_together_is_refused(tmp_path: Path) -> None:
    searched(tmp_path / "run", Search("random", "toy", (2,), 3), Trainer())
    with pytest.raises(UserError, match="cannot go on.*seed is 0, now it is 1"):
        searched(tmp_path / "run", Search("random", "toy", (2,), 3), Trainer(), resume=True, seed=1)
    with pytest.raises(UserError, match="cannot go on: in its blackbox.json workers is 1, now it is 2"):
        searched(tmp_path / "run", Search("random", "toy", (2,), 3, workers=2), Trainer(), resume=True)
    with pytest.raises(UserError, match="exists"):
        searched(tmp_path / "run", Search("random", "toy", (2,), 3), Trainer())
    changed = tmp_path / "run" / "candidates" / "0001" / "result.json"
    changed.write_text(json.dumps({**json.loads(changed.read_text()), "choices": [9, 9, 9]}))
    with pytest.raises(UserError, match="is of another candidate"):
        searched(tmp_path / "run", Search("random", "toy", (2,), 3), Trainer(), resume=True)
    for values, message in (
        (("evolutoin", "toy", (2,), 3), "Unknown searcher 'evolutoin'. Did you mean evolution"),
        (("random", "toy", (2, 4), 3), r"Several numbers of epochs, \[2, 4\], are of successive halving, not of random"),
        (("random", "toy", (), 3), "epochs are positive numbers"),
        (("random", "toy", (2,), 0), "trainings must be positive, got 0"),
        (("random", "toy", (2,), 3, 0), "workers must be positive, got 0"),
    ):
        with pytest.raises(UserError, match=message):
            Search(*values)  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("name", ["nb201", "darts", "fbnet"])
def test_choices_stand_for_the_whole_space_and_nothing_else(name: str) -> None:
    space = {"nb201": nb201, "darts": darts, "fbnet": fbnet}[name]()
    numbers, rng = cardinality_of(space), np.random.default_rng(0)
    assert math.prod(numbers) == space.size
    drawn = {tuple(rng.integers(0, numbers).tolist()) for _ in range(40)}
    genotypes = {genotype_of(space, choices) for choices in drawn}
    assert len(genotypes) == len(drawn)
    for genotype in genotypes:
        check_fits(genotype, space)


def test_candidates_learn_from_one_half_and_are_judged_by_the_other() -> None:
    digits = load("digits")
    halves = of_halves(digits)
    assert halves.train is digits.search_train and halves.test is digits.search_valid and halves.test is not digits.test


def test_a_training_that_diverges_is_the_worst_and_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def diverged(*_: Any) -> None:
        raise UserError("The loss is nan in epoch 1.")

    monkeypatch.setattr(candidates, "train", diverged)
    asking = AskTell(regularised_evolution((5,) * 6), 0)
    trial = asking.ask()
    assert trial is not None
    genotype = random_genotype(nb201(), np.random.Generator(np.random.PCG64(0)))
    result = trained(Job(tmp_path / "0000", trial, genotype, TRAINING, None))
    assert result["validation_accuracy"] == 0 and result["failed"] == "The loss is nan in epoch 1."
    asking.tell(trial, result["validation_accuracy"])


@pytest.mark.slow
def test_two_workers_train_digits_and_go_on(tmp_path: Path) -> None:
    """For real: processes of their own, and what one of them had left unfinished is trained again."""
    train = dataclasses.replace(TRAINING.train, channels=2, epochs=1)
    training = dataclasses.replace(TRAINING, train=train)
    what = Search("random", "nb201", (1,), 3, workers=2)

    def go(resume: bool) -> dict[str, Any]:
        with Console() as console:
            return search("nb201-digits", what, nb201(), training, None, RunFolder(tmp_path / "run", resume=resume), console)

    found = go(False)
    assert len(found["candidates"]) == 3 and all(0.05 < one["validation_accuracy"] <= 1 for one in found["candidates"])
    (tmp_path / "run" / "candidates" / "0001" / "result.json").unlink()
    (tmp_path / "run" / "result.json").unlink()
    assert go(True) == found

"""Searches that end early, or go back and on with a stronger decay, against states caught on the way; killed and resumed."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import Array

from jaxnas import feeding, run, searching, training
from jaxnas.console import Console
from jaxnas.data import Dataset, Split, load
from jaxnas.errors import UserError
from jaxnas.feeding import Done
from jaxnas.nets import Network
from jaxnas.recipe import Recipe, SearchRecipe
from jaxnas.recipes import find
from jaxnas.reports import StageReport
from jaxnas.rollback import check_early_stop, raised, state_of
from jaxnas.run_folder import RunFolder, fitted, flat_arrays
from jaxnas.saves import Saves
from jaxnas.stages import first_part
from jaxnas.stored import derived_genotype
from jaxnas.training import Trained

EPOCHS, SEEN, KEPT = 24, 16, 10
"""Measured after every epoch, the largest eigenvalue doubles at epoch 12. By epoch 16, the first after which the rule may be
asked, the average of five is 2, and four epochs before it was (1 + 1 + 1 + 1 + 2) / 5 = 1.2: the tenth epoch is kept."""


def digits() -> Dataset:
    whole = load("digits")
    part = Split(whole.train.images[:48], whole.train.labels[:48])
    return dataclasses.replace(whole, train=part, search_train=part, search_valid=part, test=part)


def linear(recipe: Any, dataset: Any, space: Any = None) -> Network:
    """A supernet that compiles in no time."""

    def init(key: Array) -> tuple[Any, Any]:
        return {"matrix": 0.1 * jax.random.normal(key, (3, 10))}, {}

    def forward(weights: Any, mixture: Any, x: Array, key: Array, scalars: Any, statistics: Any = None) -> Any:
        scale = (mixture["cell"] * jnp.arange(1.0, 6.0)).sum()
        return scale * x.mean((1, 2)) @ weights["matrix"], {}

    return Network(init, forward, parameters=30)


def recipe_of(**changes: Any) -> Recipe:
    recipe = find("nb201-digits")
    changes = {"batch": 48, "epochs": EPOCHS, "instruments_every": 1, "learning_rate": 0.5, **changes}
    return dataclasses.replace(recipe, search=dataclasses.replace(recipe.search, **changes), random_cells=0)


class Caught:
    """Stands for the probe: an eigenvalue for each epoch; the states that it saw."""

    states: dict[tuple[float, int], Any] = {}
    compiled = None

    def __init__(self, recipe: Recipe, dataset: Dataset, network: Network, part: Any) -> None:
        self.decay = part.search.weight_decay

    def __call__(self, epoch: int, state: Any) -> dict[str, Any]:
        self.states[round(self.decay, 9), epoch] = flat_arrays(state)
        return {"eigenvalues": [-3.0, 1.0 if epoch < 12 or self.decay > 1e-3 else 2.0]}


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Linear networks, 48 digits, no training, and a dispatch for every step."""
    monkeypatch.setattr(searching, "search_network", linear)
    monkeypatch.setattr(searching, "Probe", Caught)
    monkeypatch.setattr(training, "network_of", linear)
    monkeypatch.setattr(run, "train", lambda *_: Trained({"w": jnp.ones(1)}, {}, 1, 0.5, 0.0, 0.0))
    monkeypatch.setattr(feeding, "STEPS_PER_DISPATCH", 1)


def search(folder: Path, recipe: Recipe, resume: bool = False) -> dict[str, Any]:
    with contextlib.redirect_stdout(io.StringIO()):
        return run.run("mine", recipe, digits(), RunFolder(folder, resume=resume), Console(), 0.0)


def logged(folder: Path, name: str = "log.jsonl") -> list[int]:
    lines = [json.loads(line) for line in (folder / name).read_text().splitlines()]
    return [line["epoch"] for line in lines if line["stage"] == "search"]


def arrays(path: Path) -> dict[str, np.ndarray]:
    with np.load(path) as archive:
        return dict(archive)


Whole = Callable[[str], tuple[Path, dict[str, Any]]]


@pytest.fixture
def whole(tmp_path_factory: pytest.TempPathFactory) -> Whole:
    """Folder and result of a search that nothing ended."""

    def of(what: str) -> tuple[Path, dict[str, Any]]:
        if what not in KNOWN:
            folder = tmp_path_factory.mktemp(what)
            KNOWN[what] = folder, search(folder, recipe_of(early_stop=what))
        return KNOWN[what]

    return of


KNOWN: dict[str, tuple[Path, dict[str, Any]]] = {}


def test_an_early_stop_derives_and_keeps_what_was_before_the_rise(whole: Whole) -> None:
    folder, result = whole("end")
    assert result["early_stop"] == [{"seen_at": SEEN, "epoch": KEPT, "ratio": pytest.approx(2.0 / 1.2), "weight_decay": None}]
    assert logged(folder) == list(range(SEEN + 1))
    state = Caught.states[3e-4, KEPT]
    np.testing.assert_array_equal(arrays(folder / "alphas.npz")["cell"], state["alphas.cell"])
    np.testing.assert_array_equal(arrays(folder / "supernet.npz")["matrix"], state["weights.matrix"])
    assert str(derived_genotype(folder)) == str(
        searching.first_part(recipe_of().search).genotype({"cell": state["alphas.cell"]})
    )
    assert not (folder / "rollback").exists()


def test_regularisation_goes_back_and_on_with_ten_times_the_decay(whole: Whole) -> None:
    recipe = recipe_of(early_stop="regularise")
    folder, result = whole("regularise")
    assert [(call["seen_at"], call["epoch"], call["weight_decay"]) for call in result["early_stop"]] == [(SEEN, KEPT, 3e-3)]
    assert logged(folder) == list(range(EPOCHS)) and logged(folder, "abandoned.jsonl") == list(range(KEPT + 1, SEEN + 1))
    # A search at that decay from the state of the tenth epoch on, momenta, Adam's moments and all.
    after = dataclasses.replace(recipe, search=dataclasses.replace(recipe.search, weight_decay=3e-3, early_stop="off"))
    part = dataclasses.replace(first_part(after.search), first_epoch=KEPT + 1)
    stage = searching.search_stage(after, digits(), linear(None, None), part=part)
    like = stage.start()
    at = fitted(Caught.states[3e-4, KEPT], like, "caught")
    with contextlib.redirect_stdout(io.StringIO()):
        state, _ = feeding.epochs_of_steps(dataclasses.replace(stage, start=lambda: at), StageReport("search", Console(), None))
    np.testing.assert_array_equal(arrays(folder / "supernet.npz")["matrix"], state.weights["matrix"])
    np.testing.assert_array_equal(arrays(folder / "alphas.npz")["cell"], state.alphas["cell"])
    assert not np.array_equal(Caught.states[3e-4, SEEN]["weights.matrix"], Caught.states[3e-3, SEEN]["weights.matrix"])


class Ended(Exception):
    """Stands for whatever ends a run in the middle."""


@pytest.mark.parametrize("what", (pytest.param("end", marks=pytest.mark.slow), "regularise"))
def test_a_search_that_is_killed_around_the_call(
    what: str, whole: Whole, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before the state of the epoch that calls is saved, right after it, and on the way from where it went back to."""
    real, left = Saves.reached, ["before", "after", *(["later"] if what == "regularise" else [])]

    def reached(saves: Saves, stage: str, state: Any, done: Done) -> None:
        at = {SEEN + 1: left[:1], KEPT + 3: left[:1] if saves.notes["early_stop"] else []}.get(done.epoch, [])
        if at == ["before"] and done.epoch == SEEN + 1:
            raise Ended(left.pop(0))
        real(saves, stage, state, done)
        if at == (["after"] if done.epoch == SEEN + 1 else ["later"]):
            saves.close()
            raise Ended(left.pop(0))

    monkeypatch.setattr(Saves, "reached", reached)
    again: dict[str, Any] = {}
    for attempt in range(1 + len(left)):
        with contextlib.suppress(Ended):
            again = search(tmp_path, recipe_of(early_stop=what), resume=attempt > 0)
    folder, result = whole(what)
    assert not left and without_seconds(again) == without_seconds(result)
    names = ["log.jsonl", "alphas.npz", "supernet.npz", "genotype.json"] + ["abandoned.jsonl"] * (what == "regularise")
    for name in names:
        assert (tmp_path / name).read_bytes() == (folder / name).read_bytes(), name


def without_seconds(result: dict[str, Any]) -> dict[str, Any]:
    found = {name: value for name, value in result["found"].items() if name != "train_seconds"}
    return {**{name: value for name, value in result.items() if name != "seconds"}, "found": found}


def test_the_decay_rises_by_its_factor_up_to_its_limit() -> None:
    def of(**values: float) -> float | None:
        return raised(SearchRecipe(early_stop="regularise", instruments_every=2, **values))  # type: ignore[arg-type]

    # RobustDARTS, scripts/DARTS-ADA_search.sh: 3e-4, 3e-3, 3e-2; the defaults of src/search/args.py: 3, up to 243e-4.
    assert [of(weight_decay=decay) for decay in (3e-4, 3e-3, 3e-2)] == [3e-3, 3e-2, None]
    grid = [3e-4, 9e-4, 27e-4, 81e-4, 243e-4]
    assert [of(weight_decay=decay, decay_factor=3.0, decay_limit=243e-4) for decay in grid] == [*grid[1:], None]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"early_stop": "end", "instruments_every": 0}, "early_stop=end goes by the eigenvalues .* instruments_every=0"),
        ({"early_stop": "end", "epochs": 17}, "first asked after epoch 16, the search of 17 epochs ends before"),
        ({"early_stop": "regularise", "weight_decay": 0.01}, "weight_decay=0.01 times decay_factor=10.0 is above"),
        ({"early_stop": "regularise", "decay_factor": 1.0}, "decay_factor=1.0 is above decay_limit=0.03, or no rise"),
        ({"early_stop": "end", "decay_factor": 3.0}, "decay_factor=3.0 is of early_stop=regularise, got end"),
        ({"early_stop": "sometimes"}, "Unknown early_stop 'sometimes'"),
    ],
)
def test_early_stops_that_could_not_act_are_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said):
        check_early_stop(recipe_of(**changes).search)
    check_early_stop(recipe_of().search)


def test_a_state_that_is_lost_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"rollback/10.npz is missing"):
        state_of(RunFolder(tmp_path), KEPT, {})

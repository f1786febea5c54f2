"""What a search keeps of each epoch."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import pytest

from jaxnas.bilevel import SearchState
from jaxnas.recipe import SearchRecipe
from jaxnas.reports import SearchReport
from jaxnas.run_folder import ALPHAS, GENOTYPE_JSON, GENOTYPE_TEXT, LOG, ROLLBACK, SUPERNET, RunFolder
from jaxnas.stages import first_part


@dataclasses.dataclass
class Folder:
    """The names of what was written, in order."""

    written: list[str] = dataclasses.field(default_factory=list)

    def write(self, name: str, content: Any) -> None:
        self.written.append(name)

    write_arrays = write_json = write_text = write


@pytest.mark.quick
@pytest.mark.parametrize(("estimator", "genotype"), [("softmax", True), ("rsps", False), ("setn", False)])
def test_a_genotype_that_weights_choose_is_not_guessed_from_the_alphas(estimator: Any, genotype: bool) -> None:
    search = SearchRecipe(space="nb201", estimator=estimator)
    folder: Any = Folder()
    console: Any = SimpleNamespace(compiling=lambda stage: None)
    report = SearchReport(console, None, first_part(search))
    state: Any = SimpleNamespace(alphas={"cell": jnp.zeros((6, 5))}, weights={}, duals=None)
    assert report.keep(folder, 0, state) == {"alphas": {"cell": [[0.0] * 5] * 6}}
    assert folder.written == [SUPERNET, ALPHAS, *([GENOTYPE_JSON, GENOTYPE_TEXT] if genotype else [])]


def searched(folder: RunFolder, search: SearchRecipe, eigenvalue: Callable[[int], float | None], epochs: int) -> Iterator[Any]:
    """After each epoch whether the search ends with it, and what was said of it."""
    said: list[str] = []
    console: Any = SimpleNamespace(compiling=lambda stage: None, note=said.append, epoch=lambda *_: None)
    state = SearchState(jnp.asarray(0), jax.random.key(0), {}, {"cell": jnp.zeros((6, 5))}, None, None)

    def probe(epoch: int, state: Any) -> dict[str, Any]:
        return {"eigenvalues": [-1.0, eigenvalue(epoch)]}

    stub: Any = probe
    stub.compiled = None
    saves: Any = SimpleNamespace(folder=folder, spent=lambda *_: None)
    for epoch in range(epochs):
        said.clear()
        # As where the run was ended after every epoch: what was measured before is read from the log.
        yield SearchReport(console, saves, first_part(search), stub).epoch(epoch, epochs, {}, state, 0.1), list(said)


def test_a_rise_of_the_curvature_is_told_once_and_logged(tmp_path: Path) -> None:
    """Measured every second epoch: 1 until the eleventh measurement, then 1.6; the rule calls it at the fourteenth."""
    search = dataclasses.replace(SearchRecipe(space="nb201"), instruments_every=2)
    told = list(searched(RunFolder(tmp_path), search, lambda epoch: 1.0 if epoch < 23 else 1.6, 32))
    assert not any(ends for ends, _ in told) and [epoch for epoch, (_, said) in enumerate(told) if said] == [27]
    said = told[27][1][0]
    assert said.startswith("warning: the largest eigenvalue") and "1.36 times" in said and "epoch 15," in said
    logged = [json.loads(line) for line in (tmp_path / LOG).read_text().splitlines()]
    assert [record["epoch"] for record in logged if "instruments" in record] == list(range(1, 32, 2))


def test_a_hessian_that_is_not_finite_ends_no_search(tmp_path: Path) -> None:
    search = dataclasses.replace(SearchRecipe(space="nb201"), instruments_every=1, early_stop="end")
    found = searched(RunFolder(tmp_path), search, lambda epoch: None if epoch == 12 else 1.5**epoch, 20)
    assert all(not ends and not said for ends, said in found)


def test_an_early_stop_ends_the_search_with_the_epoch_that_calls(tmp_path: Path) -> None:
    """The same rise as above. The states of epoch 15 and of those that another measurement could go back to are kept."""
    search = dataclasses.replace(SearchRecipe(space="nb201"), instruments_every=2, early_stop="end")
    found = zip(range(50), searched(RunFolder(tmp_path), search, lambda epoch: 1.0 if epoch < 23 else 1.6, 50), strict=False)
    last, (_, said) = next((epoch, told) for epoch, told in found if told[0])
    assert last == 27 and said[0].startswith("early stop: ") and "what it derives is that of epoch 15" in said[0]
    assert {path.name for path in (tmp_path / ROLLBACK).iterdir()} == {f"{epoch}.npz" for epoch in range(11, 28, 2)}

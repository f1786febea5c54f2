"""What a search keeps of each epoch."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import jax.numpy as jnp
import pytest

from jaxnas.recipe import SearchRecipe
from jaxnas.reports import SearchReport
from jaxnas.run_folder import ALPHAS, GENOTYPE_JSON, GENOTYPE_TEXT, LOG, SUPERNET, RunFolder
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


def test_a_rise_of_the_curvature_is_told_once_and_logged(tmp_path: Path) -> None:
    """Measured every second epoch: 1 until the eleventh measurement, then 1.6; the rule calls it at the fourteenth."""
    search = dataclasses.replace(SearchRecipe(space="nb201"), instruments_every=2)
    said: list[str] = []
    console: Any = SimpleNamespace(compiling=lambda stage: None, note=said.append)
    measured: list[int] = []

    def probe(epoch: int, state: Any) -> dict[str, Any]:
        measured.append(epoch)
        return {"eigenvalues": [-1.0, 1.0 if len(measured) <= 11 else 1.6]}

    stub: Any = probe
    folder, state = RunFolder(tmp_path), SimpleNamespace(alphas={"cell": jnp.zeros((6, 5))}, weights={}, duals=None)
    for epoch in range(32):
        # As where the run was ended after every epoch: what was measured before is read from the log.
        report = SearchReport(console, None, first_part(search), stub)
        kept = report.keep(folder, epoch, cast(Any, state))
        folder.append(LOG, {"stage": "search", "epoch": epoch, **kept})
        assert bool(said) == (epoch >= 27)
    assert measured == list(range(1, 32, 2))
    assert said[0].startswith("warning: the largest eigenvalue") and "1.36 times" in said[0] and "epoch 15," in said[0]
    logged = [json.loads(line) for line in (tmp_path / LOG).read_text().splitlines()]
    assert [record["epoch"] for record in logged if "instruments" in record] == measured


def test_a_hessian_that_is_not_finite_ends_no_search(tmp_path: Path) -> None:
    search = dataclasses.replace(SearchRecipe(space="nb201"), instruments_every=1)
    console: Any = SimpleNamespace(compiling=lambda stage: None, note=pytest.fail)
    folder, state = RunFolder(tmp_path), SimpleNamespace(alphas={"cell": jnp.zeros((6, 5))}, weights={}, duals=None)

    def probe(epoch: int, state: Any) -> dict[str, Any]:
        return {"eigenvalues": [None if epoch == 12 else 1.5**epoch]}

    stub: Any = probe
    report, at = SearchReport(console, None, first_part(search), stub), cast(Any, state)
    for epoch in range(20):
        kept = report.keep(folder, epoch, at)
        folder.append(LOG, {"stage": "search", "epoch": epoch, **kept})

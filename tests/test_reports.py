"""What a search keeps of each epoch."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace
from typing import Any

import jax.numpy as jnp
import pytest

from jaxnas.recipe import SearchRecipe
from jaxnas.reports import SearchReport
from jaxnas.run_folder import ALPHAS, GENOTYPE_JSON, GENOTYPE_TEXT, SUPERNET
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
    assert report.keep(folder, state) == {"alphas": {"cell": [[0.0] * 5] * 6}}
    assert folder.written == [SUPERNET, ALPHAS, *([GENOTYPE_JSON, GENOTYPE_TEXT] if genotype else [])]

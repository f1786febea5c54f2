"""A profile of a stage: what the viewers read, and that the stage does not notice."""

from __future__ import annotations

import gzip
import json
import re
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import Array

from jaxnas.compiling import Compiled
from jaxnas.errors import UserError
from jaxnas.feeding import Done, Stage, epochs_of_steps
from jaxnas.profiling import check_folder, trace_file

SIZE, COLUMNS, STEPS_PER_EPOCH = 96, 64, 4  # So large that XLA:CPU does not run the whole loop as one kernel


class Kept:
    """A report that keeps the compiled program."""

    def begin(self, state: Any, done: Done) -> tuple[Any, Done]:
        return state, done

    def compiled(self, compiled: Compiled) -> None:
        self.program = compiled.call

    def progress(self, *_: Any) -> None:
        pass

    def epoch(self, *_: Any) -> None:
        pass

    def reached(self, *_: Any) -> None:
        pass


def iteration(folder: Path | None) -> tuple[dict[str, Array], Any]:
    """The state after an epoch of matrix products and sorts, and the compiled program."""

    def start() -> dict[str, Array]:
        return {"step": jnp.zeros((), jnp.int32), "vectors": jnp.ones((SIZE, COLUMNS))}

    def step(state: Any, data: Any, rows: Array) -> tuple[Any, dict[str, Array]]:
        vectors = jnp.sort(data @ state["vectors"] + rows.sum(), axis=0)
        return {"step": state["step"] + 1, "vectors": vectors / jnp.abs(vectors).max()}, {"train_loss": vectors.sum()}

    matrix = np.random.default_rng(0).random((SIZE, SIZE), np.float32)
    stage = Stage(step, start, matrix, lambda _: (jnp.arange(2 * STEPS_PER_EPOCH).reshape(-1, 2),), 1, STEPS_PER_EPOCH)
    report: Any = Kept()
    state, _ = epochs_of_steps(stage, report, folder)
    return state, report.program


@pytest.fixture(scope="module")
def profiled(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Array], Any]:
    folder = tmp_path_factory.mktemp("profiled") / "profile"
    return folder, *iteration(folder)


def test_the_trace_holds_the_operations_of_three_steps(profiled: tuple[Path, Any, Any]) -> None:
    folder, _, program = profiled
    events = json.loads(gzip.decompress(trace_file(folder).read_bytes()))["traceEvents"]
    ran = [event["args"]["hlo_op"] for event in events if event.get("args", {}).get("hlo_module") == "jit_run"]
    text = program.as_text()
    instructions = set(re.findall(r"^\s*(?:ROOT )?%?([\w.-]+) = ", text, re.MULTILINE))
    assert ran and set(ran) <= instructions
    # The step's one sort, which XLA makes no part of another operation; the first step, which warms up, is not in the trace.
    (sort,) = re.findall(r"%([\w.-]+) = \S+ sort\(", text)
    assert ran.count(sort) == 3
    assert list(folder.glob("plugins/profile/*/*.xplane.pb"))


def test_a_stage_comes_to_the_same_with_a_profile(profiled: tuple[Path, Any, Any]) -> None:
    _, state, _ = profiled
    assert int(state["step"]) == STEPS_PER_EPOCH
    jax.tree.map(np.testing.assert_array_equal, state, iteration(None)[0])


def test_a_profile_is_replaced_only_when_asked(profiled: tuple[Path, Any, Any], tmp_path: Path) -> None:
    folder, _, _ = profiled
    check_folder(tmp_path / "new", overwrite=False)
    with pytest.raises(UserError, match="holds a profile. Give --overwrite"):
        check_folder(folder, overwrite=False)
    (tmp_path / "file").write_text("mine")
    with pytest.raises(UserError, match="is a file, not a folder"):
        check_folder(tmp_path / "file", overwrite=True)

    (old := folder / "plugins" / "profile" / "old").mkdir()
    (folder / "notes.txt").write_text("mine")
    check_folder(folder, overwrite=True)
    iteration(folder)
    assert not old.exists() and (folder / "notes.txt").read_text() == "mine"
    assert trace_file(folder).exists()

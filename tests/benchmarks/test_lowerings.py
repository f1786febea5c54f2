"""That all forms of a task compute the same thing, and what the records are made of."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks import lowerings
from benchmarks.lowerings import CONTEXTS, TINY, Size, Task, inputs, measure, merged, program_of, table, tasks
from jaxnas.nets.rows import from_rows, to_rows

TASKS = {task.what: task for size in TINY for task in tasks(size)}


def in_nhwc(x: jax.Array) -> jax.Array:
    return from_rows(x, TINY[0].batch) if x.ndim == 3 else jax.vmap(in_nhwc)(x)


def value_and_gradients(task: Task) -> dict[str, tuple[jax.Array, ...]]:
    """Of each form, as ``[N, H, W, C]``; the cotangent is the same for all."""
    found = {}
    for name, form in task.forms.items():
        images, kernels = inputs(task, form.layout, jnp.float64)
        y, pull = jax.vjp(form.function, images, kernels)
        rows = form.layout == "rows"
        y = in_nhwc(y) if rows else y
        g = jnp.asarray(np.random.default_rng(1).standard_normal(y.shape))
        grad_images, grad_kernels = pull(to_rows(g) if rows else g)
        found[name] = y, in_nhwc(grad_images) if rows else grad_images, *grad_kernels
    return found


@pytest.mark.parametrize("what", TASKS)
def test_all_forms_compute_the_same(what: str) -> None:
    with jax.enable_x64(True):
        found = jax.jit(lambda: value_and_gradients(TASKS[what]))()
        ours = found.pop("jaxnas")
        for name, theirs in found.items():
            for a, b in zip(ours, theirs, strict=True):
                np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-9, err_msg=name)


@pytest.mark.parametrize("computed", ["value", "gradients"])
def test_contexts_compute_the_same(computed: str) -> None:
    task = TASKS["pointwise 1x1"]
    form = task.forms["jaxnas"]
    images, kernels = inputs(task, form.layout, jnp.float32)
    arguments = images, kernels, jnp.ones_like(images)
    alone, scan, cond = (program_of(form, computed, context) for context in CONTEXTS)
    expected = jax.tree.leaves(alone(jnp.asarray(True), *arguments))
    twice = jax.tree.map(lambda a: jnp.stack([a, 2 * a]), arguments)
    for a, b, c in zip(
        expected, jax.tree.leaves(scan(True, *twice)), jax.tree.leaves(cond(jnp.asarray(True), *arguments)), strict=True
    ):
        np.testing.assert_allclose(b, jnp.stack([a, 4 * a]), rtol=1e-5)
        np.testing.assert_allclose(c, a, rtol=1e-5)
    assert not any(leaf.any() for leaf in jax.tree.leaves(cond(jnp.asarray(False), *arguments)))


def row(form: str, context: str, milliseconds: float) -> dict[str, Any]:
    place = {"what": "depthwise 3x3", "shape": "2x8x8x4", "dtype": "float32", "form": form}
    return place | {"computed": "value", "context": context, "milliseconds_median": milliseconds}


def test_merged_replaces_rows_of_the_same_name() -> None:
    old = [row("a", "alone", 1.0), row("a", "scan", 2.0)]
    assert merged(old, [row("b", "alone", 3.0), row("a", "alone", 4.0)]) == [
        row("a", "alone", 4.0),
        row("a", "scan", 2.0),
        row("b", "alone", 3.0),
    ]


def test_table_has_a_line_per_form() -> None:
    lines = list(table([row("a", "alone", 1.0), row("a", "cond", 2.0), row("b", "scan", 3.0)]))[2:]
    assert [line.split()[-6:] for line in lines] == [
        ["1.000", "-", "2.000", "-", "-", "-"],
        ["-", "3.000", "-", "-", "-", "-"],
    ]


def test_measure_divides_by_the_repeats_of_a_call(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0

    def call() -> None:
        nonlocal now
        now += 1.0

    monkeypatch.setattr(lowerings.time, "perf_counter", lambda: now)
    found = measure(call, repeats=4)
    assert found == {"milliseconds_median": 250.0, "milliseconds_min": 250.0, "milliseconds_max": 250.0, "samples": 3}


def test_strided_tasks_have_the_channels_of_a_reduction() -> None:
    shapes = {task.what: task.images for task in tasks(Size("darts", 16, 16, 32))}
    assert shapes["max_pool 3x3"] == (16, 32, 32, 16) and shapes["max_pool 3x3 stride 2"] == (16, 32, 32, 32)

"""Which images each step sees, and what is reported of an epoch."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import Array

from jaxnas.compiling import Compiled
from jaxnas.errors import UserError
from jaxnas.feeding import (
    STEPS_PER_DISPATCH,
    Done,
    NotFinite,
    Stage,
    _check_finite,
    check_batch,
    epochs_of_steps,
    fresh_batches,
    index_batches,
)

EPOCHS, STEPS, BATCH = 2, STEPS_PER_DISPATCH + 3, 2


@pytest.mark.quick
def test_index_batches_go_through_the_split_once() -> None:
    batches = np.asarray(index_batches(jax.random.key(0), 10, 3, 3))
    assert batches.shape == (3, 3)
    assert len(set(batches.ravel())) == 9 and set(batches.ravel()) < set(range(10))
    # An epoch cut short sees the beginning of the same permutation.
    np.testing.assert_array_equal(index_batches(jax.random.key(0), 10, 3, 2), batches[:2])
    np.testing.assert_array_equal(index_batches(jax.random.key(0), 10, 5, 2).ravel()[:9], batches.ravel())
    assert sorted(np.ravel(index_batches(jax.random.key(0), 10, 5, 2))) == list(range(10))
    assert (np.asarray(index_batches(jax.random.key(1), 10, 3, 3)) != batches).any()


@pytest.mark.quick
def test_index_batches_of_more_than_a_split_go_through_it_again() -> None:
    batches = np.asarray(index_batches(jax.random.key(0), 10, 3, 8))
    passes = [batches[:3], batches[3:6]]
    assert batches.shape == (8, 3) and all(len(set(one.ravel())) == 9 for one in passes)
    assert (passes[0] != passes[1]).any() and len(set(batches[6:].ravel())) == 6


def test_fresh_batches_are_drawn_anew_without_repeats_within() -> None:
    steps, size, batch = 500, 10, 6
    batches = np.asarray(fresh_batches(jax.random.key(0), size, batch, steps))
    assert all(len(set(row)) == batch for row in batches)
    assert len({frozenset(row) for row in batches}) > 150  # of 210 sets that there are
    share = batch / size
    seen = np.bincount(batches.ravel(), minlength=size)
    assert np.abs(seen - steps * share).max() < 5 * np.sqrt(steps * share * (1 - share))
    first = np.bincount(batches[:, 0], minlength=size)
    assert np.abs(first - steps / size).max() < 5 * np.sqrt(steps / size)


class Recorder:
    """A report that remembers what it was told."""

    def __init__(self, done: Done | None = None) -> None:
        self.done = Done(0) if done is None else done
        self.compilations: list[Compiled] = []
        self.progressed: list[tuple[int, int, int, int, dict[str, float]]] = []
        self.epochs: list[tuple[int, int, dict[str, float], int]] = []
        self.places: list[tuple[int, int, int]] = []
        self.metrics: dict[tuple[int, int], Any] = {}

    def begin(self, state: Any, done: Done) -> tuple[Any, Done]:
        assert done == Done(0)
        return {**state, "step": state["step"] + self.done.epoch * STEPS + self.done.step}, self.done

    def compiled(self, compiled: Compiled) -> None:
        self.compilations.append(compiled)

    def progress(self, epoch: int, epochs: int, step: int, steps: int, metrics: dict[str, float]) -> None:
        self.progressed.append((epoch, epochs, step, steps, metrics))

    def epoch(self, epoch: int, epochs: int, metrics: dict[str, float], state: Any, seconds: float) -> None:
        self.epochs.append((epoch, epochs, metrics, int(state["step"])))

    def reached(self, state: Any, done: Done) -> None:
        self.places.append((done.epoch, done.step, int(state["step"])))
        self.metrics[done.epoch, done.step] = {name: [np.concatenate(values)] for name, values in done.metrics.items()}

    def evaluated(self, compiled: Compiled, seconds: float) -> None:
        raise AssertionError("a search has no test split")


def rows() -> np.ndarray:
    """Indices ``[epochs, steps, batch]``."""
    return np.random.default_rng(0).integers(0, 50, size=(EPOCHS, STEPS, BATCH))


def run(loss: Any, report: Recorder, over: Callable[[], bool] = lambda: False) -> dict[str, Array]:
    """A step that writes down the images it was given; ``loss`` is a function of the step and the images."""

    def start() -> dict[str, Array]:
        return {"step": jnp.zeros((), jnp.int32), "seen": jnp.full((EPOCHS * STEPS + 5, 2 * BATCH), -1)}

    def step(state: Any, data: Array, train: Array, valid: Array) -> tuple[Any, dict[str, Array]]:
        images = jnp.concatenate([data[train], data[valid]])
        seen = state["seen"].at[state["step"]].set(images)
        resting = state["step"] % 2 == 1
        metrics = {"train_loss": loss(state["step"], images), "valid_loss": jnp.where(resting, jnp.nan, images.sum() / 1.0)}
        return {"step": state["step"] + 1, "seen": seen}, metrics

    def indices(epoch: int) -> tuple[Array, Array]:
        return jnp.asarray(rows()[epoch]), jnp.asarray(49 - rows()[epoch])

    state, compiled = epochs_of_steps(Stage(step, start, np.arange(50) * 10, indices, EPOCHS, STEPS), report, over=over)
    left = report.done.epoch < EPOCHS  # Where nothing is left to do, nothing is compiled.
    assert report.compilations == ([compiled] if left else [])
    return state


@pytest.mark.quick
def test_every_step_of_every_epoch_runs_once_in_order() -> None:
    report = Recorder()
    state = run(lambda step, images: images[0] * 1.0, report)
    flat = rows().reshape(-1, BATCH)
    expected = np.concatenate([flat, 49 - flat], axis=1) * 10
    assert int(state["step"]) == EPOCHS * STEPS
    np.testing.assert_array_equal(state["seen"][: EPOCHS * STEPS], expected)
    np.testing.assert_array_equal(state["seen"][EPOCHS * STEPS :], -1)

    means = []
    for epoch, images in enumerate(expected.reshape(EPOCHS, STEPS, -1)):
        moved = [i for i in range(STEPS) if (epoch * STEPS + i) % 2 == 0]
        means.append({"train_loss": images[:, 0].mean(), "valid_loss": images[moved].sum(1).mean()})
    # The state handed over at the end of an epoch is the one after its last step.
    assert [(epoch, epochs, step) for epoch, epochs, _, step in report.epochs] == [(0, EPOCHS, STEPS), (1, EPOCHS, 2 * STEPS)]
    for (_, _, metrics, _), mean in zip(report.epochs, means, strict=True):
        assert metrics == pytest.approx(mean, rel=1e-6)
    told = [(epoch, epochs, step, steps) for epoch, epochs, step, steps, _ in report.progressed]
    assert told == [(epoch, EPOCHS, step, STEPS) for epoch in range(EPOCHS) for step in (STEPS_PER_DISPATCH, STEPS)]
    so_far = expected[:STEPS_PER_DISPATCH]
    assert report.progressed[0][-1]["train_loss"] == pytest.approx(so_far[:, 0].mean(), rel=1e-6)


@pytest.mark.quick
def test_when_its_time_is_over_the_epoch_that_has_begun_is_the_last() -> None:
    report = Recorder()
    state = run(lambda step, images: images[0] * 1.0, report, over=iter([False, False, True]).__next__)
    assert int(state["step"]) == STEPS + STEPS_PER_DISPATCH
    # It is told like any other, with what it came to: a run's files are whole.
    assert [(epoch, step) for epoch, _, _, step in report.epochs] == [(0, STEPS), (1, STEPS + STEPS_PER_DISPATCH)]
    assert report.places[-1] == (2, 0, STEPS + STEPS_PER_DISPATCH)


def test_a_stage_goes_on_from_every_place_that_it_reached() -> None:
    whole = Recorder()
    expected = run(lambda step, images: images[0] * 1.0, whole)
    assert [place[:2] for place in whole.places] == [(0, STEPS_PER_DISPATCH), (1, 0), (1, STEPS_PER_DISPATCH), (2, 0)]
    assert [step for _, _, step in whole.places] == [epoch * STEPS + step for epoch, step, _ in whole.places]
    for epoch, step, done in whole.places[:3]:
        again = Recorder(Done(epoch, step, whole.metrics[epoch, step]))
        state = run(lambda step, images: images[0] * 1.0, again)
        np.testing.assert_array_equal(state["seen"][done:], expected["seen"][done:])
        assert again.epochs == whole.epochs[epoch:]


def test_a_resumed_run_does_the_epochs_that_are_left() -> None:
    report = Recorder(Done(1))
    state = run(lambda step, images: images[0] * 1.0, report)
    expected = np.concatenate([rows()[1], 49 - rows()[1]], axis=1) * 10
    np.testing.assert_array_equal(state["seen"][:STEPS], -1)
    np.testing.assert_array_equal(state["seen"][STEPS : 2 * STEPS], expected)
    assert [(epoch, epochs, step) for epoch, epochs, _, step in report.epochs] == [(1, EPOCHS, 2 * STEPS)]
    finished = Recorder(Done(EPOCHS))
    assert int(run(lambda step, images: images[0] * 1.0, finished)["step"]) == EPOCHS * STEPS
    assert finished.epochs == []


@pytest.mark.quick
@pytest.mark.parametrize(("bad", "where"), [(jnp.nan, "nan in epoch 0, step 3"), (jnp.inf, "inf in epoch 1, step 21")])
def test_a_loss_that_is_not_finite_stops_the_run(bad: float, where: str) -> None:
    epoch, step = (int(word.strip(",")) for word in where.split() if word.strip(",").isdigit())
    report = Recorder()
    with pytest.raises(UserError, match=f"training loss became {where}.*learning rate"):
        run(lambda at, images: jnp.where(at >= epoch * STEPS + step, bad, 1.0), report)
    assert len(report.epochs) == epoch


@pytest.mark.quick
@pytest.mark.parametrize(
    ("name", "value", "rests", "stops"),
    (
        ("weight_gradient_norm", math.nan, False, True),
        ("weight_gradient_norm", math.inf, True, True),
        ("valid_loss", math.inf, False, True),
        ("valid_loss", math.nan, False, True),
        ("alpha_gradient_norm", math.nan, False, True),
        ("alpha_gradient_norm", math.inf, False, True),
        ("train_loss", 1.0, True, False),
    ),
)
def test_gradients_that_are_not_finite_stop_the_run(name: str, value: float, rests: bool, stops: bool) -> None:
    """Where the alphas rest all that is said of them is NaN, which stops nothing."""
    of_alphas = math.nan if rests else 1.0
    metrics = {"train_loss": 1.0, "weight_gradient_norm": 1.0, "valid_loss": of_alphas, "alpha_gradient_norm": of_alphas}
    collected = {key: [np.ones(3), np.asarray([1.0, number])] for key, number in (metrics | {name: value}).items()}
    if stops:
        with pytest.raises(NotFinite, match="became (nan|inf) in epoch 4, step 21"):
            _check_finite(collected, 4, 20)
    else:
        _check_finite(collected, 4, 20)


def test_batch_must_fit_its_split() -> None:
    check_batch(8, 8, "training half")
    with pytest.raises(UserError, match="batch of 9 .* training half, which has 8 images.* at most 8"):
        check_batch(9, 8, "training half")

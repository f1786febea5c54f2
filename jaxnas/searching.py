"""The search of a run: its data and supernet, each stage as a value, and the stages one after the other."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax import Array
from jax.sharding import Mesh

from jaxnas import estimators, methods, rollback
from jaxnas.bilevel import TRAIN_BATCH, VALID_BATCH, Loss, Method, Restage, SearchState, draw, initial_state, search_step
from jaxnas.budget import Budget, pace
from jaxnas.compiling import Compiled
from jaxnas.console import Console
from jaxnas.data import Dataset, augment, with_shares
from jaxnas.feeding import Stage, epochs_of_steps, fresh_batches, gathered, index_batches
from jaxnas.losses import cross_entropy
from jaxnas.nets import ChainShape, Network, Shape, supernet
from jaxnas.parallel import AXIS
from jaxnas.pricing import prices
from jaxnas.probe import Probe
from jaxnas.recipe import HALF
from jaxnas.recipes import Recipe, SearchRecipe
from jaxnas.reports import SearchReport, Seconds, StageReport
from jaxnas.saves import Saves
from jaxnas.spaces import BlockSpace, Space
from jaxnas.stages import Part, carried, first_part, next_part, pruned, stage_key, steps_of_epoch
from jaxnas.training import network_image_size


def search_data(recipe: Recipe, dataset: Dataset) -> Dataset:
    """The dataset with the two parts of its training images that a search uses: its own halves, or the recipe's shares.

    Raises:
      UserError: a class of which a part would have none.
    """
    shares = recipe.search.train_share, recipe.search.valid_share
    return dataset if shares == (HALF, HALF) else with_shares(dataset, *shares, recipe.seed)


def search_network(recipe: SearchRecipe, dataset: Dataset, space: Space | None = None) -> Network:
    """The supernet of a search, or of a stage with a space of its own.

    Raises:
      UserError: a size that it cannot have.
    """
    size = network_image_size(recipe.augmentation, dataset)
    space = recipe.build_space() if space is None else space
    if isinstance(space, BlockSpace):
        return supernet(space, ChainShape(dataset.classes, size), recipe.share, recipe.dtype, recipe.rematerialise)
    shape = Shape(recipe.channels, recipe.cells, dataset.classes, size, recipe.affine, recipe.template)
    return supernet(space, shape, recipe.share, recipe.dtype, recipe.rematerialise)


Build = Callable[[SearchRecipe, Space, Any], Method]
"""From a recipe, its space and the steps of an epoch, which may be traced, to a method."""


def search_stage(
    recipe: Recipe,
    dataset: Dataset,
    network: Network,
    steps: int | None = None,
    build: Build = methods.build,
    part: Part | None = None,
    state: SearchState | None = None,
    mesh: Mesh | None = None,
    paced: bool = False,
) -> Stage:
    """A stage of the search alone, not yet run: all that decides its compiled step, with the shapes of the data.

    Args:
      recipe: what to search, and how.
      dataset: its two search halves are used, nothing else of it; they are those of :func:`search_data`.
      network: as from :func:`search_network`.
      steps: do at most so many steps of one epoch.
      build: makes the method of a recipe; one's own, to search with an estimator that recipes do not name.
      part: the stage; the first by default.
      state: what it begins with, donated to its first step; drawn anew by default.
      mesh: devices that every batch is split over, see :func:`jaxnas.parallel.mesh_for`; one device by default.
      paced: its program serves any number of steps an epoch (:class:`jaxnas.feeding.Stage`).
    """
    part = first_part(recipe.search) if part is None else part
    search, space = part.search, part.space
    halves = {"train": dataset.search_train, "valid": dataset.search_valid}
    together = search.order == "together"
    if together:
        halves = {"train": dataset.train, "valid": dataset.train}  # One level: there is no second batch.
    sizes = {half: len(split.labels) for half, split in halves.items()}
    steps_per_epoch = steps_of_epoch(search, sizes["train"], sizes["valid"])
    if steps is not None:
        steps_per_epoch = min(steps, steps_per_epoch)
    priced = prices(search, recipe.train, dataset, space)
    axis = None if mesh is None else AXIS

    def loss_of(smoothing: float) -> Loss:
        return cross_entropy(network, smoothing, axis, search.micro_batches)

    def method_at(steps_per_epoch: Any) -> Method:
        method = build(search, space, steps_per_epoch)
        return method if priced is None else priced.method(method, space)

    def step_at(steps_per_epoch: Any) -> Callable[..., tuple[SearchState, dict[str, Array]]]:
        loss = loss_of(0.0)
        # The weights' own loss only where it is another: one loss for both lets one piece of program serve both updates.
        return search_step(
            method_at(steps_per_epoch), loss_of(search.label_smoothing) if search.label_smoothing else loss, loss
        )

    step = step_at(steps_per_epoch)

    def key_of(purpose: int) -> Array:
        # Drawn anew at each call: the one in the state is donated to the first step.
        return jax.random.fold_in(stage_key(recipe.seed, part.number), purpose)

    def start() -> SearchState:
        if state is not None:
            return state
        weights, batch_statistics = network.init(key_of(0))
        alphas = estimators.start(search, space, key_of(1))
        method, duals = method_at(steps_per_epoch), priced and priced.duals
        return initial_state(method, key_of(2), weights, alphas, batch_statistics, duals)

    def data_step(state: SearchState, data: Any, *rows: Any) -> tuple[SearchState, dict[str, Array]]:
        def batch(half: str, rows: Any, purpose: int) -> dict[str, Array]:
            key = draw(state.key, state.step, purpose)
            images, labels = gathered(rows, data.get(half, {}))
            return {
                "images": augment(key, images, search.augmentation, dataset.mean, dataset.std, axis),
                "labels": labels,
            }

        train_batch = batch("train", rows[0], TRAIN_BATCH)
        batches = train_batch, train_batch if together else batch("valid", rows[1], VALID_BATCH)
        return (step_at(data["steps_per_epoch"]) if paced else step)(state, *batches)

    valid_batches = index_batches if search.valid_order == "shuffled" else fresh_batches

    def indices(epoch: int) -> tuple[Array, ...]:
        train_key, valid_key = (jax.random.fold_in(key_of(purpose), epoch) for purpose in (3, 4))
        train_rows = index_batches(train_key, sizes["train"], search.batch, steps_per_epoch)
        if together:
            return (train_rows,)
        return train_rows, valid_batches(valid_key, sizes["valid"], search.batch, steps_per_epoch)

    streams = tuple(halves.values())[: 1 if together else 2] if dataset.streamed else ()
    resident = {} if streams else halves
    data: dict[str, Any] = {half: {"images": split.images, "labels": split.labels} for half, split in resident.items()}
    if paced:
        data["steps_per_epoch"] = np.int32(steps_per_epoch)
    end = part.first_epoch + 1 if steps else part.end_epoch
    return Stage(data_step, start, data, indices, end, steps_per_epoch, part.first_epoch, mesh, paced, streams)


def search_cell(
    recipe: Recipe,
    dataset: Dataset,
    network: Network,
    report: StageReport,
    steps: int | None = None,
    build: Build = methods.build,
    profile_folder: Path | None = None,
    part: Part | None = None,
    state: SearchState | None = None,
    mesh: Mesh | None = None,
    budget: Budget | None = None,
) -> tuple[SearchState, Compiled]:
    """Runs :func:`search_stage`, whose arguments it has: the state after the last step and the compiled program's seconds.

    A folder for a profile gets one, see :func:`jaxnas.feeding.epochs_of_steps`. A budget decides the steps of an epoch.

    Raises:
      UserError: a loss that is not finite.
    """
    if budget is None:
        stage = search_stage(recipe, dataset, network, steps, build, part, state, mesh)
        return epochs_of_steps(stage, report, profile_folder)
    part = first_part(recipe.search) if part is None else part

    def stage_of(steps_per_epoch: int) -> Stage:
        search = dataclasses.replace(part.search, steps_per_epoch=steps_per_epoch)
        own = dataclasses.replace(part, search=search)
        return search_stage(recipe, dataset, network, None, build, own, state, mesh, paced=True)

    steps_per_epoch, compiled = pace(stage_of(0), budget.search_steps)
    return epochs_of_steps(stage_of(steps_per_epoch), report, profile_folder, compiled, budget.over)


def restage(recipe: Recipe, dataset: Dataset, part: Part) -> Restage:
    """What happens after a stage: the candidates that its alphas leave, and the state with which the next one begins.

    It begins anew, drawn by the key of the new stage (P-DARTS), or with what survives of the weights, the alphas and both
    optimizers (:func:`jaxnas.stages.carried`, to which the key goes), as the recipe says.
    """
    operations = recipe.search.next_stages[part.number].operations

    def to_next(state: SearchState, key: Array) -> tuple[Space, SearchState]:
        after = next_part(recipe.search, part, pruned(part.space, state.alphas, operations)[0])
        stage = search_stage(recipe, dataset, search_network(after.search, dataset, after.space), part=after)
        start = stage.start()
        if recipe.search.between_stages == "carried":
            method = methods.build(after.search, after.space, stage.steps_per_epoch)
            start = carried(part, after, method, state, start, key)
        return after.space, start

    return to_next


def search_parts(
    recipe: Recipe,
    dataset: Dataset,
    network: Network,
    console: Console,
    saves: Saves | None,
    seconds: Seconds,
    steps: int | None = None,
    profile_folder: Path | None = None,
    mesh: Mesh | None = None,
    budget: Budget | None = None,
) -> tuple[list[tuple[Part, Network]], SearchState]:
    """Runs the stages of a search one after the other, each with a step of its own; those that a resumed run has behind it not.

    Args:
      recipe, dataset, steps: as of :func:`search_stage`; the steps are of each stage.
      network: the supernet of the first stage.
      console, saves: what is told of every epoch.
      seconds: those of compilation are added to it.
      profile_folder: gets a profile of the first stage.
      mesh: as of :func:`search_stage`.
      budget: of time, for a recipe as from :func:`jaxnas.budget.for_budget`.

    Returns:
      The stages with their supernets, and the state after the last step.

    Raises:
      UserError: as :func:`search_cell`.
    """
    searched: list[tuple[Part, Network]] = []
    ended: list[dict[str, Any]] = [] if saves is None else saves.notes.setdefault("ended", [])  # Alphas of ended stages.
    part, state = first_part(recipe.search), None
    for number in range(1 + len(recipe.search.next_stages)):
        if number:
            space = pruned(part.space, ended[number - 1], recipe.search.next_stages[number - 1].operations)[0]
            if state is not None:
                space, state = restage(recipe, dataset, part)(state, jax.random.fold_in(stage_key(recipe.seed, number), 6))
            part = next_part(recipe.search, part, space)
            network = search_network(part.search, dataset, space)
        searched.append((part, network))
        if number < len(ended):
            continue
        profile = None if number else profile_folder
        how = (steps, profile, mesh, budget)
        part, state = _search_part(recipe, dataset, network, console, saves, seconds, *how, part, state)
        searched[-1] = part, network
        if number < len(recipe.search.next_stages):
            ended.append({kind: np.asarray(alpha).tolist() for kind, alpha in state.alphas.items()})
    assert state is not None
    return searched, state


def _search_part(
    recipe: Recipe,
    dataset: Dataset,
    network: Network,
    console: Console,
    saves: Saves | None,
    seconds: Seconds,
    steps: int | None,
    profile_folder: Path | None,
    mesh: Mesh | None,
    budget: Budget | None,
    part: Part,
    state: SearchState | None,
) -> tuple[Part, SearchState]:
    """Runs one stage, and what follows of it each time that the early stop calls: it ends, or goes on from an earlier epoch.

    Returns:
      The stage as it ended, with the decay and the last epoch that it then had, and the state.
    """
    calls: list[dict[str, Any]] = []
    if saves is not None and part.search.early_stop != "off":
        calls = saves.notes.setdefault("early_stop", calls)
    part = rollback.regularised(part, calls)
    while True:
        probe = Probe(recipe, dataset, network, part) if part.search.instruments_every else None
        report = SearchReport(console, saves, part, probe)
        how: dict[str, Any] = {"profile_folder": profile_folder, "mesh": mesh, "budget": budget}
        state, compiled = search_cell(recipe, dataset, network, report, steps, part=part, state=state, **how)
        seconds.add_compilation(compiled)
        if probe is not None and probe.compiled is not None:
            seconds.add_compilation(probe.compiled)
        if (call := report.call()) is None:
            return part, state
        assert saves is not None  # Without a log nothing calls.
        kept: SearchState = rollback.state_of(saves.folder, call.epoch, state)
        ends = part.search.early_stop == "end"
        calls.append({**dataclasses.asdict(call), "weight_decay": None if ends else rollback.raised(part.search)})
        if ends:
            report.write(saves.folder, kept)
            return dataclasses.replace(part, end_epoch=call.epoch + 1), kept
        rollback.cut(saves.folder, part.name, call.epoch)
        part, state, profile_folder = rollback.regularised(part, calls), kept, None

"""Stages of a search: which candidates an edge keeps from one to the next, and what goes on with them (P-DARTS, DrNAS)."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import numpy as np
import optax
from jax import Array

from jaxnas import estimators
from jaxnas.bilevel import Method, SearchState
from jaxnas.derive import derive
from jaxnas.errors import UserError
from jaxnas.nets import Take, taken, takes
from jaxnas.recipe import SearchRecipe
from jaxnas.spaces import Cell, CellSpace, Genotype, Space


@dataclasses.dataclass(frozen=True)
class Part:
    """One stage of a search, as a search of its own.

    Attributes:
      number: 0 for the first.
      name: in logs.
      search: a recipe of this stage alone; where weights are carried, its epochs are those of all stages.
      space: the candidates that the edges have in it.
      first_epoch, end_epoch: its epochs; they count on where weights are carried.
    """

    number: int
    name: str
    search: SearchRecipe
    space: Space
    first_epoch: int
    end_epoch: int

    def genotype(self, alphas: Any) -> Genotype:
        """What the alphas stand for, within the recipe's limit on skip connections."""
        return derive(self.space, alphas, self.search.most_skips)


def first_part(search: SearchRecipe) -> Part:
    """The first stage, which is the only one of most recipes."""
    return _part(search, 0, search.build_space())


def next_part(search: SearchRecipe, part: Part, space: Space) -> Part:
    """The stage after another, with the candidates that are left for it."""
    return _part(search, part.number + 1, space)


def example_parts(search: SearchRecipe, seed: int) -> list[Part]:
    """All stages, as if the alphas that each starts at decided what the next one has: to plan and to check."""
    parts = [first_part(search)]
    for stage in search.next_stages:
        last = parts[-1]
        alphas = estimators.start(last.search, last.space, stage_key(seed, last.number))
        parts.append(next_part(search, last, pruned(last.space, alphas, stage.operations)[0]))
    return parts


def stage_key(seed: int, number: int) -> Array:
    """The key of all that a stage draws; the first one's is that of the seed itself."""
    key = jax.random.key(seed)
    return jax.random.fold_in(key, 1000 + number) if number else key


def _part(search: SearchRecipe, number: int, space: Space) -> Part:
    name = f"search {number + 1}" if search.next_stages else "search"
    alone = dataclasses.replace(search, next_stages=(), between_stages="anew")
    if number:
        alone = search.next_stages[number - 1].alone(search)
    if search.between_stages == "anew":
        return Part(number, name, alone, space, 0, alone.warmup_epochs + alone.epochs)
    epochs = [search.epochs, *(stage.epochs for stage in search.next_stages)]
    begin = sum(epochs[:number])
    alone = dataclasses.replace(alone, epochs=sum(epochs), alphas_from_epoch=begin + search.alphas_from_epoch)
    return Part(number, name, alone, space, begin, begin + epochs[number])


def pruned(space: Space, alphas: Any, operations: int) -> tuple[CellSpace, dict[str, np.ndarray]]:
    """The space in which every edge has only the candidates of its largest alphas, in their former order.

    None counts like any other candidate. Of equal alphas the first goes first (chenxin061/pdarts, train_search.py,
    ``get_min_k``; xiangning-chen/DrNAS, utils.py, ``prune``, leaves ties open). Softmax keeps the order of an edge's alphas.

    Returns:
      The space, and by kind of cell ``[edges, operations]``: the columns that stay.

    Raises:
      UserError: a space that is not of cells, an edge that has fewer candidates.

    >>> from jaxnas.spaces import nb201_family
    >>> space = nb201_family("one edge", ("none", "skip_connect", "nor_conv_3x3"), nodes=1)
    >>> pruned(space, {"cell": [[0.3, 0.1, 0.2]]}, 2)[0].cell("cell").operations
    (('none', 'nor_conv_3x3'),)
    """
    if not isinstance(space, CellSpace):
        raise UserError(f"Candidates are pruned on the edges of cells: space {space.name!r} is a chain of blocks.")
    columns, cells = {}, []
    for kind, cell in space.cells:
        fewest = min(len(names) for names in cell.operations)
        if operations > fewest:
            raise UserError(f"The edges cannot keep {operations} candidates: one of the {kind} cell has {fewest}.")
        values = np.where(np.array(cell.present), np.asarray(alphas[kind]), -np.inf)
        columns[kind] = np.sort(np.argsort(values, axis=1, kind="stable")[:, cell.columns - operations :], axis=1)
        kept = tuple(tuple(names[at] for at in row) for names, row in zip(cell.operations, columns[kind], strict=True))
        cells.append((kind, Cell(cell.inputs, cell.nodes, kept)))
    return dataclasses.replace(space, cells=tuple(cells)), columns


def carried(before: Part, after: Part, method: Method, state: SearchState, start: SearchState, key: Array) -> SearchState:
    """The state of one stage as the next one begins with it (DrNAS's progressive widening).

    Alphas and weights of surviving candidates go on, widened by :func:`jaxnas.nets.widening.takes`; momenta are taken as the
    weights are, Adam's moments as the alphas, and the optimizers' counts go on, hence the weights' rate, too. So the reference
    copies momentum buffers (net2wider.py, ``configure_optimizer``) and leaves Adam as it is. It also builds its SGD anew at
    the first rate, of which the scheduler that it reloads does not know: that slip is not followed. Running averages of
    moments begin anew.

    Args:
      before, after: the stages.
      method: of the next one.
      state: the last one of the stage before.
      start: what the next one would begin with by itself.
      key: of the repeated channels.
    """
    assert isinstance(before.space, CellSpace) and isinstance(after.space, CellSpace)
    rng = np.random.Generator(np.random.PCG64(np.asarray(jax.random.key_data(key)).tolist()))
    _, columns = pruned(before.space, state.alphas, after.space.cells[0][1].columns)
    of_weights = takes(before.space, after.space, state.weights, start.weights, rng)
    rows = {kind: np.arange(len(kept))[:, None] for kind, kept in columns.items()}
    of_alphas = {kind: Take((rows[kind], columns[kind])) if kind in columns else Take() for kind in state.alphas}
    return dataclasses.replace(
        start,
        step=state.step,
        key=state.key,
        weights=taken(of_weights, state.weights),
        alphas=taken(of_alphas, state.alphas),
        weight_state=_optimizer_state(method.weight_optimizer, of_weights, state.weight_state, start.weight_state),
        alpha_state=_optimizer_state(method.alpha_optimizer, of_alphas, state.alpha_state, start.alpha_state),
        duals=state.duals,
        carry=state.carry,
    )


def _optimizer_state(optimizer: optax.GradientTransformation, takes: Any, old: Any, new: Any) -> Any:
    """What the optimizer keeps of each variable is taken as the variable; its counts are as they were."""
    of_state = optax.tree.map_params(optimizer, lambda _, take: take, new, takes, transform_non_params=lambda _: Take())
    return taken(of_state, old)


def spread(whole: Space, space: Space, alphas: Any) -> dict[str, np.ndarray]:
    """Alphas in the columns of the whole space, NaN where an edge does not have the candidate any more.

    >>> from jaxnas.spaces import nb201_family
    >>> whole, space = (nb201_family("", names, nodes=1) for names in (("none", "skip_connect"), ("skip_connect",)))
    >>> spread(whole, space, {"cell": [[0.5]]})
    {'cell': array([[nan, 0.5]], dtype=float32)}
    """
    found = {kind: np.asarray(alpha, np.float32) for kind, alpha in alphas.items()}
    for kind, cell in whole.cells:
        full = np.full((len(cell.edges), cell.columns), np.nan, found[kind].dtype)
        for row, (names, kept) in enumerate(zip(cell.operations, space.cell(kind).operations, strict=True)):
            full[row, [names.index(name) for name in kept]] = found[kind][row, : len(kept)]
        found[kind] = full
    return found


def gathered(whole: CellSpace, alphas: Any) -> tuple[CellSpace, dict[str, Any]]:
    """The inverse of :func:`spread`: the space that is left, and the alphas in its columns."""
    kept = {kind: ~np.isnan(np.asarray(alphas[kind])) for kind, _ in whole.cells}
    operations = min(int(there.sum(axis=1).min()) for there in kept.values())
    finite = {kind: np.where(there, alphas[kind], -np.inf) for kind, there in kept.items()}
    if not operations:
        raise UserError("The alphas have an edge without candidates. Were files changed?")
    space, columns = pruned(whole, finite, operations)
    rows = {kind: np.take_along_axis(np.asarray(alphas[kind]), columns[kind], axis=1) for kind in columns}
    return space, {**alphas, **rows}


def steps_of_epoch(search: SearchRecipe, train: int, valid: int) -> int:
    """The steps of an epoch: the recipe's, or from the images of the two halves, the training half's, bounded by a shorter
    validation half where that is gone through.

    >>> steps_of_epoch(SearchRecipe(batch=10), train=100, valid=50)
    10
    >>> steps_of_epoch(SearchRecipe(batch=10, valid_order="shuffled"), train=100, valid=50)
    5
    """
    return search.steps_per_epoch or (min(train, valid) if search.valid_order == "shuffled" else train) // search.batch

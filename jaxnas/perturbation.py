"""The choice of a genotype by what the supernet loses without each candidate, instead of by the alphas (DARTS-PT).

Wang et al., 2021, Rethinking Architecture Selection in Differentiable NAS; values and procedure of ruocwang/darts-pt,
sota/cnn/projection.py and nasbench201/projection.py. Edge by edge, in random order, the candidate is kept whose removal lowers
the validation accuracy most, then in family darts, node by node, the two edges; between decisions the supernet is tuned.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from jaxnas import methods
from jaxnas.bilevel import Method, SearchState, initial_state
from jaxnas.compiling import Compiled, compile_ahead
from jaxnas.console import Console
from jaxnas.data import Augmentation, Dataset, augment
from jaxnas.derive import derive
from jaxnas.errors import UserError
from jaxnas.feeding import Stage, compile_stage, epochs_of_steps
from jaxnas.losses import accuracy
from jaxnas.nets import Network
from jaxnas.recipe import SearchRecipe
from jaxnas.recipes import Recipe
from jaxnas.reports import StageReport
from jaxnas.searching import search_stage
from jaxnas.spaces import NONE, Cell, CellSpace, Genotype, Space
from jaxnas.stages import Part, stage_key, steps_of_epoch

TUNE_EPOCHS = 5
"""Of the supernet between two decisions; the scripts' ``--proj_intv``."""

MIXED = ("softmax", "sdarts_rs", "sdarts_adv")
"""Estimators whose weights know the mixture of all candidates, which is what one of them is removed from."""

_TUNED_AS_SEARCHED = (
    *("space", "channels", "cells", "template", "affine", "batch", "micro_batches", "train_share", "valid_share"),
    *("valid_order", "order", "weight_steps_per_alpha_step", "momentum", "nesterov", "weight_decay", "clip", "label_smoothing"),
    *("alpha_learning_rate", "alpha_b1", "alpha_b2", "alpha_weight_decay", "alpha_clip"),
    *("augmentation", "dtype", "rematerialise"),
)

Masks = dict[str, dict[str, Any]]
"""What is decided, by kind of cell: ``decided`` [edges], whether an edge has its operation; ``to`` [edges, columns], 1 at it;
``kept`` [edges, columns], 0 for a candidate, or all of an edge, that is taken away."""

Score = Callable[[Any, Any, Masks], float]
"""``score(weights, alphas, masks)``: the accuracy, 0 to 1, of the supernet."""


@dataclasses.dataclass(frozen=True)
class Selected:
    """What was chosen.

    Attributes:
      genotype: the architecture.
      decisions: in their order: ``cell``, then ``edge`` and ``operation``, or ``node`` and the ``edges`` it keeps, by their
        sources; ``accuracies`` without each candidate, or edge.
    """

    genotype: Genotype
    decisions: list[dict[str, Any]]


def check_selected(search: SearchRecipe) -> None:
    """Refuses a search that this choice is not defined for.

    Raises:
      UserError: an estimator whose weights know no mixture, stages, partial channels, blocks.
    """
    if search.estimator not in MIXED:
        raise UserError(
            f"The run searched with estimator={search.estimator}, whose weights have not learnt to work in a mixture: what it "
            f"loses without a candidate says nothing. Perturbation is for {', '.join(MIXED)}; use --by sampled."
        )
    if search.share != 1 or search.next_stages or not isinstance(search.build_space(), CellSpace):
        raise UserError("Perturbation is for searches of cells in one stage, with whole channels. Use --by strongest.")


def select(
    recipe: Recipe,
    dataset: Dataset,
    network: Network,
    weights: Any,
    alphas: Any,
    console: Console,
    tune_epochs: int = TUNE_EPOCHS,
    images: int | None = None,
) -> Selected:
    """Decides all edges of a trained supernet.

    Candidates are all of an edge, but none in family darts, which no genotype has. Both kinds of cell decide in turn, then the
    supernet, its alphas too, is tuned by first order at a tenth of the search's rate: constant in family nb201, else annealed.
    Adam's moments and momenta begin anew; in the reference Adam's go on. Batch norm goes by the batch everywhere, so that each
    perturbed supernet is scored with statistics of its own, and every one is scored on the same images, not augmented.

    Args:
      recipe: of the search.
      dataset: its two search halves, as of :func:`jaxnas.searching.search_data`.
      network: the supernet.
      weights, alphas: what the search ended with.
      console: is told of every decision and every epoch.
      tune_epochs: of the training half, between two decisions.
      images: of the validation half; all full batches of it by default.

    Raises:
      UserError: as :func:`check_selected`; too few images; numbers that are not finite.
    """
    check_selected(recipe.search)
    space = recipe.search.build_space()
    assert isinstance(space, CellSpace)  # All else was just refused.
    rounds = len(space.cells[0][1].edges) + (len(_crowded(space.cells[0][1])) if space.family == "darts" else 0)
    score = _score(recipe, space, dataset, network, images)
    tuning = Tuning(recipe, space, dataset, network, tune_epochs, rounds, console)
    rng = np.random.Generator(np.random.PCG64([recipe.seed, 4]))
    masks, decisions = undecided(space), []
    state = tuning.start(weights, alphas)
    for number in range(rounds):
        if number and tune_epochs:
            state = tuning(state, masks, number - 1)
        for kind, cell in space.cells:
            edge_round = number < len(cell.edges)
            decide = _decide_operation if edge_round else _decide_edges

            def without(kept: np.ndarray, kind: str = kind, state: SearchState = state) -> float:
                return score(state.weights, state.alphas, {**masks, kind: {**masks[kind], "kept": kept}})

            decisions.append({"cell": kind, **decide(space, cell, masks[kind], without, rng)})
            console.note(f"{number + 1}/{rounds} {told(decisions[-1])}")
    # Strongest are the kept edges, at their operations.
    return Selected(derive(space, {kind: one["to"] * (1 + one["kept"]) for kind, one in masks.items()}), decisions)


def undecided(space: Space) -> Masks:
    """The masks before the first decision.

    >>> from jaxnas.spaces import nb201_family
    >>> undecided(nb201_family("one edge", ("none", "skip_connect"), nodes=1))["cell"]["kept"].tolist()
    [[1.0, 1.0]]
    """
    shapes = {kind: (len(cell.edges), cell.columns) for kind, cell in space.cells}
    return {
        kind: {
            "decided": np.zeros(shape[0], bool),
            "to": np.zeros(shape, np.float32),
            "kept": np.ones(shape, np.float32),
        }
        for kind, shape in shapes.items()
    }


def projected(mixture: Mapping[str, Array], masks: Masks) -> dict[str, Array]:
    """A mixture with what is decided in place of the softmax, without what is taken away; nothing is renormalised."""
    return {
        kind: jnp.where(masks[kind]["decided"][:, None], masks[kind]["to"], weights) * masks[kind]["kept"]
        for kind, weights in mixture.items()
    }


def told(decision: Mapping[str, Any]) -> str:
    """A decision in words.

    >>> told({"cell": "cell", "edge": [0, 1], "operation": "none", "accuracies": {"none": 0.5, "skip_connect": 0.75}})
    'cell, edge 0-1: none; accuracy without none 50.00%, skip_connect 75.00%'
    """
    accuracies = ", ".join(f"{name} {value:.2%}" for name, value in decision["accuracies"].items())
    if "operation" in decision:
        (source, target), what = decision["edge"], decision["operation"]
        return f"{decision['cell']}, edge {source}-{target}: {what}; accuracy without {accuracies}"
    edges = " and ".join(str(source) for source in decision["edges"])
    return f"{decision['cell']}, node {decision['node']}: edges from {edges}; accuracy without {accuracies}"


def _decide_operation(
    space: Space, cell: Cell, masks: dict[str, Any], without: Callable[[np.ndarray], float], rng: np.random.Generator
) -> dict[str, Any]:
    """Gives a random edge the candidate without which the accuracy is lowest; of equal ones the first."""
    edge = int(rng.choice(np.flatnonzero(~masks["decided"])))
    names = cell.operations[edge]
    columns = [at for at, name in enumerate(names) if space.family != "darts" or name != NONE]
    accuracies = []
    for column in columns:
        kept = masks["kept"].copy()
        kept[edge, column] = 0
        accuracies.append(without(kept))
    chosen = columns[int(np.argmin(accuracies))]
    masks["decided"][edge], masks["to"][edge, chosen] = True, 1
    found = {names[column]: value for column, value in zip(columns, accuracies, strict=True)}
    return {"edge": list(cell.edges[edge]), "operation": names[chosen], "accuracies": found}


def _decide_edges(
    space: Space, cell: Cell, masks: dict[str, Any], without: Callable[[np.ndarray], float], rng: np.random.Generator
) -> dict[str, Any]:
    """Leaves a random node the two edges without which the accuracy is lowest; of equal ones the first."""
    node = int(rng.choice([one for one in _crowded(cell) if masks["kept"][cell.incoming(one)].all()]))
    accuracies = {}
    for edge in cell.incoming(node):
        kept = masks["kept"].copy()
        kept[edge] = 0
        accuracies[edge] = without(kept)
    first = sorted(sorted(accuracies, key=lambda edge: (accuracies[edge], edge))[:2])
    for edge in accuracies:
        masks["kept"][edge] = float(edge in first)
    sources = {str(cell.edges[edge][0]): value for edge, value in accuracies.items()}
    return {"node": cell.inputs + node, "edges": [cell.edges[edge][0] for edge in first], "accuracies": sources}


def _crowded(cell: Cell) -> list[int]:
    """The nodes with more edges than a genotype of family darts keeps."""
    return [node for node in range(cell.nodes) if len(cell.incoming(node)) > 2]


def _score(recipe: Recipe, space: Space, dataset: Dataset, network: Network, images: int | None) -> Score:
    """Compiled once, whatever is asked: what is taken away is an input."""
    half, batch = dataset.search_valid, recipe.search.batch
    batches = min(len(half.labels) if images is None else images, len(half.labels)) // batch
    if not batches:
        raise UserError(f"--images {images}: the supernet is scored in batches of {batch}, as many images at least.")
    key = jax.random.fold_in(stage_key(recipe.seed, 1), 5)
    rows = np.asarray(jax.random.permutation(key, len(half.labels)))[: batches * batch].reshape(batches, batch)
    read = np.asarray(half.images[rows.ravel()])
    data = jnp.asarray(read.reshape(*rows.shape, *read.shape[1:])), jnp.asarray(half.labels[rows])
    relax = methods.build(tuned(recipe.search, 1), space, 1).relax

    def score(weights: Any, alphas: Any, masks: Masks, data: Any) -> Array:
        mixture = projected(relax(alphas, key, {}, "alphas")[0], masks)

        def one(batch: Any) -> Array:
            images, labels = batch
            x = augment(key, images, Augmentation(), dataset.mean, dataset.std)
            return accuracy(network.forward(weights, mixture, x, key, {})[0], labels)

        return lax.map(one, data).mean()

    compiled: list[Compiled] = []

    def call(weights: Any, alphas: Any, masks: Masks) -> float:
        if not compiled:
            compiled.append(compile_ahead(score, weights, alphas, masks, data))
        return float(compiled[0].call(weights, alphas, masks, data))

    return call


def tuned(search: SearchRecipe, epochs: int) -> SearchRecipe:
    """The recipe by which the supernet is tuned for so many epochs in all."""
    rate = search.learning_rate / 10
    end = rate if search.build_space().family == "nb201" else min(rate, search.learning_rate_end)
    same = {name: getattr(search, name) for name in _TUNED_AS_SEARCHED}
    return SearchRecipe(**same, epochs=epochs, learning_rate=rate, learning_rate_end=end)


class _Tuned(StageReport):
    """Epochs alone: that the program is compiled was said the first time."""

    def compiled(self, compiled: Compiled) -> None:
        pass


class Tuning:
    """Epochs of the supernet between two decisions, by one program: what is decided is an input.

    Args:
      recipe: of the search.
      space, dataset, network: of it.
      epochs: between two decisions.
      rounds: of decisions.
      console: is told of every epoch.
    """

    def __init__(
        self, recipe: Recipe, space: Space, dataset: Dataset, network: Network, epochs: int, rounds: int, console: Console
    ) -> None:
        self.recipe = dataclasses.replace(recipe, search=tuned(recipe.search, max(1, epochs * (rounds - 1) + 1)))
        self.space, self.dataset, self.network = space, dataset, network
        self.epochs, self.console = epochs, console
        self.compiled: Compiled | None = None

    def start(self, weights: Any, alphas: Any) -> SearchState:
        """The state before the first epoch: optimizers that begin anew."""
        halves = self.dataset.search_train, self.dataset.search_valid
        steps = steps_of_epoch(self.recipe.search, *(len(half.labels) for half in halves))
        method = methods.build(self.recipe.search, self.space, steps)
        own = jax.tree.map(jnp.array, (weights, alphas))  # Copies: the first step takes them.
        return initial_state(method, stage_key(self.recipe.seed, 1), *own)

    def __call__(self, state: SearchState, masks: Masks, number: int) -> SearchState:
        """The state after the epochs that follow a round of decisions."""
        stage = self.stage(state, masks, number)
        report = _Tuned("tune", self.console, None)
        if self.compiled is None:
            self.compiled = compile_stage(stage)
            self.console.compiled("tune", self.compiled)
        return epochs_of_steps(stage, report, compiled=self.compiled)[0]

    def stage(self, state: SearchState, masks: Masks, number: int) -> Stage:
        """These epochs, not yet run; the masks are among the data."""
        part = Part(1, "tune", self.recipe.search, self.space, number * self.epochs, (number + 1) * self.epochs)

        def of(masks: Masks, state: SearchState | None = None) -> Stage:
            def build(search: SearchRecipe, space: Space, steps: int) -> Method:
                method = methods.build(search, space, steps)

                def relax(*arguments: Any) -> Any:
                    mixture = projected(method.relax(*arguments)[0], masks)
                    return mixture, mixture

                return dataclasses.replace(method, relax=relax)

            return search_stage(self.recipe, self.dataset, self.network, build=build, part=part, state=state)

        def step(state: SearchState, data: Any, *indices: Array) -> Any:
            return of(data["masks"]).step(state, data, *indices)

        plain = of(masks, state)
        own = {**plain.data, "masks": jax.tree.map(np.copy, masks)}
        return dataclasses.replace(plain, step=step, data=own)

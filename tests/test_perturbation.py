"""Selection by perturbation against a slow loop in Python with optimizers of its own, in a tiny space of each family."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import Array

from jaxnas import perturbation
from jaxnas.console import Console
from jaxnas.data import Dataset, Split, load
from jaxnas.errors import UserError
from jaxnas.nets import Network
from jaxnas.perturbation import check_selected, select
from jaxnas.recipe import NextStage, Recipe, SearchRecipe
from jaxnas.recipes import find
from jaxnas.searching import search_stage
from jaxnas.spaces import CellSpace, Nb201Genotype, darts_family, darts_genotype, nb201_family
from jaxnas.stages import Part

NAMES = ("none", "skip_connect", "nor_conv_1x1")
SPACES = {
    "nb201": nb201_family("tiny", NAMES, nodes=2),
    "darts": darts_family("tiny", ("none", "skip_connect", "sep_conv_3x3"), nodes=2),
}
WIDTH = 5


def digits() -> Dataset:
    """48 images for the weights, 72 for the choice."""
    whole = load("digits")
    first, second = (Split(whole.train.images[rows], whole.train.labels[rows]) for rows in (slice(0, 48), slice(48, 120)))
    return dataclasses.replace(whole, search_train=first, search_valid=second)


def network_of(space: CellSpace) -> Network:
    """States are a few numbers; a convolution is a matrix. It compiles in no time."""

    def init(key: Array) -> tuple[Any, Any]:
        rng = np.random.default_rng(1)
        edges = {kind: rng.normal(size=(len(cell.edges), WIDTH, WIDTH)) for kind, cell in space.cells}
        return {"first": rng.normal(size=(3, WIDTH)), "edges": edges, "last": rng.normal(size=(WIDTH, 10))}, {}

    def forward(weights: Any, mixture: Any, x: Array, key: Array, scalars: Any, statistics: Any = None) -> Any:
        return logits_of(space, weights, mixture, x.mean((1, 2)), jnp.tanh), {}

    return Network(init, forward, parameters=0)


def logits_of(space: CellSpace, weights: Any, mixture: Any, features: Any, tanh: Any) -> Any:
    out = tanh(features @ weights["first"])
    for kind, cell in space.cells:
        states = [out] * cell.inputs
        for node in range(cell.nodes):
            total = 0.0
            for edge in cell.incoming(node):
                state = states[cell.edges[edge][0]]
                candidates = (0.0 * state, state, tanh(state @ weights["edges"][kind][edge]))
                total = total + sum(mixture[kind][edge][j] * one for j, one in enumerate(candidates))
            states.append(total)
        out = states[-1]
    return out @ weights["last"]


def recipe_of(family: str) -> Recipe:
    recipe = find("nb201-digits" if family == "nb201" else "darts-digits")
    rates = {"learning_rate": 2.0, "learning_rate_end": 0.05, "alpha_learning_rate": 0.3, "clip": 0.5}
    return dataclasses.replace(recipe, search=dataclasses.replace(recipe.search, batch=24, **rates), seed=3)


class Slow:
    """The same choice, image by image and step by step; of jaxnas only the order of the batches, and gradients by JAX."""

    def __init__(self, recipe: Recipe, space: CellSpace, dataset: Dataset, weights: Any, alphas: Any, epochs: int) -> None:
        self.recipe, self.space, self.dataset, self.epochs = recipe, space, dataset, epochs
        self.weights, self.alphas = weights, alphas
        self.momenta = jax.tree.map(np.zeros_like, weights)
        self.adam = [jax.tree.map(np.zeros_like, alphas), jax.tree.map(np.zeros_like, alphas)]
        self.ops: dict[tuple[str, int], int] = {}
        self.gone: set[tuple[str, int]] = set()
        self.steps = 0

    def mixture(self, alphas: Any, without: Any = None, numpy: Any = np) -> Any:
        rows = {}
        for kind, cell in self.space.cells:
            rows[kind] = []
            for edge in range(len(cell.edges)):
                powers = numpy.exp(alphas[kind][edge])
                row = list(powers / powers.sum())
                if (kind, edge) in self.ops:
                    row = [float(j == self.ops[kind, edge]) for j in range(3)]
                for j in range(3):
                    if (kind, edge) in self.gone or without in ((kind, edge, j), (kind, edge, None)):
                        row[j] = 0.0
                rows[kind].append(row)
        return rows

    def features(self, images: np.ndarray) -> np.ndarray:
        mean, std = np.asarray(self.dataset.mean), np.asarray(self.dataset.std)
        return ((images / 255 - mean) / std).mean((1, 2))

    def accuracy(self, without: Any) -> float:
        mixture = self.mixture(self.alphas, without)
        half = self.dataset.search_valid
        right = 0
        for features, label in zip(self.features(half.images), half.labels, strict=True):
            right += int(np.argmax(logits_of(self.space, self.weights, mixture, features, np.tanh)) == label)
        return right / len(half.labels)

    def loss(self, weights: Any, alphas: Any, images: np.ndarray, labels: np.ndarray) -> Array:
        logits = logits_of(self.space, weights, self.mixture(alphas, numpy=jnp), self.features(images), jnp.tanh)
        return -jax.nn.log_softmax(logits)[jnp.arange(len(labels)), labels].mean()

    def tune(self, number: int, rounds: int) -> None:
        search = self.recipe.search
        part = Part(1, "tune", dataclasses.replace(search, epochs=50), self.space, 0, 50)
        stage = search_stage(self.recipe, self.dataset, network_of(self.space), part=part)
        halves = self.dataset.search_train, self.dataset.search_valid
        for epoch in range(number * self.epochs, (number + 1) * self.epochs):
            for rows in zip(*(np.asarray(indices) for indices in stage.indices(epoch)), strict=True):
                batches = [(half.images[at], half.labels[at]) for half, at in zip(halves, rows, strict=True)]
                for level in ("alphas", "weights") if search.order == "alphas_first" else ("weights", "alphas"):
                    if level == "alphas":
                        self.move_alphas(*batches[1])
                    else:
                        self.move_weights(*batches[0], epoch, rounds)
                self.steps += 1

    def move_weights(self, images: np.ndarray, labels: np.ndarray, epoch: int, rounds: int) -> None:
        search = self.recipe.search
        gradient = jax.grad(self.loss)(self.weights, self.alphas, images, labels)
        norm = math.sqrt(sum(float((g**2).sum()) for g in jax.tree.leaves(gradient)))
        start, period = search.learning_rate / 10, self.epochs * (rounds - 1) + 1
        end = start if self.space.family == "nb201" else min(start, search.learning_rate_end)
        rate = end + (start - end) * (1 + math.cos(math.pi * epoch / period)) / 2

        def step(w: Any, g: Any) -> Any:
            return np.asarray(g) * min(1, search.clip / (norm + 1e-6)) + search.weight_decay * w

        decayed = jax.tree.map(step, self.weights, gradient)
        self.momenta = jax.tree.map(lambda m, g: search.momentum * m + g, self.momenta, decayed)
        moved = jax.tree.map(lambda g, m: g + search.momentum * m if search.nesterov else m, decayed, self.momenta)
        self.weights = jax.tree.map(lambda w, m: w - rate * m, self.weights, moved)

    def move_alphas(self, images: np.ndarray, labels: np.ndarray) -> None:
        search = self.recipe.search
        gradient = jax.grad(self.loss, 1)(self.weights, self.alphas, images, labels)
        decayed = jax.tree.map(lambda a, g: np.asarray(g) + search.alpha_weight_decay * a, self.alphas, gradient)
        b1, b2, t = search.alpha_b1, search.alpha_b2, self.steps + 1
        first = jax.tree.map(lambda m, g: b1 * m + (1 - b1) * g, self.adam[0], decayed)
        second = jax.tree.map(lambda v, g: b2 * v + (1 - b2) * g**2, self.adam[1], decayed)
        self.adam = [first, second]
        self.alphas = jax.tree.map(
            lambda a, m, v: a - search.alpha_learning_rate * (m / (1 - b1**t)) / (np.sqrt(v / (1 - b2**t)) + 1e-8),
            self.alphas,
            first,
            second,
        )

    def select(self) -> tuple[Any, list[dict[str, float]]]:
        darts = self.space.family == "darts"
        rng = np.random.Generator(np.random.PCG64([self.recipe.seed, 4]))
        cells, found = dict(self.space.cells), []
        edges = len(next(iter(cells.values())).edges)
        rounds = edges + (1 if darts else 0)  # Of two nodes one has three edges.
        for number in range(rounds):
            if number and self.epochs:
                self.tune(number - 1, rounds)
            for kind, cell in cells.items():
                if number < edges:
                    edge = int(rng.choice([one for one in range(edges) if (kind, one) not in self.ops]))
                    scores = {j: self.accuracy((kind, edge, j)) for j in range(1 if darts else 0, 3)}
                    self.ops[kind, edge] = min(scores, key=lambda j: (scores[j], j))
                else:
                    rng.choice([1])
                    scores = {edge: self.accuracy((kind, edge, None)) for edge in cell.incoming(1)}
                    self.gone.add((kind, max(scores, key=lambda edge: (scores[edge], edge))))
                found.append(list(scores.values()))
        kept: dict[str, Any] = {
            kind: [
                tuple(
                    (cell.operations[edge][self.ops[kind, edge]], cell.edges[edge][0])
                    for edge in cell.incoming(node)
                    if (kind, edge) not in self.gone
                )
                for node in range(cell.nodes)
            ]
            for kind, cell in cells.items()
        }
        return (darts_genotype(kept["normal"], kept["reduce"]) if darts else Nb201Genotype(tuple(kept["cell"]))), found


@pytest.mark.parametrize("family", ("darts", pytest.param("nb201", marks=pytest.mark.slow)))
def test_the_choice_is_that_of_a_slow_loop(family: str, float64: None, monkeypatch: pytest.MonkeyPatch) -> None:
    space, recipe, dataset, epochs = SPACES[family], recipe_of(family), digits(), 1
    monkeypatch.setattr(SearchRecipe, "build_space", lambda search: space)
    programs = []
    for name in ("compile_ahead", "compile_stage"):
        real = getattr(perturbation, name)
        monkeypatch.setattr(perturbation, name, lambda *given, real=real: programs.append(real(*given)) or programs[-1])
    weights = network_of(space).init(jax.random.key(0))[0]
    rng = np.random.default_rng(2)
    alphas = {kind: rng.normal(size=(len(cell.edges), cell.columns)) for kind, cell in space.cells}
    found = select(recipe, dataset, network_of(space), weights, alphas, Console(quiet=True), epochs)
    slow = Slow(recipe, space, dataset, weights, alphas, epochs)
    genotype, accuracies = slow.select()
    assert found.genotype == genotype
    ours = [list(decision["accuracies"].values()) for decision in found.decisions]
    assert ours == [pytest.approx(values) for values in accuracies]
    assert len({value for values in ours for value in values}) > 4  # The perturbed supernets differ.
    assert len(programs) == 2  # One that scores, one that tunes, whatever is taken away and decided.


def test_equal_losses_keep_the_first_and_nothing_is_changed_without_images(monkeypatch: pytest.MonkeyPatch) -> None:
    """A supernet that is always right: of each edge the first candidate but none, of each node the first two edges."""
    space, recipe, dataset = SPACES["darts"], recipe_of("darts"), digits()
    monkeypatch.setattr(SearchRecipe, "build_space", lambda search: space)

    def forward(weights: Any, mixture: Any, x: Array, *_: Any) -> Any:
        return jnp.zeros((len(x), 10)) + 0 * mixture["normal"].sum(), {}

    right = dataclasses.replace(
        dataset, search_valid=Split(dataset.search_valid.images, np.zeros_like(dataset.search_valid.labels))
    )
    alphas = {kind: np.zeros((5, 3)) for kind in ("normal", "reduce")}
    network = Network(lambda key: ({}, {}), forward, 0)
    found = select(recipe, right, network, {}, alphas, Console(quiet=True), tune_epochs=0, images=30)
    skips: list[Any] = [(("skip_connect", 0), ("skip_connect", 1))] * 2
    assert found.genotype == darts_genotype(skips, skips)
    assert all(value == 1 for decision in found.decisions for value in decision["accuracies"].values())
    with pytest.raises(UserError, match="--images 23: the supernet is scored in batches of 24"):
        select(recipe, right, network, {}, alphas, Console(quiet=True), tune_epochs=0, images=23)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"estimator": "gdas"}, "estimator=gdas, whose weights have not learnt to work in a mixture"),
        ({"next_stages": (NextStage(epochs=2, operations=3, cells=1),)}, "searches of cells in one stage"),
    ],
)
def test_supernets_that_tell_nothing_are_refused(changes: dict[str, Any], said: str) -> None:
    search = find("nb201-digits").search
    check_selected(search)
    with pytest.raises(UserError, match=said):
        check_selected(dataclasses.replace(search, **changes))


def test_the_rates_are_those_of_the_reference() -> None:
    """ruocwang/darts-pt: from a tenth of 0.025 down to 0.001 over 81 epochs in DARTS's space, constant in NAS-Bench-201's."""
    darts = perturbation.tuned(dataclasses.replace(find("sdarts-rs").search, weight_decay=1e-3), 81)
    assert (darts.learning_rate, darts.learning_rate_end, darts.epochs) == (pytest.approx(0.0025), 0.001, 81)
    assert darts.estimator == "softmax" and darts.weight_decay == 1e-3
    nb201 = perturbation.tuned(find("nb201-darts-v2").search, 26)
    assert nb201.learning_rate == nb201.learning_rate_end == pytest.approx(0.0025)
    assert nb201.hypergradient == "first_order"

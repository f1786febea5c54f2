"""How far DARTS's finite difference is from the exact second-order gradient, and how large the second order is, over a search.

    python experiments/second-order/measure.py --run RUNS/nb201-darts-v2-unrolled-x10-0 --out measured.json

The run is one of ``experiments/collapse-cpu/search.py``; its search is done here once more. After some epochs the gradients of
eight pairs of batches are compared: the exact gradient through one virtual step in float32 and in float64, and the finite
difference with several radii (the paper's: 0.01) in both. What the second order is made of is told apart: the gradient at the
present weights (first order), at the weights after the virtual step, and the rest, the product with the mixed derivative.
"""

from __future__ import annotations

import dataclasses
import functools
import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import tyro
from jax import Array, lax
from jax.flatten_util import ravel_pytree

from jaxnas import methods, searching, stored
from jaxnas.bilevel import SearchState
from jaxnas.compiling import Compiled
from jaxnas.data import Dataset, Split, augment, load
from jaxnas.feeding import Done, epochs_of_steps
from jaxnas.hypergradients import finite_difference, first_order, unrolled
from jaxnas.losses import cross_entropy
from jaxnas.nets import Network
from jaxnas.recipes import Recipe
from jaxnas.run_folder import environment

EPOCHS = (0, 1, 2, 5, 10, 20, 30, 40, 50)
"""After which is measured."""

RADII = (1.0, 0.1, 0.01, 1e-3, 1e-4, 1e-6, 1e-8, 1e-10)
PAIRS = 8


class States:
    """In place of a search's report: keeps the states after some epochs, on the host."""

    def __init__(self) -> None:
        self.kept: dict[int, Any] = {}

    def begin(self, state: SearchState, done: Done) -> tuple[SearchState, Done]:
        self.kept[0] = jax.tree.map(np.array, dataclasses.replace(state, key=None))
        return state, done

    def compiled(self, compiled: Compiled) -> None:
        print(f"compiled in {compiled.compile_seconds:.0f} s", flush=True)

    def progress(self, epoch: int, epochs: int, step: int, steps: int, metrics: dict[str, float]) -> None:
        pass

    def epoch(self, epoch: int, epochs: int, metrics: dict[str, float], state: SearchState, seconds: float) -> None:
        print(f"epoch {epoch + 1}: {seconds:.1f} s, validation accuracy {metrics['valid_accuracy']:.3f}", flush=True)
        if epoch + 1 in EPOCHS:
            self.kept[epoch + 1] = jax.tree.map(np.array, dataclasses.replace(state, key=None))

    def evaluated(self, compiled: Compiled, seconds: float) -> None:
        pass

    def reached(self, state: SearchState, done: Done) -> None:
        pass


def gradients(recipe: Recipe, network: Network, steps_per_epoch: int) -> Any:
    """``(state, training batch, validation batch, radii) -> gradients``: each ``[alphas]``, the differences with all radii."""
    method = methods.build(recipe.search, recipe.search.build_space(), steps_per_epoch)
    task, key = cross_entropy(network), jax.random.key(0)

    def of(state: SearchState, train: Any, valid: Any, radii: Array) -> dict[str, Array]:
        def loss(batch: Any, weights: Any, alphas: Any) -> Array:
            mixture, _ = method.relax(alphas, key, {}, "weights")  # A softmax: it draws nothing.
            return task(weights, mixture, batch, key, {})[0]

        train_loss, valid_loss = functools.partial(loss, train), functools.partial(loss, valid)
        update, update_state = method.virtual_update(state.weight_state)
        at = (train_loss, valid_loss, state.weights, state.alphas, update, update_state)
        gradient = jax.grad(train_loss)(state.weights, state.alphas)
        moved = optax.apply_updates(state.weights, update.update(gradient, update_state, state.weights)[0])
        found = {
            "first order": first_order()(*at)[1],
            "after the virtual step": first_order()(train_loss, valid_loss, moved, state.alphas, update, update_state)[1],
            "exact": unrolled()(*at)[1],
        }
        differences = lax.map(lambda radius: ravel_pytree(finite_difference(radius)(*at)[1])[0], radii)
        return {**{name: ravel_pytree(one)[0] for name, one in found.items()}, "finite difference": differences}

    return jax.jit(of)


def batch(key: Array, half: Split, recipe: Recipe, dataset: Dataset) -> dict[str, np.ndarray]:
    """Images of a half as the search sees them."""
    rows = np.asarray(jax.random.permutation(key, len(half.labels))[: recipe.search.batch])
    images = augment(key, jnp.asarray(half.images[rows]), recipe.search.augmentation, dataset.mean, dataset.std)
    return {"images": np.asarray(images), "labels": half.labels[rows]}


def as_type(tree: Any, dtype: Any) -> Any:
    """A tree of arrays with its floating numbers in a type."""
    return jax.tree.map(lambda x: jnp.asarray(x, dtype if np.issubdtype(np.asarray(x).dtype, np.floating) else None), tree)


def compared(found: dict[str, dict[str, np.ndarray]]) -> dict[str, Any]:
    """Of one pair of batches the sizes and errors, from the gradients by precision; the exact one in float64 is the truth."""
    single, double = found["float32"], found["float64"]
    exact, direct, first = double["exact"], double["after the virtual step"], double["first order"]
    term = exact - direct

    def error(gradient: np.ndarray) -> dict[str, float]:
        off = np.linalg.norm(gradient - exact)
        cosine = gradient @ exact / np.linalg.norm(gradient) / np.linalg.norm(exact)
        return {
            "relative": float(off / np.linalg.norm(exact)),
            "of_second_order_term": float(off / np.linalg.norm(term)),
            "one_less_cosine": float(1 - cosine),
        }

    return {
        "first_order_norm": float(np.linalg.norm(first)),
        "exact_norm": float(np.linalg.norm(exact)),
        "second_order_term": float(np.linalg.norm(term) / np.linalg.norm(first)),
        "direct_change": float(np.linalg.norm(direct - first) / np.linalg.norm(first)),
        "first order": error(first),
        "after the virtual step": error(direct),
        "exact in float32": error(single["exact"]),
        **{
            f"finite difference {radius:g}, {precision}": error(found[precision]["finite difference"][i])
            for precision in found
            for i, radius in enumerate(RADII)
        },
    }


def main(run: Path, out: Path) -> None:
    """Searches, measures, and writes a JSON with a list of pairs for each epoch."""
    recipe = stored.recipe_of(run)[1]
    dataset = searching.search_data(recipe, load(recipe.dataset))
    network = searching.search_network(recipe.search, dataset)
    stage, states = searching.search_stage(recipe, dataset, network), States()
    epochs_of_steps(stage, states, None)

    programs = {name: gradients(recipe, network, stage.steps_per_epoch) for name in ("float32", "float64")}
    measured = []
    for epoch, kept in states.kept.items():
        rows = []
        for pair in range(PAIRS):
            key = jax.random.fold_in(jax.random.fold_in(jax.random.key(1), epoch), pair)
            halves = (dataset.search_train, dataset.search_valid)
            batches = [batch(jax.random.fold_in(key, i), half, recipe, dataset) for i, half in enumerate(halves)]
            found = {}
            for precision, program in programs.items():
                with jax.enable_x64(precision == "float64"):
                    state, train, valid, radii = as_type((kept, *batches, np.array(RADII)), precision)
                    result = program(state, train, valid, radii)
                found[precision] = {name: np.asarray(gradient, np.float64) for name, gradient in result.items()}
            rows.append(compared(found))
        measured.append({"epoch": epoch, "pairs": rows})
        print(f"epoch {epoch}: second-order term {np.mean([row['second_order_term'] for row in rows]):.3g}", flush=True)
    where = environment()
    about = {key: where[key] for key in ("date", "devices", "processor", "packages")}
    out.write_text(json.dumps({"environment": about, "radii": RADII, "epochs": _short(measured)}) + "\n")


def _short(tree: Any) -> Any:
    """Four digits of every number."""
    return jax.tree.map(lambda number: float(f"{number:.4g}") if isinstance(number, float) else number, tree)


if __name__ == "__main__":
    tyro.cli(main)

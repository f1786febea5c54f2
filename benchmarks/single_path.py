"""Step time and temporary memory of estimators that run one path, relative to DARTS in the same space.

    python benchmarks/single_path.py [--channels 16] [--cells 5] [--batch 32] [--size 32] [--steps 100]

The space is NAS-Bench-201's, and one of its topology with 4 and with 8 candidates. A step is a whole one, the weights' update
and the alphas' (ProxylessNAS moves these in every fifth step, as its code does), on one batch of random images, from alphas
that are all 0; the time is the mean of consecutive steps. Temporary bytes are XLA's: weights, optimizer states and images are
not in them. Writes ``results/single_path.json`` beside this file.
"""

from __future__ import annotations

import dataclasses
import json
import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import tyro

from jaxnas import methods
from jaxnas.estimators import start
from jaxnas.losses import cross_entropy
from jaxnas.nets import Shape, supernet
from jaxnas.recipe import SearchRecipe
from jaxnas.run_folder import environment
from jaxnas.search import initial_state, search_step
from jaxnas.spaces import CellSpace, nb201, nb201_family

RECIPES = {
    "softmax": SearchRecipe(space="nb201", order="weights_first"),
    "gdas": SearchRecipe(space="nb201", order="weights_first", estimator="gdas", temperature=10.0, temperature_end=0.1),
    "proxyless, full_v2": SearchRecipe(
        space="nb201", order="weights_first", estimator="proxyless", weight_steps_per_alpha_step=5
    ),
    "proxyless, two": SearchRecipe(
        space="nb201", order="weights_first", estimator="proxyless", gates="two", weight_steps_per_alpha_step=5
    ),
}
EIGHT = (
    "nor_conv_3x3",
    "nor_conv_1x1",
    "avg_pool_3x3",
    "skip_connect",
    "sep_conv_3x3",
    "dil_conv_3x3",
    "sep_conv_5x5",
    "dil_conv_5x5",
)


def measured(recipe: SearchRecipe, space: CellSpace, shape: Shape, batch: int, steps: int) -> dict[str, float]:
    """Milliseconds and temporary bytes of a step."""
    network = supernet(space, shape)
    method = methods.build(recipe, space, steps_per_epoch=1000)
    loss = cross_entropy(network)
    alphas = jax.tree.map(jnp.zeros_like, start(recipe, space, jax.random.key(0)))
    weights, statistics = network.init(jax.random.key(1))
    state: Any = initial_state(method, jax.random.key(2), weights, alphas, statistics)
    rng = np.random.default_rng(0)
    images = jnp.asarray(rng.normal(size=(batch, shape.image_size, shape.image_size, 3)), jnp.float32)
    data = {"images": images, "labels": jnp.asarray(rng.integers(0, shape.classes, size=batch))}
    step = jax.jit(search_step(method, loss, loss), donate_argnums=0).lower(state, data, data).compile()
    memory = step.memory_analysis()
    state, _ = step(state, data, data)
    jax.block_until_ready(state)
    began = time.perf_counter()
    for _ in range(steps):
        state, _ = step(state, data, data)
    jax.block_until_ready(state)
    seconds = (time.perf_counter() - began) / max(steps, 1)
    return {"step_ms": round(1e3 * seconds, 3), "temporary_bytes": int(memory.temp_size_in_bytes if memory else -1)}


def main(channels: int = 16, cells: int = 5, batch: int = 32, size: int = 32, steps: int = 100) -> None:
    """Measures everything; 0 steps: memory alone."""
    shape = Shape(channels, cells, 10, size)
    spaces = {"nb201": nb201(), "4 candidates": nb201_family("four", EIGHT[:4]), "8 candidates": nb201_family("eight", EIGHT)}
    record: dict[str, Any] = {"settings": dataclasses.asdict(shape) | {"batch": batch, "steps": steps}, **environment()}
    for label, space in spaces.items():
        for name, recipe in RECIPES.items():
            record.setdefault(label, {})[name] = found = measured(recipe, space, shape, batch, steps)
            base = record[label]["softmax"]
            shares = {f"{key}_to_softmax": round(value / base[key], 3) if base[key] else None for key, value in found.items()}
            found |= {key: share for key, share in shares.items() if share is not None}
            print(f"{label}, {name}: {found}", flush=True)
    path = Path(__file__).parent / "results" / "single_path.json"
    path.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    tyro.cli(main)

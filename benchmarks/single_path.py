"""Step time and temporary memory of estimators that run one path, relative to DARTS in the same space.

    python benchmarks/single_path.py relative [--estimators softmax gdas ...] [--steps 100]
    python benchmarks/single_path.py growth [--estimators gdas ...]

``relative``: the space is NAS-Bench-201's at C=16, N=5, batch 32. A step is a whole one, the weights' update and the alphas'
(ProxylessNAS moves these in every fifth step, as its code does), on one batch of random images, from alphas that are all 0;
the time is the mean of consecutive steps. Temporary bytes are XLA's: what a step is given and returns - weights, optimizer
states, images - is not in them.

``growth``: temporary bytes in the same topology with 4 and with 8 candidates, compiled, not run. They hold copies in the form
of the weights, too: gradients, and the stacks in which equal cells are scanned. These grow with the candidates whatever runs.
``of_images`` leaves them out: it is twice what the temporaries lose when the batch is halved, hence the part that is
proportional to the number of images. Both are recorded.

Each command replaces its own entries of ``results/single_path.json`` beside this file, and a ratio is only of entries that
are there.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import tyro

from jaxnas import methods
from jaxnas.bilevel import initial_state, search_step
from jaxnas.estimators import start
from jaxnas.losses import cross_entropy
from jaxnas.nets import Shape, supernet
from jaxnas.recipe import SearchRecipe
from jaxnas.run_folder import environment
from jaxnas.spaces import CellSpace, nb201, nb201_family

SHAPE, BATCH = Shape(channels=16, cells=5, classes=10, image_size=32), 32
RECORD = Path(__file__).parent / "results" / "single_path.json"

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


def compiled_step(recipe: SearchRecipe, space: CellSpace, batch: int) -> tuple[Any, Any, Any]:
    """A search step's program, and the state and the batch that it is called with."""
    network = supernet(space, SHAPE)
    method = methods.build(recipe, space, steps_per_epoch=1000)
    loss = cross_entropy(network)
    alphas = jax.tree.map(jnp.zeros_like, start(recipe, space, jax.random.key(0)))
    weights, statistics = network.init(jax.random.key(1))
    state = initial_state(method, jax.random.key(2), weights, alphas, statistics)
    rng = np.random.default_rng(0)
    images = jnp.asarray(rng.normal(size=(batch, SHAPE.image_size, SHAPE.image_size, 3)), jnp.float32)
    data = {"images": images, "labels": jnp.asarray(rng.integers(0, SHAPE.classes, size=batch))}
    return jax.jit(search_step(method, loss, loss), donate_argnums=0).lower(state, data, data).compile(), state, data


def temporary_bytes(step: Any) -> int:
    """What XLA reserves for a program beside its inputs and outputs."""
    return int(step.memory_analysis().temp_size_in_bytes)


def mean_step_ms(step: Any, state: Any, data: Any, steps: int) -> float:
    """Mean milliseconds of consecutive steps, after one that is not counted."""
    state, _ = step(state, data, data)
    jax.block_until_ready(state)
    began = time.perf_counter()
    for _ in range(steps):
        state, _ = step(state, data, data)
    jax.block_until_ready(state)
    return round(1e3 * (time.perf_counter() - began) / steps, 3)


def relative(estimators: tuple[str, ...] = tuple(RECIPES), steps: int = 100) -> None:
    """Measures time and memory on NAS-Bench-201, all estimators or those named."""
    for name in estimators:
        step, state, data = compiled_step(RECIPES[name], nb201(), BATCH)
        found = {"temporary_bytes": temporary_bytes(step), "step_ms": mean_step_ms(step, state, data, steps)}
        print(f"{name}: {found}", flush=True)
        record("nb201", name, {**found, "steps": steps, **environment()})


def growth(estimators: tuple[str, ...] = tuple(RECIPES)) -> None:
    """Compares the memory with 4 and with 8 candidates, of all estimators or those named."""
    spaces = {4: nb201_family("four", EIGHT[:4]), 8: nb201_family("eight", EIGHT)}
    for name in estimators:
        found: dict[str, Any] = {}
        for candidates, space in spaces.items():
            whole, half = (temporary_bytes(compiled_step(RECIPES[name], space, batch)[0]) for batch in (BATCH, BATCH // 2))
            found[f"{candidates} candidates"] = {"temporary_bytes": whole, "of_images": 2 * (whole - half)}
        four, eight = found.values()
        found["ratio"] = {figure: round(eight[figure] / four[figure], 3) for figure in four}
        print(f"{name}: {found}", flush=True)
        record("growth", name, {**found, **environment()})


def record(part: str, name: str, found: dict[str, Any]) -> None:
    """Replaces an entry of the record, and the ratios that follow from it."""
    content = json.loads(RECORD.read_text(encoding="utf-8")) if RECORD.exists() else {}
    content.setdefault(part, {})[name] = found
    if "softmax" in content.get("nb201", {}):
        base = content["nb201"]["softmax"]
        content["relative to softmax"] = {
            name: {figure: round(entry[figure] / base[figure], 3) for figure in ("step_ms", "temporary_bytes")}
            for name, entry in content["nb201"].items()
        }
    RECORD.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    tyro.extras.subcommand_cli_from_dict({"relative": relative, "growth": growth})

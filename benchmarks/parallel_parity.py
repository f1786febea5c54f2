"""One search on one device, on a mesh of 8, by ``jax.pmap`` on 8, and by 2 processes of 4 devices each: how far apart they are.

    python benchmarks/parallel_parity.py [--steps 20] [--forms mesh pmap processes nudged] [--orders first second] [--out FILE]

The devices are simulated: each is a share of this machine's CPU. Every form is a process (or two, which talk over Gloo) of its
own and searches the same tiny supernet with the same global batches, with crops, flips, cutout and dropout behind the
identities, all of which are drawn. Compared with one device: after all steps the weights, the alphas and the running averages
(``after``: the largest difference in an array relative to the array's largest element, of the worst array); after one step the
gradients, as the optimizers keep them (``gradients``: the largest difference relative to the largest element of all arrays, of
SGD's momenta and of Adam's moments). The same with a batch in two micro-batches.

``nudged`` is one device again, whose first weights differ by one part in 1e7: so far apart rounding alone brings two searches,
in several draws.
"""

from __future__ import annotations

import dataclasses
import json
import os
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Literal

import numpy as np
import tyro

Form = Literal["mesh", "pmap", "processes", "nudged"]
Order = Literal["first", "second"]
Precision = Literal["float64", "float32"]
DEVICES = {"one": 1, "mesh": 8, "pmap": 8, "processes": 4, "nudged": 1}
NUDGES = 12
RECORD = Path(__file__).parent / "results" / "parallel_parity.json"


def main(
    steps: int = 20,
    forms: tuple[Form, ...] = ("mesh", "pmap", "processes"),
    orders: tuple[Order, ...] = ("first", "second"),
    precisions: tuple[Precision, ...] = ("float64", "float32"),
    micro_batches: tuple[int, ...] = (1, 2),
    out: Path | None = RECORD,
) -> dict[str, Any]:
    """Runs every form in every setting and writes how far they are from one device."""
    settings = [
        {"order": order, "precision": precision, "micro_batches": parts, "steps": steps}
        for precision in precisions
        for order in orders
        for parts in (micro_batches if order == "first" else micro_batches[:1])
    ]
    with tempfile.TemporaryDirectory() as folder:
        processes = [process for form in ("one", *forms) for process in _started(form, settings, folder)]
        try:
            codes = [process.wait() for process in processes]
        finally:
            for process in processes:
                process.kill()
        if any(codes):
            raise SystemExit(f"A process failed: they ended with {codes}.")
        found = [
            {**setting, "form": form, "draw": draw, **_compared(Path(folder), form, number, draw)}
            for number, setting in enumerate(settings)
            for form in forms
            for draw in range(NUDGES if form == "nudged" else 1)
        ]
    from jaxnas.run_folder import environment  # Here, so that JAX is imported once every process of the comparison is done.

    record = {"settings": found, "environment": environment()}
    if out is not None:
        out.write_text(json.dumps(record, indent=2) + "\n")
    return record


def _started(form: str, settings: list[dict[str, Any]], folder: str) -> list[subprocess.Popen[bytes]]:
    """The processes of a form, which leave the first and last states of their searches in the folder."""
    count = 2 if form == "processes" else 1
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count={DEVICES[form]}"
    environment = {**os.environ, "XLA_FLAGS": flags.strip(), "JAX_PLATFORMS": "cpu"}
    task = json.dumps({"form": form, "settings": settings, "folder": folder, "port": port})
    command = [sys.executable, __file__, "--worker", task]
    return [subprocess.Popen([*command, str(process)], env=environment) for process in range(count)]


def _compared(folder: Path, form: str, number: int, draw: int) -> dict[str, Any]:
    with np.load(folder / f"one-{number}-0.npz") as one, np.load(folder / f"{form}-{number}-{draw}.npz") as other:
        assert set(one.files) == set(other.files)
        largest: dict[str, dict[str, float]] = {"after": {}, "gradients": {}}
        for name in one.files:
            when, what = name.split(":")[:2]
            # Of gradients some are 0 but for rounding, such as a bias's before a batch norm.
            names = [name] if when == "after" else [other for other in one.files if other.startswith(f"{when}:{what}:")]
            size = max(float(np.abs(one[name]).max()) for name in names)
            difference = float(np.abs(one[name] - other[name]).max()) / size
            largest[when][what] = max(largest[when].get(what, 0.0), difference)
    return largest


def worker(task: dict[str, Any], process: int) -> None:
    """Searches in one form; of two processes the first writes."""
    import jax

    if task["form"] == "processes":
        jax.distributed.initialize(f"localhost:{task['port']}", 2, process)
    for number, setting in enumerate(task["settings"]):
        with jax.enable_x64(setting["precision"] == "float64"):
            searches = _states(task["form"], setting)
        if process == 0:
            for draw, (first, last) in enumerate(searches):
                np.savez(Path(task["folder"]) / f"{task['form']}-{number}-{draw}.npz", **_arrays(first, last))


def _arrays(first: Any, last: Any) -> dict[str, Any]:
    """Weights, alphas and running averages after some steps, and what the optimizers keep after the first."""
    import jax

    from jaxnas.run_folder import flat_names

    trees = {
        "after": {"weights": last.weights, "alphas": last.alphas, "statistics": last.statistics},
        "gradients": {"weights": first.weight_state, "alphas": first.alpha_state},
    }
    return jax.device_get({f"{when}:{what}:{name}": leaf
        for when, of_when in trees.items()
        for what, tree in of_when.items()
        for name, leaf in flat_names(tree).items()
    })  # fmt: skip


def _states(form: str, setting: dict[str, Any]) -> list[tuple[Any, Any]]:
    """The states after one step and after all, which are one dispatch of one program; a pair for every search of a form."""
    import jax
    import jax.numpy as jnp

    from jaxnas import feeding, methods, parallel, searching
    from jaxnas.bilevel import many_steps
    from jaxnas.data import Augmentation, load
    from jaxnas.recipe import SearchRecipe
    from jaxnas.recipes import find
    from jaxnas.spaces import nb201_family
    from jaxnas.stages import first_part

    search = SearchRecipe(
        space="nb201", channels=2, cells=1, batch=16, micro_batches=setting["micro_batches"], epochs=1, skip_dropout=0.3,
        learning_rate=0.1, alpha_learning_rate=0.05, hypergradient="first_order" if setting["order"] == "first" else "unrolled",
        augmentation=Augmentation(crop_padding=1, flip=True, cutout=2),
    )  # fmt: skip
    recipe, dataset = dataclasses.replace(find("nb201-digits"), search=search), load("digits")
    space = nb201_family("two nodes", ("none", "skip_connect", "nor_conv_3x3", "avg_pool_3x3"), nodes=2)
    network = searching.search_network(search, dataset, space)
    if setting["precision"] == "float64":
        # Images are augmented in float32 and computed with in their own type.
        forward = network.forward

        def in_float64(weights: Any, mixture: Any, images: Any, *rest: Any, **axis: str) -> Any:
            return forward(weights, mixture, images.astype(jnp.float64), *rest, **axis)

        network = dataclasses.replace(network, forward=in_float64)

    def build(*arguments: Any) -> Any:
        return dataclasses.replace(methods.build(*arguments), running_momentum=0.9)

    mesh = parallel.mesh_for(search.batch, None, search.micro_batches)
    part = dataclasses.replace(first_part(search), space=space)
    stage = searching.search_stage(recipe, dataset, network, 20, build, part, mesh=mesh)
    rows = tuple(jnp.asarray(rows) for rows in stage.indices(0))
    if form == "pmap":
        assert mesh is not None
        program: Any = parallel.by_pmap(many_steps(stage.step, stage.steps_per_dispatch), mesh)
        first, last = (program(stage.start(), stage.data, rows, np.int32(count))[0] for count in (1, setting["steps"]))
        return [(first, last)]
    compiled, data, rows = feeding.compile_stage(stage), parallel.put(mesh, stage.data), parallel.put(mesh, rows, split=True)

    def started(draw: int) -> Any:
        if form != "nudged":
            return stage.start()
        state, generator = stage.start(), np.random.default_rng(draw)
        nudged = jax.tree.map(lambda a: (a * (1 + 1e-7 * generator.standard_normal(a.shape))).astype(a.dtype), state.weights)
        return dataclasses.replace(state, weights=nudged)

    def after(draw: int, count: int) -> Any:
        return compiled.call(parallel.put(mesh, started(draw)), data, rows, parallel.put(mesh, np.int32(count)))[0]

    draws = range(NUDGES if form == "nudged" else 1)
    return [(after(draw, 1), after(draw, setting["steps"])) for draw in draws]


if __name__ == "__main__":
    if sys.argv[1:2] == ["--worker"]:
        worker(json.loads(sys.argv[2]), int(sys.argv[3]))
    else:
        print(json.dumps(tyro.cli(main)["settings"], indent=2))

"""`ArchitectureSearchClassifier(minutes=2)` on digits against a fixed small network trained for the same two minutes.

    python experiments/estimator_digits.py

Five seeds, each with a split of its own; the sides take turns, each fit in a fresh process that compiles everything. The fixed
network is trained by the same code: batches, augmentation, optimizer and schedule, with as many steps as there is time for.
Writes estimator_digits.json.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

MINUTES, SEEDS, TEST = 2.0, 5, 500
RECORD = Path(__file__).with_suffix(".json")


def split(seed: int) -> Any:
    """Training and test images of digits, every class in its share."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    x, y = load_digits(return_X_y=True)
    return train_test_split(x.reshape(-1, 8, 8), y, test_size=TEST, random_state=seed, stratify=y)


def searched(seed: int) -> dict[str, Any]:
    """The classifier, as anybody would use it."""
    from jaxnas import ArchitectureSearchClassifier

    x, x_test, y, y_test = split(seed)
    start = time.perf_counter()
    fitted = ArchitectureSearchClassifier(minutes=MINUTES, random_state=seed).fit(x, y)
    seconds = time.perf_counter() - start
    return {"accuracy": fitted.score(x_test, y_test), "seconds": seconds, "genotype": str(fitted.genotype_)}


def fixed(seed: int) -> dict[str, Any]:
    """Three convolutions of 16, 32 and 64 channels, a pooling between, the mean, and a linear layer."""
    import dataclasses

    import jax
    import numpy as np
    from flax import linen

    from jaxnas.budget import Budget, for_budget, pace
    from jaxnas.console import Console
    from jaxnas.data import for_training, normalise
    from jaxnas.feeding import epochs_of_steps
    from jaxnas.nets import Network
    from jaxnas.recipes import find
    from jaxnas.reports import StageReport
    from jaxnas.training import train_stage

    module = linen.Sequential(
        [
            linen.Conv(16, (3, 3)),
            linen.relu,
            linen.Conv(32, (3, 3)),
            linen.relu,
            lambda x: linen.max_pool(x, (2, 2), (2, 2)),
            linen.Conv(64, (3, 3)),
            linen.relu,
            lambda x: x.mean((1, 2)),
            linen.Dense(10),
        ]
    )
    x, x_test, y, y_test = split(seed)

    def as_bytes(images: np.ndarray) -> np.ndarray:
        return np.rint(images * 255 / 16).astype(np.uint8)[..., None].repeat(3, -1)

    start = time.perf_counter()
    budget, train = Budget(MINUTES), for_budget(find("nb201-digits")).train
    dataset = for_training("digits", as_bytes(x), y.astype(np.int32), [str(label) for label in range(10)])
    one = np.zeros((1, 8, 8, 3), np.float32)
    network = Network(
        init=lambda key: (module.init(key, one), {}),
        forward=lambda weights, mixture, images, *_: ((module.apply(weights, images), None), {}),
        parameters=sum(leaf.size for leaf in jax.tree.leaves(module.init(jax.random.key(0), one))),
    )
    steps, compiled = pace(train_stage(network, train, dataset, seed, paced=True), budget.train_steps)
    stage = train_stage(network, dataclasses.replace(train, steps_per_epoch=steps), dataset, seed, paced=True)
    report = StageReport("train", Console(quiet=True), None)
    state, _ = epochs_of_steps(stage, report, compiled=compiled, over=budget.over)
    seconds = time.perf_counter() - start
    logits = module.apply(state.weights, normalise(as_bytes(x_test), dataset.mean, dataset.std))
    accuracy = float((np.asarray(logits).argmax(1) == y_test).mean())
    return {"accuracy": accuracy, "seconds": seconds, "steps": steps * train.epochs, "parameters": network.parameters}


SIDES = {"searched": searched, "fixed": fixed}


def main() -> None:
    from jaxnas.run_folder import environment
    from jaxnas.whole_files import write_whole

    rows: list[dict[str, Any]] = []
    for seed in range(SEEDS):
        row: dict[str, Any] = {"seed": seed}
        for side in list(SIDES) if seed % 2 == 0 else list(SIDES)[::-1]:
            command = [sys.executable, __file__, side, str(seed)]
            load = os.getloadavg()[0]
            done = subprocess.run(command, capture_output=True, text=True)
            found = (
                json.loads(done.stdout.splitlines()[-1]) if done.returncode == 0 else {"failed": done.stderr.splitlines()[-1]}
            )
            row[side] = {**found, "load": round(load, 1)}
        rows.append(row)
        print(row, flush=True)
        record = {
            "seeds_planned": SEEDS,
            "minutes": MINUTES,
            "test_images": TEST,
            "rows": rows,
            "environment": {**environment(), "arguments": []},
        }
        write_whole(RECORD, (json.dumps(record, indent=2) + "\n").encode())


if __name__ == "__main__":
    if len(sys.argv) == 3:
        print(json.dumps(SIDES[sys.argv[1]](int(sys.argv[2]))))
    else:
        main()

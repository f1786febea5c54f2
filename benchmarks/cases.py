"""What is measured: sizes of supernets, and the values of a step for the peer. Imports neither JAX nor PyTorch."""

from __future__ import annotations

import dataclasses
from typing import Literal

Family = Literal["darts", "nb201"]
Order = Literal["first", "second"]
Precision = Literal["float32", "bfloat16"]
Hypergradient = Literal["first_order", "finite_difference", "unrolled"]


@dataclasses.dataclass(frozen=True)
class Case:
    """A supernet and the batches that it searches on.

    Attributes:
      family: of the space.
      channels, cells: C, and cells (darts) or N, cells per stage (nb201).
      batch, image_size: of the images, ``[batch, image_size, image_size, 3]``.
      pairs: turns of each side; more where steps are short and so their times scatter.
      epoch_steps: of the epoch in which the time outside the compiled program is measured.
    """

    family: Family
    channels: int
    cells: int
    batch: int
    image_size: int
    pairs: int
    epoch_steps: int


CLASSES = 10
STEPS_PER_TURN = 3
"""jaxnas does many steps in one dispatch: one alone would pay for the program's memory, which is asked for anew in each."""
CASES = {
    "darts": Case("darts", channels=16, cells=8, batch=16, image_size=32, pairs=5, epoch_steps=6),
    "darts-small": Case("darts", channels=8, cells=3, batch=32, image_size=8, pairs=15, epoch_steps=20),
    "nb201": Case("nb201", channels=16, cells=5, batch=32, image_size=32, pairs=7, epoch_steps=20),
    # The paper's search on CIFAR-10, for a GPU; and what only shows that a measurement works.
    "darts-paper": Case("darts", channels=16, cells=8, batch=64, image_size=32, pairs=15, epoch_steps=20),
    "tiny": Case("nb201", channels=4, cells=1, batch=4, image_size=8, pairs=2, epoch_steps=STEPS_PER_TURN),
}


@dataclasses.dataclass(frozen=True)
class StepValues:
    """What the peer's step is made of; the defaults are DARTS's (train_search.py, architect.py)."""

    hypergradient: Hypergradient = "first_order"
    alphas_first: bool = True
    learning_rate: float = 0.025
    momentum: float = 0.9
    nesterov: bool = False
    weight_decay: float = 3e-4
    clip: float = 5.0
    alpha_learning_rate: float = 3e-4
    alpha_b1: float = 0.5
    alpha_b2: float = 0.999
    alpha_weight_decay: float = 1e-3


def step_values(family: Family, hypergradient: Hypergradient) -> StepValues:
    """The step of a family: NAS-Bench-201's DARTS-V1 moves the weights first, its second order (V2) the alphas.

    >>> step_values("nb201", "first_order").alphas_first
    False
    """
    if family == "darts":
        return StepValues(hypergradient)
    return StepValues(hypergradient, alphas_first=hypergradient != "first_order", nesterov=True, weight_decay=5e-4)

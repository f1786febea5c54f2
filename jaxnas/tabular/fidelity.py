"""Low-fidelity estimates: how well validation accuracy after little training ranks architectures by what they come to."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from jaxnas.errors import UserError
from jaxnas.tabular.benchmark import SEARCHED, Benchmark, table_of


@dataclasses.dataclass(frozen=True)
class Fidelity:
    """One estimate of a dataset's test accuracies after the longest training.

    Attributes:
      dataset: of ``SEARCHED``.
      trained, after: the estimate is the validation accuracy of a training of so many epochs, after so many of them. Where both
        are equal the learning rate has come to the end of its schedule.
      spearman, kendall: rank correlation (tau-b) over all architectures.
      spearman_top, kendall_top: the same among the tenth that has the best test accuracy.
      chosen: percent, test accuracy of the architecture that the estimate puts first; of several, their mean.
      cost: seconds of it, over those of the longest training, both summed over all architectures.
    """

    dataset: str
    trained: int
    after: int
    spearman: float
    kendall: float
    spearman_top: float
    kendall_top: float
    chosen: float
    cost: float


def fidelities(benchmark: Benchmark, dataset: str) -> list[Fidelity]:
    """By budget, the least first: each training that the benchmark has, and, where it has curves, after 1, 2, 4, 8 ... epochs.

    Args:
      dataset: of ``SEARCHED``.

    Raises:
      UserError: the table lacks the dataset, or has a single budget of it.
    """
    table = table_of(benchmark, dataset)
    (trained_on, split), _ = SEARCHED[dataset]
    seconds = table.seconds.sum(0, dtype=np.float64)
    found = []
    for budget, (epochs, validation) in enumerate(zip(table.budgets.tolist(), table.validation.T, strict=True)):
        estimates = {epochs: validation}
        if (curve := benchmark.curves.get((trained_on, split, epochs))) is not None:
            estimates |= {1 << power: curve[:, (1 << power) - 1] for power in range((epochs - 1).bit_length())}
        for after, values in estimates.items():
            cost = float(seconds[budget] * after / epochs / seconds[-1])
            found.append(_fidelity(dataset, epochs, after, values, table.test, cost))
    if len(found) < 2:
        raise UserError(
            f"The table has a single budget of {dataset}, {table.budgets[0]} epochs, and no curve: there is nothing to compare."
        )
    return sorted(found, key=lambda one: (one.cost, one.trained))


def fidelity_text(found: Sequence[Fidelity]) -> str:
    """Estimates as a table in Markdown.

    >>> print(fidelity_text([Fidelity("cifar10", 12, 12, 0.772, 0.594, 0.504, 0.35, 94.37, 0.06)]).splitlines()[2])
    | cifar10 | 12 of 12 | 6.0 % | 0.772 | 0.594 | 0.504 | 0.350 | 94.37 |
    """
    head = (
        "| dataset | epochs | cost | Spearman | Kendall | best tenth: Spearman | Kendall | test of its first |",
        "|---|---|---|---|---|---|---|---|",
    )
    rows = [
        f"| {one.dataset} | {one.after} of {one.trained} | {100 * one.cost:.1f} % | {one.spearman:.3f} | {one.kendall:.3f} | "
        f"{one.spearman_top:.3f} | {one.kendall_top:.3f} | {one.chosen:.2f} |"
        for one in found
    ]
    return "\n".join([*head, *rows])


def _fidelity(dataset: str, trained: int, after: int, estimate: np.ndarray, test: np.ndarray, cost: float) -> Fidelity:
    top = test >= np.quantile(test, 0.9)
    return Fidelity(
        dataset,
        trained,
        after,
        *_correlations(estimate, test),
        *_correlations(estimate[top], test[top]),
        chosen=float(test[estimate == estimate.max()].mean()),
        cost=cost,
    )


def _correlations(estimate: np.ndarray, test: np.ndarray) -> tuple[float, float]:
    """Spearman's and Kendall's; NaN where one is the same everywhere."""
    if np.ptp(estimate) == 0 or np.ptp(test) == 0:
        return math.nan, math.nan
    from scipy import stats  # Not above: it takes two seconds, and who reads a table has no need of it.

    # Without Any, SciPy's results would be tuples of objects to the type checker.
    spearman: Any = stats.spearmanr(estimate, test)
    kendall: Any = stats.kendalltau(estimate, test)
    return float(spearman.statistic), float(kendall.statistic)

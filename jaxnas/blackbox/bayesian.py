"""Bayesian optimisation by scikit-learn's Gaussian process: imported from here, as scikit-learn takes long to import."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.stats import norm
from sklearn.exceptions import ConvergenceWarning
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, WhiteKernel
from threadpoolctl import ThreadpoolController

from jaxnas.blackbox.ask_tell import Open, Trial
from jaxnas.blackbox.searcher import checked

START, POOL, REFIT = 10, 1000, 10
"""Random architectures before the first model; architectures that the model is asked about; answers between two fits of the
kernel's sizes. Ours."""


class Bayesian:
    """The architecture of the greatest expected improvement (Jones et al., 1998) by a Gaussian process over what was told.

    The kernel is one of radial basis functions over the one-hot choices, hence of the number of positions that differ, and
    noise. Of each position's choices the process sees nothing but whether they are equal. It is asked about as many random
    architectures as :data:`POOL` and all neighbours of the best, but for those that were asked before.

    Args:
      cardinality: how many choices each position has.
      seed: of the random architectures.
      budget: the number of the budget at which all are trained.

    Raises:
      UserError: nothing to choose; from :meth:`tell` as :meth:`jaxnas.blackbox.AskTell.tell`.

    >>> search = Bayesian([2, 3], seed=0)
    >>> trial = search.ask()
    >>> search.tell(trial, value=1.0)
    >>> search.best == (trial, 1.0)
    True
    """

    def __init__(self, cardinality: Sequence[int], seed: int, budget: int = 0) -> None:
        self.cardinality, self._budget = checked(cardinality), budget
        self._rng = np.random.Generator(np.random.PCG64(seed))
        self._open, self._asked = Open(), set[tuple[int, ...]]()
        self._choices: list[tuple[int, ...]] = []
        self._values: list[float] = []
        self._threads = ThreadpoolController()
        self._kernel = ConstantKernel(1.0, (1e-3, 1e3)) * RBF(2.0, (0.1, 100.0)) + WhiteKernel(1e-2, (1e-6, 1.0))

    def ask(self) -> Trial:
        """The next architecture; several may be asked before one is told, and differ."""
        choices = self._random(1)[0] if len(self._values) < START else self._most_promising()
        self._asked.add(choices)
        return self._open.add(Trial(choices, self._budget))

    def tell(self, trial: Trial, value: float) -> None:
        """The value of one that was asked, to be made large."""
        self._open.close(trial, value)
        self._choices.append(trial.choices)
        self._values.append(value)

    @property
    def best(self) -> tuple[Trial, float] | None:
        """The best answer, the first of equal ones; None before the first."""
        return self._open.best

    def _random(self, count: int) -> list[tuple[int, ...]]:
        return [tuple(row) for row in self._rng.integers(0, self.cardinality, (count, len(self.cardinality))).tolist()]

    def _most_promising(self) -> tuple[int, ...]:
        best = self._choices[int(np.argmax(self._values))]
        pool = [
            choices for choices in [*self._random(POOL), *_neighbours(best, self.cardinality)] if choices not in self._asked
        ]
        if not pool:  # A small space of which nearly all was asked.
            return self._random(1)[0]
        # None, which scikit-learn's types do not know, keeps the sizes.
        optimizer: Any = "fmin_l_bfgs_b" if (len(self._values) - START) % REFIT == 0 else None
        process = GaussianProcessRegressor(self._kernel, optimizer=optimizer, normalize_y=True)
        # The matrices are small: threads would only wait for each other, long where other work runs.
        with self._threads.limit(limits=1), warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # Sizes that end at their bounds.
            process.fit(self._one_hot(self._choices), np.asarray(self._values))
            mean, deviation = (np.asarray(part) for part in process.predict(self._one_hot(pool), return_std=True))
        self._kernel = process.kernel_
        return pool[int(np.argmax(expected_improvement(mean, deviation, max(self._values))))]

    def _one_hot(self, choices: list[tuple[int, ...]]) -> np.ndarray:
        starts = np.cumsum([0, *self.cardinality[:-1]])
        return np.eye(sum(self.cardinality))[np.asarray(choices) + starts].sum(1)


def expected_improvement(mean: np.ndarray, deviation: np.ndarray, best: float) -> np.ndarray:
    """``E max(y - best, 0)`` of ``y`` from a normal distribution.

    >>> expected_improvement(np.array([0.0, 1.0]), np.array([1.0, 1e-9]), 0.0).round(4)
    array([0.3989, 1.    ])
    """
    deviation = np.maximum(deviation, 1e-12)
    z = (mean - best) / deviation
    return deviation * (z * norm.cdf(z) + norm.pdf(z))


def _neighbours(choices: tuple[int, ...], cardinality: tuple[int, ...]) -> list[tuple[int, ...]]:
    return [
        (*choices[:at], choice, *choices[at + 1 :])
        for at, number in enumerate(cardinality)
        for choice in range(number)
        if choice != choices[at]
    ]

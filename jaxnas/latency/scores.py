"""How well predicted latencies agree with measured ones."""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import ArrayLike

from jaxnas.errors import UserError

LEAST_R2, MOST_MAPE, LEAST_SPEARMAN = 0.95, 10.0, 0.95
"""What a table must reach on whole networks to pass."""


@dataclasses.dataclass(frozen=True)
class Scores:
    """Predicted against measured latencies of whole networks.

    Attributes:
      r2: coefficient of determination; negative where the mean of the measured ones is the better prediction.
      mape: mean absolute percentage error, in percent.
      spearman: rank correlation.
      networks: how many were compared.
    """

    r2: float
    mape: float
    spearman: float
    networks: int

    @property
    def failures(self) -> tuple[str, ...]:
        """Which scores miss their limit, in words; a score that is not a number misses it.

        >>> Scores(r2=0.97, mape=12.34, spearman=0.99, networks=40).failures
        ('MAPE 12.3 % is above 10 %',)
        """
        said = {
            f"R2 {self.r2:.3f} is below {LEAST_R2}": self.r2 >= LEAST_R2,
            f"MAPE {self.mape:.1f} % is above {MOST_MAPE:.0f} %": self.mape <= MOST_MAPE,
            f"Spearman {self.spearman:.3f} is below {LEAST_SPEARMAN}": self.spearman >= LEAST_SPEARMAN,
        }
        return tuple(words for words, passed in said.items() if not passed)

    @property
    def passed(self) -> bool:
        """Whether every score is within its limit."""
        return not self.failures


def scores(measured: ArrayLike, predicted: ArrayLike) -> Scores:
    """Scores of predictions ``[networks]``, both in one unit, in float64.

    Raises:
      UserError: different lengths, fewer than two networks, a measured latency that is not positive, a number that is not
        finite.

    >>> found = scores([1.0, 2.0, 4.0], [1.1, 2.0, 3.6])
    >>> round(found.r2, 4), round(found.mape, 2), found.spearman
    (0.9636, 6.67, 1.0)
    """
    measured, predicted = np.asarray(measured, np.float64), np.asarray(predicted, np.float64)
    if measured.ndim != 1 or measured.shape != predicted.shape or len(measured) < 2:
        raise UserError(
            f"Scores compare one prediction with one latency each, of at least 2 networks; got {predicted.shape} predictions "
            f"of {measured.shape} latencies."
        )
    for name, values, broken in (
        ("measured", measured, ~(np.isfinite(measured) & (measured > 0))),
        ("predicted", predicted, ~np.isfinite(predicted)),
    ):
        if broken.any():
            at = int(np.argmax(broken))
            raise UserError(f"The {name} latency of network {at} is {values[at]}: it cannot be scored. Leave the network out.")
    difference = predicted - measured
    spread = ((measured - measured.mean()) ** 2).sum()
    constant = np.ptp(measured) == 0 or np.ptp(predicted) == 0
    return Scores(
        r2=float(1 - (difference**2).sum() / spread) if spread else float("nan"),
        mape=float(100 * np.mean(np.abs(difference) / measured)),
        spearman=float("nan") if constant else _rank_correlation(measured, predicted),
        networks=len(measured),
    )


def _rank_correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Spearman's: Pearson's of the ranks, equal values sharing the mean of theirs."""
    from scipy import stats  # Not above: it takes two seconds, and a search that reads a table has no need of it.

    return float(np.corrcoef(stats.rankdata(a), stats.rankdata(b))[0, 1])

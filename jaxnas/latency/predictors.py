"""Predictors of latency, from a few hundred measured architectures and without a table: scikit-learn's."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike
from sklearn.ensemble import GradientBoostingRegressor
from sklearn.exceptions import ConvergenceWarning
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, DotProduct, WhiteKernel

from jaxnas.errors import UserError, did_you_mean
from jaxnas.latency import additive
from jaxnas.latency.encodings import Encoded

Predict = Callable[[Encoded], np.ndarray]
"""Encoded networks to latencies ``[networks]``, in the unit of those that were measured."""


def gaussian_process(measured: Encoded, latencies: np.ndarray) -> Predict:
    """A Gaussian process whose mean is additive: a linear kernel, one of radial basis functions for the rest, and noise.

    Two are fitted: one sees the choices alone, one also what a compiler keeps of them and how often each operation occurs
    (:attr:`jaxnas.latency.encodings.Encoded.described`). The one of higher marginal likelihood predicts, since some devices run
    what reaches no output and others do not.
    """
    mean, scale = latencies.mean(), latencies.std() or 1.0

    def fitted(inputs: np.ndarray) -> GaussianProcessRegressor:
        sized = ConstantKernel(1.0, (1e-4, 1e4))
        kernel = sized * DotProduct(1.0, "fixed") + sized * RBF(3.0, (0.1, 100.0)) + WhiteKernel(1e-2, (1e-8, 1.0))
        with warnings.catch_warnings():
            # A device that is additive to the last digit has no noise and no rest: their sizes end at their bounds.
            warnings.simplefilter("ignore", ConvergenceWarning)
            return GaussianProcessRegressor(kernel, random_state=0).fit(inputs, (latencies - mean) / scale)

    simple, full = fitted(measured.chosen), fitted(measured.described)
    if np.asarray(simple.log_marginal_likelihood_value_) >= np.asarray(full.log_marginal_likelihood_value_):
        return lambda networks: np.asarray(simple.predict(networks.chosen)) * scale + mean
    return lambda networks: np.asarray(full.predict(networks.described)) * scale + mean


def gradient_boosting(measured: Encoded, latencies: np.ndarray) -> Predict:
    """Gradient boosted trees of depth 3 on the logarithm of the latencies, so that each error counts in relation to its own."""
    trees = GradientBoostingRegressor(n_estimators=300, subsample=0.7, random_state=0)
    trees.fit(measured.described, np.log(latencies))
    return lambda networks: np.exp(trees.predict(networks.described))


def additive_fit(measured: Encoded, latencies: np.ndarray) -> Predict:
    """What the others are compared with: :func:`jaxnas.latency.additive.fit` of the choices."""
    found = additive.fit(measured.space, measured.chosen, latencies)
    return lambda networks: found.predict(networks.chosen)


def additive_fit_of_kept(measured: Encoded, latencies: np.ndarray) -> Predict:
    """The same of what a compiler keeps of the choices."""
    found = additive.fit(measured.space, measured.kept, latencies)
    return lambda networks: found.predict(networks.kept)


PREDICTORS: dict[str, Callable[[Encoded, np.ndarray], Predict]] = {
    "additive": additive_fit,
    "additive-kept": additive_fit_of_kept,
    "gaussian-process": gaussian_process,
    "gradient-boosting": gradient_boosting,
}


def predictor(name: str, measured: Encoded, latencies: ArrayLike) -> Predict:
    """A predictor that was fitted to measured networks.

    Args:
      name: of :data:`PREDICTORS`.
      measured: networks by :func:`jaxnas.latency.encodings.encode`.
      latencies: ``[networks]``, positive.

    Raises:
      UserError: an unknown name, latencies that are not positive or not one for each network, fewer than two networks.

    >>> from jaxnas.latency.encodings import encode
    >>> from jaxnas.spaces import from_text, nb201_family
    >>> space = nb201_family("one edge", ("none", "skip_connect"), nodes=1)
    >>> networks = encode(space, [from_text("|none~0|"), from_text("|skip_connect~0|")])
    >>> predictor("additive", networks, [1.0, 3.0])(networks).round(6)
    array([1., 3.])
    """
    if name not in PREDICTORS:
        raise UserError(f"Unknown predictor {name!r}. {did_you_mean(name, PREDICTORS)}")
    latencies = np.asarray(latencies, np.float64)
    if latencies.shape != measured.chosen.shape[:1] or len(latencies) < 2:
        raise UserError(
            f"A predictor is fitted to one latency each of at least 2 networks, got {latencies.shape} latencies of "
            f"{len(measured.chosen)} networks."
        )
    broken = np.flatnonzero(~(np.isfinite(latencies) & (latencies > 0)))
    if len(broken):
        raise UserError(
            f"The latency of network {broken[0]} is {latencies[broken[0]]}: it must be positive. Leave the network out."
        )
    return PREDICTORS[name](measured, latencies)

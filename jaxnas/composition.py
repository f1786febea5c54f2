"""Which hypergradient goes with which estimator."""

from __future__ import annotations

from jaxnas.errors import UserError, did_you_mean

TAKES_SECOND_DERIVATIVES = {
    "first_order": False,
    "unrolled": True,
    "finite_difference": True,
    "neumann": True,
    "conjugate_gradient": True,
}
"""By hypergradient: whether it uses how the alphas change the training gradient of the weights, the mixed second derivative.

A finite difference takes it too, only not by differentiation.
"""


def check_pair(estimator: str, smooth: bool, why_not: str, hypergradient: str) -> None:
    """Refuses a hypergradient that means nothing with an estimator.

    First order goes with every estimator: it takes the estimator's own gradient as it is. The others presuppose that the
    training loss is a smooth function of alphas and weights whose derivatives are those that the estimator gives; the gradient
    of a straight-through sample or of a gate is no function's, and its derivative estimates nothing.

    Args:
      estimator: its name.
      smooth: whether the relaxation, with its random draws held fixed, is a smooth function of the alphas and differentiates
        as itself.
      why_not: where it is not smooth, the reason, as the end of a sentence: "the sample ...".
      hypergradient: its name.

    Raises:
      UserError: the pair means nothing, or there is no such hypergradient.

    >>> check_pair("softmax", True, "", "unrolled")
    >>> check_pair("gdas", False, "its sample is a hard one", "unrolled")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    jaxnas.errors.UserError: hypergradient=unrolled does not go with estimator=gdas: ... Choose hypergradient=first_order.
    """
    if hypergradient not in TAKES_SECOND_DERIVATIVES:
        known = did_you_mean(hypergradient, TAKES_SECOND_DERIVATIVES)
        raise UserError(f"Unknown hypergradient {hypergradient!r}. {known}")
    if TAKES_SECOND_DERIVATIVES[hypergradient] and not smooth:
        raise UserError(
            f"hypergradient={hypergradient} does not go with estimator={estimator}: it takes second derivatives of the "
            f"training loss, and {why_not}. Choose hypergradient=first_order."
        )

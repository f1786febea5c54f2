"""What a recipe says of the costs that its alphas pay for: latency, multiply-adds, parameters."""

from __future__ import annotations

import dataclasses
from typing import Literal

from jaxnas.checks import check_finite, check_known, check_not_negative
from jaxnas.errors import UserError

Form = Literal["none", "target", "weight", "additive", "multiplicative", "fbnet", "reward"]

_READ: dict[Form, tuple[str, ...]] = {
    "none": (),
    "target": ("target", "ascent", "damping"),
    "weight": ("factor",),
    "additive": ("reference", "factor"),
    "multiplicative": ("reference", "factor", "power"),
    "fbnet": ("factor", "power"),
    "reward": ("reference", "power"),
}
"""The fields that each form reads."""

_DEFAULTS: dict[Form, dict[str, float]] = {
    "additive": {"factor": 0.1},
    "multiplicative": {"factor": 0.2, "power": 0.3},
    "fbnet": {"factor": 0.2, "power": 0.6},
    "reward": {"power": 0.1},
}
"""Factors and powers of the papers, see :mod:`jaxnas.latency.terms`."""


@dataclasses.dataclass(frozen=True)
class CostTerm:
    """How a cost enters what the alphas minimise. It is that of the network that is trained, not of the supernet.

    Attributes:
      form: ``none``; ``target``: the expected cost is held at the target by a dual variable, and what is derived meets it;
        ``weight``: loss + factor cost; ``additive``: ProxylessNAS's add#linear, loss + factor (cost / reference - 1);
        ``multiplicative``: its mul#log, loss factor (log cost / log reference)^power; ``fbnet``: loss factor log(cost)^power;
        ``reward``, of estimator reinforce: ProxylessNAS-R's reward, accuracy (reference / cost)^power.
      target, reference: in the cost's unit.
      factor, power: see ``form``; None for the paper's.
      ascent, damping: of the target's dual variable, see :func:`jaxnas.latency.held`.
    """

    form: Form = "none"
    target: float = 0.0
    reference: float = 0.0
    factor: float | None = None
    power: float | None = None
    ascent: float = 0.02
    damping: float = 4.0

    def __post_init__(self) -> None:
        check_known(self)
        check_finite(self)
        check_not_negative(self, "ascent", "damping")
        for name in ("target", "reference", "factor", "power", "ascent", "damping"):
            value, default, read = getattr(self, name), getattr(CostTerm, name), name in _READ[self.form]
            if value != default and not read:
                needed = " or ".join(form for form, names in _READ.items() if name in names)
                raise UserError(f"{name}={value} needs form={needed}, got {self.form}.")
            needs_value = name in ("target", "reference") or (name == "factor" and self.form == "weight")
            if read and ((needs_value and not value) or (value is not None and value < 0)):
                raise UserError(f"form={self.form} needs a positive {name}, got {value}.")

    def number(self, name: Literal["factor", "power"]) -> float:
        """A factor or power, the paper's where none is given.

        >>> CostTerm("additive", reference=80.0).number("factor")
        0.1
        """
        value = getattr(self, name)
        return _DEFAULTS[self.form][name] if value is None else value


@dataclasses.dataclass(frozen=True)
class LatencyTerm(CostTerm):
    """A latency, in milliseconds.

    Attributes:
      table: file of the latency table.
      measured: of form target: so many of the best architectures by the table are measured on this device, of which the table
        then must be; 0 to believe the table.
    """

    table: str = ""
    measured: int = 5

    def __post_init__(self) -> None:
        super().__post_init__()
        check_not_negative(self, "measured")
        if bool(self.table) != (self.form != "none"):
            what = f"form={self.form} needs a table, got none" if self.form != "none" else "a table needs a form, got none"
            raise UserError(f"A term of latency: {what}.")


COSTS = ("latency", "multiply_adds", "parameters")
"""The fields of a search recipe that are terms."""


def check_terms(estimator: str, gates: str, most_skips: bool, terms: dict[str, CostTerm]) -> None:
    """Refuses terms that mean nothing with the rest of a recipe.

    Args:
      most_skips: whether the recipe limits the skip connections of what is derived.
    """
    for name, term in terms.items():
        if term.form == "none":
            continue
        if estimator in ("rsps", "enas"):
            raise UserError(
                f"{name}.form={term.form}: estimator={estimator} has no alphas that could pay for a cost. Choose another."
            )
        if term.form == "reward" and estimator != "reinforce":
            raise UserError(f"{name}.form=reward is of estimator=reinforce, got {estimator}.")
        if term.form != "target":
            continue
        if estimator == "setn":
            raise UserError(f"{name}.form=target: with estimator=setn the weights choose, not the alphas. Choose another.")
        if gates == "two":
            raise UserError(
                f"{name}.form=target holds the expected cost of all candidates, but with gates=two the probabilities are those "
                "of two drawn ones, whose mean is another. Choose gates=full_v2."
            )
        if most_skips:
            raise UserError(
                f"{name}.form=target: what is derived within a target has no limit on skip connections. Leave out most_skips."
            )
    rewards = [name for name, term in terms.items() if term.form == "reward"]
    if len(rewards) > 1:
        raise UserError(f"There is one reward, but {' and '.join(rewards)} have form=reward.")

"""What the fields of a configuration are refused for, whichever dataclass has them."""

from __future__ import annotations

import math
from typing import Any, Literal, get_args, get_origin, get_type_hints

from jaxnas.errors import UserError, did_you_mean


def check_known(recipe: object) -> None:
    """Refuses a word that its field does not list: the command line does so too, but Python and config.json may give any."""
    for name, kind in get_type_hints(type(recipe)).items():
        if get_origin(kind) is Literal and getattr(recipe, name) not in get_args(kind):
            raise UserError(f"Unknown {name} {getattr(recipe, name)!r}. {did_you_mean(getattr(recipe, name), get_args(kind))}")


def check_finite(recipe: object) -> None:
    """Refuses NaN, of which every comparison is false, and infinity, which is positive."""
    for name, value in vars(recipe).items():
        if isinstance(value, float) and not math.isfinite(value):
            raise UserError(f"{name} must be a finite number, got {value}.")


def check_positive(recipe: object, *names: str) -> None:
    """Refuses 0 and less."""
    for name in names:
        if not getattr(recipe, name) > 0:
            raise UserError(f"{name} must be positive, got {getattr(recipe, name)}.")


def check_not_negative(recipe: object, *names: str) -> None:
    """Refuses less than 0."""
    for name in names:
        if not getattr(recipe, name) >= 0:
            raise UserError(f"{name} must not be negative, got {getattr(recipe, name)}.")


def check_below_one(recipe: object, *names: str) -> None:
    """Refuses what is no share that leaves something."""
    for name in names:
        if not 0 <= getattr(recipe, name) < 1:
            raise UserError(f"{name} must be at least 0 and below 1, got {getattr(recipe, name)}.")


def check_unused(recipe: Any, why: str, *names: str) -> None:
    """Refuses a value, other than the default, of a field that the rest of the recipe would not read; says why."""
    for name in names:
        value, default = getattr(recipe, name), getattr(type(recipe), name)
        if value != default:
            raise UserError(f"{name}={value} {why} Its default is {default}.")


def check_seed(seed: int) -> None:
    """Refuses what does not fit into 32 bits."""
    if not 0 <= seed < 2**32:
        raise UserError(f"seed must be at least 0 and below 2**32, got {seed}.")

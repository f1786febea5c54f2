"""Errors that are a user's to mend: raised at the border, printed as one message without a traceback."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any


class UserError(ValueError):
    """What was wrong, the offending value, and what to do."""


class TargetMissed(Exception):
    """Nothing that was found meets the target: no mistake, but no result either. ``report``: what was compared."""

    def __init__(self, message: str, report: dict[str, Any]) -> None:
        super().__init__(message)
        self.report = report


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """The nearest match, and all that there is.

    >>> did_you_mean("sep_conv3x3", ("sep_conv_3x3", "none"))
    'Did you mean sep_conv_3x3? Known: sep_conv_3x3, none.'
    """
    known = list(known)
    nearest = difflib.get_close_matches(str(word), known, n=1, cutoff=0.5)
    hint = f"Did you mean {nearest[0]}? " if nearest else ""
    return f"{hint}Known: {', '.join(known)}."

"""The run card: what others must know of a run to check it or to compare with it, and what cannot be known of it.

It answers the best-practice checklist of Lindauer and Hutter (JMLR 21(243), 2020; :mod:`jaxnas.card.checklist`). What a run
cannot know is null, and ``unknown`` has the reason.
"""

from jaxnas.card.about import checksum, of_blackbox, of_search, of_training
from jaxnas.card.checklist import Item, checklist
from jaxnas.card.differences import Difference, differences, facts, refused
from jaxnas.card.keeper import COMPILING, Card, cost, nulls, read
from jaxnas.card.where import code, hardware

__all__ = [
    "COMPILING",
    "Card",
    "Difference",
    "Item",
    "checklist",
    "checksum",
    "code",
    "cost",
    "differences",
    "facts",
    "hardware",
    "nulls",
    "of_blackbox",
    "of_search",
    "of_training",
    "read",
    "refused",
]

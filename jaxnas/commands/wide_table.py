"""Tables of text that a verb prints."""

from __future__ import annotations

import rich.console
import rich.table

WIDE = 160
"""Columns where no terminal says how many there are: a line a row."""


def print_table(table: rich.table.Table) -> None:
    """Prints a table of words and numbers, which are neither marked up nor coloured."""
    console = rich.console.Console(highlight=False, markup=False)
    if not console.is_terminal:
        console.width = WIDE
    console.print(table)

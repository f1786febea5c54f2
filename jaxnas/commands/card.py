"""``jaxnas card``: what a run says of the best-practice checklist for architecture search."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import tyro

from jaxnas import card
from jaxnas.commands.arguments import JsonTarget, parse
from jaxnas.commands.json_output import json_output


def main(arguments: list[str]) -> int:
    """Prints the checklist; the JSON is the run's ``card.json``."""
    return parse(_card, arguments, "card", "What a run says of the best-practice checklist for architecture search.")


def _card(run: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")], json: JsonTarget = None) -> int:
    """What a run says of the best-practice checklist for architecture search.

    Args:
      run: the folder of a run.
    """
    with json_output(json) as write:
        found = card.read(run)
        for item in card.checklist(found):
            mark = "-" if item.answer is None else "+"
            print(f"{mark} {item.number:2} {item.asked}: {item.answer or f'not here: {item.why}'}")
        print(f"what the run cannot know: {len(found['unknown'])}, with the reasons under unknown in card.json")
        write(found)
    return 0

"""``jaxnas derive``: the genotype of a run's alphas."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import tyro

from jaxnas import stored
from jaxnas.commands.arguments import JsonTarget, parse
from jaxnas.commands.json_output import json_output
from jaxnas.spaces import to_json, to_text


def main(arguments: list[str]) -> int:
    """Prints it; as JSON in the form of ``genotype.json``."""
    return parse(_derive, arguments, "derive", "Print the genotype of a run's alphas.")


def _derive(run: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")], json: JsonTarget = None) -> int:
    """Print the genotype of a run's alphas.

    Args:
      run: the folder of a run.
    """
    with json_output(json) as write:
        genotype = stored.derived_genotype(run)
        print(to_text(genotype))
        write(to_json(genotype, stored.recipe_of(run)[1].search.build_space().name))
    return 0

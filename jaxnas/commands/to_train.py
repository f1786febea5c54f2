"""What the first argument of a verb says to train."""

from __future__ import annotations

from jaxnas import recipes, stored, trainings
from jaxnas.commands.arguments import take_option
from jaxnas.spaces import Genotype


def to_train(source: str | None, arguments: list[str]) -> tuple[Genotype | None, str, recipes.Training, list[str]]:
    """Genotype, name of the recipe and recipe, which ``--recipe`` may replace, and the arguments without it.

    Args:
      source: as of :func:`jaxnas.stored.source`; None, where only the help is asked for, gives no genotype and the main recipe.

    Raises:
      UserError: the source is no genotype, or the recipe unknown.

    >>> to_train("DARTS_V2", ["--recipe", "darts-cifar10", "--seed", "1"])[1::2]
    ('darts-cifar10', ['--seed', '1'])
    """
    genotype, name, training = (None, recipes.MAIN, trainings.find(recipes.MAIN)) if source is None else stored.source(source)
    chosen, rest = take_option(arguments, "--recipe")
    if chosen is not None:
        name, training = chosen, trainings.find(chosen)
    return genotype, name, training, rest

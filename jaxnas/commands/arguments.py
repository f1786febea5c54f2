"""What the verbs' arguments have in common."""

from __future__ import annotations

import dataclasses
import itertools
import shlex
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from jaxnas.errors import UserError, did_you_mean

if TYPE_CHECKING:  # JAX comes with it, and the doctor runs without.
    from jaxnas.recipe import Recipe

JsonTarget = Annotated[
    Path | None,
    tyro.conf.arg(
        metavar="[FILE]",
        help="write the result as JSON to FILE; without FILE, or with -, to standard output, and all else to standard error.",
    ),
]


@dataclasses.dataclass(frozen=True)
class Together:
    """Which process this is of those that search together.

    Attributes:
      coordinator: HOST:PORT of process 0, the same on every host. Under Slurm, on TPU VMs and with Open MPI leave it out.
      processes: how many processes search together; 1 searches alone whatever the environment says.
      process_id: which of them this one is, from 0. Process 0 writes and prints.
    """

    coordinator: str | None = None
    processes: int | None = None
    process_id: int | None = None


ALONE = Together()
"""The default: of one process, unless the environment says otherwise."""


def take_name(arguments: list[str]) -> tuple[str | None, list[str]]:
    """A leading argument that is no option, and the others.

    >>> take_name(["darts-digits", "--seed", "1"])
    ('darts-digits', ['--seed', '1'])
    """
    if arguments and not arguments[0].startswith("-"):
        return arguments[0], arguments[1:]
    return None, arguments


def take_option(arguments: list[str], option: str) -> tuple[str | None, list[str]]:
    """The value of an option, and the arguments without it.

    Raises:
      UserError: the option is there, but no value.

    >>> take_option(["--seed", "1", "--recipe=darts-digits"], "--recipe")
    ('darts-digits', ['--seed', '1'])
    """
    for at, argument in enumerate(arguments):
        if argument.startswith(f"{option}="):
            return argument.removeprefix(f"{option}="), arguments[:at] + arguments[at + 1 :]
        if argument == option:
            if at + 1 == len(arguments):
                raise UserError(f"{option} needs a value.")
            return arguments[at + 1], arguments[:at] + arguments[at + 2 :]
    return None, arguments


def evaluate_command(folder: Path, data_dir: Path | None) -> str:
    """What to type for the test accuracy of the run in a folder.

    >>> evaluate_command(Path("runs/my cell"), None)
    "jaxnas evaluate 'runs/my cell'"
    """
    return _of_run("evaluate", folder, data_dir)


def next_command(folder: Path, data_dir: Path | None, trained: bool) -> str:
    """What to type once a run is done: the test accuracy of its network, or the training of it where nothing was trained.

    >>> next_command(Path("runs/mine"), None, trained=False)
    'jaxnas train runs/mine'
    """
    return evaluate_command(folder, data_dir) if trained else _of_run("train", folder, data_dir)


def _of_run(verb: str, folder: Path, data_dir: Path | None) -> str:
    data = [] if data_dir is None else ["--data-dir", str(data_dir)]
    return shlex.join(["jaxnas", verb, str(folder), *data])


def check_trained(recipe: Recipe, verb: str) -> None:
    """Refuses searches whose networks a verb would compare, but that train none.

    Raises:
      UserError: the recipe only searches.

    >>> from jaxnas.recipe import Recipe
    >>> check_trained(Recipe(only_search=True), "sweep")
    Traceback (most recent call last):
    jaxnas.errors.UserError: jaxnas sweep compares what its searches' networks learn: leave out --only-search.
    """
    if recipe.only_search:
        raise UserError(f"jaxnas {verb} compares what its searches' networks learn: leave out --only-search.")


def with_target(recipe: Recipe, table: Path | None, milliseconds: float | None) -> Recipe:
    """The recipe with a target for its latency, where one is given.

    Raises:
      UserError: a table without a target, or a target without a table.

    >>> from jaxnas.recipes import find
    >>> with_target(find("nb201-digits"), Path("phone.json"), 4.0).search.latency.target
    4.0
    """
    if table is None and milliseconds is None:
        return recipe
    if table is None or milliseconds is None:
        raise UserError(
            "--latency-table FILE and --target-ms MILLISECONDS go together. Other forms than a target: --search.latency.form, "
            "with --search.latency.table"
        )
    return recipe.with_target(str(table), milliseconds)


Actions = Mapping[str, tuple[Callable[..., Any], str]]
"""Of a verb that has several actions: the function of each, and what it does in a line."""


def parse_action(verb: str, what: str, actions: Actions, usage: str, question: str, arguments: list[str]) -> Any:
    """Calls the action that the first argument names, with what the others say, as :func:`parse`; or prints the usage.

    Args:
      what: how the verb's actions are called.
      usage: what is printed with ``--help`` and no action; then 0 is returned.
      question: what is asked of who names none.

    Raises:
      UserError: no action, or an unknown one.
    """
    action, rest = take_name(arguments)
    if action is None:
        if not {"-h", "--help"} & set(rest):
            raise UserError(question)
        print(usage)
        return 0
    if action not in actions:
        raise UserError(f"Unknown {what} {action!r}. {did_you_mean(action, actions)}")
    function, about = actions[action]
    return parse(function, rest, f"{verb} {action}", about)


def parse(function: Any, arguments: list[str], verb: str, description: str, misplaced: Mapping[str, str] | None = None) -> Any:
    """Calls a function with what the arguments say for its parameters; returns what it returns.

    Args:
      misplaced: what to say, besides that it is not understood, of a word that is known but belongs elsewhere.

    Raises:
      SystemExit: after the help, with code 0; after a message of what is not understood, with code 2.
      UserError: after that message, where a misplaced word may be the cause.
    """
    try:
        return tyro.cli(function, args=_with_json_target(arguments), prog=f"jaxnas {verb}", description=description)
    except SystemExit as end:
        found = [said for word, said in (misplaced or {}).items() if word in arguments]
        if end.code and found:
            raise UserError(found[0]) from end
        raise


def recipe_first(verb: str, recipes: Iterable[str]) -> dict[str, str]:
    """For :func:`parse`, what to say of a recipe that is named after an option."""
    return {name: f"If {name} is the recipe, it comes before all options: jaxnas {verb} {name} ..." for name in recipes}


def _with_json_target(arguments: list[str]) -> list[str]:
    """Gives a bare ``--json`` its ``-``: tyro knows no option whose value may be left out."""
    given: list[str] = []
    for argument, following in itertools.pairwise([*arguments, "--"]):
        given.append(argument)
        if argument == "--json" and following.startswith("-") and following != "-":
            given.append("-")
    return given

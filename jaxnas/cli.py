"""The command line; nothing else reads arguments."""

# No "from __future__ import annotations" here: tyro reads the annotations of nested functions.

import contextlib
import dataclasses
import errno
import os
import shlex
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any

import rich.console

from jaxnas.errors import UserError, did_you_mean

_STARTED = time.perf_counter()

USAGE = """usage: jaxnas VERB ...

  search [RECIPE]         search a cell, train what was found and random cells beside it
  derive RUN              print the genotype of a run's alphas
  train RUN|GENOTYPE      train the network of a genotype
  evaluate RUN            test accuracy of a run's trained network
  verify golden FILE ...  compare with records of the reference implementations

jaxnas VERB --help tells more."""


def main(arguments: list[str] | None = None) -> None:
    """Runs a verb and exits: 0, 1 where a check failed, 2 for a user's mistake, 130 when interrupted."""
    arguments = sys.argv[1:] if arguments is None else arguments
    try:
        with _ended_by_interrupt():
            code = _run(arguments)
    except UserError as error:
        code = _failed(str(error))
    except OSError as error:
        code = _failed(_of_system(error))
    sys.exit(code)


def _failed(message: str, code: int = 2) -> int:
    print(f"jaxnas: {message}", file=sys.stderr, flush=True)
    return code


def _of_system(error: OSError) -> str:
    if error.errno == errno.ENOSPC:
        return "No space is left on the disk. What the run folder holds is whole. Free some space, or choose another --out."
    if isinstance(error, PermissionError):
        return f"No permission for {error.filename}. Change its permissions, or choose another --out."
    return f"{error.filename or 'A file'}: {error.strerror or error}."


@contextlib.contextmanager
def _ended_by_interrupt() -> Iterator[None]:
    """Ctrl-C ends the process at once, with one message.

    KeyboardInterrupt would wait while XLA compiles, minutes in which no Python runs, and where JAX calls Python from its own
    code it would be lost. To end at once loses nothing: every file of a run is written whole or not at all.
    """
    woken, wake = socket.socketpair()
    wake.setblocking(False)

    def end() -> None:
        if woken.recv(1):  # Nothing, once it is closed.
            # A live line hides the cursor, and has put itself in the place of the two streams.
            sys.stderr = sys.__stderr__
            terminal = rich.console.Console(file=sys.__stdout__)
            terminal.show_cursor()
            if terminal.is_terminal:
                terminal.line()
            os._exit(_failed("Interrupted. What the run folder holds is whole.", 130))

    handler = signal.signal(signal.SIGINT, lambda *_: None)
    signal.set_wakeup_fd(wake.fileno())
    thread = threading.Thread(target=end, daemon=True)
    thread.start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGINT, handler)
        wake.close()
        thread.join()
        woken.close()


def _run(arguments: list[str]) -> int:
    if not arguments or arguments[0] in ("-h", "--help"):
        print(USAGE)
        return 0 if arguments else 2
    verb, rest = arguments[0], arguments[1:]
    if verb not in VERBS:
        raise UserError(f"Unknown verb {verb!r}. {did_you_mean(verb, VERBS)}")
    return VERBS[verb](rest)


def _take_name(arguments: list[str]) -> tuple[str | None, list[str]]:
    """A leading argument that is no option."""
    if arguments and not arguments[0].startswith("-"):
        return arguments[0], arguments[1:]
    return None, arguments


def _parse(kind: Any, arguments: list[str], verb: str, description: str) -> Any:
    import tyro

    return tyro.cli(kind, args=arguments, prog=f"jaxnas {verb}", description=description)


def _search(arguments: list[str]) -> int:
    import tyro

    from jaxnas import recipes

    name, rest = _take_name(arguments)
    name = recipes.MAIN if name is None else name
    recipe = recipes.find(name)

    def search(
        recipe: Annotated[recipes.Recipe, tyro.conf.arg(name="")] = recipe,
        data_dir: Path | None = None,
        out: Path | None = None,
        overwrite: bool = False,
        dry_run: bool = False,
    ) -> int:
        """Search a cell.

        Args:
          recipe: values of the recipe.
          data_dir: folder of the dataset's official files.
          out: the run's folder, runs/RECIPE-seedSEED by default.
          overwrite: replace the run in that folder.
          dry_run: two steps, and nothing written.
        """
        from jaxnas import run
        from jaxnas.console import Console
        from jaxnas.data import load
        from jaxnas.run_folder import RunFolder

        import_seconds = time.perf_counter() - _STARTED
        dataset = load(recipe.dataset, data_dir)
        run.check(recipe, dataset)
        with Console() as console:
            if dry_run:
                run.dry_run(name, recipe, dataset, console)
                return 0
            folder = RunFolder(out or Path("runs") / f"{name}-seed{recipe.seed}", overwrite)
            run.run(name, recipe, dataset, folder, console, import_seconds)
            console.note(_next_command(folder.path, data_dir))
        return 0

    about = f"Search with the recipe {name}. Recipes: {', '.join(recipes.RECIPES)}."
    return _parse(search, rest, f"search {name}", about)


def _derive(arguments: list[str]) -> int:
    def derive(run: Annotated[Path, _positional()]) -> int:
        """Print the genotype of a run's alphas.

        Args:
          run: the folder of a run.
        """
        from jaxnas import stored
        from jaxnas.spaces import to_text

        print(to_text(stored.derived_genotype(run)))
        return 0

    return _parse(derive, arguments, "derive", "Print the genotype of a run's alphas.")


def _train(arguments: list[str]) -> int:
    from jaxnas import recipes, stored

    source, rest = _take_name(arguments)
    if source is None and not {"-h", "--help"} & set(rest):
        raise UserError("jaxnas train needs the folder of a run, a genotype file, or a genotype in quotes.")
    genotype, name, recipe = (None, recipes.MAIN, recipes.find(recipes.MAIN)) if source is None else stored.source(source)
    chosen, rest = _take_option(rest, "--recipe")
    if chosen is not None:
        name, recipe = chosen, recipes.find(chosen)

    def train(
        train: recipes.TrainRecipe = recipe.train,
        dataset: str = recipe.dataset,
        seed: int = recipe.seed,
        data_dir: Path | None = None,
        out: Path | None = None,
        overwrite: bool = False,
    ) -> int:
        """Train the network of a genotype.

        Args:
          train: values of the recipe; --recipe NAME starts from another one.
          dataset: name of the dataset.
          seed: of weights, order and augmentation.
          data_dir: folder of the dataset's official files.
          out: the run's folder, runs/train-RECIPE-seedSEED by default.
          overwrite: replace the run in that folder.
        """
        from jaxnas import run
        from jaxnas.console import Console
        from jaxnas.data import load
        from jaxnas.run_folder import RunFolder

        import_seconds = time.perf_counter() - _STARTED
        assert genotype is not None
        whole = dataclasses.replace(recipe, train=train, dataset=dataset, seed=seed)
        data = load(dataset, data_dir)
        run.check_training(genotype, whole, data)
        folder = RunFolder(out or Path("runs") / f"train-{name}-seed{seed}", overwrite)
        with Console() as console:
            run.train_only(name, whole, genotype, data, folder, console, import_seconds)
            console.note(_next_command(folder.path, data_dir))
        return 0

    return _parse(train, rest, "train", f"Train the network of a genotype. Recipes: {', '.join(recipes.RECIPES)}.")


def _take_option(arguments: list[str], option: str) -> tuple[str | None, list[str]]:
    """The value of an option, and the arguments without it."""
    for at, argument in enumerate(arguments):
        if argument.startswith(f"{option}="):
            return argument.removeprefix(f"{option}="), arguments[:at] + arguments[at + 1 :]
        if argument == option:
            if at + 1 == len(arguments):
                raise UserError(f"{option} needs a value.")
            return arguments[at + 1], arguments[:at] + arguments[at + 2 :]
    return None, arguments


def _next_command(folder: Path, data_dir: Path | None) -> str:
    data = [] if data_dir is None else ["--data-dir", str(data_dir)]
    return f"next:  {shlex.join(['jaxnas', 'evaluate', str(folder), *data])}"


def _evaluate(arguments: list[str]) -> int:
    def evaluate(run: Annotated[Path, _positional()], data_dir: Path | None = None) -> int:
        """Test accuracy of a run's trained network.

        Args:
          run: the folder of a run.
          data_dir: folder of the dataset's official files.
        """
        from jaxnas import stored

        accuracy, images = stored.test_accuracy(run, data_dir)
        print(f"test accuracy {accuracy:.2%} on {images:,} images")
        return 0

    return _parse(evaluate, arguments, "evaluate", "Test accuracy of a run's trained network.")


def _verify(arguments: list[str]) -> int:
    what, rest = _take_name(arguments)
    if what != "golden" and not (what is None and {"-h", "--help"} & set(rest)):
        raise UserError(f"Only 'golden' can be verified, got {what!r}. Type: jaxnas verify golden FILE ... [--json OUT]")

    def golden(files: Annotated[tuple[Path, ...], _positional()], json: Path | None = None) -> int:
        """Compare with records of the reference implementations, in float64 and float32.

        Args:
          files: records (.npz).
          json: write what was compared there.
        """
        from jaxnas.interop.golden import verify_files

        return 0 if verify_files(files, json) else 1

    return _parse(golden, rest, "verify golden", "Compare with records of the reference implementations.")


def _positional() -> Any:
    import tyro

    return tyro.conf.Positional


VERBS: dict[str, Callable[[list[str]], int]] = {
    "search": _search,
    "derive": _derive,
    "train": _train,
    "evaluate": _evaluate,
    "verify": _verify,
}

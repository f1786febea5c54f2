"""The command line: verbs, errors and exit codes. The verbs are in :mod:`jaxnas.commands`."""

from __future__ import annotations

import contextlib
import errno
import importlib
import io
import os
import signal
import socket
import sys
import threading
import traceback
from collections.abc import Iterator
from pathlib import Path

from jaxnas import leaving
from jaxnas.commands import VERBS
from jaxnas.errors import TargetMissed, UserError, did_you_mean

USAGE = """usage: jaxnas VERB ...

  search [RECIPE]         search, train what was found and random ones beside it
  pareto [RECIPE]         search at several targets: accuracy against cost, as table and picture
  baselines --table FILE  every black-box searcher on a table of a benchmark, as table and picture
  blackbox [RECIPE]       train what a black-box searcher asks, several at a time, and go on after an interruption
  plan [RECIPE]           what a search would need, before it runs, and whether it fits this device
  resume RUN              go on with a search, a training or a black-box search that was ended
  sweep [RECIPE]          search with several seeds and settings: mean and deviation of each
  derive RUN              print the genotype of a run's alphas
  draw RUN|GENOTYPE       a picture of a network: SVG, PNG or DOT; of a run also its alphas, or its epochs as a GIF
  report RUN              one HTML page about a run: pictures, curves, alphas over time
  compare RUN RUN ...     mean and deviation over seeds, cost, random search; runs that cannot be compared are refused
  card RUN                what a run says of the best-practice checklist: data, split, recipe, seeds, hardware, cost
  status RUN              how far a run is, from another terminal; --follow goes on until it is done
  list [DIR]              the runs in a folder
  train RUN|GENOTYPE      train the network of a genotype, which may be a published one's name
  evaluate RUN            test accuracy of a run's trained network
  load WEIGHTS GENOTYPE   a run of weights that were trained elsewhere, by PyTorch's names
  export RUN --to FORMAT  a run's network for elsewhere: weights, plain Flax, StableHLO, ONNX
  trust RUN               a search on NAS-Bench-201 against a table: ranks, and where its regret is from
  profile SPACE           a table of latencies of a space's networks on this device
  latency import FILE     a published table of latencies in jaxnas's form
  latency show TABLE      what a table of latencies holds, and whether it passed its check
  table convert PATH      official files of NATS-Bench or NAS-Bench-201 in one compact file
  table fidelity TABLE    how validation accuracy after little training ranks architectures
  query ARCH              what a benchmark measured of one architecture, and what was averaged
  data NAME               what a data set holds, and a contact sheet of it
  doctor                  whether searches can run here, and what is missing
  verify golden FILE ...  compare with records of the reference implementations
  verify published        compare parameters and multiply-adds with the published figures
  verify nb201            check a table of NAS-Bench-201, and our networks against it
  reproduce [NAME ...]    published results: what it takes to get them, what came out last, whether they hold

Every verb takes --json [FILE]: the result as JSON to FILE, or to standard output.

jaxnas VERB --help tells more."""


def main(arguments: list[str] | None = None) -> None:
    """Runs a verb and exits: 0, 1 where a check failed, 2 for a user's mistake, 3 where nothing meets a target, 75 where a run
    was interrupted that can be resumed or where another process of it is gone, and 128 and the number of the signal where there
    is nothing to resume."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # As standard error: a class's name is no reason to end a search.
    agreed = False
    try:
        with _ended_by_signals():
            code = _run(arguments)
        agreed = code == 0
    except leaving.Left as left:
        code, agreed = _failed(str(left), leaving.RESUME_ME), True
    except leaving.Lost as lost:
        code = _failed(str(lost), leaving.RESUME_ME)
    except UserError as error:
        code = _failed(str(error))
    except TargetMissed as missed:
        code = _failed(str(missed), 3)
    except OSError as error:
        code = _failed(_of_system(error))
    except Exception:
        if not leaving.is_among_others():
            raise
        traceback.print_exc()  # Python would print it too, and then wait for the others.
        code = 1
    leaving.end(code, agreed)


def _keep_compiled_programs() -> None:
    """Switches JAX's persistent cache of compiled programs on, where the user's environment does not say otherwise.

    JAX reads these variables when it is imported, which is later: a program that imports jaxnas, and its JAX, stay as they are.
    """
    if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        cache = os.path.join(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "jaxnas")
        existing = next(path for path in (Path(cache), *Path(cache).parents) if path.exists())
        if not (existing.is_dir() and os.access(existing, os.W_OK | os.X_OK)):
            note = f"note: {cache} cannot be written: compiled programs are not kept, every run compiles anew."
            print(f"{note} Name another folder, or none: export JAX_COMPILATION_CACHE_DIR=", file=sys.stderr)
            return
        os.environ["JAX_COMPILATION_CACHE_DIR"] = cache
    # JAX's default, a second of compilation, would leave out most of what precedes a search's first step.
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")


def _failed(message: str, code: int = 2) -> int:
    print(f"jaxnas: {message}", file=sys.stderr, flush=True)
    return code


def _of_system(error: OSError) -> str:
    if error.errno == errno.ENOSPC:
        return "No space is left on the disk. What the run folder holds is whole. Free some space, or choose another --out."
    if isinstance(error, BrokenPipeError):
        return "What read the output has ended, and so this has. What the run folder holds is whole."
    if isinstance(error, PermissionError):
        return f"No permission for {error.filename}. Change its permissions, or choose another --out."
    return f"{error.filename or 'A file'}: {error.strerror or error}."


@contextlib.contextmanager
def _ended_by_signals() -> Iterator[None]:
    """Ctrl-C and SIGTERM, with which machines announce that they are taken away, end the process with one message.

    KeyboardInterrupt would wait while XLA compiles, minutes in which no Python runs, and where JAX calls Python from its own
    code it would be lost. A run that does steps saves its state and leaves, unless it is asked a second time. To end all else
    at once loses nothing: every file of a run is written whole or not at all.
    """
    woken, wake = socket.socketpair()
    wake.setblocking(False)

    def end() -> None:
        while number := woken.recv(1):  # Nothing, once it is closed.
            if leaving.ask():
                print("jaxnas: Saving, then leaving. Once more to leave at once.", file=sys.__stderr__, flush=True)
                continue
            # A live line hides the cursor, and has put itself in the place of the two streams.
            sys.stderr = sys.__stderr__
            resume = leaving.how_to_resume()
            said = f"Interrupted. What the run folder holds is whole. {resume or ''}".strip()
            try:
                leaving.has_spoken()
                _show_cursor()
            finally:
                os._exit(_failed(said, leaving.RESUME_ME if resume else 128 + number[0]))

    handlers = {number: signal.signal(number, lambda *_: None) for number in (signal.SIGINT, signal.SIGTERM)}
    signal.set_wakeup_fd(wake.fileno())
    thread = threading.Thread(target=end, daemon=True)
    thread.start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(-1)
        for number, handler in handlers.items():
            signal.signal(number, handler)
        wake.close()
        thread.join()
        woken.close()


def _show_cursor() -> None:
    import rich.console  # Not above: until all that is imported there, Ctrl-C is not handled.

    for stream in (sys.__stdout__, sys.__stderr__):  # The live line is on the second where the first gets JSON.
        terminal = rich.console.Console(file=stream)
        if terminal.is_terminal:
            terminal.show_cursor()
            terminal.line()
            break


def _run(arguments: list[str]) -> int:
    if not arguments or arguments[0] in ("-h", "--help"):
        print(USAGE)
        return 0 if arguments else 2
    verb, rest = arguments[0], arguments[1:]
    if verb not in VERBS:
        raise UserError(f"Unknown verb {verb!r}. {did_you_mean(verb, VERBS)}")
    _keep_compiled_programs()
    return importlib.import_module(f"jaxnas.commands.{verb}").main(rest)

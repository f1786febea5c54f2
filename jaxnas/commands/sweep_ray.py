"""The runs of a sweep on the machines of a Ray cluster: each a trial of Ray Tune, kept and resumed by its own run folder."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import os
import socket
import warnings
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from jaxnas.commands.resume import resumed
from jaxnas.console import Console
from jaxnas.errors import TargetMissed, UserError

RETRIES = 3
"""So often a trial whose worker died is begun again, each time from its last checkpoint."""

SECONDS_TO_ANSWER = 10.0
HANDED_ON = ("JAX", "XLA_")
"""Environment variables that begin so are the workers' too: what a search comes to may depend on them."""


@dataclasses.dataclass(frozen=True)
class Cluster:
    """A Ray cluster, and what it reserves for each search.

    Attributes:
      address: ``HOST:PORT``, ``auto`` for the one that this machine is of, ``local`` for one on this machine that ends with
        the sweep.
      cpus, gpus: of the worker of a search. Ray hides all other accelerators from it.
    """

    address: str
    cpus: float = 1.0
    gpus: float = 0.0

    def __post_init__(self) -> None:
        if self.cpus <= 0 or self.gpus < 0:
            raise UserError(f"--ray-cpus {self.cpus:g} --ray-gpus {self.gpus:g}: give more than 0 of the first, and 0 or more.")


def search(
    ray: ModuleType, cluster: Cluster, runs: Iterable[Path], data_dir: Path | None, folder: Path, note: Callable[[str], None]
) -> dict[Path, str]:
    """Goes on with runs that are begun, as many at a time as the cluster has workers for.

    Ray begins a trial again whose worker died. It then goes on from its last checkpoint: a trial is ``jaxnas resume RUN``.

    Args:
      ray: connected to the cluster, see :func:`joined`.
      cluster: says what a search needs.
      runs: their folders, on storage that all machines share.
      data_dir: of the dataset's files, on all machines.
      folder: gets what Ray Tune keeps of the trials, in ``ray``.
      note: is told of the runs that begin and end.

    Returns:
      Why a run did not end well, for those that did not.
    """
    tune = ray.tune
    paths = {str(path): path for path in runs}
    settings = tune.RunConfig(
        storage_path=str((folder / "ray").resolve()),
        failure_config=tune.FailureConfig(max_failures=RETRIES),
        callbacks=[_telling(tune.Callback, note)],
        verbose=0,
    )
    naming = tune.TuneConfig(trial_name_creator=_name, trial_dirname_creator=_name)
    space = {"run": tune.grid_search(list(paths)), "data_dir": data_dir, "from": os.getcwd()}
    trainable = tune.with_resources(trial, {"cpu": cluster.cpus, "gpu": cluster.gpus})
    found = tune.Tuner(trainable, param_space=space, tune_config=naming, run_config=settings).fit()
    why = {result.config["run"]: _why(result) for result in found}
    return {path: reason for name, path in paths.items() if (reason := why[name]) is not None}


def trial(config: dict[str, Any]) -> None:
    """One run, in a worker's process: what cannot be helped by another attempt is reported, all else is left to Ray."""
    from ray import tune  # pyright: ignore[reportMissingImports]

    failed = None
    try:
        os.chdir(config["from"])  # Relative paths, also those in recipes, are what they are to who typed the command.
        with Console(quiet=True) as console:
            resumed(Path(config["run"]), config["data_dir"], console, 0.0)
    except (UserError, TargetMissed) as error:
        failed = str(error)
    tune.report({"failed": failed})


def _telling(base: type, note: Callable[[str], None]) -> Any:
    """What Ray Tune is to call: it says which runs begin, and which end."""

    class Telling(base):
        def on_trial_start(self, trial: Any, **_: Any) -> None:
            again = f" again, as its worker died: attempt {trial.num_failures + 1}" if trial.num_failures else ""
            note(f"begun{again}: {_name(trial)}")

        def on_trial_complete(self, trial: Any, **_: Any) -> None:
            note(f"ended: {_name(trial)}")

        def __reduce__(self) -> Any:
            return base, ()  # Tune writes its callbacks down, for others that would go on with its trials; our runs do.

    return Telling()


def _name(trial: Any) -> str:
    return Path(trial.config["run"]).name


def _why(result: Any) -> str | None:
    if result.error is not None:
        return f"its worker died more than {RETRIES} times, or raised an error: {str(result.error).strip().splitlines()[-1]}"
    return result.metrics["failed"]


@contextlib.contextmanager
def joined(cluster: Cluster) -> Iterator[ModuleType]:
    """Ray, connected to the cluster inside; before JAX has computed anything, since Ray forks to start a cluster.

    Raises:
      UserError: Ray is not installed, the cluster does not answer, or has less than one search needs.
    """
    # What a cluster that we start tells its makers is for its user to allow.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")  # Tune's newer output prints screens also where it is to be silent.
    try:
        import ray.tune  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise UserError(f"--ray needs Ray Tune ({error}): pip install 'jaxnas[ray]'") from error
    if cluster.address not in ("auto", "local"):
        check_answers(cluster.address)
    variables = {name: value for name, value in os.environ.items() if name.startswith(HANDED_ON)}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # JAX warns of any fork; it has no threads yet.
            ray.init(
                cluster.address,
                runtime_env={"env_vars": variables},
                include_dashboard=False if cluster.address == "local" else None,
                logging_level=logging.ERROR,
                log_to_driver=False,
            )
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise UserError(f"--ray {cluster.address}: {error}") from error
    try:
        there = ray.cluster_resources()
        for name, wanted in (("CPU", cluster.cpus), ("GPU", cluster.gpus)):
            if wanted > there.get(name, 0.0):
                raise UserError(
                    f"A search is to have {wanted:g} {name}, but all machines of the Ray cluster together have "
                    f"{there.get(name, 0.0):g}. Give less with --ray-{name.lower()}s."
                )
        yield ray
    finally:
        ray.shutdown()


def check_answers(address: str) -> None:
    """Ray itself would ask for minutes.

    Raises:
      UserError: no ``HOST:PORT``, or nothing answers there.
    """
    host, _, port = address.rpartition(":")
    if not host or "/" in host or not port.isdecimal():
        raise UserError(f"--ray {address}: give HOST:PORT of the cluster's head, auto or local.")
    try:
        socket.create_connection((host, int(port)), SECONDS_TO_ANSWER).close()
    except (OSError, OverflowError) as error:
        raise UserError(
            f"--ray {address}: no Ray cluster answers there ({error}). Start its head with: ray start --head --port {port}"
        ) from error

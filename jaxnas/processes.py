"""Several processes that search together: who joins and who writes, what all agree on, and how it ends where one is gone.

All of them run the same programs in the same order, so whatever only one knows - that it was asked to leave, what a checkpoint
holds - is told to all at the same place before any acts on it.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator

import jax
import numpy as np
from jax.experimental import multihost_utils

from jaxnas import leaving
from jaxnas.errors import UserError

A_DAY = 86400
"""Seconds that processes which are done wait for the others, which may be compiling."""

OF_OTHERS = ("Gloo", "NCCL", "UNAVAILABLE", "DEADLINE_EXCEEDED", "Socket closed", "heartbeat", "coordination service")
"""Words of errors that say that another process does not answer."""


def join(coordinator: str | None = None, processes: int | None = None, process_id: int | None = None) -> None:
    """Makes this process one of several that search together, before JAX has computed anything.

    Without arguments it is one of those that its environment knows - Slurm, a TPU VM, Open MPI and whatever else
    ``jax.distributed.initialize`` finds - and alone where there is no such environment. ``processes=1`` is alone anywhere.

    Args:
      coordinator: ``HOST:PORT`` of process 0, the same for all.
      processes: how many there are.
      process_id: which of them this one is, from 0.

    Raises:
      UserError: some of the three without the others, numbers that cannot be, an environment that does not answer.
    """
    given = {"--coordinator": coordinator, "--processes": processes, "--process-id": process_id}
    missing = [name for name, value in given.items() if value is None]
    if processes == 1 and coordinator is None and process_id is None:
        return
    if len(missing) in (1, 2):
        raise UserError(
            f"{' and '.join(missing)} missing: --coordinator HOST:PORT, --processes and --process-id go together. Leave all "
            "out where Slurm, a TPU VM or Open MPI says who this process is; --processes 1 searches alone."
        )
    if coordinator is not None and not coordinator.rpartition(":")[2].isdecimal():
        raise UserError(f"--coordinator {coordinator}: give HOST:PORT of process 0, such as 10.0.0.2:8476.")
    if processes is not None and process_id is not None and not 0 <= process_id < processes:
        raise UserError(f"--process-id {process_id}: with --processes {processes} it is 0 to {processes - 1}.")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Of clusters whose own package is not installed.
            # It would take SIGTERM, the notice that it waits for, from the command line, which waits for it as well.
            jax.config.update("jax_enable_preemption_service", False)
            jax.distributed.initialize(coordinator, processes, process_id, shutdown_timeout_seconds=A_DAY)
    except (ValueError, RuntimeError) as error:
        # No environment that JAX knows; or a program that has used JAX already, and so has decided for itself.
        alone = "coordinator_address should be defined" in str(error) or "must be called before" in str(error)
        if not (alone and missing):
            raise UserError(f"The processes did not find each other: {error} Give --processes 1 to search alone.") from error
        return
    leaving.among_others(jax.distributed.shutdown if is_first() else lambda: None)


def is_first() -> bool:
    """Whether this process is the one that writes and prints."""
    return jax.process_index() == 0


def any_of(flag: bool) -> bool:
    """Whether a flag is set in any process; all have to ask.

    Raises:
      Lost: another process is gone.

    >>> any_of(False), any_of(True)
    (False, True)
    """
    if jax.process_count() == 1:
        return flag
    with speaking():
        return bool(multihost_utils.process_allgather(np.asarray(flag)).any())


def told(content: bytes) -> bytes:
    """What process 0 gives, in all of them; what the others give is not looked at.

    Raises:
      Lost: another process is gone.

    >>> told(b"the same")
    b'the same'
    """
    if jax.process_count() == 1:
        return content
    with speaking():
        size = int(multihost_utils.broadcast_one_to_all(np.int32(len(content))))
        mine = np.frombuffer(content, np.uint8) if is_first() else np.zeros(size, np.uint8)
        return np.asarray(multihost_utils.broadcast_one_to_all(mine)).tobytes() if size else b""


@contextlib.contextmanager
def speaking() -> Iterator[None]:
    """Turns what JAX raises inside, where another process does not answer any more, into words.

    Raises:
      Lost: another process is gone. JAX may instead end this one: :func:`jaxnas.leaving.last_words`.
    """
    try:
        yield
    except (ValueError, RuntimeError) as error:  # Gloo's are ValueErrors where they are not JaxRuntimeErrors.
        if jax.process_count() == 1 or not any(word in str(error) for word in OF_OTHERS):
            raise
        said = (str(error).splitlines() or [type(error).__name__])[0][:200]
        raise leaving.Lost(
            f"Another process of this search is gone ({said}), so process {jax.process_index()} of {jax.process_count()} ends, "
            "too. What the other printed may say why."
        ) from error

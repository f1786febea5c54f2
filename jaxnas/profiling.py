"""A trace of a few steps, for Perfetto, TensorBoard and XProf."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax

from jaxnas.errors import UserError

STEPS = 3  # Enough to see what repeats; traces of large supernets hold hundreds of thousands of operations a step.


def check_folder(folder: Path, overwrite: bool) -> None:
    """Refuses a folder that holds a profile already.

    Raises:
      UserError: it does and is not to be overwritten, or it is no folder.
    """
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder} is a file, not a folder. Give another --profile.")
    if _profiles(folder).exists() and not overwrite:
        raise UserError(f"{folder} holds a profile. Give --overwrite to replace it, or another --profile.")


def profile(run: Callable[[int], Any], folder: Path) -> None:
    """Writes a trace of ``run(STEPS)``, in place of one that is there, after a first step that warms up.

    Args:
      run: runs so many steps of a program that is compiled; returns arrays.
      folder: gets ``plugins/profile/DATE/``, in which ``*.xplane.pb`` is for TensorBoard and XProf, ``*.trace.json.gz`` for
        Perfetto.
    """
    jax.block_until_ready(run(1))
    shutil.rmtree(_profiles(folder), ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)
    options = jax.profiler.ProfileOptions()
    options.python_tracer_level = 0  # The steps are one call: of Python there is nothing to see.
    with jax.profiler.trace(folder, profiler_options=options):
        jax.block_until_ready(run(STEPS))


def trace_file(folder: Path) -> Path:
    """The trace that :func:`profile` left, for Perfetto."""
    return next(_profiles(folder).glob("*/*.trace.json.gz"))


def _profiles(folder: Path) -> Path:
    """Where the viewers look for profiles in a folder of logs."""
    return folder / "plugins" / "profile"

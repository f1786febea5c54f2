"""A file that a verb is asked for: nothing is replaced unasked, and what cannot be written is said first."""

from __future__ import annotations

import os
from pathlib import Path

from jaxnas.errors import UserError
from jaxnas.whole_files import write_whole


def check_output(out: Path, overwrite: bool) -> None:
    """Passes where the file could be written.

    Raises:
      UserError: it exists and is not to be replaced, its folder does not exist, or no permission.
    """
    if out.exists() and not overwrite:
        raise UserError(f"{out} exists. Give --overwrite to replace it, or another --out.")
    if not out.parent.is_dir():
        raise UserError(f"{out} cannot be written: there is no folder {out.parent}.")
    if out.exists() and not os.access(out, os.W_OK):  # It would be replaced, not opened.
        raise UserError(f"{out} cannot be written: no permission. Give another --out.")


def write_output(out: Path, content: bytes) -> None:
    """Writes it, whole.

    Raises:
      UserError: it cannot be written.
    """
    try:
        write_whole(out, content)
    except OSError as error:
        raise UserError(f"{out} cannot be written: {error.strerror}.") from error

"""Arrays from NPZ files that may be damaged."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from jaxnas.errors import UserError


def read_npz(path: Path) -> dict[str, np.ndarray]:
    """The arrays of an NPZ file, by their names; objects in it are not unpickled.

    Raises:
      UserError: it cannot be read, is damaged, or holds objects.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "table.npz"
    >>> np.savez(path, allow_pickle=False, epochs=np.array([12, 200]))
    >>> read_npz(path)
    {'epochs': array([ 12, 200])}
    """
    try:
        with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except Exception as error:  # A damaged archive may raise anything, of ZIP, zlib and NumPy.
        raise UserError(f"{path} is no NPZ file of a benchmark, or is cut short or damaged: {error}.") from error

"""Reading the pickles that datasets are published in without running what a pickle asks for.

A pickle is a program: it names functions, and loading it calls them. Here a name gets one of the stand-ins below or is refused.
Not even NumPy's own functions are called: the description of an element type that a pickle gives them can make them read
memory that is not theirs.
"""

from __future__ import annotations

import math
import pickle
from pathlib import Path
from typing import Any

import numpy as np

from jaxnas.errors import UserError


class _ElementType:
    """Stands in for ``numpy.dtype``: keeps the code of the type; byte order and flags mean nothing for single bytes."""

    def __init__(self, code: Any, *_: Any) -> None:
        self.code = code.decode("latin-1") if isinstance(code, bytes) else code

    def __setstate__(self, state: Any) -> None:
        pass


class _Array:
    """Stands in for ``numpy.ndarray``: keeps what an array is restored from."""

    def __init__(self, *_: Any) -> None:
        self.state: Any = None

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def to_numpy(self) -> np.ndarray:
        """The array, if it is one of bytes whose data has the size that its shape asks for."""
        _, shape, element, fortran_order, data = self.state
        if not isinstance(element, _ElementType) or element.code not in ("u1", "|u1", "uint8"):
            raise ValueError(f"an array is of type {getattr(element, 'code', element)!r}, not uint8")
        if not isinstance(data, bytes) or len(data) != math.prod(shape):
            raise ValueError(f"an array of shape {shape} has data of another size")
        return np.frombuffer(data, np.uint8).reshape(shape, order="F" if fortran_order else "C")


def _reconstruct(*_: Any) -> _Array:
    return _Array()


def _encode(text: Any, encoding: Any) -> bytes:
    """Stands in for ``codecs.encode``, which Python 3 writes into old pickle protocols for bytes."""
    if encoding != "latin1":
        raise ValueError(f"bytes are encoded as {encoding!r}")
    return str(text).encode("latin-1")


_STAND_INS = {
    ("numpy.core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy._core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _ElementType,
    ("_codecs", "encode"): _encode,
}


class _Unpickler(pickle.Unpickler):
    """Refuses every name but those of :data:`_STAND_INS`."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _STAND_INS:
            raise UserError(f"asks for {module}.{name}, which no dataset needs: it may be malicious, and nothing of it was run")
        return _STAND_INS[module, name]


def read_pickle(path: Path) -> dict[str, Any]:
    """The dictionary in a pickle of arrays of bytes, text, numbers, lists and dictionaries, as Python 2 or 3 wrote it.

    Args:
      path: a pickle whose keys are text; Python 2's text becomes bytes, but for the keys.

    Raises:
      UserError: the pickle asks for anything else to be made or called, is cut short or damaged, or holds no dictionary.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "batch"
    >>> _ = path.write_bytes(pickle.dumps({"data": np.array([[1, 2]], np.uint8), "labels": [7]}))
    >>> read_pickle(path)
    {'data': array([[1, 2]], dtype=uint8), 'labels': [7]}
    """
    try:
        with path.open("rb") as file:
            content = _Unpickler(file, encoding="bytes").load()
        if not isinstance(content, dict):
            raise ValueError(f"it holds a {type(content).__name__}, not a dictionary")
        text = {key.decode() if isinstance(key, bytes) else str(key): value for key, value in content.items()}
        return {key: value.to_numpy() if isinstance(value, _Array) else value for key, value in text.items()}
    except UserError as error:
        raise UserError(f"{path} {error}.") from None
    except Exception as error:  # The bytes of a damaged pickle are instructions: they may raise anything.
        raise UserError(
            f"{path} is no pickle of a dataset, or is cut short or damaged ({type(error).__name__}: {error})."
        ) from error

"""Reading the pickles that datasets and benchmarks are published in without running what a pickle asks for.

A pickle is a program: it names functions, and loading it calls them. Here a name gets one of the stand-ins below or is refused.
Not even NumPy's own functions are called: the description of an element type that a pickle gives them can make them read
memory that is not theirs.
"""

from __future__ import annotations

import math
import pickle
import struct
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np

from jaxnas.errors import UserError


class _ElementType:
    """Stands in for ``numpy.dtype``: keeps the code of the type and the order of its bytes."""

    def __init__(self, code: Any, *_: Any) -> None:
        self.code = code.decode("latin-1") if isinstance(code, bytes) else code
        self.order: Any = None

    def __setstate__(self, state: Any) -> None:
        self.order = state[1]


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


_SCALARS = {"f8": "<d", "f4": "<f", "i8": "<q", "i4": "<i"}


def _scalar(element: Any, data: Any) -> float | int:
    """Stands in for NumPy's function of that name: a number from its bytes."""
    code = element.code if isinstance(element, _ElementType) and element.order in ("<", None) else None
    if code not in _SCALARS or not isinstance(data, bytes):
        raise ValueError(f"a number is of type {getattr(element, 'code', element)!r}")
    return struct.unpack(_SCALARS[code], data)[0]


class _Ordered(dict):
    """Stands in for ``collections.OrderedDict``; the attributes that PyTorch gives to one are dropped."""

    def __setstate__(self, state: Any) -> None:
        pass


class _Storage:
    """Stands in for the types of PyTorch's storages."""


def _no_tensor(*_: Any) -> None:
    """Stands in for what makes a tensor: networks' weights, of which nothing is read."""


Name = tuple[str, str]

_ARRAYS: Mapping[Name, Callable[..., Any]] = {
    ("numpy.core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy._core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _ElementType,
    ("_codecs", "encode"): _encode,
}
_NUMBERS: Mapping[Name, Callable[..., Any]] = {
    ("numpy.core.multiarray", "scalar"): _scalar,
    ("numpy._core.multiarray", "scalar"): _scalar,
    ("numpy", "dtype"): _ElementType,
    ("_codecs", "encode"): _encode,
    ("builtins", "set"): set,
    ("__builtin__", "set"): set,
    ("collections", "OrderedDict"): _Ordered,
    ("torch._utils", "_rebuild_tensor"): _no_tensor,
    ("torch._utils", "_rebuild_tensor_v2"): _no_tensor,
    **{("torch", f"{kind}Storage"): _Storage for kind in ("Double", "Float", "Half", "Long", "Int", "Byte", "Bool")},
}


class _Unpickler(pickle.Unpickler):
    """Refuses every name but those that have a stand-in."""

    def __init__(self, file: IO[bytes], stand_ins: Mapping[Name, Callable[..., Any]], holder: str, **options: Any) -> None:
        super().__init__(file, **options)
        self._stand_ins, self._holder = stand_ins, holder

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self._stand_ins:
            raise UserError(
                f"asks for {module}.{name}, which no {self._holder} needs: it may be malicious, and nothing of it was run"
            )
        return self._stand_ins[module, name]


class _NumbersUnpickler(_Unpickler):
    """PyTorch's tensors name their storages by persistent ids."""

    def persistent_load(self, pid: Any) -> None:
        return None


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
            content = _Unpickler(file, _ARRAYS, "dataset", encoding="bytes").load()
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


def read_numbers(file: IO[bytes]) -> Any:
    """The next pickle of a file, of numbers, text, lists, sets and dictionaries; PyTorch's tensors in it become None.

    Args:
      file: the pickle, open at its beginning; afterwards at its end.

    Raises:
      UserError: the pickle asks for anything else to be made or called, which is named, or is cut short or damaged. The message
        continues a sentence that begins with the name of the file.

    >>> import io
    >>> read_numbers(io.BytesIO(pickle.dumps({"accuracy": [np.float64(93.75), 94]})))
    {'accuracy': [93.75, 94]}
    """
    try:
        return _NumbersUnpickler(file, _NUMBERS, "table").load()
    except UserError:
        raise
    except Exception as error:  # The bytes of a damaged pickle are instructions: they may raise anything.
        raise UserError(f"is no pickle of a table, or is cut short or damaged ({type(error).__name__}: {error})") from error

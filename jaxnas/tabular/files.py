"""The files that benchmarks come in."""

from __future__ import annotations

from pathlib import Path

from jaxnas.errors import UserError
from jaxnas.tabular.benchmark import NAMES, Benchmark, Space
from jaxnas.tabular.plain import read_plain


def read(path: Path, space: Space | None = None) -> Benchmark:
    """The benchmark in a file.

    Args:
      path: a plain table (:func:`jaxnas.tabular.plain.read_plain`).
      space: which benchmark it must be; None for any.

    Raises:
      UserError: it cannot be read, or is another benchmark's.
      TableFault: its content is not what the benchmark can hold.
    """
    benchmark = read_plain(path)
    if space is not None and benchmark.space != space:
        raise UserError(f"{path} is a table of {NAMES[benchmark.space]}, {NAMES[space]} is asked for.")
    return benchmark

"""The files that benchmarks come in."""

from __future__ import annotations

import shlex
from pathlib import Path

from jaxnas.errors import UserError
from jaxnas.tabular.benchmark import NAMES, Benchmark, Space
from jaxnas.tabular.compact import is_compact, read_compact
from jaxnas.tabular.official import is_official
from jaxnas.tabular.plain import read_plain


def read(path: Path, space: Space | None = None) -> Benchmark:
    """The benchmark in a file.

    Args:
      path: a file of ``write_compact``, or a plain table (``read_plain``).
      space: which benchmark it must be; None for any.

    Raises:
      UserError: it cannot be read, is an official file, which is converted first, or is another benchmark's.
      TableFault: its content is not what the benchmark can hold.
    """
    if is_official(path):
        raise UserError(
            f"{path} is in the benchmark's own format, which takes minutes to read. Convert it, once: "
            f"jaxnas table convert {shlex.quote(str(path))} --out table.npz"
        )
    benchmark = read_compact(path) if is_compact(path) else read_plain(path)
    if space is not None and benchmark.space != space:
        raise UserError(f"{path} is a table of {NAMES[benchmark.space]}, {NAMES[space]} is asked for.")
    return benchmark

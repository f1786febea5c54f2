"""Tables with a latency for each whole architecture, as the benchmarks publish them."""

from __future__ import annotations

import csv
import gzip
import io
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from jaxnas.errors import UserError, did_you_mean
from jaxnas.spaces import BlockSpace, Genotype, Space, block_genotype, check_fits, from_text

_TEXTS = ("arch", "arch_str")


def read_columns(path: Path) -> dict[str, list[str]]:
    """The columns of a CSV file, which may be compressed by gzip, by the names in its first line.

    Raises:
      UserError: it cannot be read, is empty, names a column twice, or has a line of another length.
    """
    try:
        content = path.read_bytes()
        text = (gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content).decode()
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}.") from error
    except (UnicodeDecodeError, EOFError) as error:
        raise UserError(f"{path} is no CSV file: {error}.") from error
    lines = list(csv.reader(io.StringIO(text)))
    if len(lines) < 2:
        raise UserError(f"{path} has no line below the names of its columns.")
    names, *rows = lines
    if len(set(names)) < len(names):
        raise UserError(f"{path} names a column twice: {', '.join(names)}.")
    for number, row in enumerate(rows, start=2):
        if len(row) != len(names):
            raise UserError(f"{path}, line {number}: {len(row)} values for {len(names)} columns.")
    return {name: [row[i] for row in rows] for i, name in enumerate(names)}


def read_measured(
    path: Path, column: str, space: Space, architectures: Path | None = None
) -> tuple[list[Genotype], np.ndarray]:
    """Architectures and their latencies, in the file's unit.

    Args:
      path: a CSV file with a line for each architecture. It is named in a column ``arch`` or ``arch_str`` by its text, of block
        spaces by the numbers of its candidates joined by ``_``, or in a column ``index`` by its number in the benchmark.
      column: the latencies of which device.
      space: of the architectures.
      architectures: a CSV file with the columns ``index`` and ``arch`` or ``arch_str``: what the numbers stand for.

    Raises:
      UserError: a file that does not read so, an unknown column or number, an architecture that is not of the space, a latency
        that is negative or no number: the line is named.
    """
    columns = read_columns(path)
    named = [name for name in columns if name not in (*_TEXTS, "index")]
    if column not in named:
        raise UserError(f"{path} has no column {column!r} of latencies. {did_you_mean(column, named)}")
    texts = _texts(columns)
    if texts is None:
        texts = _by_index(path, columns, architectures)
    genotypes, latencies = [], []
    for number, (text, latency) in enumerate(zip(texts, columns[column], strict=True), start=2):
        try:
            genotypes.append(_genotype(text, space))
            latencies.append(_time(latency, column))
        except UserError as error:
            raise UserError(f"{path}, line {number}: {error}") from error
    return genotypes, np.array(latencies)


def _texts(columns: Mapping[str, list[str]]) -> list[str] | None:
    return next((columns[name] for name in _TEXTS if name in columns), None)


def _by_index(path: Path, columns: Mapping[str, list[str]], architectures: Path | None) -> list[str]:
    if "index" not in columns:
        raise UserError(f"{path} names no architectures: it needs a column 'arch' or 'index'.")
    if architectures is None:
        raise UserError(
            f"{path} names its architectures by number. Say what the numbers stand for: --architectures FILE, a CSV file with "
            "the columns 'index' and 'arch_str'."
        )
    found = read_columns(architectures)
    texts = _texts(found)
    if "index" not in found or texts is None:
        raise UserError(f"{architectures} must have the columns 'index' and 'arch' or 'arch_str', it has {', '.join(found)}.")
    by_index = dict(zip(found["index"], texts, strict=True))
    for number, index in enumerate(columns["index"], start=2):
        if index not in by_index:
            raise UserError(f"{path}, line {number}: {architectures} has no architecture of index {index!r}.")
    return [by_index[index] for index in columns["index"]]


def _genotype(text: str, space: Space) -> Genotype:
    if isinstance(space, BlockSpace) and "(" not in text:
        parts = text.split("_")
        if len(parts) != len(space.blocks):
            raise UserError(f"{len(parts)} candidates for the {len(space.blocks)} blocks of space {space.name!r}: {text!r}.")
        for i, (part, block) in enumerate(zip(parts, space.blocks, strict=True)):
            if not part.isdecimal() or int(part) >= len(block.operations):
                raise UserError(f"block {i} has {len(block.operations)} candidates, counted from 0, got {part!r}.")
        return block_genotype(space, [block.operations[int(part)] for part, block in zip(parts, space.blocks, strict=True)])
    genotype = from_text(text)
    check_fits(genotype, space)
    return genotype


def _time(text: str, column: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not 0 <= value < float("inf"):
        raise UserError(f"{column} is {text!r}, it must be a time that is not negative.")
    return value

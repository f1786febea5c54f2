"""Tables of latencies: what a row holds, the file, and the costs of a space's candidates read from it."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from jaxnas.errors import UserError, did_you_mean
from jaxnas.latency.graphs import GRAPHS, Graph
from jaxnas.latency.layers import layers
from jaxnas.latency.scores import Scores
from jaxnas.nets import ChainShape, Shape
from jaxnas.spaces import BlockSpace, Space
from jaxnas.whole_files import write_whole

FORMAT, VERSION, UNIT = "jaxnas latency table", 2, "ms"
Kind = Literal["layers", "edges"]
_NAMED = 3  # Missing rows that a message names; it counts them all.


@dataclasses.dataclass(frozen=True)
class Row:
    """One time.

    Attributes:
      mean: in milliseconds.
      spread: standard deviation of the measurements; of a row that was fitted, its standard error. None: not known.
      count: of the measurements; of a row that was fitted, networks that have it. None: not known.

    Raises:
      UserError: a time or spread that is negative or not a number, a count below 1.
    """

    mean: float
    spread: float | None = None
    count: int | None = None

    def __post_init__(self) -> None:
        for name in ("mean", "spread"):
            value = getattr(self, name)
            if value is None and name == "spread":
                continue
            if not _is_time(value):
                raise UserError(f"{name} is {value!r}, it must be a number of milliseconds that is not negative")
        if self.count is not None and (isinstance(self.count, bool) or not isinstance(self.count, int) or self.count < 1):
            raise UserError(f"count is {self.count!r}, it must be a positive integer")


@dataclasses.dataclass(frozen=True)
class Checks:
    """How the table's sums compared with the measured latencies of whole networks.

    Attributes:
      scores: see :class:`jaxnas.latency.Scores`.
      networks: which networks these were, in words.
    """

    scores: Scores
    networks: str


@dataclasses.dataclass(frozen=True)
class Table:
    """Latencies on one device.

    Attributes:
      kind: what the rows are keyed by. ``layers``: :attr:`jaxnas.latency.Layer.key`, the layers that every network has among
        them; good for any network made of these. ``edges``: ``kind/edge/operation`` (:func:`edge_key`), fitted to whole
        networks of one space and shape; only the rows' differences on an edge mean something by themselves.
      space: name of the space that it was made for.
      device: what was measured.
      batch: images at a time; None: not known.
      precision: such as ``float32``; None: not known.
      rows: by key.
      intercept: milliseconds of every network beside its rows.
      shape: of kind ``edges``: :func:`shape_fields`.
      software: versions by name.
      source: how it was made, in words.
      checks: None where it was compared with no network.
      graph: what ran of the networks, see ``jaxnas.latency.graphs.Graph``: what did not costs as much as ``none``.

    Raises:
      UserError: an unknown kind or graph, an intercept that is negative or not a number, a batch below 1, no rows.
    """

    kind: Kind
    space: str
    device: str
    batch: int | None
    precision: str | None
    rows: Mapping[str, Row]
    intercept: float = 0.0
    shape: Mapping[str, Any] | None = None
    software: Mapping[str, str] = dataclasses.field(default_factory=dict)
    source: str = ""
    checks: Checks | None = None
    graph: Graph = "whole"

    def __post_init__(self) -> None:
        if self.kind not in get_args(Kind):
            raise UserError(f"Unknown kind {self.kind!r} of table. {did_you_mean(str(self.kind), get_args(Kind))}")
        if self.graph not in GRAPHS:
            raise UserError(f"Unknown graph {self.graph!r} of a table's networks. {did_you_mean(str(self.graph), GRAPHS)}")
        if not self.rows:
            raise UserError("The table has no rows.")
        if not _is_time(self.intercept):
            raise UserError(f"The table's intercept is {self.intercept!r}, it must be a number of milliseconds, not negative.")
        if self.batch is not None and (isinstance(self.batch, bool) or not isinstance(self.batch, int) or self.batch < 1):
            raise UserError(f"The table's batch is {self.batch!r}, it must be a positive integer.")
        if (self.kind == "edges") != (self.shape is not None):
            raise UserError("A table of kind 'edges' says the shape of the networks that it is of, one of layers does not.")


def _is_time(value: Any) -> bool:
    return not isinstance(value, bool) and isinstance(value, int | float) and 0 <= value < math.inf


def edge_key(kind: str, edge: int, operation: str) -> str:
    """The key of a row in a table of kind ``edges``.

    >>> edge_key("blocks", 3, "k5_e6")
    'blocks/3/k5_e6'
    """
    return f"{kind}/{edge}/{operation}"


def shape_fields(space: Space, shape: Shape | ChainShape) -> dict[str, Any]:
    """What a table of kind ``edges`` stores of the networks that it is of: sizes that its keys do not say.

    >>> from jaxnas.spaces import Block
    >>> space = BlockSpace("one", "fbnet", (8, 1), (), (Block(16, 2, ("k3_e3", "k5_e3")),), 32)
    >>> shape_fields(space, ChainShape(classes=10, image_size=32))
    {'classes': 10, 'image_size': 32, 'stem': [8, 1], 'fixed': [], 'blocks': [[16, 2]], 'head': 32}
    """
    fields = dataclasses.asdict(shape)
    fields.pop("affine", None)  # Of the supernet's batch norms: the deployed ones are all alike.
    if isinstance(space, BlockSpace):
        fields |= {
            "stem": list(space.stem),
            "fixed": [list(block) for block in space.fixed],
            "blocks": [[block.channels, block.stride] for block in space.blocks],
            "head": space.head,
        }
    return fields


def costs(table: Table, space: Space, shape: Shape | ChainShape) -> tuple[dict[str, np.ndarray], float]:
    """The milliseconds of each candidate, over all cells that have it, and those that every network has.

    Returns:
      By kind of cell float64 ``[edges, columns]``, 0 for what is free (see :func:`jaxnas.latency.layers`) and in the padding of
      shorter rows; and the fixed part.

    Raises:
      UserError: rows are missing: all are counted, the first are named; a table of kind ``edges`` of another space or shape.

    >>> from jaxnas.spaces import nb201_family
    >>> space = nb201_family("one edge", ("none", "skip_connect"), nodes=1)
    >>> rows = {edge_key("cell", 0, "none"): Row(0.0), edge_key("cell", 0, "skip_connect"): Row(0.5)}
    >>> shape = Shape(channels=16, cells=5, classes=10)
    >>> table = Table("edges", "one edge", "a phone", 1, "float32", rows, intercept=2.0, shape=shape_fields(space, shape))
    >>> costs(table, space, shape)
    ({'cell': array([[0. , 0.5]])}, 2.0)
    """
    return _of_layers(table, space, shape) if table.kind == "layers" else _of_edges(table, space, shape)


def _of_layers(table: Table, space: Space, shape: Shape | ChainShape) -> tuple[dict[str, np.ndarray], float]:
    needed = layers(space, shape)
    _check_rows(table, space, (layer.key for layer in needed.distinct))

    def milliseconds(found: Iterable[Any]) -> float:
        return math.fsum(table.rows[layer.key].mean for layer in found)

    by_kind = {
        kind: np.array([[milliseconds(candidate or ()) for candidate in edge] for edge in edges], np.float64)
        for kind, edges in needed.candidates.items()
    }
    return by_kind, milliseconds(needed.fixed) + table.intercept


def _of_edges(table: Table, space: Space, shape: Shape | ChainShape) -> tuple[dict[str, np.ndarray], float]:
    check_matches(table, space=space.name)
    wanted, found = shape_fields(space, shape), table.shape or {}
    different = [name for name in {**wanted, **found} if wanted.get(name) != found.get(name)]
    if different:
        said = "; ".join(f"{name} is {found.get(name)} there, {wanted.get(name)} here" for name in different)
        raise UserError(
            f"The table is of networks of another shape: {said}. Its rows are of whole edges and hold for its shape alone. "
            "Make a table of yours."
        )
    keys = {
        kind: [[edge_key(kind, edge, name) for name in names] for edge, names in enumerate(cell.operations)]
        for kind, cell in space.cells
    }
    _check_rows(table, space, (key for edges in keys.values() for edge in edges for key in edge))
    by_kind = {kind: np.zeros((len(cell.edges), cell.columns)) for kind, cell in space.cells}
    for kind, edges in keys.items():
        for edge, row in enumerate(edges):
            by_kind[kind][edge, : len(row)] = [table.rows[key].mean for key in row]
    return by_kind, float(table.intercept)


def _check_rows(table: Table, space: Space, keys: Iterable[str]) -> None:
    missing = [key for key in keys if key not in table.rows]
    if missing:
        named, rest = "; ".join(missing[:_NAMED]), len(missing) - _NAMED
        more = f"; and {rest} more" if rest > 0 else ""
        what = "layer" if table.kind == "layers" else "candidate"
        raise UserError(
            f"The table for space {table.space!r} on {table.device} has no row for {len(missing)} {what}(s) of space "
            f"{space.name!r} in this shape: {named}{more}. Measure them, or use the shape that the table was made for."
        )


def check_matches(
    table: Table,
    *,
    space: str | None = None,
    device: str | None = None,
    precision: str | None = None,
    batch: int | None = None,
) -> None:
    """Passes where the table is of what is asked for; what is None is not asked.

    Raises:
      UserError: it is of another, or does not say; the message says which.
    """
    for name, wanted in (("space", space), ("device", device), ("precision", precision), ("batch", batch)):
        found = getattr(table, name)
        if wanted is not None and found != wanted:
            what = f"does not say its {name}" if found is None else f"is for {name} {found!r}"
            raise UserError(f"The latency table {what}, asked for is {wanted!r}: its times would not hold. Use another table.")


def check_software(table: Table, present: Mapping[str, str]) -> None:
    """Passes where a table was measured with the software that is present, in what both name.

    Raises:
      UserError: other versions; the message says both.

    >>> table = Table("layers", "nb201", "this CPU", 1, "float32", {"a": Row(1.0)}, software={"jax": "0.9.0", "flax": "0.12.8"})
    >>> check_software(table, {"jax": "0.10.2", "flax": "0.12.8"})
    Traceback (most recent call last):
    jaxnas.errors.UserError: The latency table of this CPU was measured with jax 0.9.0, here is jax 0.10.2: its times need not \
hold any more. Measure again: jaxnas profile nb201 --out FILE
    """
    other = [name for name, version in table.software.items() if present.get(name, version) != version]
    if other:
        there, here = (
            ", ".join(f"{name} {versions[name] or 'none'}" for name in other) for versions in (table.software, present)
        )
        raise UserError(
            f"The latency table of {table.device} was measured with {there}, here is {here}: its times need not hold any more. "
            f"Measure again: jaxnas profile {table.space} --out FILE"
        )


def warning(table: Table) -> str | None:
    """What to show wherever the table is used; None where it passed its check.

    >>> table = Table("layers", "nb201", "a phone", 1, "float32", {"a": Row(1.0)})
    >>> warning(table)
    'The latency table of a phone was never checked against whole networks: its sums may be far from what is measured.'
    """
    if table.checks is None:
        return (
            f"The latency table of {table.device} was never checked against whole networks: its sums may be far from what is "
            "measured."
        )
    failures = table.checks.scores.failures
    if not failures:
        return None
    return (
        f"The latency table of {table.device} failed its check on {table.checks.scores.networks:,} whole networks "
        f"({table.checks.networks}): {'; '.join(failures)}."
    )


def write(table: Table, path: Path, overwrite: bool = False) -> None:
    """Writes a table as JSON, whole or not at all.

    Raises:
      UserError: the file exists and ``overwrite`` is not set, or it cannot be written.
    """
    if path.exists() and not overwrite:
        raise UserError(f"{path} exists: nothing was overwritten. Name another file, or say that it may be overwritten.")
    try:
        write_whole(path, (json.dumps(to_json(table), indent=1, allow_nan=False) + "\n").encode())
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error.strerror}.") from error


def to_json(table: Table) -> dict[str, Any]:
    """The file's content."""
    fields: dict[str, Any] = {"format": FORMAT, "version": VERSION, "unit": UNIT}
    fields |= {field.name: getattr(table, field.name) for field in dataclasses.fields(table)}
    fields["rows"] = {key: dataclasses.asdict(row) for key, row in table.rows.items()}
    if table.checks:
        found = table.checks.scores
        numbers = {name: value if math.isfinite(value) else None for name, value in dataclasses.asdict(found).items()}
        fields["checks"] = {**numbers, "of": table.checks.networks, "passed": found.passed}
    return fields


def read(path: Path) -> Table:
    """The table in a file.

    Raises:
      UserError: no such file, not JSON, another format, version or unit, a field missing or unknown, a time that is negative or
        no number: the row is named.
    """
    try:
        content = json.loads(path.read_bytes())
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}.") from error
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is no JSON file: {error}.") from error
    try:
        return from_json(content)
    except UserError as error:
        raise UserError(f"{path}: {error}") from error


def from_json(content: Any) -> Table:
    """The table of a file's content, see :func:`read`.

    >>> from_json({"format": "jaxnas latency table", "version": 1})
    Traceback (most recent call last):
    jaxnas.errors.UserError: this is version 1 of the format of latency tables, this jaxnas reads version 2. Make it anew.
    """
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise UserError(f"this is no latency table: its 'format' is not {FORMAT!r}. Other formats are imported first.")
    content = {name: value for name, value in content.items() if name != "format"}
    for name, wanted in (("version", VERSION), ("unit", UNIT)):
        if name not in content:
            raise UserError(f"the table does not say its {name}.")
        found = content.pop(name)
        if found != wanted and name == "version":
            raise UserError(
                f"this is version {found!r} of the format of latency tables, this jaxnas reads version {wanted}. Make it anew."
            )
        if found != wanted:
            raise UserError(f"the table's unit is {found!r}, it must be {wanted!r}.")
    known = [field.name for field in dataclasses.fields(Table)]
    for name in content:
        if name not in known:
            raise UserError(f"unknown field {name!r}. {did_you_mean(name, known)}")
    for name in known:
        if name not in content:
            raise UserError(f"the field {name!r} is missing.")
    _check_types(content)
    rows = {key: _row(key, value) for key, value in content["rows"].items()}
    return Table(**{**content, "rows": rows, "checks": content["checks"] and _checks(content["checks"])})


_FORMS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "space": (lambda value: isinstance(value, str), "text"),
    "device": (lambda value: isinstance(value, str), "text"),
    "precision": (lambda value: value is None or isinstance(value, str), "text or null"),
    "source": (lambda value: isinstance(value, str), "text"),
    "rows": (lambda value: isinstance(value, dict), "an object"),
    "software": (lambda value: isinstance(value, dict), "an object"),
    "shape": (lambda value: value is None or isinstance(value, dict), "an object or null"),
    "checks": (lambda value: value is None or isinstance(value, dict), "an object or null"),
}


def _check_types(content: Mapping[str, Any]) -> None:
    for name, (fits, form) in _FORMS.items():
        if not fits(content[name]):
            raise UserError(f"the field {name!r} must be {form}, got {content[name]!r}.")


def _row(key: str, value: Any) -> Row:
    if not isinstance(value, dict) or set(value) != {"mean", "spread", "count"}:
        raise UserError(f"row {key!r} must have mean, spread and count, got {value!r}.")
    try:
        return Row(**value)
    except UserError as error:
        raise UserError(f"row {key!r}: {error}.") from error


def _checks(value: Mapping[str, Any]) -> Checks:
    names = [field.name for field in dataclasses.fields(Scores)]
    if set(value) != {*names, "of", "passed"}:
        raise UserError(f"checks must have {', '.join([*names, 'of', 'passed'])}, got {', '.join(value)}.")
    numbers: dict[str, Any] = {name: math.nan if value[name] is None else value[name] for name in names}
    for name, number in numbers.items():
        if isinstance(number, bool) or not isinstance(number, int | float):
            raise UserError(f"checks: {name} must be a number, got {number!r}.")
    found = Scores(**numbers)
    if value["passed"] is not found.passed:
        raise UserError(f"checks: 'passed' is {value['passed']!r}, but by its numbers it is {found.passed}.")
    return Checks(found, str(value["of"]))

"""What the logs of a run say, epoch by epoch; of a log that is damaged, what is left of it."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxnas.derive import derive, strengths
from jaxnas.errors import UserError
from jaxnas.recipe import SearchRecipe
from jaxnas.spaces import CellSpace, Genotype, Space
from jaxnas.stages import gathered, spread


def read_lines(path: Path) -> tuple[list[dict[str, Any]], list[str]]:
    """The objects in a JSON lines file, and in words what could not be read.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "log.jsonl"
    >>> _ = path.write_text('{"stage": "search", "epoch": 0}\\n{"stage": "sea')
    >>> read_lines(path)
    ([{'stage': 'search', 'epoch': 0}], ['log.jsonl: line 2 is damaged and was left out.'])
    """
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        return [], [f"{path.name} cannot be read: {error.strerror}."]
    records, problems = [], []
    for number, line in enumerate(text.splitlines(), start=1):
        try:
            record = json.loads(line)
        except ValueError:
            record = None
        if isinstance(record, dict) and isinstance(record.get("stage"), str):
            records.append(record)
        else:
            problems.append(f"{path.name}: line {number} is damaged and was left out.")
    return records, problems


@dataclasses.dataclass(frozen=True)
class Moment:
    """The alphas after an epoch of a search.

    Attributes:
      label: stage, where there are several, and epoch from 1.
      strengths: by kind of cell ``[edges, columns]`` of the whole space, the softmax that the derivation compares; NaN for
        candidates that the stage did not have.
      genotype: what the strongest alphas stood for.
    """

    label: str
    strengths: dict[str, np.ndarray]
    genotype: Genotype


def moments(
    search: SearchRecipe, records: Sequence[Mapping[str, Any]], most: int | None = None
) -> tuple[list[Moment], list[str]]:
    """The moments of a search, and in words what could not be read.

    Args:
      search: the recipe's.
      records: of a run's ``log.jsonl``.
      most: at most so many, evenly apart, the last among them; all by default.
    """
    space, found, problems = search.build_space(), [], []
    logged = [record for record in records if "alphas" in record]
    if most is not None and len(logged) > most:
        logged = [logged[at] for at in np.unique(np.linspace(0, len(logged) - 1, most).round().astype(int))]
    for record in logged:
        stage = "" if record["stage"] == "search" else f"{record['stage'].removeprefix('search ')}: "
        try:
            found.append(_moment(search, space, record, f"{stage}{int(record['epoch']) + 1}"))
        except (UserError, KeyError, TypeError, ValueError, IndexError, AttributeError):
            problems.append(f"The alphas of epoch {record.get('epoch')} of {record['stage']!r} are damaged and were left out.")
    return found, problems


def _moment(search: SearchRecipe, space: Space, record: Mapping[str, Any], label: str) -> Moment:
    alphas = {kind: np.asarray(values, np.float64) for kind, values in record["alphas"].items()}
    left: Space = space
    if search.next_stages and isinstance(space, CellSpace):
        left, alphas = gathered(space, alphas)
    found = strengths(left, alphas)
    whole = spread(space, left, found) if left is not space else found
    return Moment(label, {kind: whole[kind] for kind, _ in space.cells}, derive(left, alphas, search.most_skips))

"""The registry of published results: a file each, with what was published, what it takes to get it, and what came out last.

The files are ``experiments/published/NAME.json`` of a checkout; a wheel carries copies.
"""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

from jaxnas.errors import UserError, did_you_mean
from jaxnas.run_folder import read_json
from jaxnas.whole_files import write_whole

PACKAGED = Path(__file__).parent / "experiments_published"
CHECKOUT = Path(__file__).parents[1] / "experiments" / "published"


@dataclasses.dataclass(frozen=True)
class Expected:
    """A published number.

    Attributes:
      quantity: what is measured; of a table ``dataset/split/epochs``.
      value: as it was published; None where that is not known.
      spread: the published deviation.
      tolerance: how far the mean of what is measured may be from the value, for the result to hold.
      said: of what the spread and the tolerance are, or why there is no value.
    """

    quantity: str
    value: float | None
    spread: float | None = None
    tolerance: float | None = None
    said: str = ""

    def __post_init__(self) -> None:
        if (self.value is None) != (self.tolerance is None):
            raise UserError(f"{self.quantity}: a value needs a tolerance, and a tolerance a value.")
        if self.value is None and not self.said:
            raise UserError(f"{self.quantity} has no value: said must tell why.")

    def holds(self, mean: float) -> bool | None:
        """Whether a mean is within the tolerance; None where nothing was published.

        >>> Expected("test error", 2.76, 0.09, 0.09).holds(2.84), Expected("test error", None, said="not known").holds(2.84)
        (True, None)
        """
        if self.value is None or self.tolerance is None:
            return None
        return math.isfinite(mean) and abs(mean - self.value) <= self.tolerance * (1 + 1e-9)  # Decimals are no binary numbers.


@dataclasses.dataclass(frozen=True)
class Jobs:
    """Commands that differ in their seeds.

    Attributes:
      recipe: what they begin with.
      seeds: a command for each.
      arguments: further options.
    """

    recipe: str
    seeds: tuple[int, ...] = ()
    arguments: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Choice:
    """How the search that is kept is chosen: what each found is trained briefly on the search's training half, and that of the
    highest accuracy on its validation half is kept. The test split is not read.

    Attributes:
      recipe: of the trainings.
      epochs: of them, in place of the recipe's.
    """

    recipe: str
    epochs: int


@dataclasses.dataclass(frozen=True)
class Result:
    """A published result.

    Attributes:
      name: of its file.
      title: what it is, in words.
      source: the paper or code that it is from, and where its numbers were taken.
      protocol: in words: how many searches, how the one that counts is chosen, what that costs.
      published_cost: as it was published; None where that is not known.
      differs: what our recipe does otherwise than the source; empty where nothing is known to differ.
      expected: the numbers; the first is the one that lists show.
      count: of what needs no training, the counter (:data:`jaxnas.reproducing.COUNTERS`).
      searches: else the searches.
      looked_up: whether a table of NAS-Bench-201 says what was found.
      choice: else how one search is kept of several.
      trainings: and how what is kept is trained, and judged by the test split.
      measured: what came out last, with device and date; None for not run.
    """

    name: str
    title: str
    source: str
    protocol: str
    published_cost: str | None
    differs: str
    expected: tuple[Expected, ...]
    count: str | None = None
    searches: Jobs | None = None
    looked_up: bool = False
    choice: Choice | None = None
    trainings: Jobs | None = None
    measured: dict[str, Any] | None = None

    def __post_init__(self) -> None:
        if not self.expected:
            raise UserError(f"{self.name}: nothing is expected.")
        if (self.count is None) == (self.searches is None):
            raise UserError(f"{self.name}: either count or searches says what is done.")
        if self.searches is not None and self.looked_up == (self.trainings is not None):
            raise UserError(f"{self.name}: what searches find is either looked_up or has trainings.")
        if self.trainings is not None and self.searches is not None and (len(self.searches.seeds) > 1) != bool(self.choice):
            raise UserError(f"{self.name}: a choice says which search is kept, where there are several.")


def names() -> list[str]:
    """Of all results."""
    return sorted(path.stem for path in folder().glob("*.json"))


def folder() -> Path:
    """Where the files are: packed into a wheel, or in the checkout that this code is in.

    Raises:
      UserError: neither is there.
    """
    found = next((path for path in (PACKAGED, CHECKOUT) if path.is_dir()), None)
    if found is None:
        raise UserError(f"The registry of published results is missing: no {CHECKOUT}. Install jaxnas anew, or use a checkout.")
    return found


def find(name: str) -> Result:
    """The result of a name.

    Raises:
      UserError: there is none, or its file is damaged.

    >>> find("counts-nb101").expected[0].value
    423624
    """
    path = folder() / f"{name}.json"
    if name not in names():
        raise UserError(f"Unknown published result {name!r}. {did_you_mean(name, names())}")
    return parsed(name, read_json(path), str(path))


def parsed(name: str, document: Any, where: str) -> Result:
    """A result from the content of its file.

    Raises:
      UserError: it does not have the form; the message has the reason.
    """
    try:
        content = dict(document)
        content["expected"] = tuple(Expected(**one) for one in content["expected"])
        if content.get("choice") is not None:
            content["choice"] = Choice(**content["choice"])
        for key in ("searches", "trainings"):
            if content.get(key) is not None:
                content[key] = Jobs(
                    **{**content[key], **{of: tuple(content[key].get(of, ())) for of in ("seeds", "arguments")}}
                )
        return Result(name=name, **content)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise UserError(f"{where} does not describe a published result: {error}") from error


def check_recordable() -> None:
    """Refuses to record what is measured outside a checkout.

    Raises:
      UserError: the registry is an installation's.
    """
    if folder() != CHECKOUT:
        raise UserError(f"Measurements are recorded in a checkout's experiments/published: {folder()} is of an installation.")


def record(name: str, measured: dict[str, Any]) -> Path:
    """Writes what came out into the file of a result, in a checkout; returns the file.

    Raises:
      UserError: this is no checkout, or the file cannot be written.
    """
    check_recordable()
    path = CHECKOUT / f"{name}.json"
    try:
        write_whole(path, (json.dumps(read_json(path) | {"measured": measured}, indent=1, ensure_ascii=False) + "\n").encode())
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error.strerror}.") from error
    return path

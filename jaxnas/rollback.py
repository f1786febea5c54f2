"""What a search goes back to when RobustDARTS's rule calls: the states it may need, the log before them, a stronger decay.

Whether the rule calls is read from the log alone, so that a search that is resumed comes to the same decision.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Mapping, Sequence
from typing import Any

from jaxnas.errors import UserError
from jaxnas.history import read_lines
from jaxnas.instruments import DELTA, EARLIEST, WINDOW, EarlyStop, early_stop
from jaxnas.recipe import SearchRecipe
from jaxnas.run_folder import ABANDONED, LOG, ROLLBACK, RunFolder, read_arrays
from jaxnas.stages import Part

BACK = WINDOW // 2 + DELTA
"""So many measurements before the one that calls is the one whose state is kept."""

SPARE = 2
"""States kept beyond that: a damaged checkpoint makes a resumed search begin an epoch earlier."""

EIGENVALUE = "hessian_eigenvalue"
"""In the log the largest eigenvalue of the validation loss's Hessian in the alphas."""


def check_early_stop(search: SearchRecipe) -> None:
    """Refuses an early stop that could never act.

    Raises:
      UserError: the search is over before the rule is asked, or the decay cannot be raised.

    >>> check_early_stop(SearchRecipe(early_stop="end", instruments_every=2, epochs=24))
    Traceback (most recent call last):
    jaxnas.errors.UserError: early_stop=end: with instruments_every=2 RobustDARTS's rule is first asked after epoch 23, the \
search of 24 epochs ends before. Search for at least 25 epochs.
    """
    if search.early_stop == "off":
        return
    every = search.instruments_every
    first = every - 1
    while first - every * BACK < EARLIEST:
        first += every
    epochs = search.warmup_epochs + search.epochs
    if first >= epochs - 1:
        raise UserError(
            f"early_stop={search.early_stop}: with instruments_every={every} RobustDARTS's rule is first asked after epoch "
            f"{first}, the search of {epochs} epochs ends before. Search for at least {first + 2} epochs."
        )
    if search.early_stop == "regularise" and raised(search) is None:
        raise UserError(
            f"early_stop=regularise: weight_decay={search.weight_decay} times decay_factor={search.decay_factor} is above "
            f"decay_limit={search.decay_limit}, or no rise. Set another limit, or early_stop=end."
        )


def raised(search: SearchRecipe) -> float | None:
    """The weight decay after a call of the rule; None where it would be above the limit, and the rule is not asked any more.

    >>> raised(SearchRecipe(weight_decay=3e-4, early_stop="regularise", instruments_every=2))
    0.003
    """
    after = float(f"{search.weight_decay * search.decay_factor:.12g}")
    return after if search.weight_decay < after <= search.decay_limit else None


def called(folder: RunFolder, part: Part) -> EarlyStop | None:
    """What the rule says of a search's log: when it called first.

    Nothing where an eigenvalue was not finite, which the rule cannot read.
    """
    path = folder.path / LOG
    records = read_lines(path)[0] if path.exists() else []
    found = {record["epoch"]: record[EIGENVALUE] for record in records if record["stage"] == part.name and EIGENVALUE in record}
    if None in found.values():
        return None
    return early_stop(list(found), list(found.values()), part.search.instruments_every)


def acts(folder: RunFolder, part: Part) -> EarlyStop | None:
    """The call that the recipe acts upon. After the last epoch the rule is not asked, nor where the decay cannot rise."""
    search = part.search
    if search.early_stop == "off" or (search.early_stop == "regularise" and raised(search) is None):
        return None
    call = called(folder, part)
    return call if call is not None and call.seen_at < part.end_epoch - 1 else None


def keep(folder: RunFolder, epoch: int, every: int, state: Any) -> None:
    """Keeps the state of a measured epoch, and removes one that no later measurement can go back to."""
    if epoch < EARLIEST:
        return
    (folder.path / ROLLBACK).mkdir(exist_ok=True)
    folder.write_arrays(_name(epoch), {"state": state})
    (folder.path / _name(epoch - every * (BACK + SPARE + 1))).unlink(missing_ok=True)


def state_of(folder: RunFolder, epoch: int, like: Any) -> Any:
    """The state after an epoch, in the form of another one.

    Raises:
      UserError: it is missing or damaged.
    """
    return read_arrays(folder.path / _name(epoch), {"state": like})["state"]


def cut(folder: RunFolder, stage: str, epoch: int) -> None:
    """Takes the lines of a stage after an epoch out of the log, into ``abandoned.jsonl``."""
    path, left = folder.path / LOG, folder.path / ABANDONED
    lines = path.read_text().splitlines(keepends=True)
    gone = [_is_after(line, stage, epoch) for line in lines]
    before = left.read_text() if left.exists() else ""
    folder.write_text(ABANDONED, before + "".join(line for line, out in zip(lines, gone, strict=True) if out))
    folder.write_text(LOG, "".join(line for line, out in zip(lines, gone, strict=True) if not out))


def regularised(part: Part, calls: Sequence[Mapping[str, Any]]) -> Part:
    """The stage that a search goes on with after some calls of the rule: from the last one's epoch on, at its decay.

    So DARTS-ADA (automl/RobustDARTS, src/search/train_search.py, ``early_stop`` 3). There the measurements that were gone back
    behind stay in the average all the same, as the restored ones are not handed on: that slip is not followed.
    """
    if not calls:
        return part
    search = dataclasses.replace(part.search, weight_decay=calls[-1]["weight_decay"])
    return dataclasses.replace(part, search=search, first_epoch=calls[-1]["epoch"] + 1)


def told(call: EarlyStop, search: SearchRecipe) -> str:
    """What a person reads of a call, and what is to be done about it."""
    rise = (
        f"the largest eigenvalue of the validation loss in the alphas is {call.ratio:.2f} times what it was {DELTA} "
        "measurements ago: DARTS's cells are known to collapse into skip connections after such a rise."
    )
    if search.early_stop == "end":
        return (
            f"early stop: {rise} The search ends here, and what it derives is that of epoch {call.epoch}, before the rise. "
            "Its accuracy is not that of a finished search: compare with --search.early-stop regularise, with a stronger "
            "--search.weight-decay, or with an estimator such as sdarts_rs or drnas."
        )
    decay = raised(search)
    if search.early_stop == "regularise" and decay is not None:
        return f"early stop: {rise} The search goes back to epoch {call.epoch} and on with weight_decay={decay:g}."
    return (
        f"warning: {rise} RobustDARTS would keep the alphas of epoch {call.epoch}, which log.jsonl has: "
        "--search.early-stop end does. A stronger --search.weight-decay, or an estimator such as sdarts_rs or drnas, keeps the "
        "curvature low."
    )


def remove(folder: RunFolder) -> None:
    """Removes all states: the search is done."""
    shutil.rmtree(folder.path / ROLLBACK, ignore_errors=True)


def _name(epoch: int) -> str:
    return f"{ROLLBACK}/{epoch}.npz"


def _is_after(line: str, stage: str, epoch: int) -> bool:
    record = json.loads(line)
    return record["stage"] == stage and record.get("epoch", -1) > epoch

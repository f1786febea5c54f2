"""Whether a search on NAS-Bench-201 can be trusted: its shared weights against the table, and where its regret is from."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from scipy import stats

from jaxnas import stored
from jaxnas.compiling import compile_ahead
from jaxnas.data import Augmentation, Dataset, augment
from jaxnas.derive import strengths
from jaxnas.errors import UserError
from jaxnas.nets import Network
from jaxnas.recipe import SearchRecipe
from jaxnas.selection import path_accuracy
from jaxnas.spaces import to_text
from jaxnas.tabular import SEARCHED, Table, nb201, table_of
from jaxnas.tabular import read as read_table

LIKELY = 100
"""Architectures drawn from the alphas, beside the sample: what a search believes in is more than its argmax."""
LEAST_SAMPLE, LEAST_IMAGES = 20, 16


@dataclasses.dataclass(frozen=True)
class Trust:
    """What shared weights say of architectures, against a table. Accuracies are in percent, the table's of its test split.

    Attributes:
      searched_on: the dataset of the run, whose images the shared weights are scored on.
      table: the benchmark and its dataset.
      scored: architectures that were scored with shared weights, of ``nb201.SIZE``.
      images: of the validation half, that each was scored on.
      kendall, spearman: rank correlation of shared-weight and table accuracies over the sample that was drawn uniformly.
      kendall_top, spearman_top: over its tenth that is best by the table.
      derived: the architecture that the search derived, and under ``derived_accuracy`` what the table says of it.
      best_accuracy: of the table.
      regret: ``best_accuracy - derived_accuracy``; the sum of the following four.
      not_scored: the table's best less the best of those scored: what a sample cannot know.
      ranking: the best of those scored less the one with the highest shared-weight accuracy: what it costs to believe the
        shared weights.
      search: that one less the best by shared weights of those drawn from the alphas: what it cost that the alphas left it.
      discretization: that one less what was derived: what it cost to take the strongest operation of every edge.
      mean_accuracy: of all architectures of the table: what a random one is worth.
    """

    searched_on: str
    table: str
    scored: int
    images: int
    kendall: float
    spearman: float
    kendall_top: float
    spearman_top: float
    derived: str
    derived_accuracy: float
    best_accuracy: float
    regret: float
    not_scored: float
    ranking: float
    search: float
    discretization: float
    mean_accuracy: float


def trust(
    folder: Path,
    table: Path,
    dataset: str | None = None,
    sample: int | None = None,
    images: int = 256,
    data_dir: Path | None = None,
) -> Trust:
    """The report on a finished search of the space of NAS-Bench-201.

    Args:
      folder: of the run.
      table: a table of the benchmark, of any form that :func:`jaxnas.tabular.read` reads.
      dataset: of the table; that of the run by default, if the benchmark has it.
      sample: architectures drawn uniformly, by the run's seed; all 15,625 by default on an accelerator, 300 on a CPU.
      images: of the validation half, drawn by the run's seed; batch norm goes by them, for each architecture anew.
      data_dir: folder of the dataset's official files.

    Raises:
      UserError: no such run, one of another space or form, a table without the dataset, numbers that are too small.
    """
    _, recipe = stored.recipe_of(folder)
    _check(recipe.search, folder)
    seen = _table(table, dataset, recipe.dataset)
    if sample is None:
        sample = 300 if jax.default_backend() == "cpu" else nb201.SIZE
    if not LEAST_SAMPLE <= sample <= nb201.SIZE:
        raise UserError(f"--sample is {sample}: rank correlations need {LEAST_SAMPLE} to {nb201.SIZE:,} architectures.")
    if images < LEAST_IMAGES:
        raise UserError(f"--images is {images}: an accuracy needs at least {LEAST_IMAGES}.")
    recipe, data, network, weights = stored.supernet_of(folder, data_dir)
    found = len(data.search_valid.labels)
    images = min(images, found)
    space, alphas = stored.alphas_of(folder)
    derived = to_text(stored.derived_genotype(folder))

    rng = np.random.Generator(np.random.PCG64([recipe.seed, 3]))
    uniform = np.sort(rng.permutation(nb201.SIZE)[:sample])
    likely = nb201.indices(_drawn(strengths(space, alphas)["cell"], LIKELY, rng))
    chosen = int(nb201.indices_of_strings([derived])[0])
    every = np.unique(np.concatenate([uniform, likely, [chosen]]))
    rows = np.sort(rng.permutation(found)[:images])
    shared = np.full(nb201.SIZE, np.nan)
    shared[every] = shared_accuracies(network, weights, nb201.all_choices()[every], data, rows)
    return _report(seen, shared, uniform, np.unique(np.append(likely, chosen)), chosen, images, derived, recipe.dataset)


def _report(
    table: Table,
    shared: np.ndarray,
    uniform: np.ndarray,
    likely: np.ndarray,
    derived: int,
    images: int,
    text: str,
    dataset: str,
) -> Trust:
    """From accuracies by the benchmark's numbers: those by shared weights are NaN where there is none."""
    test = table.test.astype(np.float64)
    scored = np.flatnonzero(~np.isnan(shared))

    def best_by_shared(among: np.ndarray) -> float:
        return float(test[among[shared[among].argmax()]])

    top = uniform[np.argsort(-test[uniform], kind="stable")[: max(2, math.ceil(len(uniform) / 10))]]
    best, best_scored = float(test.max()), float(test[scored].max())
    by_shared, by_alphas, by_argmax = best_by_shared(scored), best_by_shared(likely), float(test[derived])
    return Trust(
        searched_on=dataset,
        table=table.name,
        scored=len(scored),
        images=images,
        kendall=_correlation(stats.kendalltau, shared[uniform], test[uniform]),
        spearman=_correlation(stats.spearmanr, shared[uniform], test[uniform]),
        kendall_top=_correlation(stats.kendalltau, shared[top], test[top]),
        spearman_top=_correlation(stats.spearmanr, shared[top], test[top]),
        derived=text,
        derived_accuracy=by_argmax,
        best_accuracy=best,
        regret=best - by_argmax,
        not_scored=best - best_scored,
        ranking=best_scored - by_shared,
        search=by_shared - by_alphas,
        discretization=by_alphas - by_argmax,
        mean_accuracy=float(test.mean()),
    )


def _correlation(kind: Callable[..., Any], ours: np.ndarray, theirs: np.ndarray) -> float:
    """NaN where one of them is the same for all: there are no ranks to compare."""
    constant = len(set(ours)) == 1 or len(set(theirs)) == 1
    return math.nan if constant else float(kind(ours, theirs).statistic)


def shared_accuracies(network: Network, weights: Any, choices: np.ndarray, dataset: Dataset, rows: np.ndarray) -> np.ndarray:
    """Accuracies of sub-networks with the supernet's weights, by one compiled program.

    Args:
      network, weights: a supernet of NAS-Bench-201's space.
      choices: ``[A, 6]``, the number of each edge's operation.
      dataset: whose validation half of the search is looked at.
      rows: ``[N]``, which of its images: one batch, by which batch norm goes, so each sub-network has statistics of its own.

    Returns:
      ``[A]`` float64, percent.
    """
    split = dataset.search_valid
    paths, images, labels = jnp.asarray(nb201.one_hot(choices)), np.asarray(split.images[rows]), split.labels[rows]

    def score(weights: Any, paths: Array, images: Array, labels: Array) -> Array:
        x = augment(jax.random.key(0), images, Augmentation(), dataset.mean, dataset.std)

        def one(path: Array) -> Array:
            return path_accuracy(network, weights, {"cell": path}, x, labels, jax.random.key(0))

        return lax.map(one, paths)

    return 100 * np.asarray(
        compile_ahead(score, weights, paths, images, labels).call(weights, paths, images, labels), np.float64
    )


def _drawn(probabilities_ExO: np.ndarray, number: int, rng: np.random.Generator) -> np.ndarray:
    """``[number, E]`` columns, each edge's drawn by its probabilities."""
    below = probabilities_ExO.cumsum(1)
    return (rng.random((number, len(below), 1)) * below[:, -1:] > below[None, :, :-1]).sum(2).astype(np.int32)


def _check(search: SearchRecipe, folder: Path) -> None:
    space = search.build_space()
    if space.family != "nb201" or space.cell("cell").operations != (nb201.OPERATIONS,) * len(nb201.EDGES):
        raise UserError(f"{folder} searched the space {space.name!r}: tables know the cells of nb201, with all its operations.")


def _table(path: Path, dataset: str | None, of_run: str) -> Table:
    if dataset is None and of_run not in SEARCHED:
        raise UserError(
            f"The run searched on {of_run!r}, which no table has. Say which to compare with: --dataset {'|'.join(SEARCHED)}."
        )
    return table_of(read_table(path, "nb201"), dataset or of_run)


def told(trust: Trust) -> str:
    """The report as it is printed."""
    parts = {
        "the best was not scored": trust.not_scored,
        "ranking: shared weights prefer another": trust.ranking,
        "search: the alphas left what shared weights prefer": trust.search,
        "discretization: the strongest operation of every edge": trust.discretization,
    }
    return "\n".join(
        [
            f"{trust.scored:,} of {nb201.SIZE:,} architectures scored with shared weights on {trust.images} images",
            f"searched on: {trust.searched_on}",
            f"table: {trust.table}",
            f"rank correlation with the table    Kendall {trust.kendall:.3f}, Spearman {trust.spearman:.3f}",
            f"  in its best tenth                Kendall {trust.kendall_top:.3f}, Spearman {trust.spearman_top:.3f}",
            f"derived: {trust.derived}",
            f"  {trust.derived_accuracy:.2f} % in the table: best {trust.best_accuracy:.2f}, mean {trust.mean_accuracy:.2f}",
            f"regret {trust.regret:.2f} points:",
            *(f"  {points:6.2f}  {words}" for words, points in parts.items()),
        ]
    )

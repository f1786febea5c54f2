"""A search in Python in three lines: data in, a trained network of a found architecture out."""

from __future__ import annotations

import dataclasses
import itertools
import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxnas import run as runs
from jaxnas.budget import Budget, for_budget
from jaxnas.console import Console
from jaxnas.data import ARRAYS, Dataset, from_arrays, load, normalise, pixel_scale, to_bytes
from jaxnas.errors import UserError
from jaxnas.predicting import Predictor, without_images
from jaxnas.recipes import Recipe, find
from jaxnas.run_folder import NETWORK, REPORT, RunFolder, read_arrays
from jaxnas.spaces import Genotype, from_text
from jaxnas.training import network_of, shape_of
from jaxnas.whole_files import write_whole

RECIPE = "nb201-digits"
"""The default: a small space, whose search compiles in a third of the time of DARTS's. Its values are for no data set in
particular but for their size."""


@dataclasses.dataclass(frozen=True, eq=False)
class Found:
    """What one seed found.

    Attributes:
      folder: the run's.
      recipe: as it was run: where a budget decided the steps of the epochs, with these. Searched with anew, without a budget,
        it comes to the same.
      result: what the run's ``result.json`` holds.
      genotype: the architecture.
      predictor: its trained network.
    """

    folder: Path
    recipe: Recipe
    result: dict[str, Any]
    genotype: Genotype
    predictor: Predictor

    @property
    def test_accuracy(self) -> float:
        """Of the trained network, on images that neither search nor training saw, 0 to 1."""
        return self.result["found"]["test_accuracy"]


@dataclasses.dataclass(frozen=True, eq=False)
class SearchResult:
    """What a search found: a run for each seed, and their networks as one ensemble.

    Attributes:
      runs: in the order of the seeds.
      classes: the labels, in the order of the probabilities' columns, in the type that they were given in.
      scale: of the pixels that were given, see :func:`jaxnas.data.pixel_scale`; None of a data set by name.
    """

    runs: tuple[Found, ...]
    classes: np.ndarray
    scale: int | None

    @property
    def genotype(self) -> Genotype:
        """The first seed's. No seed is chosen for its test accuracy: that would no longer be one."""
        return self.runs[0].genotype

    @property
    def test_accuracies(self) -> list[float]:
        """Of each seed's network alone."""
        return [one.test_accuracy for one in self.runs]

    def predict_proba(self, x: Any) -> np.ndarray:
        """Probabilities ``[N, classes]``, float32; of several seeds the mean.

        Args:
          x: images in the form of those of the search.

        Raises:
          UserError: images of another size, type or range.
        """
        [images] = to_bytes([_array(x, "x")], "x", self.scale)
        return np.mean([one.predictor(images) for one in self.runs], axis=0)

    def predict(self, x: Any) -> np.ndarray:
        """The most probable label of each image."""
        return self.classes[self.predict_proba(x).argmax(1)]

    def report(self, out: str | os.PathLike[str] | None = None) -> Path:
        """Writes one HTML page: of the run, or of all seeds beside each other. Returns where it is.

        Args:
          out: the page; by default ``report.html`` in the run's folder, or in that which holds the runs.

        Raises:
          UserError: the page cannot be written, or something else stands there.
        """
        from jaxnas.report import comparison, is_ours, read_run, report, to_html  # Not above: a search begins sooner without.

        folders = [one.folder for one in self.runs]
        default = folders[0] if len(folders) == 1 else folders[0].parent
        page = report(read_run(folders[0])) if len(folders) == 1 else comparison([read_run(folder) for folder in folders])
        path = default / REPORT if out is None else Path(out)
        if path.exists() and not is_ours(path):
            raise UserError(f"{path} exists and is no page of jaxnas: nothing was overwritten. Give another out.")
        try:
            write_whole(path, to_html(page).encode())
        except OSError as error:
            raise UserError(f"{path} cannot be written: {error.strerror}.") from error
        return path

    def export(self, *formats: str, out: str | os.PathLike[str] | None = None) -> dict[str, Path]:
        """Writes the first seed's network for elsewhere, each format compared with it first. Returns the files by name.

        Args:
          formats: ``genotype``, ``safetensors``, ``flax``, ``stablehlo``, ``onnx``, see ``jaxnas.export.export``.
          out: the folder for the files; by default ``export`` in the run's.

        Raises:
          UserError: an unknown format, a file that exists or cannot be written, or outputs that are not the network's.
        """
        from jaxnas.export import TrainedNetwork, check_formats, export, files_of  # Not above: a search begins sooner without.

        chosen, [run, *_] = check_formats(formats), self.runs
        folder = run.folder / "export" if out is None else Path(out)
        for name in files_of(chosen):
            if (folder / name).exists():
                raise UserError(f"{folder / name} exists: nothing was overwritten. Give another out.")
        one, crop = run.predictor, run.recipe.train.augmentation.resized_crop
        shape = shape_of(one.genotype, one.recipe, one.dataset)
        data = one.dataset.mean, one.dataset.std, one.dataset.class_names
        trained = TrainedNetwork(one.genotype, shape, one.weights, one.statistics, *data, cropped=crop > 0)
        # The search's images are not kept: outputs are compared on drawn ones.
        drawn = np.random.Generator(np.random.PCG64(0)).integers(0, 256, (16, shape.image_size, shape.image_size, 3), np.uint8)
        exported = export(trained, chosen, np.asarray(normalise(jnp.asarray(drawn), one.dataset.mean, one.dataset.std)))
        if not exported.passed:
            raise UserError(f"Nothing was written: outputs differ from the network's by {dict(exported.differences)}.")
        try:
            folder.mkdir(parents=True, exist_ok=True)
            for name, content in exported.files.items():
                write_whole(folder / name, content)
        except OSError as error:
            raise UserError(f"Cannot write into {folder}: {error.strerror}.") from error
        return {name: folder / name for name in exported.files}


def search(
    x: Any,
    y: Any = None,
    *,
    recipe: str | Recipe = RECIPE,
    minutes: float | None = None,
    target_ms: float | None = None,
    latency_table: str | os.PathLike[str] | None = None,
    seeds: int | Sequence[int] = 0,
    data_dir: str | os.PathLike[str] | None = None,
    out: str | os.PathLike[str] | None = None,
    verbose: bool = True,
) -> SearchResult:
    """Searches an architecture for images, trains it, and says how good it is on images that were set aside.

    Args:
      x: images ``[N, S, S]``, ``[N, S, S, 1]`` or ``[N, S, S, 3]``, see :func:`jaxnas.data.from_arrays`; a fifth of every class
        is set aside for the test. Or the name of a data set, see :func:`jaxnas.data.load`.
      y: a label for each image; without them for a data set's name.
      recipe: a name, or a recipe; its data set is replaced.
      minutes: what all may take, compilation included. The recipe's epochs then have as many steps as there is time for, and no
        random architectures are trained beside what was found. A run stops when its time is over, as far as it is: it is late
        by at most what ends last, a dispatch of 20 steps, the test, and what compiling the found network took longer than
        compiling the search, by which it is estimated. (The test, compiled too, is planned for.)
      target_ms, latency_table: milliseconds that the network may take, by a table of ``jaxnas profile``.
      seeds: a seed, or several, which share the minutes equally.
      data_dir: of a data set by name.
      out: a new folder for the run's files, or for one folder a seed; by default a new one in ``runs/``.
      verbose: print what happens.

    Raises:
      UserError: data, a recipe or a budget that cannot be searched with; of a budget the message says what the shortest is.
      TargetMissed: no architecture is within the target.

    >>> import jaxnas
    >>> jaxnas.search([[1, 2]], [0])
    Traceback (most recent call last):
    jaxnas.errors.UserError: x is [1, 2], which are no images. Give [N, S, S], as by x.reshape(-1, S, S), or [N, S, S, 3].
    """
    wanted = [seeds] if isinstance(seeds, int) else list(seeds)
    if not wanted:
        raise UserError("seeds is empty. Give a seed, or several.")
    budget = None if minutes is None else Budget(minutes)
    called, chosen = (recipe, find(recipe)) if isinstance(recipe, str) else ("own", recipe)
    name, dataset, classes, scale = _data(x, y, data_dir, chosen.image_size)
    chosen = _with_target(dataclasses.replace(chosen, dataset=name), target_ms, latency_table)
    chosen = chosen if budget is None else for_budget(chosen)
    recipes = [dataclasses.replace(chosen, seed=seed) for seed in wanted]
    for one in recipes:
        runs.check(one, dataset)
    folder = _new_folder(called) if out is None else Path(out)
    share = math.inf if budget is None else budget.left / len(recipes)
    found = []
    for number, one in enumerate(recipes):
        path = folder if len(recipes) == 1 else folder / f"seed{one.seed}"
        if budget is not None and budget.left <= 0:
            raise UserError(
                f"The {minutes:g} minutes are over after {number} of {len(recipes)} seeds, whose runs are in {folder}. Give "
                "more minutes, or fewer seeds."
            )
        # The same for every seed, so that they can be compared, unless those before have left less than that.
        within = budget if budget is None or len(recipes) == 1 else Budget(min(share, budget.left) / 60)
        with Console(quiet=not verbose) as console:
            result = runs.run(called, one, dataset, RunFolder(path), console, 0.0, budget=within)
        found.append(_found(path, one, dataset, result))
    return SearchResult(tuple(found), classes, scale)


def _found(folder: Path, recipe: Recipe, dataset: Dataset, result: dict[str, Any]) -> Found:
    if "budget" in result:
        steps = result["budget"]["steps_per_epoch"]
        stages = {name: dataclasses.replace(getattr(recipe, name), steps_per_epoch=steps[name]) for name in ("search", "train")}
        recipe = dataclasses.replace(recipe, **stages)
    genotype = from_text(result["found"]["genotype"])
    init = network_of(genotype, recipe.train, dataset).init
    like: Any = dict(zip(("weights", "statistics"), jax.eval_shape(init, jax.random.key(0)), strict=True))
    predictor = Predictor(genotype, recipe.train, without_images(dataset), **read_arrays(folder / NETWORK, like))
    return Found(folder, recipe, result, genotype, predictor)


def _data(
    x: Any, y: Any, data_dir: str | os.PathLike[str] | None, size: int | None
) -> tuple[str, Dataset, np.ndarray, int | None]:
    """The data set with its name, the labels in the order of its classes, and the scale of the pixels given."""
    if isinstance(x, str | os.PathLike):
        if y is not None:
            raise UserError(f"y is given, but the data set {os.fspath(x)!r} has its own labels. Leave it out.")
        name = os.fspath(x)
        dataset = load(name, data_dir, size)
        return name, dataset, np.array(dataset.class_names), None
    if y is None:
        raise UserError("y is missing: give a label for each image, or the name of a data set in place of x.")
    images, labels = _array(x, "x"), labels_array(y)
    if images.ndim < 3:
        raise UserError(
            f"x is {list(images.shape)}, which are no images. Give [N, S, S], as by x.reshape(-1, S, S), or [N, S, S, 3]."
        )
    dataset = from_arrays(ARRAYS, images, labels)
    classes = np.arange(labels.shape[1]) if labels.ndim == 2 and labels.shape[1] > 1 else np.unique(labels)
    return ARRAYS, dataset, classes, pixel_scale([images], "x")


def _array(values: Any, name: str) -> np.ndarray:
    try:
        array = np.asarray(values)
    except ValueError as error:
        raise UserError(f"{name} is no array: its parts differ in shape. Give images of one size.") from error
    if array.dtype.kind not in "biuf":
        raise UserError(f"{name} must hold numbers of one type, got {array.dtype}. Convert it, as by {name}.astype('uint8').")
    return array


def labels_array(y: Any) -> np.ndarray:
    """Labels as an array of one type; text in objects, as pandas has it, as text.

    Raises:
      UserError: of several types.

    >>> labels_array(np.array(["cat", "dog"], object)).dtype.kind
    'U'
    """
    try:
        labels = np.asarray(y)
    except ValueError as error:
        raise UserError("y is no array: its parts differ in shape. Give a label for each image.") from error
    if labels.dtype.kind != "O":
        return labels
    kinds = sorted({type(label).__name__ for label in labels.ravel()})
    if kinds != ["str"]:
        raise UserError(f"y holds labels of several types, {', '.join(kinds)}. Give one type, as text by y.astype(str).")
    return labels.astype(str)


def _with_target(recipe: Recipe, milliseconds: float | None, table: str | os.PathLike[str] | None) -> Recipe:
    if milliseconds is None and table is None:
        return recipe
    if milliseconds is None or table is None:
        raise UserError(
            "target_ms and latency_table go together. A table of this device: jaxnas profile SPACE --out FILE, with the "
            "channels, cells, classes and image size that the recipe trains."
        )
    return recipe.with_target(os.fspath(table), milliseconds)


def _new_folder(name: str) -> Path:
    """The first of ``runs/NAME-python``, ``-2``, ``-3`` ... that there is not."""
    first = Path("runs") / f"{name}-python"
    others = (first.with_name(f"{first.name}-{number}") for number in itertools.count(2))
    return next(path for path in itertools.chain([first], others) if not path.exists())

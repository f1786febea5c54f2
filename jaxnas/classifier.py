"""A search as a classifier of scikit-learn: for pipelines, cross-validation, and those who know no architecture search."""

from __future__ import annotations

import dataclasses
import math
from typing import Any, Self

import jax
import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils import Tags, check_random_state
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from jaxnas import run, searching
from jaxnas.budget import Budget, for_budget
from jaxnas.choosing import choose
from jaxnas.console import Console
from jaxnas.data import Dataset, for_training
from jaxnas.errors import UserError
from jaxnas.interface import RECIPE
from jaxnas.predicting import Predictor, without_images
from jaxnas.recipes import Recipe, find
from jaxnas.reports import Seconds, StageReport
from jaxnas.training import train


class ArchitectureSearchClassifier(ClassifierMixin, BaseEstimator):
    """Searches an architecture for images and trains it, on all that it is fitted to.

    Images are arrays ``[N, S, S]`` or ``[N, S, S, 3]``, S a multiple of 4, or rows of features, which are then arranged as
    images. Values may be any real numbers: they are scaled to 256 steps between the least and the greatest of the fit, and
    what is beyond these later is taken for them. Features that are no images can be fitted, but have no neighbours that a
    convolution could use.

    Args:
      recipe: name of a recipe, or a recipe (:mod:`jaxnas.recipes`). A batch that the images do not fill is made smaller.
      minutes: what a fit may take, see :func:`jaxnas.search`; None for the recipe's own epochs, which a seed repeats exactly.
      image_shape: of rows of features, ``(S, S)`` or ``(S, S, 3)``; by default the smallest square that holds them, filled up
        with zeros.
      random_state: seed of everything, a generator, or None for another one each time.
      verbose: print what happens.

    Attributes:
      classes_: the labels, in the order of the probabilities' columns.
      n_features_in_: pixels and channels of an image, or features of a row.
      genotype_: the architecture that was found.
      train_accuracy_: on the images of the fit themselves.

    >>> ArchitectureSearchClassifier(minutes=2)
    ArchitectureSearchClassifier(minutes=2)
    """

    n_features_in_: int

    def __init__(
        self,
        recipe: str | Recipe = RECIPE,
        minutes: float | None = None,
        image_shape: tuple[int, ...] | None = None,
        random_state: int | np.random.RandomState | None = None,
        verbose: bool = False,
    ) -> None:
        self.recipe = recipe
        self.minutes = minutes
        self.image_shape = image_shape
        self.random_state = random_state
        self.verbose = verbose

    def fit(self, X: Any, y: Any) -> Self:
        """Searches and trains.

        Args:
          X: images, or rows of features.
          y: a label for each, of any one type.

        Raises:
          ValueError: what cannot be fitted, NaN among it; a :class:`jaxnas.errors.UserError` is one.
        """
        budget = None if self.minutes is None else Budget(self.minutes)
        X, shape = _rows(X)
        X, y = validate_data(self, X, y, ensure_min_samples=2, dtype="numeric")
        check_classification_targets(y)
        self.classes_, labels = np.unique(y, return_inverse=True)
        if len(self.classes_) < 2:
            raise UserError(f"y has one class, {self.classes_[0]!r}. A search needs at least two classes.")
        self.image_shape_ = _image_shape(shape, self.image_shape, self.n_features_in_)
        self._low, self._high = float(X.min()), float(X.max())
        names = [str(label) for label in self.classes_]
        dataset = for_training("X", self._images(X), labels.astype(np.int32), names)
        seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        recipe = _fitted_recipe(self.recipe, dataset, seed)
        found = _search_and_train(recipe if budget is None else for_budget(recipe), dataset, not self.verbose, budget)
        self.predictor_, self.train_accuracy_ = found
        self.genotype_ = self.predictor_.genotype
        return self

    def predict_proba(self, X: Any) -> np.ndarray:
        """Probabilities ``[N, classes]``, float32.

        Raises:
          ValueError: images of another shape than those of the fit, or NaN.
        """
        check_is_fitted(self)
        X, shape = _rows(X)
        if shape is not None and shape != self.image_shape_:
            raise UserError(
                f"X has images {list(shape)}, but this was fitted to images {list(self.image_shape_)}. Resize them."
            )
        rows: Any = validate_data(self, X, reset=False, dtype="numeric")
        return self.predictor_(self._images(rows))

    def predict(self, X: Any) -> np.ndarray:
        """The most probable label of each image."""
        chosen = self.predict_proba(X).argmax(1)  # First: it says where nothing was fitted.
        return self.classes_[chosen]

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        # scikit-learn's checks have a handful of features without an order: no images.
        tags.classifier_tags.poor_score = True
        return tags

    def _images(self, rows: np.ndarray) -> np.ndarray:
        """Rows of features as bytes ``[N, S, S, 3]``."""
        scale = 255 / (self._high - self._low) if self._high > self._low else 0.0
        steps = np.rint((np.clip(rows.astype(np.float64), self._low, self._high) - self._low) * scale).astype(np.uint8)
        filled = np.pad(steps, ((0, 0), (0, math.prod(self.image_shape_) - rows.shape[1])))
        images = filled.reshape(len(rows), *self.image_shape_[:2], -1)
        return np.ascontiguousarray(np.broadcast_to(images, (*images.shape[:3], 3)))


def _rows(X: Any) -> tuple[Any, tuple[int, ...] | None]:
    """Images as rows, and the shape of one; all else as it is."""
    if isinstance(X, np.ndarray | jax.Array) and X.ndim in (3, 4):
        return np.asarray(X).reshape(len(X), math.prod(X.shape[1:])), X.shape[1:]
    return X, None


def _image_shape(shape: tuple[int, ...] | None, wanted: tuple[int, ...] | None, features: int) -> tuple[int, ...]:
    """The shape of an image: the images' own, the one wanted, or a square that holds the features.

    >>> _image_shape(None, None, 64), _image_shape(None, None, 10), _image_shape(None, (4, 4, 3), 48)
    ((8, 8), (4, 4), (4, 4, 3))
    """
    found = shape or (None if wanted is None else tuple(wanted))
    if found is None:
        side = 4 * math.ceil(math.sqrt(features) / 4)
        return (side, side)
    channels = found[2] if len(found) == 3 else 1
    if len(found) not in (2, 3) or channels not in (1, 3):
        raise UserError(f"Images must be [S, S], [S, S, 1] or [S, S, 3], got {list(found)}. Channels come last.")
    if math.prod(found) != features:
        raise UserError(f"image_shape={found} has {math.prod(found)} values, but X has rows of {features}.")
    return found


def _fitted_recipe(recipe: str | Recipe, dataset: Dataset, seed: int) -> Recipe:
    """A recipe for a data set without random architectures, its batches within what there is."""
    chosen = find(recipe) if isinstance(recipe, str) else recipe
    half, whole = len(dataset.search_train.labels), len(dataset.train.labels)
    search = dataclasses.replace(chosen.search, batch=min(chosen.search.batch, half))
    train = dataclasses.replace(chosen.train, batch=min(chosen.train.batch, whole))
    return dataclasses.replace(chosen, dataset="X", search=search, train=train, random_cells=0, seed=seed)


def _search_and_train(recipe: Recipe, dataset: Dataset, quiet: bool, budget: Budget | None) -> tuple[Predictor, float]:
    """The trained network of what is found, and its accuracy on the data set's test split."""
    run.check(recipe, dataset)
    dataset = searching.search_data(recipe, dataset)
    network = searching.search_network(recipe.search, dataset)
    with Console(quiet) as console:
        searched, state = searching.search_parts(recipe, dataset, network, console, None, Seconds(), budget=budget)
        genotype = choose(recipe, *searched[-1], dataset, state).genotype
        console.genotype(genotype)
        trained = train(genotype, recipe.train, dataset, recipe.seed, StageReport("train", console, None), budget)
    weights, statistics = jax.device_get((trained.weights, trained.statistics))
    return Predictor(genotype, recipe.train, without_images(dataset), weights, statistics), trained.test_accuracy

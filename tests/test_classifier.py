"""The classifier: scikit-learn's own checks with a stand-in for the search, and one real fit."""

from __future__ import annotations

import dataclasses
import pickle
from typing import Any

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

import jaxnas
from jaxnas import ArchitectureSearchClassifier, classifier
from jaxnas.data import Dataset, load
from jaxnas.errors import UserError
from jaxnas.recipes import Recipe, find


@dataclasses.dataclass
class Nearest:
    """In place of a trained network: the class of the nearest mean image."""

    means: np.ndarray
    genotype: None = None

    def __call__(self, images: np.ndarray) -> np.ndarray:
        distances = np.stack([((images / 255.0 - mean) ** 2).mean((1, 2, 3)) for mean in self.means], 1)
        shares = np.exp(-distances)
        return (shares / shares.sum(1, keepdims=True)).astype(np.float32)


def nearest(recipe: Recipe, dataset: Dataset, quiet: bool, budget: Any) -> tuple[Any, float]:
    train = dataset.train
    return Nearest(np.stack([train.images[train.labels == i].mean(0) / 255.0 for i in range(dataset.classes)])), 1.0


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(classifier, "_search_and_train", nearest)


@pytest.mark.usefixtures("stand_in")
@pytest.mark.filterwarnings("ignore")  # The checks' own.
@parametrize_with_checks([ArchitectureSearchClassifier()])
def test_as_scikit_learn_checks(estimator: Any, check: Any) -> None:
    check(estimator)


def tiny() -> Recipe:
    recipe = find("nb201-digits")
    search = dataclasses.replace(recipe.search, channels=2, epochs=2)
    return dataclasses.replace(recipe, search=search, train=dataclasses.replace(recipe.train, channels=4, epochs=6))


def digits(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows of 64 features, as scikit-learn has them, of three classes, and their names."""
    train = load("digits").train
    few = train.labels < 3
    return train.images[few, :, :, 0].reshape(-1, 64)[:count] / 16.0, np.array(["no", "one", "two"])[train.labels[few][:count]]


@pytest.fixture(scope="module")
def fitted() -> ArchitectureSearchClassifier:
    return ArchitectureSearchClassifier(tiny(), random_state=0).fit(*digits(200))


def test_a_real_fit(fitted: ArchitectureSearchClassifier) -> None:
    x, y = digits(360)
    assert fitted.classes_.tolist() == ["no", "one", "two"] and fitted.n_features_in_ == 64 and fitted.image_shape_ == (8, 8)
    probabilities = fitted.predict_proba(x[200:])
    assert probabilities.shape == (160, 3)
    np.testing.assert_allclose(probabilities.sum(1), 1, rtol=1e-5)
    assert fitted.score(x[200:], y[200:]) == (fitted.predict(x[200:]) == y[200:]).mean()
    # Three digits are told apart by far more than chance, a third, after a few steps.
    assert fitted.score(x[200:], y[200:]) > 0.6
    # The same images by rows: the accuracy of the training itself.
    assert fitted.score(x[:200], y[:200]) == pytest.approx(fitted.train_accuracy_)
    # Images as they are, and as rows of features, are one.
    np.testing.assert_array_equal(fitted.predict_proba(x[200:].reshape(-1, 8, 8)), probabilities)


def test_a_pickled_one_is_the_same(fitted: ArchitectureSearchClassifier) -> None:
    x, _ = digits(20)
    again = pickle.loads(pickle.dumps(fitted))
    np.testing.assert_array_equal(again.predict_proba(x), fitted.predict_proba(x))
    assert again.genotype_ == fitted.genotype_ and again.get_params() == fitted.get_params()


def test_its_parameters() -> None:
    one = ArchitectureSearchClassifier("darts-digits", minutes=3, image_shape=(4, 4), random_state=7, verbose=True)
    again: Any = clone(one)
    assert again.get_params() == one.get_params()
    assert one.set_params(minutes=5).minutes == 5
    assert jaxnas.ArchitectureSearchClassifier is ArchitectureSearchClassifier


@pytest.mark.usefixtures("stand_in")
def test_in_a_pipeline_under_cross_validation() -> None:
    x, y = digits(120)
    scores = cross_val_score(make_pipeline(StandardScaler(), ArchitectureSearchClassifier(random_state=0)), x, y, cv=3)
    assert scores.shape == (3,) and scores.min() > 0.8


@pytest.mark.usefixtures("stand_in")
@pytest.mark.parametrize("labels", [["b", "a"], [7, -3], [True, False], [0.0, 2.0]])
def test_labels_of_any_type(labels: list[Any]) -> None:
    x = np.repeat(np.eye(2, 16), 4, axis=0)
    y = np.repeat(np.array(labels), 4)
    one = ArchitectureSearchClassifier().fit(x, y)
    assert one.classes_.tolist() == sorted(labels) and one.classes_.dtype == y.dtype
    np.testing.assert_array_equal(one.predict(x), y)


def test_what_the_search_gets(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bytes between the least and the greatest value, filled up to a square; batches that there are images for."""
    seen: list[tuple[Recipe, Dataset, Any]] = []

    def watched(recipe: Recipe, dataset: Dataset, quiet: bool, budget: Any) -> tuple[Any, float]:
        seen.append((recipe, dataset, budget))
        return nearest(recipe, dataset, quiet, budget)

    monkeypatch.setattr(classifier, "_search_and_train", watched)
    x = np.array([[-1.0, 0.0, 1.0]] * 4 + [[1.0, 0.0, -1.0]] * 4)
    one = ArchitectureSearchClassifier(minutes=2.0, random_state=3).fit(x, [0] * 4 + [1] * 4)
    recipe, dataset, budget = seen[0]
    assert budget.minutes == 2 and recipe.search.batch == 4 and recipe.train.batch == 8 and recipe.random_cells == 0
    assert sorted({tuple(image[0, :, 0].tolist()) for image in dataset.train.images}) == [(0, 128, 255, 0), (255, 128, 0, 0)]
    assert dataset.train.images.shape == (8, 4, 4, 3) and not dataset.train.images[:, 1:].any()
    # What is beyond is taken for the end.
    np.testing.assert_array_equal(one.predict_proba(x * 5), one.predict_proba(x))
    ArchitectureSearchClassifier(random_state=3).fit(x, [0] * 4 + [1] * 4)
    assert seen[1][0].seed == recipe.seed and seen[1][2] is None


@pytest.mark.usefixtures("stand_in")
@pytest.mark.parametrize(
    ("x", "y", "options", "message"),
    [
        (np.full((4, 16), np.nan), [0, 1, 0, 1], {}, "NaN"),
        (np.array([[1, "a"]] * 4, object), [0, 1, 0, 1], {}, "could not convert"),
        (np.zeros((4, 16)), [0, 1, 0], {}, "inconsistent numbers of samples"),
        (np.zeros((4, 16)), [1, 1, 1, 1], {}, "one class"),
        (np.zeros((4, 16)), [0.1, 1.5, 0.3, 2.2], {}, "Unknown label type"),
        (np.zeros((4, 16)), [0, 1, 0, 1], {}, "everywhere, with nothing to learn from"),
        (np.eye(4, 16), [0, 1, 0, 1], {"image_shape": (8, 8)}, r"has 64 values, but X has rows of 16"),
        (np.eye(4, 16), [0, 1, 0, 1], {"image_shape": (2, 8)}, "must be square"),
        (np.eye(4, 16).reshape(4, 1, 4, 4), [0, 1, 0, 1], {}, "Channels come last"),
        (np.eye(4, 16), [0, 1, 0, 1], {"recipe": "nb201-digit"}, "Did you mean nb201-digits"),
        (np.eye(4, 16), [0, 1, 0, 1], {"minutes": -1}, "positive number of minutes"),
    ],
)
def test_what_cannot_be_fitted(x: Any, y: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ArchitectureSearchClassifier(**options).fit(x, y)


@pytest.mark.usefixtures("stand_in")
def test_other_images_than_those_of_the_fit() -> None:
    one = ArchitectureSearchClassifier().fit(np.eye(4, 16).reshape(4, 4, 4), [0, 1, 0, 1])
    with pytest.raises(UserError, match=r"images \[8, 8\], but this was fitted to images \[4, 4\]"):
        one.predict(np.zeros((2, 8, 8)))
    with pytest.raises(ValueError, match="expecting 16 features"):
        one.predict(np.zeros((2, 64)))

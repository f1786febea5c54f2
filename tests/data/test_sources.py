"""Image sets by name: scikit-learn's digits and their split, and which source a name leads to."""

from __future__ import annotations

import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest

from jaxnas.data import NAMES, Dataset, load, sources
from jaxnas.errors import UserError
from jaxnas.trainings import TRAININGS


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return load("digits")


def test_digits_holds_every_image_of_scikit_learn_exactly_once(digits: Dataset) -> None:
    from sklearn.datasets import load_digits

    pixels, labels = load_digits(return_X_y=True)
    parts = [digits.search_train, digits.search_valid, digits.test]
    assert [len(part.labels) for part in parts] == [648, 649, 500]
    images = np.concatenate([part.images for part in parts])
    assert images.dtype == np.uint8 and images.shape == (1797, 8, 8, 3)
    assert (images[..., :1] == images).all()
    found = np.column_stack([images[..., 0].reshape(1797, 64), np.concatenate([part.labels for part in parts])])
    expected = [(*(round(v * 255 / 16) for v in row), label) for row, label in zip(pixels, labels, strict=True)]
    assert len(set(expected)) == 1797  # no two are equal, so one of each means disjoint splits
    assert sorted(map(tuple, found)) == sorted(expected)


def test_digits_training_split_is_both_search_splits_in_order(digits: Dataset) -> None:
    np.testing.assert_array_equal(digits.train.images, np.concatenate([digits.search_train.images, digits.search_valid.images]))
    np.testing.assert_array_equal(digits.train.labels, np.concatenate([digits.search_train.labels, digits.search_valid.labels]))
    scaled = digits.train.images.astype(np.float64) / 255
    np.testing.assert_allclose(digits.mean, scaled.mean((0, 1, 2)), rtol=1e-12)
    np.testing.assert_allclose(digits.std, scaled.std((0, 1, 2)), rtol=1e-12)
    for part in (digits.search_train, digits.search_valid, digits.test):
        assert np.bincount(part.labels, minlength=10).min() > 0.07 * len(part.labels)


def test_digits_split_never_changes(digits: Dataset) -> None:
    """NumPy does not promise the permutations of a Generator across releases: a change would move test images into training."""
    assert zlib.crc32(digits.train.images.tobytes()) == 3931767690
    assert zlib.crc32(digits.test.images.tobytes()) == 2890359438
    assert digits.train.labels[:10].tolist() == [6, 6, 6, 2, 5, 6, 6, 2, 2, 1]


def test_digits_without_scikit_learn_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(UserError, match="pip install scikit-learn"):
        load("digits")


def test_an_unknown_name_is_answered_with_the_nearest() -> None:
    with pytest.raises(UserError, match="'cifar-10'.*Did you mean cifar10.*Known: digits, cifar10"):
        load("cifar-10")
    with pytest.raises(UserError, match=r"Known: digits, .*tfds:NAME, the path of an \.npz file, or that of a folder"):
        load("somewhere/else")


def test_arrays_of_a_run_are_not_kept() -> None:
    with pytest.raises(UserError, match=r"were arrays, given in Python, and a run keeps no images.*FILE\.npz"):
        load("arrays")


def test_imagenet_is_a_folder_and_of_which_size(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"is read from a folder.*--dataset FOLDER.*--data-dir.*tfds:NAME.*256x256 pixels"):
        load("imagenet", tmp_path)
    trained = {training.train.augmentation.resized_crop for training in TRAININGS.values() if training.dataset == "imagenet"}
    assert trained == {224}  # As the message says.


def test_an_official_set_without_a_folder_asks_for_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("JAXNAS_DATA", raising=False)
    for name in NAMES[1:]:
        with pytest.raises(
            UserError, match=f"No folder is given for data set '{name}'. Get .*https://.*--data-dir.*JAXNAS_DATA"
        ):
            load(name)


def test_an_official_set_is_looked_for_where_the_environment_says_unless_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JAXNAS_DATA", str(tmp_path / "from_environment"))
    for name in NAMES[1:]:
        with pytest.raises(UserError, match=f"from_environment, the folder of data set '{name}', does not exist"):
            load(name)
        with pytest.raises(UserError, match="told, .* does not exist"):
            load(name, tmp_path / "told")


def test_a_path_starts_from_the_given_folder_or_the_working_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine").mkdir()
    seen: list[tuple[str, Path]] = []
    monkeypatch.setattr(sources, "npz", lambda path: seen.append(("npz", Path(path).resolve())))
    monkeypatch.setattr(sources, "image_folder", lambda path, size: seen.append(("folder", Path(path).resolve())))
    load("mine", tmp_path)
    load("sub/mine.npz", tmp_path)
    monkeypatch.chdir(tmp_path)
    load("mine")
    load("mine.npz")
    load(str(tmp_path / "mine"), "elsewhere")
    found = [(reader, path.relative_to(tmp_path.resolve()).as_posix()) for reader, path in seen]
    assert found == [("folder", "mine"), ("npz", "sub/mine.npz"), ("folder", "mine"), ("npz", "mine.npz"), ("folder", "mine")]


def test_the_command_line_starts_without_tensorflow_datasets() -> None:
    code = "import sys, jaxnas.data; print([m for m in sys.modules if m in ('tensorflow', 'tensorflow_datasets', 'sklearn')])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"

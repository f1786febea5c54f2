"""Labels of any type: what they become, and which are refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from jaxnas.data.labels import number_labels
from jaxnas.errors import UserError


@pytest.mark.parametrize(
    ("train", "test", "numbers", "test_numbers", "names"),
    [
        ([0, 2, 1, 2], [2, 0], [0, 2, 1, 2], [2, 0], ("0", "1", "2")),
        ([10, -3, 700, 10], [700], [1, 0, 2, 1], [2], ("-3", "10", "700")),
        (np.array([5, 3], np.uint8), np.array([3], np.int64), [1, 0], [0], ("3", "5")),
        ([[4], [9]], [[9]], [0, 1], [1], ("4", "9")),
        ([True, False], [False], [1, 0], [0], ("False", "True")),
        (["dog", "cat", "dog"], ["a cat"[2:]], [1, 0, 1], [0], ("cat", "dog")),
        ([b"b", b"a"], [b"b"], [1, 0], [1], ("a", "b")),
        (np.array([2**63 - 1, 0], np.uint64), None, [1, 0], None, ("0", "9223372036854775807")),
        (np.array([60000, 1], np.float16), None, [1, 0], None, ("1", "60000")),
        ([1.0, 0.0, 7.0], np.array([7.0], np.float32), [1, 0, 2], [2], ("0", "1", "7")),
        ([[0, 0, 1], [1, 0, 0], [0, 1, 0]], [[0, 1, 0]], [2, 0, 1], [1], ("0", "1", "2")),
        ([[0.0, 1.0], [1.0, 0.0]], None, [1, 0], None, ("0", "1")),
    ],
)
def test_labels_become_numbers_in_the_order_of_their_values(
    train: Any, test: Any, numbers: list[int], test_numbers: list[int] | None, names: tuple[str, ...]
) -> None:
    found, found_test, found_names = number_labels(np.array(train), None if test is None else np.array(test), "mine")
    assert (found.tolist(), found_names, found.dtype) == (numbers, names, np.int32)
    if test_numbers is None:
        assert found_test is None
    else:
        assert found_test is not None and (found_test.tolist(), found_test.dtype) == (test_numbers, np.int32)


@pytest.mark.parametrize(
    ("train", "test", "words"),
    [
        ([0.0, 1.5], None, "training labels: label 1.5 of image 1 .* is not a whole number"),
        ([0.0, np.nan], None, "label nan of image 1 .* is not a whole number"),
        ([np.inf, 1.0], None, "label inf of image 0 .* is not a whole number"),
        ([0, 1], [0.5], "test labels: label 0.5 of image 0"),
        ([1j, 0], None, "got type complex128"),
        (np.array([None, 1]), None, "got type object"),
        (np.array(["cat", "dog"], object), None, r"Text in objects, as pandas has it, becomes text by \.astype\(str\)"),
        (np.array([1, 2**63], np.uint64), None, "label 9223372036854775808 of image 1 .* does not fit into int64"),
        ([0, 1], np.array([0, 2**64 - 1], np.uint64), "test labels: label 18446744073709551615 of image 1"),
        ([1.0, 2.0**63], None, "label 9.22.*e.18 of image 1 .* does not fit"),
        ([-1e30, 1.0], None, "label -1e.30 of image 0 .* does not fit"),
        (np.array(["2020-01-01", "2021-01-01"], "datetime64[D]"), None, "got type datetime64"),
        ([[1, 1], [0, 1]], None, r"are \[2, 2\], but a row is not one-hot"),
        ([[0, 2], [0, 1]], None, "not one-hot"),
        ([["a", "b"], ["c", "d"]], None, "not one-hot"),
        (np.zeros((2, 2, 2), int), None, r"got shape \[2, 2, 2\]"),
        ([], None, r"got shape \[0\]"),
        ([3, 3, 3], None, "every training image has the label 3"),
        ([0, 1], [0, 4], r"test image 1 .* has label 4, which no training image has. Training labels: 0, 1\."),
        (["a", "b"], [0, 1], "training labels are <U1 but test labels int64"),
    ],
)
def test_labels_that_are_no_classes_are_refused(train: Any, test: Any, words: str) -> None:
    with pytest.raises(UserError, match=f"mine.*{words}"):
        number_labels(np.array(train), None if test is None else np.array(test), "mine")

"""Labels of any type to the numbers 0, 1, ... that a loss takes."""

from __future__ import annotations

import numpy as np

from jaxnas.errors import UserError


def number_labels(
    train: np.ndarray, test: np.ndarray | None, what: str
) -> tuple[np.ndarray, np.ndarray | None, tuple[str, ...]]:
    """Numbers in place of labels, and what each number stands for: the training labels' different values in order.

    Args:
      train: ``[N]`` or ``[N, 1]``: text, booleans, whole numbers of any type; or one-hot rows ``[N, classes]``.
      test: the same, or nothing where the test split is yet to be made.
      what: names the labels in a message.

    Returns:
      int32 ``[N]``, the same of ``test``, and the names of the classes.

    Raises:
      UserError: labels that are not whole (as NaN is not) or do not fit into int64, fewer than two classes, or a test label
        that training does not have.

    >>> number_labels(np.array(["dog", "cat", "dog"]), np.array(["cat"]), "pets")
    (array([1, 0, 1], dtype=int32), array([0], dtype=int32), ('cat', 'dog'))
    """
    known = _plain(train, f"{what}, training labels")
    values, numbers = np.unique(known, return_inverse=True)
    if len(values) < 2:
        raise UserError(f"{what}: every training image has the label {values[0]!s}. A search needs at least two classes.")
    names = tuple(str(value) for value in values)
    if test is None:
        return numbers.astype(np.int32), None, names
    asked = _plain(test, f"{what}, test labels")
    if asked.dtype.kind != known.dtype.kind:
        raise UserError(f"{what}: training labels are {known.dtype} but test labels {asked.dtype}. Give both the same type.")
    strange = np.flatnonzero(~np.isin(asked, values))
    if strange.size:
        raise UserError(
            f"{what}: test image {strange[0]} (counted from 0) has label {asked[strange[0]]!s}, which no training image has. "
            f"Training labels: {', '.join(names[:10])}{', ...' if len(names) > 10 else ''}."
        )
    return numbers.astype(np.int32), np.searchsorted(values, asked).astype(np.int32), names


def _plain(labels: np.ndarray, what: str) -> np.ndarray:
    """One label an image, as text, booleans or int64."""
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim not in (1, 2) or not labels.size:
        raise UserError(f"{what} must be [N] or one-hot [N, classes], got shape {list(labels.shape)}.")
    kind = labels.dtype.kind
    if kind == "S":
        return np.char.decode(labels, "utf-8", "replace")
    if kind not in "Ubiuf":
        advice = "Text in objects, as pandas has it, becomes text by .astype(str)." if kind == "O" else "Convert them first."
        raise UserError(f"{what} must be text, booleans or whole numbers, got type {labels.dtype}. {advice}")
    if labels.ndim == 2:
        one_hot = kind in "biuf" and bool(((labels == 0) | (labels == 1)).all() and (labels.sum(1) == 1).all())
        if not one_hot:
            raise UserError(
                f"{what} are {list(labels.shape)}, but a row is not one-hot (a single 1 among 0). Give one label an image."
            )
        return labels.argmax(1)
    if kind == "f":
        wrong = np.flatnonzero(~(labels == np.floor(labels)) | np.isinf(labels))
        if wrong.size:
            raise UserError(
                f"{what}: label {labels[wrong[0]]} of image {wrong[0]} (counted from 0) is not a whole number. Classification "
                "needs classes: give text or whole numbers."
            )
    if kind in "uf":
        # As NumPy's float64: the limit would be infinite in float16.
        wide = labels > np.iinfo(np.int64).max if kind == "u" else np.abs(labels) >= np.float64(2**63)
        if wide.any():
            at = int(wide.argmax())
            raise UserError(
                f"{what}: label {labels[at]} of image {at} (counted from 0) does not fit into int64. Give smaller numbers, "
                "or the same as text, by .astype(str)."
            )
    return labels if kind in "Ub" else labels.astype(np.int64)

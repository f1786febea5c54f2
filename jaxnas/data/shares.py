"""Shares of every class, drawn at random from the labels alone: test splits, and what a search uses of the training images."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from jaxnas.data.dataset import Dataset, Split
from jaxnas.errors import UserError


def ranks(labels: np.ndarray, seed: int | Sequence[int] = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For each image its place in a random order of its class, its class's size, and a draw to break ties by.

    The bits of a NumPy bit generator are promised never to change, those of its permutations are not.
    """
    draws = np.random.PCG64(seed).random_raw(len(labels))
    sizes = np.bincount(labels)
    by_class = np.lexsort((draws, labels))
    places = np.empty(len(labels), np.int64)
    places[by_class] = np.arange(len(labels)) - (np.cumsum(sizes) - sizes)[labels[by_class]]
    return places, sizes[labels], draws


def with_shares(dataset: Dataset, train_share: float, valid_share: float, seed: int) -> Dataset:
    """The dataset with a search's two parts drawn anew from its training images: of every class these shares.

    Of n images of a class the first part has ``train_share * n``, both together ``(train_share + valid_share) * n``, each
    rounded; the parts are disjoint, and where the shares add up to 1 every image is in one of them. The rest of the dataset
    is as before. Images of the parts are copied.

    Args:
      dataset: of which ``train`` is drawn from.
      train_share, valid_share: positive, together at most 1.
      seed: of the draw.

    Raises:
      UserError: a class that has images gets none in one of the parts.

    >>> from jaxnas.data import load
    >>> digits = with_shares(load("digits"), 0.8, 0.2, seed=0)
    >>> len(digits.search_train.labels), len(digits.search_valid.labels), len(digits.train.labels)
    (1036, 261, 1297)
    """
    train = dataset.train
    places, sizes, _ = ranks(train.labels, [seed, 3])  # [seed, 1] and [seed, 2] draw genotypes.
    first = np.floor(train_share * sizes + 0.5)
    both = np.minimum(np.floor((train_share + valid_share) * sizes + 0.5), sizes)
    for name, share, counts in (("train_share", train_share, first), ("valid_share", valid_share, both - first)):
        none = np.flatnonzero(counts == 0)
        if none.size:
            label = int(train.labels[none[0]])
            called = dataset.class_names[label] if dataset.class_names else label
            raise UserError(
                f"{name}={share} leaves class {called!r} of {dataset.name}, which has {sizes[none[0]]} training images, "
                "without one. Choose a larger share."
            )

    def taken(where: np.ndarray) -> Split:
        return Split(train.images[where], train.labels[where])

    return dataclasses.replace(
        dataset, search_train=taken(places < first), search_valid=taken((places >= first) & (places < both))
    )

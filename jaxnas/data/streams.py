"""Pictures read by Grain: the batches of an epoch in the order of their indices, and every picture once to look at it."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from jaxnas.data.dataset import Split
from jaxnas.data.pictures import Pictures, Unreadable

THREADS = max(2, os.cpu_count() or 1)
"""That decode: Pillow decodes without Python's lock. Processes would have to be spawned, as JAX's must not be forked."""

BUFFERED = 256
"""Pictures that are read ahead where each is looked at by itself."""


class Stream:
    """Batches of a split, one a step, read ahead in the background.

    The order is that of the rows, so it is the order in which a split in memory is gathered; Grain's iterator has the position.

    Args:
      split: whose images are :class:`Pictures`.
      rows: ``[steps, share]``, the places in the split of this process's share of each batch.
      ahead: batches that are kept ready.
      position: of an earlier stream of the same steps, to go on from.
      step: where there is no position, the first step.

    >>> from PIL import Image
    >>> import io
    >>> def file(number):
    ...     png = io.BytesIO()
    ...     Image.fromarray(np.full((4, 4), number, np.uint8)).save(png, "PNG")
    ...     return f"picture {number}", png
    >>> from jaxnas.data.pictures import pictures_of
    >>> split = Split(pictures_of(5, file), np.arange(5, dtype=np.int32))
    >>> with Stream(split, np.array([[3, 1], [0, 4], [2, 2]]), ahead=2) as stream:
    ...     first, position = stream.take(1), stream.position
    >>> with Stream(split, np.array([[3, 1], [0, 4], [2, 2]]), ahead=2, position=position) as stream:
    ...     rest = stream.take(2)
    >>> first["images"][..., 0, 0, 0].tolist(), rest["labels"].tolist()
    ([[3, 1]], [[0, 4], [2, 2]])
    """

    def __init__(
        self, split: Split, rows: np.ndarray, ahead: int, position: dict[str, Any] | None = None, step: int = 0
    ) -> None:
        import grain  # Takes a second: only where something is streamed.

        self._steps = _Steps(split, rows)
        # Two batches are under way at a time: the second keeps the threads busy while the last images of the first end.
        options = grain.ReadOptions(num_threads=2, prefetch_buffer_size=max(2, ahead))
        source: Any = self._steps
        self._iterator: Any = iter(grain.MapDataset.source(source).to_iter_dataset(options))
        if position is not None:
            self._iterator.set_state(position)
        elif step:
            grain.experimental.set_next_index(self._iterator, step)
        self._iterator.start_prefetch()

    def take(self, count: int) -> dict[str, np.ndarray]:
        """The next so many batches: ``images`` uint8 ``[count, share, S, S, 3]`` and ``labels`` int32 ``[count, share]``.

        Raises:
          Unreadable: an image that is damaged, or gone.
        """
        try:
            batches = [next(self._iterator) for _ in range(count)]
        except Unreadable:
            raise
        except Exception as error:  # Of a thread that reads: whatever its library or its memory came to.
            raise Unreadable(f"The reading of images ended: {type(error).__name__}: {error}.") from error
        return {name: np.stack([batch[name] for batch in batches]) for name in batches[0]}

    @property
    def position(self) -> dict[str, Any]:
        """State of Grain's iterator, JSON; it counts steps, so it is the same in every process."""
        return self._iterator.get_state()

    def close(self) -> None:
        """Ends what is being read ahead."""
        self._iterator.close()
        self._steps.close()

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Steps:
    """What Grain reads from: the share of each step's batch, decoded by threads."""

    def __init__(self, split: Split, rows: np.ndarray) -> None:
        self.split, self.rows = split, rows
        self.threads = ThreadPoolExecutor(THREADS, "decode")

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, step: int) -> dict[str, np.ndarray]:
        row, images = self.rows[step], self.split.images
        batch = np.empty((len(row), *images.shape[1:]), np.uint8)

        def read(place: int) -> None:
            batch[place] = images[row[place]]

        for _ in self.threads.map(read, range(len(row))):
            pass
        return {"images": batch, "labels": self.split.labels[row]}

    def close(self) -> None:
        self.threads.shutdown(wait=False, cancel_futures=True)


def each(pictures: Pictures, of: Callable[[np.ndarray], Any]) -> Iterator[Any]:
    """What a function says of each picture, in their order, computed by threads.

    Raises:
      Unreadable: an image that is damaged, or gone.
    """
    import grain

    options = grain.ReadOptions(num_threads=THREADS, prefetch_buffer_size=BUFFERED)
    source: Any = pictures
    iterator: Any = iter(grain.MapDataset.source(source).map(of).to_iter_dataset(options))
    try:
        yield from iterator
    finally:
        iterator.close()


def survey(pictures: Pictures) -> tuple[np.ndarray, set[int]]:
    """Every picture read once: how often each value of a pixel occurs in each channel, ``[3, 256]``, and a hash of each image.

    Damaged pictures so are known before a search begins. As it may take long, standard error is told.

    Raises:
      Unreadable: an image that is damaged, or of another size.
    """

    print(f"note: reading {len(pictures):,} images once, as they stay on disk", file=sys.stderr, flush=True)

    def look(image: np.ndarray) -> tuple[np.ndarray, int]:
        counts = [np.bincount(image[..., channel].ravel(), minlength=256) for channel in range(3)]
        return np.stack(counts), hash(image.tobytes())

    total, hashes = np.zeros((3, 256), np.int64), set()
    for counts, number in each(pictures, look):
        total += counts
        hashes.add(number)
    return total, hashes

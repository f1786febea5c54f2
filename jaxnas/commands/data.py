"""``jaxnas data``: what a data set holds."""

from __future__ import annotations

import io
import math
from pathlib import Path
from typing import Annotated, Any

import rich.console
import rich.markup
import rich.table
import tyro

from jaxnas.commands.arguments import JsonTarget, parse
from jaxnas.commands.json_output import json_output
from jaxnas.commands.output_file import check_output, write_output
from jaxnas.data import NAMES, Dataset, class_counts, imbalance, load, moments
from jaxnas.errors import UserError

SPLITS = {"train": "train", "search_train": "search: weights", "search_valid": "search: alphas", "test": "test"}


def main(arguments: list[str]) -> int:
    """Prints it; as JSON the value of :func:`summary`, and ``contact_sheet``, the file or null."""
    return parse(_data, arguments, "data", f"What a data set holds, and a contact sheet of it. Names: {', '.join(NAMES)}.")


def _data(
    name: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="NAME")],
    data_dir: Path | None = None,
    out: Path | None = None,
    overwrite: bool = False,
    json: JsonTarget = None,
) -> int:
    """What a data set holds.

    Args:
      name: of the data set, tfds:NAME for one of TensorFlow Datasets, or the path of an .npz file or a folder of images.
      data_dir: folder of the dataset's official files.
      out: draw a few training images of each class there (.png).
      overwrite: replace that file.
    """
    with json_output(json) as write:
        if out is not None:
            _check(out, overwrite)
        dataset = load(name, data_dir)
        found = summary(dataset)
        _show(found)
        if out is None:
            print("contact sheet: add --out FILE.png")
        else:
            _draw(dataset, out, overwrite)
            print(f"contact sheet: {out}")
        write({**found, "contact_sheet": None if out is None else str(out)})
    return 0


def summary(dataset: Dataset) -> dict[str, Any]:
    """What there is in a data set, for JSON.

    Returns:
      ``name``; ``image_shape`` ``[H, W, 3]``; ``streamed``, whether the images stay on disk; ``class_names``; by split the
      number of ``images``, the ``class_counts`` in the order of the names and the ``imbalance``, the largest class by the
      smallest; ``mean`` and ``std``, of each channel of the training images with values scaled to 0..1; ``normalised_with``,
      the ones that searches use.
    """
    counts = class_counts(dataset)
    # Of images on disk these are what loading has found.
    images, streamed = dataset.train.images, dataset.streamed
    mean, std = (dataset.mean, dataset.std) if streamed else moments(images, f"{dataset.name}, training images")
    return {
        "name": dataset.name,
        "image_shape": list(images.shape[1:]),
        "streamed": streamed,
        "class_names": list(dataset.class_names),
        "images": {split: sum(counts[split]) for split in SPLITS},
        "class_counts": {split: list(counts[split]) for split in SPLITS},
        "imbalance": {split: imbalance(counts[split]) for split in SPLITS},
        "mean": list(mean),
        "std": list(std),
        "normalised_with": {"mean": list(dataset.mean), "std": list(dataset.std)},
    }


def _show(found: dict[str, Any]) -> None:
    table = rich.table.Table(box=None, pad_edge=False)
    table.add_column("class")
    for title in SPLITS.values():
        table.add_column(title, justify="right")
    rows = zip(found["class_names"], *(found["class_counts"][split] for split in SPLITS), strict=True)
    for name, *counts in [*rows, ("all", *found["images"].values())]:
        table.add_row(rich.markup.escape(name), *(f"{count:,}" for count in counts))
    rich.console.Console(highlight=False, soft_wrap=True).print(table)
    height, width, channels = found["image_shape"]
    ratios = ", ".join(f"{title} {_ratio(found['imbalance'][split])}" for split, title in SPLITS.items())
    print(f"\n{found['name']}: {height}x{width} pixels, {channels} channels, {len(found['class_names'])} classes")
    print(f"largest class by smallest: {ratios}")
    print(f"mean of the training images {_triple(found['mean'])}, standard deviation {_triple(found['std'])} (of 0..1)")
    used = found["normalised_with"]
    print(f"normalised with        mean {_triple(used['mean'])}, standard deviation {_triple(used['std'])}")


def _ratio(value: float) -> str:
    return f"{value:.2f}" if math.isfinite(value) else "one has no images"


def _triple(values: list[float]) -> str:
    return " ".join(f"{value:.4f}" for value in values)


def _check(out: Path, overwrite: bool) -> None:
    """Before the data are read, as after it."""
    if out.suffix.lower() != ".png":
        raise UserError(f"The contact sheet is a PNG, but {out} does not end in .png. Give another --out.")
    check_output(out, overwrite)


def _draw(dataset: Dataset, out: Path, overwrite: bool) -> None:
    try:
        from jaxnas.commands.contact_sheet import draw
    except ImportError as error:
        raise UserError("A contact sheet needs Pillow. Run: pip install pillow") from error
    png = io.BytesIO()
    draw(dataset).save(png, "PNG")
    _check(out, overwrite)  # Again: reading the data may have taken long.
    write_output(out, png.getvalue())

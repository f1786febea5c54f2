"""Any image classification dataset of TensorFlow Datasets that was prepared for random access, read without TensorFlow."""

from __future__ import annotations

import io
import json
import os
import shlex
from pathlib import Path
from typing import Any

import numpy as np

from jaxnas.data.arrays import from_arrays
from jaxnas.data.dataset import Dataset
from jaxnas.data.pictures import Pictures, Unreadable, decoded_if_it_fits, pictures_of
from jaxnas.errors import UserError, did_you_mean

VALIDATION = "validation"


def from_tfds(name: str, data_dir: str | os.PathLike[str] | None = None, size: int | None = None) -> Dataset:
    """A dataset that TensorFlow Datasets prepared as ArrayRecord files; nothing is downloaded, and TensorFlow is not imported.

    Its ``train`` split is trained on and its ``test`` split, or else ``validation``, tested on; beside ``test``,
    ``validation`` joins the training images, as a search makes its own validation split from these. With neither,
    :func:`jaxnas.data.from_arrays` sets a fifth aside. Normalised by the training images' moments.

    Args:
      name: ``NAME``, ``NAME/CONFIG``, either with ``:VERSION``, as TensorFlow Datasets writes it; the newest version there by
        default.
      data_dir: where it was prepared; by default where TensorFlow Datasets puts it, the environment variable TFDS_DATA_DIR or
        ``~/tensorflow_datasets``.
      size: as of :func:`jaxnas.data.image_folder`, and so is what stays on disk.

    Raises:
      UserError: the dataset is not there, is not prepared for random access (the message has the commands), has no one image
        and label of an example, or is damaged; and as :func:`jaxnas.data.from_arrays`.
    """
    root = Path(data_dir or os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets").expanduser()
    folder = _prepared(name, root)
    try:
        # Takes seconds: only where it is needed.
        import tensorflow_datasets as tfds

        builder: Any = tfds.builder_from_directory(folder)
        image_key, label_key = _keys(builder.info, tfds.features)
        splits = [split for split in ("train", "test", VALIDATION) if split in builder.info.splits]
        if "train" not in splits:
            raise UserError(f"{folder} has no split train, only {', '.join(builder.info.splits)}.")
        # Pictures stay encoded: TensorFlow Datasets would use OpenCV or not, whichever is installed.
        decoders = {image_key: tfds.decode.SkipDecoding()}
        sources = {split: builder.as_data_source(split, decoders=decoders) for split in splits}
    except UserError:
        raise
    except NotImplementedError as error:
        raise UserError(
            f"{folder} is prepared as {builder.info.file_format.value}, which cannot be read without TensorFlow. "
            f"{how_to_prepare(name, root.with_name(f'{root.name}-array-record'))}"
        ) from error
    except ImportError as error:
        raise UserError(
            f"Reading {folder} needs a package that is not installed ({error}). Run: pip install array_record"
        ) from error
    except Exception as error:  # Of protocol buffers, JSON, the file system: which ones is nowhere said.
        raise UserError(
            f"{folder} cannot be read: {error}. Is it damaged? Then remove it. {how_to_prepare(name, root)}"
        ) from error
    test = next((split for split in ("test", VALIDATION) if split in sources), None)
    train = [split for split in sources if split != test]
    label = builder.info.features[label_key]
    class_names = tuple(label.names) if isinstance(label, tfds.features.ClassLabel) else None
    used = {split: sources[split] for split in (*train, *([test] if test else ()))}
    images, labels = _read(used, folder, image_key, label_key, size)
    cut = sum(len(used[split]) for split in train)
    x_test, y_test = (images[cut:], labels[cut:]) if test else (None, None)
    x_train, y_train = images[:cut], labels[:cut]
    return from_arrays(f"tfds:{name}", x_train, y_train, x_test, y_test, class_names)


def how_to_prepare(name: str, root: Path) -> str:
    """The commands that prepare a dataset, in an environment of its own as this one shall not need TensorFlow."""
    arguments = f'{json.dumps(name)}, data_dir={json.dumps(str(root))}, file_format="array_record"'
    code = f"import tensorflow_datasets as tfds; tfds.builder({arguments}).download_and_prepare()"
    return (
        "Prepare it in an environment with TensorFlow:\n"
        "  python3 -m venv tfds-env\n"
        "  tfds-env/bin/pip install tensorflow tensorflow-datasets array_record\n"
        f"  tfds-env/bin/python -c {shlex.quote(code)}\n"
        f"and give its folder: --data-dir {shlex.quote(str(root))} (data_dir=...)."
    )


def _prepared(name: str, root: Path) -> Path:
    """The folder ``NAME[/CONFIG]/VERSION`` of a prepared dataset."""
    path, _, version = name.partition(":")
    if not path:
        raise UserError("Which dataset of TensorFlow Datasets? Write its name, as in tfds:cifar10.")
    versions = [found.parent for found in (root / path).glob("*/features.json")]
    configs = sorted({found.parent.parent.name for found in (root / path).glob("*/*/features.json")})
    wanted = [folder for folder in versions if version in ("", folder.name)]
    if not versions and not configs:
        features = [*root.glob("*/*/features.json"), *root.glob("*/*/*/features.json")]
        there = sorted({found.parts[len(root.parts)] for found in features})
        hint = did_you_mean(path, there) if there else "Nothing is."
        raise UserError(
            f"Dataset {name!r} of TensorFlow Datasets is not prepared in {root}. {hint} {how_to_prepare(name, root)}"
        )
    if not versions:
        raise UserError(f"Dataset {path!r} has configurations: {', '.join(configs)}. Name one: tfds:{path}/{configs[0]}")
    if not wanted:
        found = ", ".join(sorted(folder.name for folder in versions))
        raise UserError(
            f"Dataset {path!r} is not prepared in version {version} in {root}, but in {found}. Name that one or none."
        )
    return max(wanted, key=lambda folder: [int(part) if part.isdigit() else -1 for part in folder.name.split(".")])


def _keys(info: Any, features: Any) -> tuple[str, str]:
    """Which features are the image and its label: the supervised ones, or the only ones of their type."""
    keys = info.supervised_keys
    if not (isinstance(keys, tuple) and len(keys) == 2 and all(isinstance(key, str) for key in keys)):
        images = [key for key, feature in info.features.items() if isinstance(feature, features.Image)]
        labels = [key for key, feature in info.features.items() if isinstance(feature, features.ClassLabel)]
        keys = (images[0], labels[0]) if len(images) == len(labels) == 1 else None
    if keys is None or not isinstance(info.features[keys[0]], features.Image) or info.features[keys[1]].shape != ():
        raise UserError(
            f"{info.full_name} is not for image classification: one image and one label an example are needed, but its "
            f"features are {', '.join(f'{key} ({type(feature).__name__})' for key, feature in info.features.items())}."
        )
    if info.features[keys[0]].np_dtype != np.uint8:
        raise UserError(f"{info.full_name} has images of {info.features[keys[0]].np_dtype}; images of 8 bits are read.")
    return keys


def _read(
    sources: dict[str, Any], folder: Path, image_key: str, label_key: str, size: int | None
) -> tuple[np.ndarray | Pictures, np.ndarray]:
    """Images and labels of splits, one after the other. The labels are known only when every example was read."""
    places = [(split, n) for split, source in sources.items() for n in range(len(source))]

    def example(number: int) -> Any:
        split, n = places[number]
        try:
            return sources[split][n]
        except Exception as error:  # RuntimeError, ValueError and more, by what is damaged.
            raise Unreadable(f"Example {n} of split {split} in {folder} cannot be read: {error}. Prepare it anew.") from error

    def picture(number: int) -> tuple[str, io.BytesIO]:
        split, n = places[number]
        return f"example {n} of split {split} in {folder}", io.BytesIO(example(number)[image_key])

    labels = np.array([example(number)[label_key] for number in range(len(places))])
    return decoded_if_it_fits(pictures_of(len(places), picture, size)), labels

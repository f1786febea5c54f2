"""Datasets that TensorFlow Datasets prepared: read without TensorFlow, or refused with the commands that prepare them."""

from __future__ import annotations

import importlib
import io
import json
import os
import re
import shlex
import subprocess
import sys
import venv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from jaxnas.data import Stream, from_tfds, load
from jaxnas.data import pictures as data_pictures
from jaxnas.data.tfds import how_to_prepare
from jaxnas.errors import UserError

FEATURES = "tensorflow_datasets.core.features"
NAMES = ["zebra", "ant", "mole"]
SPLITS = {"train": 12, "test": 6}
IMAGE = {
    "image": {"dtype": "uint8", "shape": {"dimensions": ["-1", "-1", "3"]}},
    "pythonClassName": f"{FEATURES}.image_feature.Image",
}
LABEL = {"classLabel": {"numClasses": "3"}, "pythonClassName": f"{FEATURES}.class_label_feature.ClassLabel"}
NUMBER = {"pythonClassName": f"{FEATURES}.scalar.Scalar", "tensor": {"dtype": "int64", "encoding": "none", "shape": {}}}


def pictures(split: str) -> np.ndarray:
    rng = np.random.Generator(np.random.PCG64(list(SPLITS).index(split) if split in SPLITS else 9))
    return rng.integers(0, 256, (SPLITS.get(split, 6), 8, 8, 3), dtype=np.uint8)


def write(
    root: Path,
    splits: Sequence[str] = ("train", "test"),
    name: str = "tiny_shapes",
    path: str = "tiny_shapes/1.0.0",
    features: dict[str, Any] | None = None,
    supervised: bool = True,
    labels: Sequence[int] = (0, 1, 2),
    odd: int = -1,
) -> Path:
    """What ``download_and_prepare`` leaves, written without TensorFlow; image ``odd`` of every split is larger."""
    from array_record.python.array_record_module import ArrayRecordWriter

    examples: Any = importlib.import_module("tensorflow_datasets.proto").tf_example_pb2
    folder = root / path
    folder.mkdir(parents=True)
    described = {"image": IMAGE, "label": LABEL} if features is None else features
    whole = {"featuresDict": {"features": described}, "pythonClassName": f"{FEATURES}.features_dict.FeaturesDict"}
    (folder / "features.json").write_text(json.dumps(whole))
    (folder / "label.labels.txt").write_text("\n".join(NAMES) + "\n")
    info: dict[str, Any] = {"name": name, "version": path.split("/")[-1], "fileFormat": "array_record", "splits": []}
    if supervised:
        info["supervisedKeys"] = {"tuple": {"items": [{"featureKey": "image"}, {"featureKey": "label"}]}}
    for split in splits:
        images = pictures(split)
        writer = ArrayRecordWriter(str(folder / f"{name}-{split}.array_record-00000-of-00001"), "group_size:1")
        for n, image in enumerate(images):
            file = io.BytesIO()
            Image.fromarray(image.repeat(2, 0) if n == odd else image).save(file, "PNG")
            example = examples.Example()
            example.features.feature["image"].bytes_list.value.append(file.getvalue())
            example.features.feature["label"].int64_list.value.append(labels[n % len(labels)])
            writer.write(example.SerializeToString())
        writer.close()
        template = "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}"
        info["splits"].append(
            {"name": split, "filepathTemplate": template, "numBytes": "1", "shardLengths": [str(len(images))]}
        )
    (folder / "dataset_info.json").write_text(json.dumps(info))
    return folder


def as_set(images: np.ndarray) -> set[bytes]:
    return {image.tobytes() for image in images}


def refusal(root: Path, name: str = "tiny_shapes") -> str:
    with pytest.raises(UserError) as error:
        from_tfds(name, root)
    return str(error.value)


@pytest.mark.parametrize("supervised", [True, False])
def test_a_prepared_dataset_arrives_with_its_names(tmp_path: Path, supervised: bool) -> None:
    write(tmp_path, supervised=supervised)
    found = load("tfds:tiny_shapes", tmp_path)
    np.testing.assert_array_equal(found.test.images, pictures("test"))
    assert found.test.labels.tolist() == [0, 1, 2] * 2
    assert as_set(found.train.images) == as_set(pictures("train")) and len(found.train.images) == 12
    for image, label in zip(found.train.images, found.train.labels, strict=True):
        assert (pictures("train")[label::3] == image).all((1, 2, 3)).any()
    assert (found.name, found.class_names) == ("tfds:tiny_shapes", tuple(NAMES))
    assert "tensorflow" not in sys.modules


@pytest.mark.parametrize(
    ("splits", "train", "test"),
    [
        (["train", "validation"], ["train"], ["validation"]),
        (["train", "validation", "test"], ["train", "validation"], ["test"]),
    ],
)
def test_which_splits_are_tested_on(tmp_path: Path, splits: list[str], train: list[str], test: list[str]) -> None:
    write(tmp_path, splits)
    found = from_tfds("tiny_shapes", tmp_path)
    assert as_set(found.train.images) == set().union(*(as_set(pictures(split)) for split in train))
    assert as_set(found.test.images) == set().union(*(as_set(pictures(split)) for split in test))


def test_without_a_test_split_a_fifth_is_set_aside(tmp_path: Path) -> None:
    write(tmp_path, ["train"])
    found = from_tfds("tiny_shapes", tmp_path)
    assert (len(found.train.labels), len(found.test.labels)) == (9, 3)
    assert as_set(found.train.images) | as_set(found.test.images) == as_set(pictures("train"))


def test_the_newest_version_is_read_unless_one_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, path="tiny_shapes/9.0.0", splits=["train", "test"])
    write(tmp_path, path="tiny_shapes/10.0.0", splits=["train", "validation"])
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    np.testing.assert_array_equal(from_tfds("tiny_shapes").test.images, pictures("validation"))
    np.testing.assert_array_equal(from_tfds("tiny_shapes:9.0.0").test.images, pictures("test"))
    assert "version 8.0.0" in refusal(tmp_path, "tiny_shapes:8.0.0") and "10.0.0, 9.0.0" in refusal(
        tmp_path, "tiny_shapes:8.0.0"
    )


def test_a_configuration_is_named(tmp_path: Path) -> None:
    write(tmp_path, path="tiny_shapes/small/1.0.0")
    assert "has configurations: small. Name one: tfds:tiny_shapes/small" in refusal(tmp_path)
    np.testing.assert_array_equal(from_tfds("tiny_shapes/small", tmp_path).test.images, pictures("test"))
    np.testing.assert_array_equal(from_tfds("tiny_shapes/small:1.0.0", tmp_path).test.images, pictures("test"))


def test_labels_without_names_are_numbered(tmp_path: Path) -> None:
    write(tmp_path, features={"image": IMAGE, "label": NUMBER}, labels=(40, 7, 100))
    found = from_tfds("tiny_shapes", tmp_path)
    assert (found.class_names, found.test.labels.tolist()) == (("7", "40", "100"), [1, 0, 2] * 2)


def test_what_is_not_prepared_is_refused_with_the_commands(tmp_path: Path) -> None:
    for root in (tmp_path, tmp_path / "nowhere"):
        message = refusal(root)
        assert f"'tiny_shapes' of TensorFlow Datasets is not prepared in {root}. Nothing is." in message
        assert "pip install tensorflow tensorflow-datasets" in message and f"--data-dir {root}" in message
    write(tmp_path)
    assert "Did you mean tiny_shapes? Known: tiny_shapes." in refusal(tmp_path, "tiny_shape")
    assert "Write its name" in refusal(tmp_path, "")


def test_another_file_format_is_refused_with_the_commands(tmp_path: Path) -> None:
    folder = write(tmp_path / "all")
    info = folder / "dataset_info.json"
    info.write_text(info.read_text().replace("array_record", "tfrecord"))
    message = refusal(tmp_path / "all")
    assert f"{folder} is prepared as tfrecord, which cannot be read without TensorFlow" in message
    assert f"--data-dir {tmp_path / 'all-array-record'}" in message


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"splits": ["test"]}, "has no split train, only test"),
        ({"odd": 3}, "is 8x8, example 3 of split train in {folder} is 8x16 pixels"),
        ({"labels": (0, 1, 3)}, "label 3 of image 2 is not in 0..2"),
        ({"labels": (0, -1, 2)}, "label -1 of image 1 is not in 0..2"),
        (
            {"features": {"image": IMAGE, "other": IMAGE, "label": LABEL}, "supervised": False},
            "is not for image classification",
        ),
        ({"features": {"image": NUMBER, "label": LABEL}}, "its features are"),
    ],
)
def test_what_cannot_be_searched_on_is_refused(tmp_path: Path, arguments: dict[str, Any], words: str) -> None:
    folder = write(tmp_path, **arguments)
    assert words.format(folder=folder) in refusal(tmp_path)


def test_damage_is_refused(tmp_path: Path) -> None:
    folder = write(tmp_path)
    shard = folder / "tiny_shapes-train.array_record-00000-of-00001"
    whole = shard.read_bytes()
    for content in (b"", whole[:100], whole[: len(whole) // 2], whole[:-3], b"\0" * len(whole)):
        shard.write_bytes(content)
        message = refusal(tmp_path)
        assert str(folder) in message and ("Prepare it" in message or "damaged" in message)
    shard.unlink()
    assert "No such file" in refusal(tmp_path)
    shard.write_bytes(whole)
    from_tfds("tiny_shapes", tmp_path)
    for name in ("dataset_info.json", "features.json"):
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(content[:-9])
        assert f"{folder} cannot be read" in refusal(tmp_path)
        (folder / name).write_bytes(content)
    (folder / "dataset_info.json").unlink()
    assert f"{folder} cannot be read" in refusal(tmp_path)


BUILDER = f'''
import numpy as np
import tensorflow_datasets as tfds

class TinyShapes(tfds.core.GeneratorBasedBuilder):
    """Three classes of noise."""
    VERSION = tfds.core.Version("1.0.0")

    def _info(self):
        features = {{"image": tfds.features.Image(shape=(8, 8, 3)), "label": tfds.features.ClassLabel(names={NAMES})}}
        features = tfds.features.FeaturesDict(features)
        return tfds.core.DatasetInfo(builder=self, description="Noise.", features=features, supervised_keys=("image", "label"))

    def _split_generators(self, dl_manager):
        arrays = np.load("images.npz")
        return {{split: self._generate_examples(arrays[split]) for split in arrays.files}}

    def _generate_examples(self, images):
        for n, image in enumerate(images):
            yield n, {{"image": image, "label": n % 3}}
'''


@pytest.mark.slow
def test_what_tensorflow_datasets_prepared_elsewhere_arrives_here(tmp_path: Path) -> None:
    """The commands of the message, as they stand, in an environment with TensorFlow; only the builder is imported before."""
    assert subprocess.run([sys.executable, "-c", "import tensorflow"], capture_output=True).returncode
    commands = re.findall(r"^  (tfds-env/.*)", how_to_prepare("tiny_shapes", tmp_path / "prepared"), re.MULTILINE)
    install, prepare = (shlex.split(command) for command in commands)
    venv.create(tmp_path / "tfds-env", with_pip=True)
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    subprocess.run(install, cwd=tmp_path, env=environment, check=True)
    (tmp_path / "tiny_shapes.py").write_text(BUILDER)
    arrays: dict[str, Any] = {split: pictures(split) for split in SPLITS}
    np.savez(tmp_path / "images.npz", **arrays)
    subprocess.run([*prepare[:-1], f"import tiny_shapes; {prepare[-1]}"], cwd=tmp_path, env=environment, check=True)
    code = (
        "import sys; from jaxnas.data import load; import numpy as np\n"
        f"found = load('tfds:tiny_shapes', {str(tmp_path / 'prepared')!r})\n"
        "np.savez('found.npz', train=found.train.images, train_labels=found.train.labels, test=found.test.images,\n"
        "         test_labels=found.test.labels, names=found.class_names, tensorflow='tensorflow' in sys.modules)"
    )
    here = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=here, check=True)
    with np.load(tmp_path / "found.npz") as found:
        assert not found["tensorflow"] and found["names"].tolist() == NAMES
        for split, images in ((split, pictures(split)) for split in SPLITS):
            expected = sorted((image.tobytes(), n % 3) for n, image in enumerate(images))  # preparing shuffles
            arrived = zip(found[split], found[f"{split}_labels"], strict=True)
            assert sorted((image.tobytes(), int(label)) for image, label in arrived) == expected


def test_what_does_not_fit_is_streamed_in_the_same_splits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, ["train"])
    resident = from_tfds("tiny_shapes", tmp_path)
    monkeypatch.setattr(data_pictures, "RESIDENT_BYTES", 0)
    streamed = from_tfds("tiny_shapes", tmp_path)
    assert streamed.streamed and (streamed.mean, streamed.std) == (resident.mean, resident.std)
    for split in ("search_train", "search_valid", "train", "test"):
        found, expected = getattr(streamed, split), getattr(resident, split)
        np.testing.assert_array_equal(np.asarray(found.images), expected.images)
        np.testing.assert_array_equal(found.labels, expected.labels)
    rows = np.arange(8).reshape(4, 2)
    with Stream(streamed.train, rows, ahead=2) as stream:
        np.testing.assert_array_equal(stream.take(4)["images"], resident.train.images[rows])


def test_images_of_other_sizes_are_brought_to_a_recipes(tmp_path: Path) -> None:
    write(tmp_path, odd=3)
    found = load("tfds:tiny_shapes", tmp_path, size=8)
    assert found.test.images.shape == (6, 8, 8, 3) and (found.test.images[:3] == pictures("test")[:3]).all()

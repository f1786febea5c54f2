"""A folder of images by class: its layouts, the decoding, and what is said about files that are wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from jaxnas.data import class_counts, from_arrays, image_folder, load
from jaxnas.errors import UserError

CLASSES = ("ant", "bee")


def picture(number: int, size: tuple[int, int] = (4, 4)) -> np.ndarray:
    return np.random.default_rng(number).integers(0, 256, (*size, 3), dtype=np.uint8)


def write(folder: Path, first: int, count: int = 3) -> None:
    """``count`` PNG images in each class, numbered on."""
    for k, name in enumerate(CLASSES):
        (folder / name).mkdir(parents=True)
        for n in range(count):
            Image.fromarray(picture(first + k * count + n)).save(folder / name / f"{n}.png")


def as_set(images: np.ndarray) -> set[bytes]:
    return {image.tobytes() for image in images}


def pictures(*numbers: int) -> set[bytes]:
    return {picture(number).tobytes() for number in numbers}


def refusal(folder: Path) -> str:
    with pytest.raises(UserError) as error:
        image_folder(folder)
    assert str(folder) in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("name", ["test", "val", "valid", "validation"])
def test_a_folder_beside_train_is_the_test_split(tmp_path: Path, name: str) -> None:
    write(tmp_path / "train", 0)
    write(tmp_path / name, 100, count=1)
    (tmp_path / "README.txt").write_text("mine")
    (tmp_path / "train" / ".DS_Store").write_text("")
    found = load(str(tmp_path))
    assert as_set(found.train.images) == pictures(*range(6)) and len(found.train.images) == 6
    np.testing.assert_array_equal(found.test.images, [picture(100), picture(101)])
    assert (found.class_names, found.test.labels.tolist(), found.name) == (CLASSES, [0, 1], tmp_path.name)
    for image, label in zip(found.train.images, found.train.labels, strict=True):
        assert (image.tobytes() in pictures(3, 4, 5)) == bool(label)


def test_a_validation_folder_beside_train_and_test_joins_the_training_images(tmp_path: Path) -> None:
    write(tmp_path / "train", 0)
    write(tmp_path / "val", 50)
    write(tmp_path / "test", 100)
    found = image_folder(tmp_path)
    assert as_set(found.train.images) == pictures(*range(6), *range(50, 56))
    assert as_set(found.test.images) == pictures(*range(100, 106))


@pytest.mark.parametrize("inside", [".", "train"])
def test_classes_alone_are_split_as_arrays_are(tmp_path: Path, inside: str) -> None:
    write(tmp_path / inside, 0, count=7)
    found = image_folder(tmp_path)
    expected = from_arrays("mine", np.array([picture(n) for n in range(14)]), np.repeat([0, 1], 7), class_names=CLASSES)
    np.testing.assert_array_equal(found.test.images, expected.test.images)
    np.testing.assert_array_equal(found.train.images, expected.train.images)
    assert class_counts(found)["test"] == (1, 1)
    assert not as_set(found.train.images) & as_set(found.test.images)


def test_jpeg_grey_palette_and_opaque_images_are_read(tmp_path: Path) -> None:
    write(tmp_path / "train", 0)
    write(tmp_path / "test", 100, count=1)
    grey = picture(7)[..., 0]
    folder = tmp_path / "test" / "bee"
    Image.fromarray(grey).save(folder / "1.png")
    Image.fromarray(grey > 100).save(folder / "2.PNG")
    Image.fromarray(np.full((4, 4, 3), 90, np.uint8)).save(folder / "3.jpg")  # of one colour: JPEG keeps it
    Image.fromarray(grey).save(folder / "4.jpeg", quality=100)
    Image.fromarray(np.dstack([picture(8), np.full((4, 4), 255, np.uint8)])).save(folder / "5.png")
    Image.fromarray((grey // 128) * 255).convert("P").save(folder / "6.png")
    found = image_folder(tmp_path).test.images[2:]
    three = [np.repeat(image[..., None], 3, -1) for image in (grey, (grey > 100) * 255, np.full((4, 4), 90))]
    np.testing.assert_array_equal(found[:3], three)
    np.testing.assert_allclose(found[3].astype(int), three[0], atol=3)
    np.testing.assert_array_equal(found[4], picture(8))
    np.testing.assert_array_equal(found[5][..., 1], (grey // 128) * 255)


@pytest.mark.parametrize("inside", ["train", "test"])
def test_mixed_sizes_are_refused_with_two_files(tmp_path: Path, inside: str) -> None:
    write(tmp_path / "train", 0)
    write(tmp_path / "test", 100)
    other = tmp_path / inside / "bee" / "1.png"
    Image.fromarray(picture(1, (8, 4))).save(other)
    assert f"{tmp_path / 'train/ant/0.png'} is 4x4, {other} is 4x8 pixels" in refusal(tmp_path)


def test_a_size_that_networks_do_not_take_is_refused(tmp_path: Path) -> None:
    for name in CLASSES:
        (tmp_path / name).mkdir()
        for n in range(3):
            Image.fromarray(picture(n, (6, 6))).save(tmp_path / name / f"{n}.png")
    with pytest.raises(UserError, match="multiple of 4, got 6x6. Crop or pad"):
        image_folder(tmp_path)


@pytest.mark.parametrize("cut", [0, 20, 60, -30])
@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_a_truncated_image_is_named(tmp_path: Path, suffix: str, cut: int) -> None:
    write(tmp_path / "train", 0)
    path = tmp_path / "train" / "bee" / f"1.{suffix}"
    Image.fromarray(picture(1)).save(path)
    path.write_bytes(path.read_bytes()[:cut])
    assert f"{path} cannot be read as an image" in refusal(tmp_path)


def save_deep(path: Path) -> None:
    Image.fromarray(np.zeros((4, 4), np.uint16)).save(path)


def save_transparent(path: Path) -> None:
    Image.fromarray(np.zeros((4, 4, 4), np.uint8)).save(path)


def save_gif(path: Path) -> None:
    Image.fromarray(picture(0)).save(path, "GIF")


@pytest.mark.parametrize(
    ("name", "save", "words"),
    [
        ("9.png", save_deep, "has mode I;16"),
        ("9.png", save_transparent, "has mode RGBA with transparency"),
        ("9.png", save_gif, "cannot be read as an image"),
        ("9.bmp", save_deep, "is not a file that ends in .png, .jpg, .jpeg"),
        ("notes.txt", Path.touch, "is not a file that ends in"),
        ("nested", Path.mkdir, "is not a file that ends in"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, name: str, save: Any, words: str) -> None:
    write(tmp_path / "train", 0)
    path = tmp_path / "train" / "bee" / name
    save(path.with_suffix(".tiff") if path.suffix == ".bmp" else path)
    if path.suffix == ".bmp":
        path.with_suffix(".tiff").rename(path)
    message = refusal(tmp_path)
    assert str(path) in message and words in message


def test_other_layouts_are_refused(tmp_path: Path) -> None:
    assert "does not exist" in refusal(tmp_path / "nowhere")
    assert "has 0 folders of classes" in refusal(tmp_path)
    (tmp_path / "ant").mkdir()
    assert "has 1 folders of classes; at least two are needed. Expected FOLDER/train/CLASS" in refusal(tmp_path)
    (tmp_path / "bee").mkdir()
    assert f"{tmp_path / 'ant'} has no images" in refusal(tmp_path)
    (tmp_path / "test").mkdir()
    assert "has a folder test but no folder train" in refusal(tmp_path)
    write(tmp_path / "train", 0)
    (tmp_path / "test" / "cat").mkdir()
    assert "training has no class 'cat', only ant, bee" in refusal(tmp_path)

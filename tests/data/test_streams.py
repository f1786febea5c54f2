"""Pictures that stay on disk: the same splits as in memory, the same batches in the same order, and what is said of damage."""

from __future__ import annotations

import io
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from jaxnas.data import Dataset, Pictures, Split, Stream, Unreadable, class_counts, image_folder, load, pictures, with_shares
from jaxnas.data.pictures import pictures_of
from jaxnas.errors import UserError
from jaxnas.parallel import places_of

CLASSES = ("ant", "bee")
SPLITS = ("search_train", "search_valid", "train", "test")


def write(folder: Path, count: int = 12, first: int = 0, size: tuple[int, int] = (8, 8), suffix: str = "png") -> Path:
    """``count`` images of noise in each class."""
    for label, name in enumerate(CLASSES):
        (folder / name).mkdir(parents=True)
        for n in range(count):
            rng = np.random.default_rng([first, label, n])
            pixels = rng.integers(0, 256, (*size, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{n:02}.{suffix}")
    return folder


@pytest.fixture
def on_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing fits into memory."""
    monkeypatch.setattr(pictures, "RESIDENT_BYTES", 0)


def same(found: Dataset, expected: Dataset) -> None:
    for name in SPLITS:
        left, right = getattr(found, name), getattr(expected, name)
        np.testing.assert_array_equal(np.asarray(left.images), right.images)
        np.testing.assert_array_equal(left.labels, right.labels)
    assert (found.mean, found.std, found.class_names) == (expected.mean, expected.std, expected.class_names)


@pytest.mark.parametrize("layout", [(".",), ("train", "test"), ("train", "val", "test")])
def test_splits_are_those_of_images_in_memory(tmp_path: Path, layout: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    for n, split in enumerate(layout):
        write(tmp_path / split, first=n, suffix="jpg" if n else "png")
    resident = image_folder(tmp_path)
    limit = int(np.prod((len(resident.train.labels) + len(resident.test.labels), *resident.train.images.shape[1:])))
    monkeypatch.setattr(pictures, "RESIDENT_BYTES", limit)
    assert not resident.streamed and not image_folder(tmp_path).streamed
    monkeypatch.setattr(pictures, "RESIDENT_BYTES", limit - 1)
    streamed = image_folder(tmp_path)
    assert streamed.streamed and all(isinstance(getattr(streamed, name).images, Pictures) for name in SPLITS)
    assert streamed.image_size == 8 and class_counts(streamed) == class_counts(resident)
    same(streamed, resident)
    same(with_shares(streamed, 0.5, 0.25, seed=3), with_shares(resident, 0.5, 0.25, seed=3))


@pytest.mark.usefixtures("on_disk")
def test_batches_are_the_rows_in_their_order_and_go_on_from_a_position(tmp_path: Path) -> None:
    split = image_folder(write(tmp_path)).train
    images = np.asarray(split.images)
    rows = np.random.default_rng(0).integers(0, len(images), (7, 5))
    with Stream(split, rows, ahead=3) as stream:
        for start in (0, 2, 4):
            position = stream.position
            read = stream.take(2)
            np.testing.assert_array_equal(read["images"], images[rows[start : start + 2]])
            np.testing.assert_array_equal(read["labels"], split.labels[rows[start : start + 2]])
            assert read["images"].dtype == np.uint8 and read["labels"].dtype == np.int32
    assert position == {"next_index": 4}  # Not what was read ahead.
    for place, step in ((position, 0), (None, 4)):
        with Stream(split, rows, ahead=1, position=place, step=step) as stream:
            np.testing.assert_array_equal(stream.take(3)["images"], images[rows[4:]])


@pytest.mark.usefixtures("on_disk")
@pytest.mark.parametrize("owners", [(0, 0, 1, 1), (1, 0, 0, 1), (0, 1, 2, 3)])
def test_processes_read_shares_that_make_up_each_batch(tmp_path: Path, owners: tuple[int, ...]) -> None:
    split = image_folder(write(tmp_path)).train
    rows, images = np.random.default_rng(0).integers(0, len(split.labels), (2, 8)), np.asarray(split.images)
    whole, positions, seen = np.zeros((2, 8, 8, 8, 3), np.uint8), [], []
    for process in range(max(owners) + 1):
        places = places_of(owners, 8, process)
        with Stream(split, rows[:, places], ahead=2) as stream:
            whole[:, places] = stream.take(2)["images"]
            positions.append(stream.position)
        seen += places.tolist()
    assert sorted(seen) == list(range(8)) and positions == [{"next_index": 2}] * len(positions)
    np.testing.assert_array_equal(whole, images[rows])


@pytest.mark.usefixtures("on_disk")
def test_a_damaged_image_is_named_when_the_folder_is_loaded(tmp_path: Path) -> None:
    for split in ("train", "test"):
        write(tmp_path / split, first=len(split))
    for path in (tmp_path / "train" / "bee" / "05.png", tmp_path / "test" / "ant" / "03.png"):
        whole = path.read_bytes()
        path.write_bytes(whole[:60])
        with pytest.raises(UserError, match="damaged or cut short|cannot be read as an image") as error:
            image_folder(tmp_path)
        assert str(path) in str(error.value)
        Image.fromarray(np.zeros((8, 16, 3), np.uint8)).save(path)
        with pytest.raises(UserError, match=f"ant/00.png is 8x8, {path} is 16x8 pixels"):
            image_folder(tmp_path)
        path.write_bytes(whole)
    image_folder(tmp_path)
    shutil.rmtree(tmp_path / "test")
    shutil.copytree(tmp_path / "train", tmp_path / "test")
    with pytest.raises(UserError, match="every one of the 24 test images is also a training image"):
        image_folder(tmp_path)


@pytest.mark.usefixtures("on_disk")
def test_a_folder_that_is_lost_is_named(tmp_path: Path) -> None:
    split = image_folder(write(tmp_path / "data")).train
    rows = np.arange(16).reshape(8, 2)
    with Stream(split, rows, ahead=1) as stream:
        stream.take(1)
        (tmp_path / "data").rename(tmp_path / "elsewhere")
        with pytest.raises(Unreadable, match=r"data/(ant|bee)/\d+.png cannot be read any more \(No such file or directory\)"):
            stream.take(7)


@pytest.mark.usefixtures("on_disk")
def test_whatever_ends_a_reading_thread_is_one_message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    split = image_folder(write(tmp_path)).train

    def fails(*_: Any) -> Any:
        raise MemoryError("no room")

    monkeypatch.setattr(type(split.images), "__getitem__", fails)
    with Stream(split, np.zeros((1, 2), int), ahead=1) as stream:
        with pytest.raises(Unreadable, match="The reading of images ended: MemoryError: no room"):
            stream.take(1)


def file_of(image: Image.Image) -> tuple[str, io.BytesIO]:
    file = io.BytesIO()
    image.save(file, "PNG")
    return "one", file


@pytest.mark.parametrize("shape", [(8, 8), (11, 6), (6, 11), (40, 25), (5, 5)])
def test_images_are_brought_to_the_size_of_a_recipe(shape: tuple[int, int]) -> None:
    """A ramp stays a ramp: the shorter side at eight pixels, of the longer one the middle."""
    height, width = shape
    ramp = np.linspace(20, 220, height)[:, None, None] + np.zeros((1, width, 3))
    image = Image.fromarray(ramp.round().astype(np.uint8))
    found = pictures_of(1, lambda _: file_of(image), size=8)[0]
    assert found.shape == (8, 8, 3) and (found == found[:, :1, :1]).all()
    if shape == (8, 8):
        np.testing.assert_array_equal(found, image)
    scale = min(shape) / 8
    rows = (np.arange(8) + 0.5 - 4) * scale + height / 2 - 0.5  # Centres of the pixels, in the given image.
    inside = slice(1, 7)  # At the border the filter is cut.
    np.testing.assert_allclose(found[inside, 0, 0], (20 + 200 * rows / (height - 1))[inside], atol=1 + 200 / height)


def test_a_folder_of_mixed_sizes_is_read_at_one(tmp_path: Path) -> None:
    write(tmp_path / "train")
    write(tmp_path / "test", first=1, size=(12, 20))
    with pytest.raises(UserError, match="different sizes.*A recipe with a resized crop does it itself"):
        load(str(tmp_path))
    found = load(str(tmp_path), size=8)
    assert found.test.images.shape == (24, 8, 8, 3)
    first = np.asarray(Image.open(tmp_path / "train" / "ant" / "00.png"))  # What has the size stays as it is.
    assert (found.train.images == first).all((1, 2, 3)).sum() == 1


def test_pictures_are_not_given_as_they_are_without_a_copy() -> None:
    encoded = pictures_of(2, lambda _: file_of(Image.fromarray(np.zeros((4, 4, 3), np.uint8))))
    assert encoded.nbytes == 2 * 4 * 4 * 3 and len(encoded[:1]) == 1
    with pytest.raises(ValueError, match="decoded into a new array"):
        np.array(encoded, copy=False)
    assert Split(encoded, np.zeros(2, np.int32)).images.shape == (2, 4, 4, 3)

"""What is said of a data set, against NumPy and Pillow."""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from jaxnas import cli
from jaxnas.commands import contact_sheet, data
from jaxnas.data import Dataset, Split, load


def made(classes: int, size: int, names: tuple[str, ...] | None = None) -> Dataset:
    """Noise: of class k there are 3 + k images in the training split, of which none is in the second half of the search."""
    rng = np.random.Generator(np.random.PCG64(0))
    labels = rng.permutation(np.repeat(np.arange(classes, dtype=np.int32), 3 + np.arange(classes)))
    train = Split(rng.integers(0, 256, (len(labels), size, size, 3), np.uint8), labels)
    empty = Split(train.images[:0], labels[:0])
    names = tuple(f"class {k}" for k in range(classes)) if names is None else names
    return Dataset("made", classes, train, empty, train, train, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25), names)


def call(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    """The exit code and all that was printed."""
    with pytest.raises(SystemExit) as done:
        cli.main(["data", *arguments])
    assert isinstance(done.value.code, int)
    return done.value.code, "".join(capsys.readouterr())


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Every test runs in a folder of its own, without data sets."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("JAXNAS_DATA", raising=False)
    return tmp_path


def test_the_summary_is_what_numpy_counts(capsys: pytest.CaptureFixture[str]) -> None:
    digits = load("digits")
    code, printed = call(capsys, "digits", "--json")
    assert code == 0
    found = json.loads(printed[: printed.index("\n}") + 2])
    assert found["image_shape"] == [8, 8, 3]
    assert found["class_names"] == [str(digit) for digit in range(10)]
    for split in ("train", "search_train", "search_valid", "test"):
        labels, counts = np.unique(getattr(digits, split).labels, return_counts=True)
        assert labels.tolist() == list(range(10))
        assert found["class_counts"][split] == counts.tolist()
        assert found["images"][split] == counts.sum()
        assert found["imbalance"][split] == counts.max() / counts.min()
    scaled = digits.train.images.astype(np.float64) / 255
    np.testing.assert_allclose(found["mean"], scaled.mean((0, 1, 2)), rtol=1e-12)
    np.testing.assert_allclose(found["std"], scaled.std((0, 1, 2)), rtol=1e-12)
    assert found["normalised_with"] == {"mean": list(digits.mean), "std": list(digits.std)}
    assert found["contact_sheet"] is None


def test_a_person_reads_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    digits = load("digits")
    lines = call(capsys, "digits")[1].splitlines()
    table = [line.split() for line in lines[1:12]]
    splits = [digits.train, digits.search_train, digits.search_valid, digits.test]
    for digit in range(10):
        assert table[digit] == [str(digit), *(str((split.labels == digit).sum()) for split in splits)]
    assert table[10] == ["all", *(f"{len(split.labels):,}" for split in splits)]
    assert "digits: 8x8 pixels, 3 channels, 10 classes" in lines


def test_a_class_without_images_is_told(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data, "load", lambda *_: made(3, 8, ("[bold]", "b", "c")))
    code, printed = call(capsys, "made", "--json")
    assert code == 0
    found = json.loads(printed[: printed.index("\n}") + 2])
    assert found["imbalance"] == {"train": 5 / 3, "search_train": 5 / 3, "search_valid": None, "test": 5 / 3}
    text = printed[printed.index("\n}") + 2 :]
    assert "search: alphas one has no images" in text
    assert "\n[bold]  " in text  # A name is no markup.


@pytest.mark.parametrize("classes, size", [(4, 8), (13, 64), (3, 96)])
def test_the_sheet_shows_the_images(
    classes: int, size: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, elsewhere: Path
) -> None:
    dataset = made(classes, size)
    monkeypatch.setattr(data, "load", lambda *_: dataset)
    assert call(capsys, "made", "--out", "sheet.png")[0] == 0
    with Image.open(elsewhere / "sheet.png") as image:
        sheet = np.asarray(image)
    covered = np.zeros(sheet.shape[:2], bool)
    times = 64 // size if size <= 64 else 1
    for label in range(classes):
        own = dataset.train.images[dataset.train.labels == label][:8]
        corners = [contact_sheet.corner(label, image, classes, size * times) for image in range(8)]
        for image, (left, top) in zip(own, corners, strict=False):
            place = np.s_[top : top + size * times, left : left + size * times]
            np.testing.assert_array_equal(sheet[place], image.repeat(times, 0).repeat(times, 1))
            assert not covered[place].any()
            covered[place] = True
        left, top = corners[0]
        line = np.s_[top - 18 : top, left : left + 200]
        assert (sheet[line] < 128).any()  # Its name is written there.
        covered[line] = True
    assert (sheet[~covered] == 255).all()


def test_large_images_are_shrunk_and_long_names_cut() -> None:
    plain = np.full((4, 128, 128, 3), 200, np.uint8)
    split = Split(plain, np.array([0, 0, 1, 1], np.int32))
    dataset = dataclasses.replace(made(2, 8), train=split, class_names=("猫 " * 500, "é"))
    sheet = np.asarray(contact_sheet.draw(dataset))
    left, top = contact_sheet.corner(1, 1, 2, 96)
    assert (sheet[top : top + 96, left : left + 96] == 200).all()
    end = contact_sheet.corner(0, 7, 2, 96)[0] + 96
    first_line = sheet[: contact_sheet.corner(0, 0, 2, 96)[1]]
    assert (first_line[:, end:] == 255).all()


def test_a_class_whose_name_the_font_lacks_goes_by_its_number() -> None:
    sheets = [
        np.asarray(contact_sheet.draw(dataclasses.replace(made(2, 8), class_names=names)))
        for names in (("größe", "plain"), ("class 0", "plain"))
    ]
    assert np.array_equal(sheets[0], sheets[1])


def test_a_sheet_is_overwritten_only_when_asked(capsys: pytest.CaptureFixture[str], elsewhere: Path) -> None:
    (elsewhere / "sheet.png").write_bytes(b"precious")
    code, printed = call(capsys, "digits", "--out", "sheet.png")
    assert code == 2 and "sheet.png exists. Give --overwrite" in printed
    assert (elsewhere / "sheet.png").read_bytes() == b"precious"
    code, printed = call(capsys, "digits", "--out", "sheet.png", "--overwrite", "--json")
    assert code == 0
    assert json.loads(printed[: printed.index("\n}") + 2])["contact_sheet"] == "sheet.png"
    with Image.open(elsewhere / "sheet.png") as sheet:
        assert sheet.format == "PNG"


def test_a_full_disk_leaves_the_sheet_before(
    capsys: pytest.CaptureFixture[str], elsewhere: Path, request: pytest.FixtureRequest
) -> None:
    (elsewhere / "sheet.png").write_bytes(b"precious")
    request.getfixturevalue("full_disk")
    code, printed = call(capsys, "digits", "--out", "sheet.png", "--overwrite")
    assert code == 2 and "sheet.png cannot be written: No space left on device." in printed
    assert [path.name for path in elsewhere.iterdir()] == ["sheet.png"]
    assert (elsewhere / "sheet.png").read_bytes() == b"precious"


def test_a_sheet_that_appeared_meanwhile_stays(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, elsewhere: Path
) -> None:
    def load_slowly(*_: object) -> Dataset:
        (elsewhere / "sheet.png").write_bytes(b"another's")
        return made(2, 8)

    monkeypatch.setattr(data, "load", load_slowly)
    code, printed = call(capsys, "made", "--out", "sheet.png")
    assert code == 2 and "sheet.png exists. Give --overwrite" in printed
    assert (elsewhere / "sheet.png").read_bytes() == b"another's"


MISTAKES = {
    "nothing named": ([], "NAME"),
    "unknown name": (["digit"], "Did you mean digits?"),
    "no folder of data": (["cifar10", "--data-dir", "nope"], "does not exist"),
    "data that is no folder": (["cifar10", "--data-dir", "file.txt"], "is not a folder"),
    "no PNG": (["digits", "--out", "sheet.jpg"], "does not end in .png"),
    "nowhere to draw": (["digits", "--out", "nope/sheet.png"], "there is no folder nope"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes(mistake: str, capsys: pytest.CaptureFixture[str], elsewhere: Path) -> None:
    (elsewhere / "file.txt").write_text("mine")
    arguments, message = MISTAKES[mistake]
    code, printed = call(capsys, *arguments)
    assert code == 2
    assert message in printed
    assert [path.name for path in elsewhere.iterdir()] == ["file.txt"]


def test_without_pillow_only_the_sheet_is_missing(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "PIL", None)
    monkeypatch.delitem(sys.modules, "jaxnas.commands.contact_sheet")
    assert call(capsys, "digits")[0] == 0
    code, printed = call(capsys, "digits", "--out", "sheet.png")
    assert code == 2 and "A contact sheet needs Pillow. Run: pip install pillow" in printed

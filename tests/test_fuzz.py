"""What is malformed is refused by one message, and no file changes: 700 cases, drawn by hypothesis, the same each time."""

from __future__ import annotations

import copy
import io
import json
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxnas import latency, stored
from jaxnas.checkpoints import Checkpoints
from jaxnas.data import load
from jaxnas.errors import UserError
from jaxnas.recipes import RECIPES
from jaxnas.run_folder import plain
from jaxnas.spaces import PUBLISHED, read, to_json, to_text

# Derandomised: the cases depend on this file alone. A warning is an error, as in all tests.
drawn = settings(max_examples=200, deadline=None, derandomize=True, database=None)
few = settings(drawn, max_examples=100)

scalars = st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=12)
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3), max_leaves=8
)


def paths(document: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place in a JSON document."""
    inner = document.items() if isinstance(document, dict) else enumerate(document) if isinstance(document, list) else ()
    return [at, *(path for key, value in inner for path in paths(value, (*at, key)))]


@st.composite
def changed(draw: Any, document: Any) -> bytes:
    """The document's text with one to three places replaced, removed or added to; or its bytes damaged."""
    document = copy.deepcopy(document)
    for _ in range(draw(st.integers(1, 3))):
        path = draw(st.sampled_from(paths(document)))
        value = draw(values)
        if not path:
            return json.dumps(value).encode()
        inner = document
        for key in path[:-1]:
            inner = inner[key]
        if draw(st.booleans()):
            inner[path[-1]] = value
        elif isinstance(inner, dict):
            del inner[path[-1]]
            inner[draw(st.text(max_size=6))] = value
        else:
            inner.insert(path[-1], value)
    return draw(damaged(json.dumps(document).encode()))


@st.composite
def damaged(draw: Any, content: bytes) -> bytes:
    """The bytes as they are, cut short, with some replaced, or others altogether."""
    how = draw(st.sampled_from(("whole", "cut short", "replaced", "others")))
    if how == "cut short":
        return content[: draw(st.integers(0, len(content) - 1))]
    if how == "replaced":
        at = draw(st.integers(0, len(content) - 1))
        return content[:at] + draw(st.binary(min_size=1, max_size=8)) + content[at + 1 :]
    return draw(st.binary(max_size=64)) if how == "others" else content


def contents(folder: Path) -> Counter[bytes]:
    return Counter(path.read_bytes() for path in folder.rglob("*") if path.is_file())


def refused_or_read(name: str, content: bytes, reads: Callable[[Path], Any]) -> None:
    """Nothing but a :class:`UserError` comes of it, and nothing is changed."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        path.write_bytes(content)
        before = contents(path.parent)
        try:
            reads(path)
        except UserError as error:
            assert str(error)
        assert contents(path.parent) == before


CONFIG: dict[str, Any] = json.loads(json.dumps({"recipe": "nb201-digits", **plain(RECIPES["drnas-progressive-digits"])}))
CELL = to_json(PUBLISHED["DARTS_V2"], "darts")
TABLE = latency.Table("layers", "nb201", "x", 1, "float32", {"a": latency.Row(1.0), "b": latency.Row(2.0)})


@drawn
@given(changed(CONFIG))
def test_configurations(content: bytes) -> None:
    refused_or_read("config.json", content, lambda path: stored.config_of(path.parent))


@drawn
@given(changed(CELL) | damaged(to_text(PUBLISHED["DARTS_V2"]).encode()) | st.text().map(lambda text: text.encode()))
def test_genotypes(content: bytes) -> None:
    refused_or_read("genotype.json", content, read)


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    path = tmp_path_factory.mktemp("table") / "table.json"
    latency.write(TABLE, path)
    return json.loads(path.read_text())


@few
@given(data=st.data())
def test_tables(data: st.DataObject, table: dict[str, Any]) -> None:
    refused_or_read("table.json", data.draw(changed(table)), latency.read)


def archive(**arrays: Any) -> bytes:
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


IMAGES = np.random.Generator(np.random.PCG64(0)).integers(0, 256, (12, 4, 4, 3), np.uint8)
shapes = st.lists(st.integers(0, 5), max_size=4).map(tuple)
dtypes = st.sampled_from(("u1", "i8", "f4", "f8", "U3", "c8", "?"))
arrays = st.builds(lambda shape, dtype: np.zeros(shape, dtype), shapes, dtypes)
labels = st.just(np.arange(12) % 3) | arrays
sets = st.builds(lambda x, y: archive(x_train=x, y_train=y), st.just(IMAGES) | arrays, labels)


@few
@given(sets | damaged(archive(x_train=IMAGES, y_train=np.arange(12) % 3)))
def test_datasets(content: bytes) -> None:
    refused_or_read("mine.npz", content, lambda path: load(str(path)))


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The files of two checkpoints."""
    folder = tmp_path_factory.mktemp("kept")
    checkpoints = Checkpoints(folder)
    for number in (1, 2):
        checkpoints.save({"state.w": np.full(3, number)}, {"number": number})
    checkpoints.close()
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@few
@given(data=st.data())
def test_checkpoints(data: st.DataObject, kept: dict[str, bytes]) -> None:
    """Of two, up to three files damaged: what is restored is whole, and what is damaged is put aside as it is."""
    names = data.draw(st.lists(st.sampled_from(sorted(kept)), min_size=1, max_size=3, unique=True))
    files = kept | {name: data.draw(damaged(kept[name])) for name in names}
    harmed = {name.split("/")[0] for name in names if files[name] != kept[name]}
    with tempfile.TemporaryDirectory() as folder:
        for name, content in files.items():
            (path := Path(folder) / name).parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        before = contents(Path(folder))
        found, said = Checkpoints(Path(folder)).restore()
        assert (found and found.number) == next((number for number in (2, 1) if str(number) not in harmed), None)
        assert found is None or (found.about == {"number": found.number} and (found.arrays["state.w"] == found.number).all())
        assert len(said) == len(harmed if "2" in harmed else ())
        assert contents(Path(folder)) == before

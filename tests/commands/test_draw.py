"""``jaxnas draw``: what it takes, what it writes, what it refuses."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from jaxnas.commands.draw import main
from jaxnas.errors import UserError


@pytest.mark.parametrize("source", ["DARTS_V2", "FBNet_C", "|skip_connect~0|"])
@pytest.mark.parametrize("suffix, begins", [("svg", b"<svg"), ("png", b"\x89PNG"), ("dot", b"digraph")])
def test_published_and_written_genotypes(source: str, suffix: str, begins: bytes, tmp_path: Path) -> None:
    out = tmp_path / f"picture.{suffix}"
    assert main([source, "--out", str(out)]) == 0
    assert out.read_bytes().startswith(begins)


@pytest.mark.parametrize("recipe", ["darts-digits", "nb201-digits", "fbnet-digits"])
def test_runs(recipe: str, write_run: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = write_run(tmp_path / "run", recipe, epochs=3)
    monkeypatch.chdir(tmp_path)
    for of in ("network", "alphas", "epochs"):
        assert main([str(run), "--of", of]) == 0
    assert sorted(path.name for path in tmp_path.glob("*.*")) == ["run-alphas.svg", "run-epochs.gif", "run.svg"]
    with Image.open(io.BytesIO((tmp_path / "run-epochs.gif").read_bytes())) as file:
        # Alphas that grow in one direction stand for one network throughout: equal frames are one.
        assert file.format == "GIF"


def test_what_is_refused(write_run: Callable[..., Path], tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", "nb201-digits", epochs=2)
    (run / "log.jsonl").write_text("{}\n")
    for arguments, said in (
        (["DARTS_V2", "--out", str(tmp_path / "a.pdf")], "a picture of network ends in .svg or .png or .dot"),
        ([str(run), "--of", "epochs", "--out", str(tmp_path / "a.svg")], "ends in .gif"),
        ([str(run), "--of", "alphas", "--out", str(tmp_path / "a.svg")], "has no alphas"),
        (["DARTS_V3", "--out", str(tmp_path / "a.svg")], "Did you mean DARTS_V2"),
        (["DARTS_V2", "--of", "alphas", "--out", str(tmp_path / "a.svg")], "not the folder of a run"),
        (["DARTS_V2", "--out", str(run / "config.json" / "a.svg")], "there is no folder"),
    ):
        with pytest.raises(UserError, match=f"(?i){said}"):
            main(arguments)
    out = tmp_path / "mine.svg"
    out.write_text("mine")
    with pytest.raises(UserError, match="Give --overwrite"):
        main(["DARTS_V2", "--out", str(out)])
    assert out.read_text() == "mine"

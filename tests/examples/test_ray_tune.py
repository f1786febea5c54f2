"""The documented example of Ray Tune with the real library, where it is installed: it is large, and no dependency."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("ray.tune")
# Ray's own.
pytestmark = pytest.mark.filterwarnings(
    *(f"ignore::{kind}Warning" for kind in ("Deprecation", "Future", "Resource", "Runtime"))
)


def test_the_adapter_takes_20_lines(example: Any) -> None:
    lines = Path(example.__file__).read_text(encoding="utf-8").splitlines()
    begin, end = lines.index("class Ours(Searcher):"), next(i for i, line in enumerate(lines) if line.startswith("def train"))
    assert 0 < len([line for line in lines[begin:end] if line.strip()]) <= 20


def test_ray_asks_what_the_searcher_asks_alone(example: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from jaxnas.blackbox import AskTell, regularised_evolution

    monkeypatch.setenv("RAY_AIR_NEW_OUTPUT", "0")
    monkeypatch.setenv("HOME", str(tmp_path))  # Ray keeps its results below.
    asking, results = example.search(8)
    alone = AskTell(regularised_evolution([5] * 6), seed=0)
    asked = []
    for _ in range(8):
        trial = alone.ask()
        assert trial is not None
        asked.append(trial.choices)
        alone.tell(trial, example.train({"choices": trial.choices})["accuracy"])
    assert sorted(tuple(result.config["choices"]) for result in results) == sorted(asked)
    assert asking.best == alone.best

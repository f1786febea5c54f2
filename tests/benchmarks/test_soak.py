"""What the soak calls flat, and what it counts as given out."""

from __future__ import annotations

import json
import platform
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.soak import MEBIBYTE, given_out, judged

RECORD = Path(__file__).parents[2] / "benchmarks" / "results" / "soak.json"


def samples(resident: float = 0.0, out: float = 0.0, threads: float = 0.0) -> list[dict[str, float]]:
    """A thousand mebibytes, half of them given out, and what is added along the way. What fills at first is not looked at."""
    along = np.linspace(0.0, 1.0, 101)
    return [
        {
            "seconds": 900 * part,
            "resident_mebibytes": 1000 + resident * part + 100 * min(part, 0.2),
            "given_out_mebibytes": 500 + out * part,
            "descriptors": 6,
            "threads": 30 + round(threads * part),
        }
        for part in along
    ]


def test_growth_of_either_memory_or_of_threads_is_not_flat() -> None:
    assert judged(samples())["flat"]
    found = judged(samples(resident=10))
    assert found["flat"]
    assert found["resident_mebibytes"]["per_hour"] == pytest.approx(40)
    assert found["resident_mebibytes"]["growth_over_the_fit"] == pytest.approx(8 / 1022, abs=1e-5)
    assert not judged(samples(resident=30))["flat"]
    assert not judged(samples(out=15))["flat"]
    assert not judged(samples(threads=3))["flat"]


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="mallinfo2 is glibc's")
def test_what_is_given_out_is_counted_until_it_is_given_back() -> None:
    before = given_out()
    block: Any = np.ones(32 * MEBIBYTE, np.uint8)
    assert given_out() - before == pytest.approx(32, abs=2)
    del block
    assert given_out() - before == pytest.approx(0, abs=2)


def test_the_record_is_flat() -> None:
    record = json.loads(RECORD.read_text())
    assert record["flat"] and record["seconds"] >= 900
    assert record["given_out_mebibytes"]["growth_over_the_fit"] < 0.02

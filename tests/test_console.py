"""What a person sees while a run goes: plain lines, and a live one on a terminal."""

from __future__ import annotations

import io
import re

import rich.console

from jaxnas.console import Console

METRICS = {"train_loss": 0.5, "valid_accuracy": 0.75}


def test_plain_lines_have_pace_memory_and_time_left() -> None:
    console, written = Console(), io.StringIO()
    console.out = rich.console.Console(file=written, soft_wrap=True)
    console.progress("search", 0, 5, 20, 40, METRICS)
    console.epoch("search", 0, 5, METRICS, 20.0)
    said = written.getvalue()
    assert re.fullmatch(
        r"search epoch 1/5  train loss 0.500 acc 0.750  20.0 s, 2.0 steps/s, [\d,]+ MiB, ETA 1 min 20 s\n", said
    )


def test_the_live_line_has_pace_and_memory() -> None:
    console, written = Console(), io.StringIO()
    console.out = rich.console.Console(file=written, force_terminal=True, width=200, highlight=False)
    with console:
        for step in (20, 40):
            console.progress("search", 0, 5, step, 40, METRICS)
        console.epoch("search", 0, 5, METRICS, 20.0)
    said = written.getvalue()
    assert re.search(r"[\d.]+ steps/s [\d,]+ MiB", said) and "ETA" in said and "search epoch 1/5" in said

"""Who is asked to leave, and when a signal ends the process at once."""

from __future__ import annotations

import subprocess
import sys

import pytest

from jaxnas import leaving

pytestmark = pytest.mark.quick


def test_nothing_is_asked_of_who_would_not_look() -> None:
    assert leaving.how_to_resume() is None
    assert not leaving.ask()
    with leaving.resumable("run"):
        assert not leaving.ask()  # It compiles: there is nothing to save.
        assert not leaving.asked()


def test_a_run_between_steps_is_asked_once() -> None:
    with leaving.resumable("run"):
        leaving.saves_first(True)
        assert leaving.ask()
        assert leaving.asked()
        assert not leaving.ask()  # The second signal ends it at once.
    assert not leaving.asked()
    assert not leaving.ask()


AMONG_OTHERS = """
import os, signal, time
from jaxnas import leaving
leaving.GRACE = 0.05
leaving.among_others(lambda: time.sleep(60))
with leaving.resumable("jaxnas resume run"):
    {inside}
{after}
"""


@pytest.mark.parametrize(
    ("inside", "after", "code", "said"),
    [
        # No Python runs when JAX aborts a process, nor when it is killed.
        ("os.abort()", "", -6, True),
        ("os.kill(os.getpid(), signal.SIGKILL)", "", -9, True),
        ("pass", "leaving.end(0, agreed=True)", 0, False),
        # The others will not come to an end with one that fails alone.
        ("pass", "leaving.end(2, agreed=False)", 2, False),
        ("leaving.has_spoken(); os._exit(75)", "", 75, False),
    ],
)
def test_one_among_others_never_ends_without_a_word_and_waits_for_none(inside: str, after: str, code: int, said: bool) -> None:
    program = AMONG_OTHERS.format(inside=inside, after=after)
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=50, check=False)
    assert ended.returncode == code
    words = "jaxnas: This process ended without a word: it was killed, or JAX ended it as another one is gone. Go on with: "
    assert ended.stderr == (f"{words}jaxnas resume run on every host, with what says who is who\n" if said else "")

"""Who is asked to leave, and when a signal ends the process at once."""

from __future__ import annotations

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

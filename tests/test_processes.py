"""Who may join others, who is alone, and what is said when another process is gone. Real ones: commands/test_processes.py."""

from __future__ import annotations

from typing import Any

import jax
import pytest

from jaxnas import leaving, processes
from jaxnas.errors import UserError


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (("host:1", None, None), "--processes and --process-id missing"),
        ((None, 2, 0), "--coordinator missing"),
        (("host", 2, 0), "--coordinator host: give HOST:PORT"),
        (("host:1", 2, 2), "--process-id 2: with --processes 2 it is 0 to 1"),
    ],
)
def test_processes_that_cannot_be(given: Any, said: str) -> None:
    with pytest.raises(UserError, match=said):
        processes.join(*given)


def test_alone_where_the_environment_knows_of_no_others(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: Any, **__: Any) -> None:
        raise ValueError("coordinator_address should be defined.")

    monkeypatch.setattr(jax.distributed, "initialize", unknown)
    processes.join()
    processes.join(processes=1)
    assert processes.is_first()

    def unreachable(*_: Any, **__: Any) -> None:
        raise RuntimeError("Failed to recognize coordinator address t1v-0.")

    monkeypatch.setattr(jax.distributed, "initialize", unreachable)
    with pytest.raises(UserError, match="Failed to recognize .* --processes 1"):
        processes.join()


GONE = "UNKNOWN: Gloo all-reduce failed: Connection closed by peer [127.0.0.1]:5807\nand more"


def test_another_process_that_is_gone_is_told_from_other_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(said: str) -> None:
        with processes.speaking():
            raise ValueError(said)

    with pytest.raises(ValueError, match="Gloo"):
        fails(GONE)  # Alone there is no other.
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    with pytest.raises(ValueError, match="another shape"):
        fails("another shape")
    with pytest.raises(leaving.Lost, match=r"is gone \(UNKNOWN: .*:5807\), so process 0 of 2 ends, too"):
        fails(GONE)

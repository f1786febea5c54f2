"""One search on one device, on a mesh, by pmap and by processes: the same weights and alphas; and what is refused."""

from __future__ import annotations

from typing import Any

import jax
import pytest

from benchmarks.parallel_parity import main as parity
from jaxnas import parallel
from jaxnas.errors import UserError


def check(found: list[dict[str, Any]]) -> None:
    for one in found:
        if one["precision"] == "float64":
            assert max(one["after"].values()) < 1e-8, one
        else:
            assert max(one["gradients"].values()) < 1e-5, one


def test_a_mesh_of_eight_devices_searches_as_one_device_does() -> None:
    settings: Any = {"orders": ("first",), "precisions": ("float64",), "micro_batches": (1,)}
    check(parity(steps=3, forms=("mesh",), out=None, **settings)["settings"])


@pytest.mark.slow
def test_mesh_pmap_and_processes_search_as_one_device_does() -> None:
    found = parity(out=None)["settings"]
    assert len(found) == 3 * 6
    check(found)


@pytest.mark.parametrize(
    ("batch", "devices", "micro_batches", "said"),
    [
        (36, None, 1, ("A batch of 36", "8 devices", "--search.batch 32", "--devices 6")),
        (4, None, 1, ("--search.batch 8", "--devices 4")),
        (16, 8, 4, ("4 micro-batches on 8 devices", "--search.batch 32", "--devices 4")),
        (64, 9, 1, ("--devices 9", "there are 8", "1 to 8")),
        (64, 0, 1, ("--devices 0",)),
    ],
)
def test_batches_that_cannot_be_shared(
    batch: int, devices: int | None, micro_batches: int, said: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    eight = [jax.devices()[0]] * 8
    monkeypatch.setattr(jax, "devices", lambda: eight)
    with pytest.raises(UserError) as error:
        parallel.mesh_for(batch, devices, micro_batches)
    assert all(words in str(error.value) for words in said), error.value

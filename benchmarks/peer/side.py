"""The peer's side of a measurement: a supernet and its search step, on images of noise."""

# PyTorch is in the benchmarks' environment only: elsewhere a type checker knows nothing of it.
# pyright: reportMissingImports=false
from __future__ import annotations

import resource
import sys
import time
from typing import Any

import psutil
import torch

from benchmarks.cases import CASES, CLASSES, STEPS_PER_TURN, Case, Hypergradient, Precision, step_values
from benchmarks.peer import modules, shared
from benchmarks.peer.modules import Size
from benchmarks.peer.steps import Search

FORMS = {
    ("plain", "darts"): modules.DartsSupernet,
    ("plain", "nb201"): modules.Nb201Supernet,
    ("shared", "darts"): shared.DartsSupernet,
    ("shared", "nb201"): shared.Nb201Supernet,
}
LAYOUTS = {"nchw": torch.contiguous_format, "channels_last": torch.channels_last}
ALPHAS = {"darts": {"normal": (14, 8), "reduce": (14, 8)}, "nb201": {"cell": (6, 5)}}


class Side:
    """A search in PyTorch, one step at a time.

    Attributes:
      facts: device and version.
    """

    def __init__(
        self, case: Case, form: str, layout: str, hypergradient: Hypergradient, precision: Precision, compiled: bool
    ) -> None:
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        layout_, shape = LAYOUTS[layout], (case.batch, 3, case.image_size, case.image_size)
        torch.manual_seed(0)
        self.batches = [
            (
                torch.randn(shape, device=self.device).to(memory_format=layout_),
                torch.randint(CLASSES, shape[:1], device=self.device),
            )
            for _ in range(2)
        ]
        self.bytes_before = psutil.Process().memory_info().rss
        model = FORMS[form, case.family](Size(case.channels, case.cells, CLASSES))
        model = model.to(device=self.device, memory_format=layout_)  # pyright: ignore[reportCallIssue]
        alphas = {
            kind: (1e-3 * torch.randn(shape, device=self.device)).requires_grad_()
            for kind, shape in ALPHAS[case.family].items()
        }
        dtype = torch.bfloat16 if precision == "bfloat16" else None
        self.search = Search(model, alphas, step_values(case.family, hypergradient), compiled, dtype)
        self.facts = {
            "first_step_s": self._steps(1),
            "torch": torch.__version__,
            "threads": torch.get_num_threads(),
            "device": torch.cuda.get_device_name() if self.device == "cuda" else "cpu",
        }

    def step(self) -> float:
        """Seconds of one of the steps of a turn."""
        return self._steps(STEPS_PER_TURN) / STEPS_PER_TURN

    def _steps(self, count: int) -> float:
        began = time.perf_counter()
        for _ in range(count):
            self.search.step(*self.batches)
        if self.device == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - began

    def memory_bytes(self) -> int:
        """The highest that this process has been, less what it had before the model; on a GPU, what the allocator has given."""
        if self.device == "cuda":
            return torch.cuda.max_memory_allocated()
        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit - self.bytes_before


def open_side(case: str, started: float, **options: Any) -> Side:
    """For :class:`benchmarks.workers.Worker`."""
    return Side(CASES[case], **options)

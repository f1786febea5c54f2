"""What a float32 comparison owes to ReLU's kink alone.

The gradient of a ReLU jumps where its input changes sign. Two of the golden records decide that by rounding:

- ``nb201_supernet_a``: the second stage's first node (``cells.2``) holds one input of 4.3e-8, of a root mean square of 0.42:
  less than float32 resolves in a sum of such terms. Of four orders of that sum three put it on the wrong side, and the
  gradient in the alphas is then 4.5e-3 off.
- ``darts_supernet_a``: the third step's finite difference is over twice a radius of 1.3e-3, and so makes eight times as much
  of what a changed sign contributes. The references' own form fails it in the layout channels-last and passes it in NCHW.

So a form is compared a second time in float32 with the signs of its own run in float64. That takes away the kink and nothing
else: an error in the arithmetic would remain.
"""

# PyTorch is in the benchmarks' environment only: elsewhere a type checker knows nothing of it.
# pyright: reportMissingImports=false
from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from unittest import mock

import torch
from torch import Tensor


@contextlib.contextmanager
def recorded() -> Iterator[list[Tensor]]:
    """The signs of what ReLUs are given, in the order of the calls; True where positive."""
    relu, signs = torch.relu, []

    def noted(x: Tensor) -> Tensor:
        signs.append(x.detach() > 0)
        return relu(x)

    with mock.patch.object(torch, "relu", noted):
        yield signs


@contextlib.contextmanager
def replayed(signs: Sequence[Tensor]) -> Iterator[None]:
    """ReLUs that take these signs instead of those of their inputs.

    Raises:
      RuntimeError: there were fewer calls than signs; more raise StopIteration.
    """
    left = iter(signs)
    with mock.patch.object(torch, "relu", lambda x: x * next(left)):
        yield
    if next(left, None) is not None:
        raise RuntimeError("Fewer ReLUs than when their signs were recorded.")


def changed(signs: Sequence[Tensor], others: Sequence[Tensor]) -> tuple[int, int]:
    """Signs that differ, and how many there are."""
    pairs = list(zip(signs, others, strict=True))
    return sum(int((a != b).sum()) for a, b in pairs), sum(a.numel() for a, _ in pairs)

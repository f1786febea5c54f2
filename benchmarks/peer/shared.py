"""The same supernets by a faster forward pass: what edges that leave one state have in common is computed once.

Over the plain form's parameters, and equal to it but for rounding. DARTS, once per source state instead of once per edge: the
ReLU, the pools with their batch norms, and the mixture of pools and skip, one matrix product for all edges. NAS-Bench-201:
convolutions of one source are one convolution with more outputs, whose share of the mixture is the scale of their batch norm.

Rounding is not nothing in float32: two golden records hold a ReLU input that is zero to single precision (``kinks``), and the
order of a sum decides on which side it falls. Sums are in the references' order, operation by operation.
"""

# PyTorch is in the benchmarks' environment only: elsewhere a type checker knows nothing of it.
# pyright: reportMissingImports=false
from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.peer import modules
from benchmarks.peer.modules import DARTS_OPERATIONS, NB201_OPERATIONS, NODES

SHARED_DARTS = [DARTS_OPERATIONS.index(name) for name in ("max_pool_3x3", "avg_pool_3x3", "skip_connect")]
SEPARABLE = [i for i, name in enumerate(DARTS_OPERATIONS) if "conv" in name]
SKIP, POOL = (NB201_OPERATIONS.index(name) for name in ("skip_connect", "avg_pool_3x3"))
CONVOLUTIONS = [i for i, name in enumerate(NB201_OPERATIONS) if "conv" in name]


def mixed(terms: Sequence[Tensor], shares: Tensor) -> list[Tensor]:
    """Sums of the same terms ``[N, C, H, W]`` with the shares ``[edges, terms]``, one for each edge."""
    stacked = torch.stack([term.permute(0, 2, 3, 1) for term in terms])
    sums = (shares @ stacked.flatten(1)).view(-1, *stacked.shape[1:])
    return list(sums.permute(0, 1, 4, 2, 3).unbind())


def normalised(x: Tensor, scale: Tensor | None = None, shift: Tensor | None = None) -> Tensor:
    """Batch norm by the batch's statistics."""
    return functional.batch_norm(x, None, None, scale, shift, training=True)


class DartsCell(modules.DartsCell):
    def forward(self, s0: Tensor, s1: Tensor, mixture: Tensor) -> Tensor:
        first = self.preprocess0(s0)
        states: list[Tensor | None] = [first, self.preprocess1(s1), *[None] * NODES]
        mixture = mixture.to(first.dtype)  # As autocast computes; ``addcmul`` would take the wider type for all.
        for source in range(1 + NODES):
            state = states[source]
            assert state is not None
            targets = range(max(source + 1, 2), 2 + NODES)
            rows = [_row(source, target) for target in targets]
            edges = [self._ops[row] for row in rows]
            stride = edges[0].stride
            pools = [
                normalised(functional.max_pool2d(state, 3, stride, 1)),
                normalised(functional.avg_pool2d(state, 3, stride, 1, count_include_pad=False)),
            ]
            rectified = torch.relu(state)
            # The skip of stride 2 has weights of its own on every edge.
            common = [*pools, state] if stride == 1 else pools
            sums = mixed(common, mixture[rows][:, SHARED_DARTS[: len(common)]])
            for target, row, edge, total in zip(targets, rows, edges, sums, strict=True):
                before = states[target]
                total = total if before is None else before + total
                if stride == 2:
                    total = torch.addcmul(total, reduced(edge._ops[SHARED_DARTS[2]], rectified), mixture[row, SHARED_DARTS[2]])
                for i in SEPARABLE:
                    total = torch.addcmul(total, separable(edge._ops[i].op, rectified), mixture[row, i])
                states[target] = total
        return torch.cat([state for state in states[2:] if state is not None], 1)


def _row(source: int, target: int) -> int:
    """The row of an edge in the alphas, target by target."""
    return sum(range(2, target)) + source


def reduced(operation: nn.Module, rectified: Tensor) -> Tensor:
    return operation.bn(torch.cat([operation.conv_1(rectified), operation.conv_2(rectified[:, :, 1:, 1:])], 1))


def separable(layers: nn.Sequential, rectified: Tensor) -> Tensor:
    """All but the first ReLU."""
    return layers[1:](rectified)


class DartsSupernet(modules.DartsSupernet):
    cell = DartsCell


class Nb201Cell(modules.Nb201Cell):
    def forward(self, x: Tensor, mixture: Tensor) -> Tensor:
        states: list[Tensor | None] = [x, *[None] * (NODES - 1)]
        for source in range(NODES - 1):
            state = states[source]
            assert state is not None
            targets = range(source + 1, NODES)
            shares = mixture[[sum(range(target)) + source for target in targets]]
            edges = [self.edges[f"{target}<-{source}"] for target in targets]
            pool = functional.avg_pool2d(state, 3, 1, 1, count_include_pad=False)
            rectified = torch.relu(state)
            convolved = [stacked(edges, i, rectified, shares[:, i]) for i in CONVOLUTIONS]
            shares = shares.to(state.dtype)
            for target, share, *terms in zip(targets, shares, *convolved, strict=True):
                before = states[target]
                total = share[SKIP] * state if before is None else torch.addcmul(before, state, share[SKIP])
                for term in terms:
                    total = total + term
                states[target] = torch.addcmul(total, pool, share[POOL])
        last = states[-1]
        assert last is not None
        return last


def stacked(edges: Sequence[nn.ModuleList], operation: int, rectified: Tensor, shares: Tensor) -> Sequence[Tensor]:
    """One kind of convolution of all edges that leave a state, times its share of each."""
    convolutions = [edge[operation].op[1] for edge in edges]
    norms = [edge[operation].op[2] for edge in edges]
    kernels = torch.cat([convolution.weight for convolution in convolutions])
    bias = None if convolutions[0].bias is None else torch.cat([convolution.bias for convolution in convolutions])
    x = functional.conv2d(rectified, kernels, bias, padding=kernels.shape[-1] // 2)
    # Repeated, not expanded: of an expanded scale batch norm's backward pass (PyTorch 2.13, CPU) makes wrong gradients.
    scale, shift = shares.repeat_interleave(convolutions[0].out_channels), None
    if norms[0].affine:
        shift = scale * torch.cat([norm.bias for norm in norms])
        scale = scale * torch.cat([norm.weight for norm in norms])
    return normalised(x, scale, shift).chunk(len(edges), 1)


class Nb201Supernet(modules.Nb201Supernet):
    cell = Nb201Cell

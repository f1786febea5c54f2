"""The same supernets by a faster forward pass: what edges that leave one state have in common is computed once.

Over the plain form's parameters, and equal to it but for rounding. Once per source state instead of once per edge: the ReLU,
the pools with their batch norms, and the mixture of pools and skip, one matrix product for all edges. The share of a
convolution is the scale of its batch norm, so that no pass over memory is spent on it. NAS-Bench-201's convolutions of one
source are one convolution with more outputs.
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
SHARED_NB201 = [NB201_OPERATIONS.index(name) for name in ("skip_connect", "avg_pool_3x3")]
CONVOLUTIONS = [i for i, name in enumerate(NB201_OPERATIONS) if "conv" in name]


def mixed(terms: Sequence[Tensor], shares: Tensor) -> list[Tensor]:
    """Sums of the same terms ``[N, C, H, W]`` with the shares ``[edges, terms]``, one for each edge."""
    stacked = torch.stack([term.permute(0, 2, 3, 1) for term in terms])
    sums = (shares @ stacked.flatten(1)).view(-1, *stacked.shape[1:])
    return list(sums.permute(0, 1, 4, 2, 3).unbind())


def normalised(x: Tensor, share: Tensor | None = None) -> Tensor:
    """Batch norm by the batch's statistics, times a share ``[channels]``."""
    return functional.batch_norm(x, None, None, weight=share, training=True)


def add(total: Tensor | None, term: Tensor) -> Tensor:
    return term if total is None else total + term


class DartsCell(modules.DartsCell):
    def forward(self, s0: Tensor, s1: Tensor, mixture: Tensor) -> Tensor:
        states: list[Tensor | None] = [self.preprocess0(s0), self.preprocess1(s1), *[None] * NODES]
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
                total = add(states[target], total)
                if stride == 2:
                    total = total + reduced(edge._ops[SHARED_DARTS[2]], rectified, mixture[row, SHARED_DARTS[2]])
                for i in SEPARABLE:
                    total = total + separable(edge._ops[i].op, rectified, mixture[row, i])
                states[target] = total
        return torch.cat([state for state in states[2:] if state is not None], 1)


def _row(source: int, target: int) -> int:
    """The row of an edge in the alphas, target by target."""
    return sum(range(2, target)) + source


# Shares are repeated, not expanded: of an expanded scale batch norm's backward pass (PyTorch 2.13, CPU) makes wrong gradients.
def reduced(operation: nn.Module, rectified: Tensor, share: Tensor) -> Tensor:
    halves = [operation.conv_1(rectified), operation.conv_2(rectified[:, :, 1:, 1:])]
    return normalised(torch.cat(halves, 1), share.repeat(2 * halves[0].shape[1]))


def separable(layers: nn.Sequential, rectified: Tensor, share: Tensor) -> Tensor:
    """All but the first ReLU and the last batch norm as they are."""
    x = layers[1:-1](rectified)
    return normalised(x, share.repeat(x.shape[1]))


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
            sums = mixed([state, pool], shares[:, SHARED_NB201])
            rectified = torch.relu(state)
            for i in CONVOLUTIONS:
                found = stacked(edges, i, rectified, shares[:, i])
                sums = [total + term for total, term in zip(sums, found, strict=True)]
            for target, total in zip(targets, sums, strict=True):
                states[target] = add(states[target], total)
        last = states[-1]
        assert last is not None
        return last


def stacked(edges: Sequence[nn.ModuleList], operation: int, rectified: Tensor, shares: Tensor) -> Sequence[Tensor]:
    """One kind of convolution of all edges that leave a state."""
    convolutions = [edge[operation].op[1] for edge in edges]
    norms = [edge[operation].op[2] for edge in edges]
    kernels = torch.cat([convolution.weight for convolution in convolutions])
    bias = None if convolutions[0].bias is None else torch.cat([convolution.bias for convolution in convolutions])
    x = functional.conv2d(rectified, kernels, bias, padding=kernels.shape[-1] // 2)
    scale, shift = shares.repeat_interleave(convolutions[0].out_channels), None
    if norms[0].affine:
        shift = scale * torch.cat([norm.bias for norm in norms])
        scale = scale * torch.cat([norm.weight for norm in norms])
    return functional.batch_norm(x, None, None, scale, shift, training=True).chunk(len(edges), 1)


class Nb201Supernet(modules.Nb201Supernet):
    cell = Nb201Cell

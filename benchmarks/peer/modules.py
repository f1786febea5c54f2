"""The supernets in the references' plain form: a module for every operation, a Python loop over edges, a weighted sum.

Names of parameters are those of the references' ``state_dict``. No batch norm keeps running statistics: a search step
normalises by the batch, and what nobody reads need not be computed.
"""

# PyTorch is in the benchmarks' environment only: elsewhere a type checker knows nothing of it.
# pyright: reportMissingImports=false
from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import torch
from torch import Tensor, nn

NODES = 4
DARTS_OPERATIONS = (
    "none",
    "max_pool_3x3",
    "avg_pool_3x3",
    "skip_connect",
    "sep_conv_3x3",
    "sep_conv_5x5",
    "dil_conv_3x3",
    "dil_conv_5x5",
)
NB201_OPERATIONS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")


@dataclasses.dataclass(frozen=True)
class Size:
    """Size of a supernet: C, cells (or N, cells per stage, for NAS-Bench-201), labels, and scale and shift in its cells."""

    channels: int
    cells: int
    classes: int = 10
    affine: bool = False


def batch_norm(channels: int, affine: bool) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, affine=affine, track_running_stats=False)


class Layers(nn.Module):
    """Layers one after the other, under the name ``op``."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.op = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        return self.op(x)


def relu_conv_norm(c_in: int, c_out: int, kernel: int, stride: int, affine: bool, bias: bool = False) -> Layers:
    convolution = nn.Conv2d(c_in, c_out, kernel, stride, kernel // 2, bias=bias)
    return Layers(nn.ReLU(), convolution, batch_norm(c_out, affine))


def separable(channels: int, kernel: int, stride: int, dilation: int) -> tuple[nn.Module, ...]:
    """ReLU, depthwise, pointwise, batch norm."""
    padding = dilation * (kernel // 2)
    depthwise = nn.Conv2d(channels, channels, kernel, stride, padding, dilation, groups=channels, bias=False)
    return nn.ReLU(), depthwise, nn.Conv2d(channels, channels, 1, bias=False), batch_norm(channels, affine=False)


class FactorizedReduce(nn.Module):
    """Half of the channels from the even pixels, half from the odd ones."""

    def __init__(self, c_in: int, c_out: int) -> None:
        super().__init__()
        self.conv_1 = nn.Conv2d(c_in, c_out // 2, 1, 2, bias=False)
        self.conv_2 = nn.Conv2d(c_in, c_out // 2, 1, 2, bias=False)
        self.bn = batch_norm(c_out, affine=False)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(x)
        return self.bn(torch.cat([self.conv_1(x), self.conv_2(x[:, :, 1:, 1:])], 1))


class Zero(nn.Module):
    """Nothing. A constant, in place of the references' product with the input: its gradient is zero anyway."""

    def __init__(self, stride: int) -> None:
        super().__init__()
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        return torch.zeros_like(x[:, :, :: self.stride, :: self.stride])


def darts_operation(name: str, channels: int, stride: int) -> nn.Module:
    if name == "none":
        return Zero(stride)
    if name == "max_pool_3x3":
        return nn.Sequential(nn.MaxPool2d(3, stride, 1), batch_norm(channels, affine=False))
    if name == "avg_pool_3x3":
        return nn.Sequential(nn.AvgPool2d(3, stride, 1, count_include_pad=False), batch_norm(channels, affine=False))
    if name == "skip_connect":
        return nn.Identity() if stride == 1 else FactorizedReduce(channels, channels)
    kind, _, size = name.split("_")
    kernel = int(size[0])
    if kind == "dil":
        return Layers(*separable(channels, kernel, stride, 2))
    return Layers(*separable(channels, kernel, stride, 1), *separable(channels, kernel, 1, 1))


def nb201_operation(name: str, channels: int, affine: bool) -> nn.Module:
    if name == "none":
        return Zero(1)
    if name == "skip_connect":
        return nn.Identity()
    if name == "avg_pool_3x3":
        return nn.AvgPool2d(3, 1, 1, count_include_pad=False)
    return relu_conv_norm(channels, channels, int(name[-1]), 1, affine, bias=not affine)


class MixedEdge(nn.Module):
    """The sum of all operations, each times its share of the mixture."""

    def __init__(self, channels: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self._ops = nn.ModuleList(darts_operation(name, channels, stride) for name in DARTS_OPERATIONS)

    def forward(self, x: Tensor, shares: Tensor) -> Tensor:
        return weighted_sum(self._ops, x, shares)


def weighted_sum(operations: nn.ModuleList, x: Tensor, shares: Tensor) -> Tensor:
    # ``none`` contributes nothing; all the references do for it is work.
    terms = [
        share * operation(x) for share, operation in zip(shares, operations, strict=True) if not isinstance(operation, Zero)
    ]
    return sum(terms[1:], terms[0])


class DartsCell(nn.Module):
    def __init__(
        self, c_previous_previous: int, c_previous: int, channels: int, reduction: bool, after_reduction: bool
    ) -> None:
        super().__init__()
        self.reduction = reduction
        self.preprocess0 = (
            FactorizedReduce(c_previous_previous, channels)
            if after_reduction
            else relu_conv_norm(c_previous_previous, channels, 1, 1, affine=False)
        )
        self.preprocess1 = relu_conv_norm(c_previous, channels, 1, 1, affine=False)
        sources = [source for node in range(NODES) for source in range(2 + node)]
        self._ops = nn.ModuleList(MixedEdge(channels, 2 if reduction and source < 2 else 1) for source in sources)

    def forward(self, s0: Tensor, s1: Tensor, mixture: Tensor) -> Tensor:
        states = [self.preprocess0(s0), self.preprocess1(s1)]
        row = 0
        for _ in range(NODES):
            terms = [self._ops[row + source](state, mixture[row + source]) for source, state in enumerate(states)]
            row += len(states)
            states.append(sum(terms[1:], terms[0]))
        return torch.cat(states[2:], 1)


class DartsSupernet(nn.Module):
    """The search network of DARTS; the mixture is ``{"normal": [14, 8], "reduce": [14, 8]}``."""

    cell = DartsCell

    def __init__(self, size: Size) -> None:
        super().__init__()
        width = 3 * size.channels
        self.stem = nn.Sequential(nn.Conv2d(3, width, 3, padding=1, bias=False), batch_norm(width, affine=True))
        c_previous_previous, c_previous, channels, after_reduction = width, width, size.channels, False
        cells = []
        for i in range(size.cells):
            reduction = i in (size.cells // 3, 2 * size.cells // 3)
            channels *= 2 if reduction else 1
            cells.append(self.cell(c_previous_previous, c_previous, channels, reduction, after_reduction))
            c_previous_previous, c_previous, after_reduction = c_previous, NODES * channels, reduction
        self.cells = nn.ModuleList(cells)
        self.classifier = nn.Linear(c_previous, size.classes)

    def forward(self, images: Tensor, mixture: Mapping[str, Tensor]) -> Tensor:
        s0 = s1 = self.stem(images)
        for cell in self.cells:
            s0, s1 = s1, cell(s0, s1, mixture["reduce" if cell.reduction else "normal"])
        return self.classifier(s1.mean((2, 3)))


class ResidualReduction(nn.Module):
    def __init__(self, c_in: int, c_out: int) -> None:
        super().__init__()
        self.conv_a = relu_conv_norm(c_in, c_out, 3, 2, affine=True)
        self.conv_b = relu_conv_norm(c_out, c_out, 3, 1, affine=True)
        self.downsample = nn.Sequential(nn.AvgPool2d(2, 2), nn.Conv2d(c_in, c_out, 1, bias=False))

    def forward(self, x: Tensor) -> Tensor:
        return self.downsample(x) + self.conv_b(self.conv_a(x))


class Nb201Cell(nn.Module):
    def __init__(self, channels: int, affine: bool) -> None:
        super().__init__()
        self.edges = nn.ModuleDict(
            {
                f"{target}<-{source}": nn.ModuleList(nb201_operation(name, channels, affine) for name in NB201_OPERATIONS)
                for target in range(1, NODES)
                for source in range(target)
            }
        )

    def forward(self, x: Tensor, mixture: Tensor) -> Tensor:
        states, row = [x], 0
        for target in range(1, NODES):
            terms = []
            for source in range(target):
                terms.append(weighted_sum(self.edges[f"{target}<-{source}"], states[source], mixture[row]))
                row += 1
            states.append(sum(terms[1:], terms[0]))
        return states[-1]


class Nb201Supernet(nn.Module):
    """The search network of NAS-Bench-201; the mixture is ``{"cell": [6, 5]}``."""

    cell = Nb201Cell

    def __init__(self, size: Size) -> None:
        super().__init__()
        channels = size.channels
        self.stem = nn.Sequential(nn.Conv2d(3, channels, 3, padding=1, bias=False), batch_norm(channels, affine=True))
        cells: list[nn.Module] = []
        for stage in range(3):
            if stage:
                cells.append(ResidualReduction(channels, 2 * channels))
                channels *= 2
            cells.extend(self.cell(channels, size.affine) for _ in range(size.cells))
        self.cells = nn.ModuleList(cells)
        self.lastact = nn.Sequential(batch_norm(channels, affine=True), nn.ReLU())
        self.classifier = nn.Linear(channels, size.classes)

    def forward(self, images: Tensor, mixture: Mapping[str, Tensor]) -> Tensor:
        x = self.stem(images)
        for cell in self.cells:
            x = cell(x, mixture["cell"]) if isinstance(cell, Nb201Cell) else cell(x)
        return self.classifier(self.lastact(x).mean((2, 3)))

"""Search spaces of mobile networks as plain data: a chain of inverted residual blocks, each with its own candidates."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Sequence
from typing import Any, ClassVar, Literal, get_args

from jaxnas.errors import UserError, did_you_mean
from jaxnas.spaces.cell import Candidates, Family
from jaxnas.spaces.operations import NONE, SKIP

BlockStyle = Literal["proxyless", "fbnet"]

PROXYLESS_OPERATIONS = tuple(f"{kernel}x{kernel}_MBConv{expansion}" for kernel in (3, 5, 7) for expansion in (3, 6))
"""Candidates of ProxylessNAS in the order of its alphas; blocks that can be left out have ``none`` (its Zero) after them."""

FBNET_OPERATIONS = ("k3_e1", "k3_e1_g2", "k3_e3", "k3_e6", "k5_e1", "k5_e1_g2", "k5_e3", "k5_e6", SKIP)
"""Candidates of FBNet in the order of its thetas."""

PASSING: dict[BlockStyle, str] = {"proxyless": NONE, "fbnet": SKIP}
"""The candidate with which a block of a style lets its input through."""

_NOTATIONS = (
    re.compile(r"(?P<k>[0-9]{1,2})x(?P=k)_MBConv(?P<e>[0-9]{1,2})"),
    re.compile(r"k(?P<k>\d{1,2})_e(?P<e>\d{1,2})(_g(?P<g>\d{1,2}))?"),
)


@dataclasses.dataclass(frozen=True)
class MBConv:
    """An inverted residual block (Sandler et al., 2018).

    Attributes:
      kernel: height and width of the depthwise kernel.
      expansion: width between the 1x1 convolutions, as a multiple of the input's.
      groups: of both 1x1 convolutions.
    """

    kernel: int
    expansion: int
    groups: int = 1


def mbconv(name: str) -> MBConv | None:
    """What a name means, in ProxylessNAS's notation or FBNet's; None where it is no such block's.

    >>> mbconv("5x5_MBConv3"), mbconv("k3_e1_g2"), mbconv("skip_connect")
    (MBConv(kernel=5, expansion=3, groups=1), MBConv(kernel=3, expansion=1, groups=2), None)
    """
    for notation in _NOTATIONS:
        found = notation.fullmatch(name)
        if found:
            parts = found.groupdict()
            return MBConv(int(parts["k"]), int(parts["e"]), int(parts.get("g") or 1))
    return None


def check_operation(name: Any, style: BlockStyle, where: str, c_in: int, c_out: int, stride: int) -> None:
    """Passes where a block of that style and shape can be built.

    Raises:
      UserError: an unknown name, an even kernel, groups that do not divide the channels, a block that cannot be left out.
    """
    known = (*(PROXYLESS_OPERATIONS if style == "proxyless" else FBNET_OPERATIONS), PASSING[style])
    operation = mbconv(name) if isinstance(name, str) else None
    if operation is None:
        if name != PASSING[style]:
            raise UserError(
                f"{where}: unknown operation {name!r} in style {style!r}. {did_you_mean(str(name), dict.fromkeys(known))}"
            )
        if name == NONE and (stride != 1 or c_in != c_out):
            raise UserError(
                f"{where} changes the shape, from {c_in} to {c_out} channels with stride {stride}: it cannot be left out, "
                f"{NONE!r} is no candidate there."
            )
        return
    if not operation.kernel % 2 or not operation.expansion or not operation.groups:
        raise UserError(f"{where}: {name!r} needs an odd kernel, and an expansion and groups of at least 1.")
    for channels in (c_in, c_in * operation.expansion, c_out):
        if channels % operation.groups:
            raise UserError(f"{where}: {operation.groups} groups of {name!r} do not divide {channels} channels.")


@dataclasses.dataclass(frozen=True)
class Block:
    """One searched block.

    Attributes:
      channels: what it gives out.
      stride: 1 or 2.
      operations: its candidates, in the order of the columns of the alphas.
    """

    channels: int
    stride: int
    operations: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Chain(Candidates):
    """The searched blocks as a graph: block i leads from state i to state i + 1."""

    operations: tuple[tuple[str, ...], ...]

    @property
    def edges(self) -> tuple[tuple[int, int], ...]:
        """``(source, target)`` of each block."""
        return tuple((i, i + 1) for i in range(self.nodes))

    @property
    def nodes(self) -> int:
        """Number of blocks."""
        return len(self.operations)

    def incoming(self, node: int) -> list[int]:
        """Rows of the edges that end behind the ``node``-th block: its own."""
        return [node]


@dataclasses.dataclass(frozen=True)
class BlockSpace:
    """A search space of one network whose blocks are chosen one by one. One's own space is built by this constructor.

    A 3x3 convolution, the fixed blocks, the searched blocks, a 1x1 convolution to ``head`` channels, pooling and a linear
    layer. The style is the reference's whose conventions the blocks have:

    - ``proxyless``: ReLU6, batch norm with an epsilon of 1e-3, no first 1x1 convolution where the expansion is 1. A block
      adds its input to the mixture of its candidates where the shapes are equal; there ``none`` leaves it out.
    - ``fbnet``: ReLU, an epsilon of 1e-5, always two 1x1 convolutions, channels shuffled between them where they have groups.
      Each candidate adds the input itself; ``skip_connect`` is the identity, or a 1x1 convolution where shapes differ.

    Attributes:
      name: for reports.
      style: see above.
      stem: channels and stride of the first convolution.
      fixed: ``(operation, channels, stride)`` of the blocks before the searched ones.
      blocks: the searched blocks.
      head: channels of the last convolution.

    Raises:
      UserError: an unknown style or operation, a candidate twice, a shape that a block cannot have.

    >>> blocks = Block(8, 1, ("k3_e1", "skip_connect")), Block(16, 2, ("k3_e3", "k5_e3"))
    >>> space = BlockSpace("two", "fbnet", (8, 1), (), blocks, 32)
    >>> space.alphas, space.size
    (4, 4)
    """

    family: ClassVar[Family] = "blocks"
    name: str
    style: BlockStyle
    stem: tuple[int, int]
    fixed: tuple[tuple[str, int, int], ...]
    blocks: tuple[Block, ...]
    head: int

    def __post_init__(self) -> None:
        check_style(self.style)
        check_layer("stem", *self.stem)
        check_layer("head", self.head, 1)
        if not self.blocks:
            raise UserError(f"Space {self.name!r} has no block to search.")
        c_in = self.stem[0]
        for i, (name, channels, stride) in enumerate(self.fixed):
            check_layer(f"Fixed block {i}", channels, stride)
            check_operation(name, self.style, f"Fixed block {i}", c_in, channels, stride)
            c_in = channels
        for i, block in enumerate(self.blocks):
            check_layer(f"Block {i}", block.channels, block.stride)
            if not block.operations or isinstance(block.operations, str):
                raise UserError(f"Block {i} needs a tuple of candidates, got {block.operations!r}.")
            for name in block.operations:
                check_operation(name, self.style, f"Block {i}", c_in, block.channels, block.stride)
            if len(set(block.operations)) < len(block.operations):
                raise UserError(f"Block {i} lists an operation twice: {', '.join(block.operations)}.")
            c_in = block.channels

    @property
    def cells(self) -> tuple[tuple[str, Chain], ...]:
        """The kinds of mixed operations by name, as of a ``CellSpace``: one, ``blocks``."""
        return (("blocks", Chain(tuple(block.operations for block in self.blocks))),)

    def cell(self, kind: str) -> Chain:
        """The graph of a kind."""
        return dict(self.cells)[kind]

    @property
    def alphas(self) -> int:
        """Number of architecture parameters (ProxylessNAS: 141; FBNet: 198)."""
        return sum(len(block.operations) for block in self.blocks)

    @property
    def size(self) -> int:
        """Number of genotypes, exactly."""
        return math.prod(len(block.operations) for block in self.blocks)

    @property
    def inputs(self) -> tuple[int, ...]:
        """Channels that each searched block is given."""
        before = self.fixed[-1][1] if self.fixed else self.stem[0]
        return (before, *(block.channels for block in self.blocks[:-1]))


def check_style(style: Any) -> None:
    """Passes where it is one of the styles."""
    if style not in get_args(BlockStyle):
        raise UserError(f"Unknown style {style!r} of blocks. {did_you_mean(str(style), get_args(BlockStyle))}")


def check_layer(where: str, channels: Any, stride: Any) -> None:
    """Passes where these are channels and a stride."""
    for name, value in (("channels", channels), ("stride", stride)):
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise UserError(f"{where}: {name} are a positive integer, got {value!r}.")
    if stride > 2:
        raise UserError(f"{where}: a stride is 1 or 2, got {stride}.")


def divisible(channels: float, divisor: int = 8) -> int:
    """Channels rounded to a multiple of 8, by at most a tenth down (ProxylessNAS, search/utils, make_divisible).

    >>> [divisible(channels) for channels in (3, 11.9, 35.84, 90)]
    [8, 16, 40, 88]
    """
    rounded = max(divisor, int(channels + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * channels else rounded


Stages = Sequence[tuple[int, int]]
"""Channels and number of the blocks of each stage."""

PROXYLESS_STAGES: Stages = ((24, 4), (40, 4), (80, 4), (96, 4), (192, 4), (320, 1))

FBNET_STAGES: Stages = ((16, 1), (24, 4), (32, 4), (64, 4), (112, 4), (184, 4), (352, 1))

PROXYLESS_STRIDES = (2, 2, 2, 2, 1, 2, 1)
"""Strides of ProxylessNAS's first convolution and of the first block of each stage, for ImageNet."""

PROXYLESS_SMALL_STRIDES = (1, 1, 2, 2, 1, 2, 1)
"""Ours, for images of 32x32 pixels, as no code for CIFAR was released: the halvings that FBNet keeps there, three of five."""

FBNET_STRIDES = (2, 1, 2, 2, 2, 1, 2, 1)
"""Strides of FBNet's first convolution and of the first block of each stage, for ImageNet."""

FBNET_SMALL_STRIDES = (1, 1, 1, 2, 2, 1, 2, 1)
"""The same for images of 32x32 pixels (HW-NAS-Bench's FBNet on CIFAR-100, whose head has 1504 channels)."""


def proxyless(
    width: float = 1.0, strides: Sequence[int] = PROXYLESS_STRIDES, head: int = 1280, stages: Stages = PROXYLESS_STAGES
) -> BlockSpace:
    """The mobile space of ProxylessNAS (Cai et al., 2019; search/models/super_nets/super_proxyless.py): 21 blocks.

    Args:
      width: multiplier of all channels but the head's, which only grows.
      strides: of the first convolution and of the first block of each stage.
      head: channels of the last convolution at a width of 1.
      stages: the paper's six, or fewer or other ones.

    Raises:
      UserError: a width that is not positive, a wrong number of strides.

    >>> proxyless().alphas, proxyless().size == 6**6 * 7**15
    (141, True)
    """
    stem, *first_strides = _checked(width, strides, stages)
    blocks: list[Block] = []
    c_in = first = divisible(16 * width)
    for (channels, count), first_stride in zip(stages, first_strides, strict=True):
        c_out = divisible(channels * width)
        for i in range(count):
            stride = 1 if i else first_stride
            passing = (NONE,) if stride == 1 and c_in == c_out else ()
            blocks.append(Block(c_out, stride, PROXYLESS_OPERATIONS + passing))
            c_in = c_out
    head = divisible(head * width) if width > 1 else head
    return BlockSpace(
        "proxyless", "proxyless", (divisible(32 * width), stem), (("3x3_MBConv1", first, 1),), tuple(blocks), head
    )


def fbnet(
    width: float = 1.0, strides: Sequence[int] = FBNET_STRIDES, head: int = 1984, stages: Stages = FBNET_STAGES
) -> BlockSpace:
    """The space of FBNet (Wu et al., 2019): 22 blocks with nine candidates each.

    Args:
      width: multiplier of all channels but the head's, which only grows.
      strides: of the first convolution and of the first block of each stage.
      head: channels of the last convolution at a width of 1.
      stages: the paper's seven, or fewer or other ones.

    Raises:
      UserError: a width that is not positive, a wrong number of strides.

    >>> fbnet().alphas, fbnet().size == 9**22
    (198, True)
    """
    stem, *first_strides = _checked(width, strides, stages)
    blocks = tuple(
        Block(divisible(channels * width), 1 if i else stride, FBNET_OPERATIONS)
        for (channels, count), stride in zip(stages, first_strides, strict=True)
        for i in range(count)
    )
    return BlockSpace("fbnet", "fbnet", (divisible(16 * width), stem), (), blocks, divisible(head * max(width, 1.0)))


def mobile_small(width: float = 1.0) -> BlockSpace:
    """Ours, for images of 32x32 pixels: six blocks in ProxylessNAS's style, two at each of three sizes.

    Args:
      width: multiplier of all channels but the head's, which only grows.

    Raises:
      UserError: a width that is not positive.

    >>> mobile_small().alphas, mobile_small().size == 6**3 * 7**3
    (39, True)
    """
    narrow = proxyless(width, (1, 2, 2, 2), head=320, stages=((24, 2), (40, 2), (80, 2)))
    return dataclasses.replace(narrow, name="mobile_small", stem=(divisible(16 * width), 1))


def _checked(width: float, strides: Sequence[int], stages: Stages) -> Sequence[int]:
    if not 0 < width < math.inf:
        raise UserError(f"width multiplies channels and must be positive, got {width}.")
    if len(strides) != 1 + len(stages):
        raise UserError(
            f"strides are those of the first convolution and of {len(stages)} stages, got {len(strides)}: {strides}."
        )
    return strides

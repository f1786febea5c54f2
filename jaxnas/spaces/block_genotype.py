"""Genotypes of block spaces: a whole mobile network but for its labels and its images' size."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from jaxnas.errors import UserError, did_you_mean
from jaxnas.spaces.blocks import BlockSpace, BlockStyle, check_layer, check_operation, check_style
from jaxnas.spaces.cell import Family


@dataclasses.dataclass(frozen=True)
class BlockGenotype:
    """A chain of inverted residual blocks, the fixed ones included. Lists are taken for tuples.

    Attributes:
      style: conventions of the blocks, see :class:`jaxnas.spaces.BlockSpace`.
      stem: channels and stride of the first convolution.
      blocks: ``(operation, channels, stride)`` of each block.
      head: channels of the last convolution.

    Raises:
      UserError: an unknown style or operation, a shape that a block cannot have.

    >>> BlockGenotype("proxyless", (32, 2), (("3x3_MBConv1", 16, 1), ("5x5_MBConv6", 24, 2), ("none", 24, 1)), 1280).head
    1280
    """

    family: ClassVar[Family] = "blocks"
    style: BlockStyle
    stem: tuple[int, int]
    blocks: tuple[tuple[str, int, int], ...]
    head: int

    def __post_init__(self) -> None:
        check_style(self.style)
        stem = _sequence(self.stem, "stem", ("channels", "stride"))
        check_layer("stem", *stem)
        check_layer("head", self.head, 1)
        if not isinstance(self.blocks, (list, tuple)) or not self.blocks:
            raise UserError(f"blocks is a list of at least one (operation, channels, stride), got {self.blocks!r}.")
        blocks, c_in = [], stem[0]
        for i, block in enumerate(self.blocks):
            name, c_out, stride = _sequence(block, f"Block {i}", ("operation", "channels", "stride"))
            check_layer(f"Block {i}", c_out, stride)
            check_operation(name, self.style, f"Block {i}", c_in, c_out, stride)
            blocks.append((name, c_out, stride))
            c_in = c_out
        object.__setattr__(self, "stem", stem)
        object.__setattr__(self, "blocks", tuple(blocks))


def _sequence(value: Any, where: str, names: tuple[str, ...]) -> tuple[Any, ...]:
    if not isinstance(value, (list, tuple)) or len(value) != len(names):
        raise UserError(f"{where} is ({', '.join(names)}), got {value!r}.")
    return tuple(value)


def block_genotype(space: BlockSpace, operations: Sequence[str]) -> BlockGenotype:
    """The genotype of a space that has these operations in its searched blocks.

    >>> from jaxnas.spaces.blocks import Block
    >>> space = BlockSpace("one", "fbnet", (8, 1), (("k3_e1", 8, 1),), (Block(16, 2, ("k3_e3", "k5_e3")),), 32)
    >>> block_genotype(space, ["k5_e3"]).blocks
    (('k3_e1', 8, 1), ('k5_e3', 16, 2))
    """
    searched = ((name, block.channels, block.stride) for name, block in zip(operations, space.blocks, strict=True))
    return BlockGenotype(space.style, space.stem, (*space.fixed, *searched), space.head)


def searched_operations(genotype: BlockGenotype, space: BlockSpace) -> tuple[str, ...]:
    """What a genotype of the space has in the searched blocks.

    Raises:
      UserError: the genotype is not one of the space's; the message names the first difference.
    """
    names = [name for name, _, _ in genotype.blocks[len(space.fixed) :]]
    if len(names) != len(space.blocks):
        blocks = len(space.fixed) + len(space.blocks)
        raise UserError(f"The genotype has {len(genotype.blocks)} blocks, those of space {space.name!r} have {blocks}.")
    for i, (name, block) in enumerate(zip(names, space.blocks, strict=True)):
        if name not in block.operations:
            raise UserError(
                f"Block {i} has {name!r}, not a candidate there in space {space.name!r}. {did_you_mean(name, block.operations)}"
            )
    wanted = block_genotype(space, names)
    for field in dataclasses.fields(genotype):
        ours, theirs = getattr(genotype, field.name), getattr(wanted, field.name)
        if ours != theirs:
            if field.name == "blocks":
                at = next(i for i, (a, b) in enumerate(zip(ours, theirs, strict=True)) if a != b)
                raise UserError(f"Block {at} of the whole network is {ours[at]}, in space {space.name!r} it is {theirs[at]}.")
            raise UserError(f"The genotype has {field.name}={ours!r}, those of space {space.name!r} have {theirs!r}.")
    return tuple(names)


def random_blocks(space: BlockSpace, rng: np.random.Generator) -> BlockGenotype:
    """A genotype drawn uniformly among the ``space.size`` ones."""
    return block_genotype(space, [block.operations[rng.integers(len(block.operations))] for block in space.blocks])

"""Derived networks: the discrete cells of a genotype, repeated as the references do for training from scratch."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array

from jaxnas.errors import UserError
from jaxnas.nets.chains import ChainShape, chain_network
from jaxnas.nets.ends import AuxiliaryHead, Linear, cifar_stem, imagenet_stems, least_auxiliary_map, whole_windows
from jaxnas.nets.network import HALVINGS, Network, Shape, network
from jaxnas.nets.operations import BatchNorm, Identity, Pass, Relu, Style, build_operation
from jaxnas.nets.supernet import ResidualReduction, preprocess, reductions
from jaxnas.spaces import BlockGenotype, DartsGenotype, Genotype, Nb201Genotype

STYLE = Style(affine=True)  # Batch norms have scale and shift, pools are bare, convolutions have no bias.


def numbered(context: Pass, i: int) -> Pass:
    """The pass with a key of its own for the i-th part, so that no two operations draw the same noise."""
    return dataclasses.replace(context, key=jax.random.fold_in(context.key, i))


class DiscreteDartsCell(nnx.Module):
    """A cell of a DARTS genotype: two operations a node, which are summed, and the nodes concatenated."""

    def __init__(
        self,
        operations: tuple[tuple[str, int], ...],
        concat: tuple[int, ...],
        c_previous_previous: int,
        c_previous: int,
        channels: int,
        reduction: bool,
        after_reduction: bool,
    ) -> None:
        self.sources, self.concat = tuple(source for _, source in operations), tuple(concat)
        self.preprocess0 = preprocess(c_previous_previous, channels, after_reduction, STYLE)
        self.preprocess1 = preprocess(c_previous, channels, False, STYLE)
        self.ops = nnx.List(
            [build_operation(name, channels, 2 if reduction and source < 2 else 1, STYLE) for name, source in operations]
        )

    @property
    def droppable(self) -> tuple[bool, ...]:
        """On which operations drop path acts: the reference spares the identity, but not a skip that halves the image."""
        return tuple(not isinstance(op, Identity) for op in self.ops)

    def __call__(self, s0: Array, s1: Array, gates: Array | None, context: Pass) -> Array:
        """``gates`` ``[droppable operations, N]``: factors of their outputs, image by image."""
        states = [self.preprocess0(s0, context), self.preprocess1(s1, context)]
        drawn = 0

        def output(i: int) -> Array:
            nonlocal drawn
            y = self.ops[i](states[self.sources[i]], numbered(context, i))
            if gates is None or not self.droppable[i]:
                return y
            drawn += 1
            h, c, _ = y.shape
            return (y.reshape(h, c, -1, context.batch) * gates[drawn - 1]).reshape(y.shape)

        for i in range(0, len(self.sources), 2):
            states.append(output(i) + output(i + 1))
        return jnp.concatenate([states[i] for i in self.concat], axis=1)


class DartsNetwork(nnx.Module):
    """DARTS's networks for CIFAR and for ImageNet (cnn/model.py, NetworkCIFAR and NetworkImageNet)."""

    def __init__(self, genotype: DartsGenotype, shape: Shape, auxiliary: bool) -> None:
        self.imagenet = shape.template == "imagenet"
        channels = shape.channels
        if self.imagenet:
            self.stem0, self.stem1 = imagenet_stems(channels)
            c_previous_previous = c_previous = channels
        else:
            self.stem = cifar_stem(3 * channels)
            c_previous_previous = c_previous = 3 * channels
        after_reduction = self.imagenet  # The second stem halves what the first gives out.
        cells, head, self.auxiliary_at = [], None, 2 * shape.cells // 3
        for i, reduction in enumerate(reductions(shape.cells)):
            channels *= 2 if reduction else 1
            operations, concat = (
                (genotype.reduce, genotype.reduce_concat) if reduction else (genotype.normal, genotype.normal_concat)
            )
            cells.append(
                DiscreteDartsCell(operations, concat, c_previous_previous, c_previous, channels, reduction, after_reduction)
            )
            c_previous_previous, c_previous, after_reduction = c_previous, len(concat) * channels, reduction
            if auxiliary and i == self.auxiliary_at:
                head = AuxiliaryHead(c_previous, shape.classes, shape.template)
        self.cells = nnx.List(cells)
        self.auxiliary_head = head
        self.classifier = Linear(c_previous, shape.classes)

    def __call__(self, mixture: Array | None, x: Array, context: Pass) -> tuple[Array, Array | None]:
        counts = [sum(cell.droppable) for cell in self.cells]
        gates = self.drop_path(mixture, sum(counts), x.dtype, context)
        s0, s1 = self.first_states(x, context)
        auxiliary, taken = None, 0
        for i, (cell, count) in enumerate(zip(self.cells, counts, strict=True)):
            s0, s1 = s1, cell(s0, s1, None if gates is None else gates[taken : taken + count], numbered(context, i))
            taken += count
            if context.training and self.auxiliary_head is not None and i == self.auxiliary_at:
                auxiliary = self.auxiliary_head(s1, context)
        if self.imagenet:
            # The reference's AvgPool2d(7) reads all of a 224-pixel image's last map, and the upper left 7x7 of 256's 8x8.
            s1 = whole_windows(s1, context.batch, 7)
        return self.classifier(s1, context), auxiliary

    def first_states(self, x: Array, context: Pass) -> tuple[Array, Array]:
        """What the first cell is given."""
        if self.imagenet:
            s0 = self.stem0(x, context)
            return s0, self.stem1(s0, context)
        s0 = self.stem(x, context)
        return s0, s0

    def drop_path(self, gates: Array | None, count: int, dtype: Any, context: Pass) -> Array | None:
        """The gates ``[count, N]`` of a forward pass: those given, or drawn; ``None`` where nothing is dropped."""
        if not context.training or (gates is None and "drop_path" not in context.scalars):
            return None
        if gates is None:
            keep = 1 - jnp.asarray(context.scalars["drop_path"], dtype)
            key = jax.random.fold_in(context.key, len(self.cells))
            return context.drawn(lambda images: jax.random.bernoulli(key, keep, (count, images))) / keep
        if gates.shape != (count, context.batch):
            raise UserError(
                f"Drop path acts on {count} operations of this network and {context.batch} images, but the gates given have "
                f"the shape {gates.shape}. Give [{count}, {context.batch}], or None to have them drawn."
            )
        return gates


class DiscreteNb201Cell(nnx.Module):
    """A cell of a NAS-Bench-201 genotype (AutoDL-Projects, InferCell); its output is the last node."""

    def __init__(self, genotype: Nb201Genotype, channels: int) -> None:
        self.sources = tuple(tuple(source for _, source in node) for node in genotype.nodes)
        self.layers = nnx.List([build_operation(name, channels, 1, STYLE) for node in genotype.nodes for name, _ in node])

    def __call__(self, x: Array, context: Pass) -> Array:
        states, layers = [x], iter(enumerate(self.layers))
        for sources in self.sources:
            node = jnp.zeros_like(x)
            for source in sources:
                i, layer = next(layers)
                node += layer(states[source], numbered(context, i))
            states.append(node)
        return states[-1]


class Nb201Network(nnx.Module):
    """NAS-Bench-201's network (AutoDL-Projects, TinyNetwork): three stages of N cells, residual reductions between."""

    def __init__(self, genotype: Nb201Genotype, shape: Shape) -> None:
        self.stem = cifar_stem(shape.channels)
        channels, cells = shape.channels, []
        for stage in range(3):
            if stage:
                channels *= 2
                cells.append(ResidualReduction(channels // 2, channels))
            cells.extend(DiscreteNb201Cell(genotype, channels) for _ in range(shape.cells))
        self.cells = nnx.List(cells)
        self.lastact = nnx.List([BatchNorm(channels, affine=True), Relu()])
        self.classifier = Linear(channels, shape.classes)

    def __call__(self, mixture: None, x: Array, context: Pass) -> tuple[Array, None]:
        for i, layer in enumerate((self.stem, *self.cells, *self.lastact)):
            x = layer(x, numbered(context, i))
        return self.classifier(x, context), None


def derived(genotype: Genotype, shape: Shape | ChainShape, auxiliary: bool = False) -> Network:
    """The network of a genotype, for training from scratch.

    Its ``forward(weights, mixture, images, key, scalars, statistics=None)`` returns ``(logits, auxiliary_logits)``, both
    ``[N, classes]``, and the batch's moments; the auxiliary logits are ``None`` in evaluation (statistics given) and where
    the network has no such head. ``mixture`` and ``scalars["drop_path"]`` are read by networks of DARTS, in training; the
    reference of NAS-Bench-201 has no drop path.

    - ``scalars["drop_path"]``: probability with which each operation's output is dropped, image by image; what is kept is
      divided by the probability of keeping. Operations that are the identity are spared.
    - ``scalars["dropout"]``, networks of blocks: probability of the dropout before the classifier.
    - ``mixture``: ``None``, or the factors themselves, ``[operations not the identity, N]``, in the order of the cells and
      of their genotype, in place of drawn ones.

    Args:
      genotype: the cells, or the blocks.
      shape: size of the network, for blocks a ``ChainShape``; ``affine`` is not read, every batch norm has scale and shift. In
        the template ``imagenet``, pooling at the end reads whole windows of 7x7 pixels, as the reference's does where it
        accepts the image (224 and 256 pixels with the auxiliary head, up to 416 without); smaller maps are averaged whole.
      auxiliary: family darts: add the auxiliary head, whose weights ``parameters`` does not count (the field's convention).

    Raises:
      UserError: a size that the network or its auxiliary head cannot have; a reduction cell that gives out its inputs.

    >>> from jaxnas.spaces import from_text
    >>> genotype = from_text("|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+|skip_connect~0|nor_conv_3x3~1|nor_conv_1x1~2|")
    >>> derived(genotype, Shape(channels=16, cells=5, classes=10)).parameters
    1073466
    """
    if auxiliary and not isinstance(genotype, DartsGenotype):
        raise UserError(f"Networks of family {genotype.family} have no auxiliary head: leave auxiliary=False.")
    if isinstance(genotype, BlockGenotype):
        return chain_network(genotype, shape)
    if not isinstance(shape, Shape):
        raise UserError(f"Networks of cells have a Shape(channels, cells, classes, ...), got {shape}.")
    if isinstance(genotype, Nb201Genotype):
        if shape.template != "cifar":
            raise UserError(f"NAS-Bench-201's network is built in the template cifar, got template={shape.template!r}.")
        return network(lambda: Nb201Network(genotype, shape))
    _check_darts(genotype, shape, auxiliary)
    net = network(lambda: DartsNetwork(genotype, shape, auxiliary))
    if not auxiliary:
        return net
    weights, _ = jax.eval_shape(net.init, jax.random.key(0))
    head = sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(weights["auxiliary_head"]))
    return dataclasses.replace(net, parameters=net.parameters - head)


def _check_darts(genotype: DartsGenotype, shape: Shape, auxiliary: bool) -> None:
    if shape.cells < 3:
        raise UserError(f"A DARTS network has two reduction cells, at one and two thirds: at least 3 cells, got {shape.cells}.")
    if min(genotype.reduce_concat) < 2:
        raise UserError(
            f"reduce_concat is {list(genotype.reduce_concat)}: states 0 and 1 are a reduction cell's inputs, twice the size "
            "of its nodes, and cannot be concatenated with them. Name nodes only, from state 2 on."
        )
    factor, least = 2 ** HALVINGS[shape.template], least_auxiliary_map(shape.template)
    smallest = shape.image_size // factor
    if auxiliary and smallest < least:
        raise UserError(
            f"The auxiliary head needs maps of {least}x{least} pixels after two reductions, images of "
            f"{shape.image_size}x{shape.image_size} leave {smallest}x{smallest}: use images of at least {factor * least} "
            "pixels, or auxiliary=False."
        )

"""From a Flax module to pure functions over plain dictionaries: the only border that the engine sees."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import Array
from jax.core import Tracer

from jaxnas.errors import UserError, did_you_mean
from jaxnas.nets.operations import Pass
from jaxnas.nets.rows import to_rows

Weights = Any
Statistics = Any
Template = Literal["cifar", "imagenet"]
"""The two networks that DARTS builds of its cells: one has a stem at full size, one two stems that halve images thrice."""

Dtype = Literal["float32", "bfloat16"]
"""In what the inside of a network is computed; ``float32`` stands for the images' own type."""

HALVINGS: dict[Template, int] = {"cifar": 2, "imagenet": 5}
"""How often a template halves an image, stems and reductions together."""


@dataclasses.dataclass(frozen=True)
class Shape:
    """Size of a network.

    Attributes:
      channels: C, the width of the first cells (DARTS's search: 16).
      cells: number of cells (family darts), or N, cells per stage (family nb201).
      classes: number of labels.
      image_size: height and width of the images, in pixels; a multiple of 4, in the template imagenet of 32.
      affine: family nb201: the cells' batch norms have scale and shift in search.
      template: family darts: DARTS's network for CIFAR or the one for ImageNet.

    Raises:
      UserError: a number below its least, an image size that cannot be halved so often, an unknown template.

    >>> Shape(channels=48, cells=14, classes=1000, image_size=225, template="imagenet")
    Traceback (most recent call last):
    jaxnas.errors.UserError: The template imagenet halves images 5 times: their size must be a multiple of 32, got 225.
    """

    channels: int
    cells: int
    classes: int
    image_size: int = 32
    affine: bool = False
    template: Template = "cifar"

    def __post_init__(self) -> None:
        for name, least in (("channels", 2), ("cells", 1), ("classes", 2), ("image_size", 4)):
            if getattr(self, name) < least:
                raise UserError(f"{name} must be at least {least}, got {getattr(self, name)}.")
        if self.template not in HALVINGS:
            raise UserError(f"Unknown template {self.template!r}. {did_you_mean(self.template, HALVINGS)}")
        halvings = HALVINGS[self.template]
        if self.image_size % 2**halvings:
            raise UserError(
                f"The template {self.template} halves images {halvings} times: their size must be a multiple of "
                f"{2**halvings}, got {self.image_size}."
            )


@dataclasses.dataclass(frozen=True)
class Network:
    """A network as pure functions.

    Attributes:
      init: key -> ``(weights, statistics)``, nested dictionaries of float32 arrays; statistics hold ``mean`` and ``var`` of
        every batch norm.
      forward: ``(weights, mixture, images, key, scalars, statistics=None, axis=None) -> (outputs, moments)`` with images
        ``[N, H, W, 3]``. Without statistics every batch norm uses the batch's moments, and these are returned (means and
        unbiased variances, in the form of the statistics); they are data, no gradient flows back through them. An axis is
        the name of the mapped axis that the batch is split over (``jaxnas.named_axis``): the images are then one device's
        share, the moments those of the whole batch, and random draws follow an image's place in it.
      parameters: number of weights.
    """

    init: Callable[[Array], tuple[Weights, Statistics]]
    forward: Callable[..., tuple[Any, Statistics]]
    parameters: int

    def logits(self, weights: Weights, statistics: Statistics, images: Array) -> Array:
        """A derived network's outputs ``[N, classes]`` by running averages, of images ``[N, H, W, 3]``; no auxiliary head's."""
        (logits, _), _ = self.forward(weights, None, images, jax.random.key(0), {}, statistics)
        return logits


def network(build: Callable[[], Any], dtype: Dtype = "float32") -> Network:
    """Wraps a module; ``build()`` describes it, and calling it takes ``(mixture, rows, Pass)``."""
    module = pure(build)

    def forward(
        weights: Weights,
        mixture: Any,
        images: Array,
        key: Array,
        scalars: dict[str, Array],
        statistics: Statistics | None = None,
        axis: str | None = None,
    ) -> tuple[Any, Statistics]:
        training = statistics is None
        if training:
            statistics = jax.tree.map(lambda a: jnp.zeros(a.shape, images.dtype), module.statistics)
        x = to_rows(images)
        x = x.astype(jnp.bfloat16) if dtype == "bfloat16" else x
        return module.apply(weights, statistics, Pass(images.shape[0], training, key, scalars, axis), mixture, x)

    return Network(init=module.init, forward=forward, parameters=module.parameters)


@dataclasses.dataclass(frozen=True)
class PureModule:
    """A module as pure functions.

    Attributes:
      init: as of a :class:`Network`.
      apply: ``(weights, statistics, context, *arguments) -> (outputs, moments)``, calls the module with the arguments and the
        :class:`Pass` after them.
      statistics: their shapes.
      parameters: number of weights.
    """

    init: Callable[[Array], tuple[Weights, Statistics]]
    apply: Callable[..., tuple[Any, Statistics]]
    statistics: Statistics
    parameters: int


def pure(build: Callable[[], Any]) -> PureModule:
    """Wraps a module that ``build()`` describes."""
    graph, abstract_weights, abstract_statistics = nnx.split(nnx.eval_shape(build), nnx.Param, nnx.BatchStat)
    placeholder = nnx.to_pure_dict(abstract_statistics)

    def of_variables(function: Callable[[nnx.Variable], Any], state: nnx.State) -> Any:
        return nnx.to_pure_dict(jax.tree.map(function, state, is_leaf=lambda leaf: isinstance(leaf, nnx.Variable)))

    size = sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(nnx.to_pure_dict(abstract_weights)))

    def init(key: Array) -> tuple[Weights, Statistics]:
        values, taken = jax.random.uniform(key, (size,), minval=-1.0, maxval=1.0), 0
        if not isinstance(values, Tracer):
            # Cut on the host: a program of a thousand slices compiles for longer than the search step.
            values = np.asarray(values)

        def start(variable: nnx.Variable) -> Any:
            nonlocal taken
            metadata, shape = variable.get_metadata(), variable.get_value().shape
            if "start" in metadata:
                return np.full(shape, metadata["start"], values.dtype)
            taken += math.prod(shape)
            drawn = values[taken - math.prod(shape) : taken].reshape(shape)
            if "deviation" in metadata:
                # As jax.random.normal makes its values; -1 itself, one draw in 2**23, would become minus infinity.
                return metadata["deviation"] * math.sqrt(2) * jax.lax.erf_inv(jnp.maximum(drawn, jnp.nextafter(-1.0, 0.0)))
            return metadata["bound"] * drawn

        return jax.device_put((of_variables(start, abstract_weights), of_variables(start, abstract_statistics)))

    def apply(weights: Weights, statistics: Statistics, context: Pass, *arguments: Any) -> tuple[Any, Statistics]:
        module = nnx.merge(graph, weights, statistics, copy=True)
        outputs = module(*arguments, context)
        return outputs, nnx.to_pure_dict(nnx.state(module, nnx.BatchStat))

    return PureModule(init, apply, placeholder, size)

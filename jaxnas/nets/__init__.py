"""Networks: Flax modules, handed out as pure functions. Nothing outside this folder and ``export`` imports flax."""

from jaxnas.nets.active import active_weights, stack_rows
from jaxnas.nets.chains import ChainShape
from jaxnas.nets.deployed import deployed_layer
from jaxnas.nets.derived import derived
from jaxnas.nets.mixed import WEIGHTS_TURN
from jaxnas.nets.network import Dtype, Network, Shape
from jaxnas.nets.operations import (
    SKIP_DROPOUT,
    BatchNorm,
    Convolution,
    Depthwise,
    Pass,
    Pool,
    Sequence,
    Style,
    add_operation,
)
from jaxnas.nets.supernet import reductions, supernet
from jaxnas.nets.widening import Take, taken, takes

__all__ = [
    "SKIP_DROPOUT",
    "WEIGHTS_TURN",
    "BatchNorm",
    "ChainShape",
    "Convolution",
    "Depthwise",
    "Dtype",
    "Network",
    "Pass",
    "Pool",
    "Sequence",
    "Shape",
    "Style",
    "Take",
    "active_weights",
    "add_operation",
    "deployed_layer",
    "derived",
    "reductions",
    "stack_rows",
    "supernet",
    "taken",
    "takes",
]

"""Networks: Flax modules, handed out as pure functions. Nothing outside this folder and ``export`` imports flax."""

from jaxnas.nets.active import active_weights, stack_rows
from jaxnas.nets.chains import ChainShape
from jaxnas.nets.deployed import deployed_layer
from jaxnas.nets.derived import derived
from jaxnas.nets.mixed import WEIGHTS_TURN
from jaxnas.nets.network import Dtype, Network, Shape
from jaxnas.nets.operations import SKIP_DROPOUT
from jaxnas.nets.supernet import reductions, supernet
from jaxnas.nets.widening import Take, taken, takes

__all__ = [
    "SKIP_DROPOUT",
    "WEIGHTS_TURN",
    "ChainShape",
    "Dtype",
    "Network",
    "Shape",
    "Take",
    "active_weights",
    "deployed_layer",
    "derived",
    "reductions",
    "stack_rows",
    "supernet",
    "taken",
    "takes",
]

"""Networks: Flax modules as containers, handed out as pure functions. Nothing outside this folder imports flax."""

from jaxnas.nets.active import active_weights, stack_rows
from jaxnas.nets.chains import ChainShape
from jaxnas.nets.derived import derived
from jaxnas.nets.network import Network, Shape
from jaxnas.nets.operations import SKIP_DROPOUT
from jaxnas.nets.supernet import reductions, supernet
from jaxnas.nets.widening import Take, taken, takes

__all__ = [
    "SKIP_DROPOUT",
    "ChainShape",
    "Network",
    "Shape",
    "Take",
    "active_weights",
    "derived",
    "reductions",
    "stack_rows",
    "supernet",
    "taken",
    "takes",
]

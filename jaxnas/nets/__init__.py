"""Networks: Flax modules as containers, handed out as pure functions. Nothing outside this folder imports flax."""

from jaxnas.nets.network import Network, Shape
from jaxnas.nets.supernet import supernet

__all__ = ["Network", "Shape", "supernet"]

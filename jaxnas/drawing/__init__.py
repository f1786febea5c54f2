"""Pictures of architectures and of their search: cells as graphs, mobile networks as chains, alphas as heat maps."""

from jaxnas.drawing.dot import to_dot
from jaxnas.drawing.graphs import Graph, Vertex, graphs
from jaxnas.drawing.heat import heat_map
from jaxnas.drawing.layout import Box, Picture, place, titled
from jaxnas.drawing.raster import to_gif, to_png
from jaxnas.drawing.svg import to_svg

__all__ = [
    "Box",
    "Graph",
    "Picture",
    "Vertex",
    "graphs",
    "heat_map",
    "place",
    "titled",
    "to_dot",
    "to_gif",
    "to_png",
    "to_svg",
]

"""Pictures as files: whole, and with what they are of."""

from __future__ import annotations

import io
import re
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
from PIL import Image
from PIL.GifImagePlugin import GifImageFile

from jaxnas.drawing import graphs, heat_map, place, to_dot, to_gif, to_png, to_svg
from jaxnas.drawing.svg import LOOKS
from jaxnas.spaces import PUBLISHED, from_text, robust_darts

pytestmark = pytest.mark.quick

NB201 = from_text("|nor_conv_3x3~0|+|none~0|skip_connect~1|+|avg_pool_3x3~0|nor_conv_1x1~1|none~2|")


def luminance(colour: str) -> float:
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_letters_are_read_on_their_fill() -> None:
    """WCAG 2.1: a contrast of 4.5 for text, 3 for what borders a thing."""
    for fill, border, letters in LOOKS.values():
        assert (luminance(fill) + 0.05) / (luminance(letters) + 0.05) >= 4.5
        assert 1.05 / (luminance(border) + 0.05) >= 3


def test_svg_is_xml_with_every_vertex_and_line() -> None:
    graph = graphs(NB201)["cell"]
    tree = ElementTree.fromstring(to_svg(place(graph), 'a "cell" & <more>'))
    texts = [text.text for text in tree.iter() if text.tag.endswith("text")]
    assert texts == [vertex.label for vertex in graph.vertices]
    assert sum(path.get("fill") == "none" for path in tree.iter() if path.tag.endswith("path")) == len(graph.edges)
    assert (tree.get("aria-label") or "").startswith('a "cell" & <more>. input to nor_conv_3x3; nor_conv_3x3 to 1')


@pytest.mark.parametrize("name", ["DARTS_V2", "proxyless_mobile"])
def test_dot_has_every_vertex_and_edge(name: str) -> None:
    found = graphs(PUBLISHED[name])
    text = to_dot(found, 'quo"te')
    assert len(re.findall(r'"\w+/\d+" \[label=', text)) == sum(len(graph.vertices) for graph in found.values())
    assert len(re.findall(r'"\w+/\d+" -> "\w+/\d+";', text)) == sum(len(graph.edges) for graph in found.values())
    assert text.startswith('digraph "quo\\"te" {') and text.count("{") == text.count("}")


def test_png_is_the_svg_twice_as_large_and_shows_the_fill_of_its_boxes() -> None:
    picture = place(graphs(NB201)["cell"])
    image = Image.open(io.BytesIO(to_png(to_svg(picture, "cell")))).convert("RGB")
    assert abs(image.width - 2 * picture.width) <= 1 and abs(image.height - 2 * picture.height) <= 1
    for box in picture.boxes:
        fill = tuple(int(LOOKS[box.look][0][at : at + 2], 16) for at in (1, 3, 5))
        assert image.getpixel((round(2 * box.x + 8), round(2 * box.y + box.height))) == fill
        inner = np.asarray(image.crop((2 * box.x + 14, 2 * box.y + 12, 2 * (box.x + box.width) - 14, 2 * box.y + 40)))
        assert (inner != fill).any()  # Letters.


def test_gif_has_its_frames_on_the_largest_ground() -> None:
    frames = [to_svg(place(graph), kind) for kind, graph in graphs(PUBLISHED["NASNet"]).items()]
    with GifImageFile(io.BytesIO(to_gif(frames, 300))) as file:
        assert file.n_frames == 2 and file.info["duration"] == 300
        wide = max(Image.open(io.BytesIO(to_png(frame, 1.0))).width for frame in frames)
        assert file.width == wide


def test_heat_map_has_a_number_for_each_candidate_and_none_where_there_is_none() -> None:
    space = robust_darts(1)  # Two candidates an edge, other ones on each.
    values = {kind: np.full((14, 2), 0.5) for kind, _ in space.cells}
    values["normal"][0] = np.nan, 1.0
    tree = ElementTree.fromstring(heat_map(space, values, "s1"))
    texts = [text.text for text in tree.iter() if text.tag.endswith("text")]
    assert texts.count(".50") == 54 and texts.count("1.00") == 1 and "nan" not in "".join(filter(None, texts))

"""SVG as PNG, and several as an animation."""

from __future__ import annotations

import io
from collections.abc import Sequence

import vl_convert
from PIL import Image

SCALE = 2.0  # pixels of a PNG for each of the SVG's


def to_png(svg: str, scale: float = SCALE) -> bytes:
    """An SVG as PNG, by the renderer that comes with the charts' library.

    >>> to_png('<svg xmlns="http://www.w3.org/2000/svg" width="4" height="4"/>')[1:4]
    b'PNG'
    """
    return vl_convert.svg_to_png(svg, scale=scale)


def to_gif(svgs: Sequence[str], milliseconds: int, last: int = 2000) -> bytes:
    """Pictures one after the other, without end; the last one stays for longer. On a white ground of the largest one's size.

    >>> frame = '<svg xmlns="http://www.w3.org/2000/svg" width="4" height="4"/>'
    >>> to_gif([frame, frame], 200)[:6]
    b'GIF89a'
    """
    frames = [Image.open(io.BytesIO(to_png(svg, 1.0))).convert("RGBA") for svg in svgs]
    size = max(frame.width for frame in frames), max(frame.height for frame in frames)
    grounds = []
    for frame in frames:
        ground = Image.new("RGBA", size, "white")
        ground.alpha_composite(frame)
        grounds.append(ground.convert("P", palette=Image.Palette.ADAPTIVE))
    durations = [milliseconds] * (len(grounds) - 1) + [last]
    file = io.BytesIO()
    grounds[0].save(file, "GIF", save_all=True, append_images=grounds[1:], duration=durations, loop=0)
    return file.getvalue()

"""The parts of a page, and the page of them."""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import jinja2
import vl_convert

GENERATOR = '<meta name="generator" content="jaxnas report">'
"""By this line a page is known as one of ours, which may be written anew."""

VEGA_LITE = "6.4"


@dataclasses.dataclass(frozen=True)
class Cards:
    """A few numbers that come first: ``(what, value, note)``."""

    form: ClassVar[str] = "cards"
    cards: Sequence[tuple[str, str, str]]


@dataclasses.dataclass(frozen=True)
class Table:
    """A table; the first column heads the rows. ``folded``: shown when asked for."""

    form: ClassVar[str] = "table"
    caption: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    folded: bool = False


@dataclasses.dataclass(frozen=True)
class Drawing:
    """A picture as SVG."""

    form: ClassVar[str] = "drawing"
    svg: str
    caption: str


@dataclasses.dataclass(frozen=True)
class Chart:
    """A Vega-Lite chart, what it shows in words, and its numbers."""

    form: ClassVar[str] = "chart"
    name: str
    spec: dict[str, Any]
    caption: str
    numbers: Table


@dataclasses.dataclass(frozen=True)
class Slider:
    """Heat maps and drawings that a slider moves through the moments of a search.

    Attributes:
      labels: of the moments.
      maps: by kind of cell the chart, its edges and, for each moment, the strengths in thousandths and whether each is chosen.
      frames: the different drawings.
      shown: which drawing each moment has.
    """

    form: ClassVar[str] = "slider"
    labels: Sequence[str]
    maps: dict[str, dict[str, Any]]
    frames: Sequence[str]
    shown: Sequence[int]
    numbers: Sequence[Table]


@dataclasses.dataclass(frozen=True)
class Commands:
    """What to type: ``(what for, command)``."""

    form: ClassVar[str] = "commands"
    commands: Sequence[tuple[str, str]]


Part = Cards | Table | Drawing | Chart | Slider | Commands


@dataclasses.dataclass(frozen=True)
class Section:
    """A heading, a sentence and what is shown below it."""

    name: str
    title: str
    text: str
    parts: Sequence[Part]


@dataclasses.dataclass(frozen=True)
class Page:
    """A page; ``problems``: what is missing or damaged; ``left_out``: sections that there are no data for, and why."""

    title: str
    subtitle: str
    sections: Sequence[Section]
    problems: Sequence[str] = ()
    left_out: Sequence[str] = ()


@functools.cache
def library() -> str:
    """Vega, Vega-Lite and Vega-Embed in one script; made once a process, since it takes seconds."""
    return vl_convert.javascript_bundle(snippet="window.vegaEmbed = vegaEmbed;", vl_version=VEGA_LITE)


def to_html(page: Page) -> str:
    """The page as one file: styles, scripts, charts and drawings are in it, and it loads nothing."""
    folder = Path(__file__).parent
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(folder), autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True
    )
    parts = [part for section in page.sections for part in section.parts]
    charts = {part.name: part.spec for part in parts if isinstance(part, Chart)}
    sliders = [part for part in parts if isinstance(part, Slider)]
    charts |= {f"alphas-{kind}": found["spec"] for slider in sliders for kind, found in slider.maps.items()}
    data: dict[str, Any] = {"charts": charts}
    for slider in sliders:
        maps = {kind: {key: found[key] for key in ("operations", "edges", "moments")} for kind, found in slider.maps.items()}
        data["slider"] = {"labels": slider.labels, "maps": maps, "shown": slider.shown}
    return environment.get_template("page.html").render(
        page=page,
        generator=GENERATOR,
        style=(folder / "page.css").read_text(encoding="utf-8"),
        script=(folder / "page.js").read_text(encoding="utf-8"),
        library=library() if charts else "",
        # Within a script an end tag, or a comment's begin, would be read as one.
        data=json.dumps(data, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c"),
    )


def is_ours(path: Path) -> bool:
    """Whether a page of jaxnas stands there, which a newer one may replace."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return GENERATOR.encode() in file.read(2000)

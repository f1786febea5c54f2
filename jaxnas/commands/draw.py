"""``jaxnas draw``: architectures as pictures."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Literal

import tyro

from jaxnas import stored
from jaxnas.commands.arguments import JsonTarget, parse
from jaxnas.commands.json_output import json_output
from jaxnas.commands.output_file import check_output, write_output
from jaxnas.drawing import graphs, heat_map, place, titled, to_dot, to_gif, to_png, to_svg
from jaxnas.errors import UserError
from jaxnas.history import Moment, moments, read_lines
from jaxnas.run_folder import LOG
from jaxnas.spaces import PUBLISHED, Genotype

Subject = Literal["network", "alphas", "epochs"]

SUFFIXES: dict[Subject, tuple[str, ...]] = {
    "network": (".svg", ".png", ".dot"),
    "alphas": (".svg", ".png"),
    "epochs": (".gif",),
}

MILLISECONDS = 400
"""Of each epoch in an animation."""


def main(arguments: list[str]) -> int:
    """Writes a picture; as JSON ``picture``, the file."""
    return parse(_draw, arguments, "draw", f"Draw an architecture. Published ones: {', '.join(PUBLISHED)}.")


def _draw(
    source: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="RUN|GENOTYPE")],
    of: Subject = "network",
    out: Path | None = None,
    overwrite: bool = False,
    json: JsonTarget = None,
) -> int:
    """Draw an architecture.

    Args:
      source: folder of a run, a genotype's file, a published genotype's name, or a genotype in quotes.
      of: the network; of a run also the last alphas as a heat map, or the network of every epoch's alphas as an animation.
      out: the picture; its name ends in .svg, .png or, of the network, .dot; an animation's in .gif. By default an SVG, or a
        GIF, in this folder.
      overwrite: replace it.
    """
    name = Path(source).resolve().name if os.path.exists(source) else source if source in PUBLISHED else "genotype"
    out = out or Path(f"{Path(name).stem}{'' if of == 'network' else f'-{of}'}{SUFFIXES[of][0]}")
    suffix = out.suffix.lower()
    if suffix not in SUFFIXES[of]:
        raise UserError(f"A picture of {of} ends in {' or '.join(SUFFIXES[of])}, got {out}. Give another --out.")
    check_output(out, overwrite)
    with json_output(json) as write:
        drawn = _network(stored.source(source)[0], name, suffix) if of == "network" else _search(source, of, name, suffix)
        write_output(out, drawn)
        print(f"picture: {out}")
        write({"picture": str(out)})
    return 0


def _network(genotype: Genotype, name: str, suffix: str) -> bytes:
    if suffix == ".dot":
        return to_dot(graphs(genotype), name).encode()
    svg = picture_of(genotype, name)
    return to_png(svg) if suffix == ".png" else svg.encode()


def picture_of(genotype: Genotype, title: str) -> str:
    """The SVG of all graphs of a genotype."""
    return to_svg(titled([(kind, place(graph)) for kind, graph in graphs(genotype).items()]), title)


def _search(source: str, of: Subject, name: str, suffix: str) -> bytes:
    found = moments_of(source)
    if of == "epochs":
        return to_gif([_frame(moment, name) for moment in found], MILLISECONDS)
    last = found[-1]
    title = f"{name}: softmax of the alphas after epoch {last.label}"
    svg = heat_map(stored.recipe_of(Path(source))[1].search.build_space(), last.strengths, title)
    return to_png(svg) if suffix == ".png" else svg.encode()


def moments_of(source: str) -> list[Moment]:
    """The moments of a run's search.

    Raises:
      UserError: no folder of a search, or its log has no alphas.
    """
    search, records = stored.recipe_of(Path(source))[1].search, read_lines(Path(source) / LOG)[0]
    found = moments(search, records)[0]
    if not found:
        raise UserError(f"{Path(source) / LOG} has no alphas: the search was ended before its first epoch.")
    return found


def _frame(moment: Moment, name: str) -> str:
    pictures = [(f"epoch {moment.label}, {kind}", place(graph)) for kind, graph in graphs(moment.genotype).items()]
    return to_svg(titled(pictures), f"{name}, epoch {moment.label}")

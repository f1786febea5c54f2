"""``jaxnas export``: a run's network for elsewhere."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import tyro

from jaxnas import stored
from jaxnas.commands.arguments import JsonTarget, parse
from jaxnas.commands.json_output import json_output
from jaxnas.commands.output_file import check_output, write_output
from jaxnas.errors import UserError
from jaxnas.export import FILES, LIMIT, Export, check_formats, export, files_of, genotype_file


def main(arguments: list[str]) -> int:
    """Writes the files; 1 where outputs differ from the run's network, and nothing is written.

    The JSON is ``files``, by name their paths, ``differences`` as of :class:`jaxnas.export.Export`, and ``limit``.
    """
    about = f"Export a run's network. Formats: {', '.join(FILES)}; each has its outputs compared with the run's."
    return parse(_export, arguments, "export", about)


def _export(
    run: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")],
    to: Annotated[tuple[str, ...], tyro.conf.arg(metavar="FORMAT [FORMAT ...]")],
    out: Path | None = None,
    overwrite: bool = False,
    data_dir: Path | None = None,
    json: JsonTarget = None,
) -> int:
    """Export a run's network.

    Args:
      run: the folder of a run.
      to: genotype, safetensors, flax, stablehlo, onnx; several at once share their files.
      out: the folder that gets the files, made if there is none: RUN/export by default.
      overwrite: replace files of these names there.
      data_dir: folder of the dataset's official files: its size, normalisation and classes are exported, and some training
        images are what outputs are compared on.
    """
    formats = check_formats(to)
    folder = run / "export" if out is None else out
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder} is a file, not a folder. Choose another --out.")
    if folder.is_dir():
        for name in files_of(formats):
            check_output(folder / name, overwrite)
    with json_output(json) as write:
        if formats == ["genotype"]:
            exported = Export({FILES["genotype"][0]: genotype_file(stored.genotype_of(run))}, {})
        else:
            trained, images = stored.trained_network(run, data_dir)
            exported = export(trained, formats, images)
        for name, difference in exported.differences.items():
            print(f"{name}: largest difference of an output {difference:.1e} of the largest output (limit {LIMIT:.0e})")
        paths = {name: folder / name for name in exported.files if exported.passed}
        if paths:
            folder.mkdir(parents=True, exist_ok=True)
        else:
            print("Nothing was written: the outputs are not those of the run's network.", file=sys.stderr)
        for name, path in paths.items():
            write_output(path, exported.files[name])
            print(f"written: {path}")
        write(
            {
                "files": {name: str(path) for name, path in paths.items()},
                "differences": dict(exported.differences),
                "limit": LIMIT,
            }
        )
    return 0 if exported.passed else 1

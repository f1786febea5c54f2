"""``jaxnas doctor``: whether searches can run here, and what is missing."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from jaxnas import doctor
from jaxnas.commands.arguments import JsonTarget, parse
from jaxnas.commands.json_output import json_output


def main(arguments: list[str]) -> int:
    """Prints the diagnosis; 0 where searches can run, else 1. The JSON is a ``Diagnosis`` and ``ready``."""
    return parse(_doctor, arguments, "doctor", "Whether searches can run here, and what is missing.")


def _doctor(data_dir: Path | None = None, json: JsonTarget = None) -> int:
    """Whether searches can run here, and what is missing.

    Args:
      data_dir: folder of data sets; where not given, the environment variables JAXNAS_DATA and TFDS_DATA_DIR say.
    """
    with json_output(json) as write:
        diagnosis = doctor.examine(data_dir)
        for line in _lines(diagnosis):
            print(line)
        write({"ready": diagnosis.ready, **dataclasses.asdict(diagnosis)})
    return 0 if diagnosis.ready else 1


def _lines(found: doctor.Diagnosis) -> Iterator[str]:
    yield f"python    {found.python} on {found.system}"
    versions = ", ".join(f"{name} {version or '-'}" for name, version in found.packages.items())
    yield f"packages  {versions}"
    for device in found.devices:
        yield f"device    {device['kind']} ({device['platform']}){_memory_of(device)}"
    if not found.devices:
        yield "device    none"
    yield f"plugins   {', '.join(f'{name} {version}' for name, version in found.plugins.items()) or 'none'}"
    yield f"machine   {found.cpus} CPUs, memory {_size(found.memory_free)} free of {_size(found.memory)}"
    yield f"disk      {_size(found.disk_free)} free"
    yield f"cache     {_cache(found.compilation_cache)}"
    for name, holds in found.data.items():
        yield f"data      {name}: " + (holds["missing"] or f"{holds['train']:,} training and {holds['test']:,} test images")
    if not found.data:
        yield "data      not looked for: what reads it cannot be imported"
    yield f"prepared  {', '.join(found.prepared) or 'nothing by TensorFlow Datasets'}"
    for problem in found.problems:
        yield f"\n{'MISSING' if problem.stops else 'note'}  {problem.what}\n    {problem.remedy}"
    yield "\n" + ("Searches can run." if found.ready else "Searches cannot run.")


def _memory_of(device: dict[str, Any]) -> str:
    if device["memory"] is None:
        return ""
    return f", {_size(device['memory_in_use'])} in use of {_size(device['memory'])}"


def _cache(cache: dict[str, Any]) -> str:
    if cache["folder"] is None:
        return "off: every run compiles anew. To keep compiled programs: export JAX_COMPILATION_CACHE_DIR=FOLDER"
    return f"{cache['folder']}: {cache['files']:,} files, {cache['bytes'] / 2**20:,.1f} MiB; remove the folder to empty it"


def _size(number: int | None) -> str:
    return "unknown" if number is None else f"{number / 2**30:,.1f} GiB"

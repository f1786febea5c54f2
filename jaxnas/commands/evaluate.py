"""``jaxnas evaluate``: the test accuracy of a run's trained network."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import tyro

from jaxnas import stored
from jaxnas.commands.arguments import JsonTarget, parse
from jaxnas.commands.json_output import json_output


def main(arguments: list[str]) -> int:
    """Prints it; as JSON ``test_accuracy``, in 0..1, and ``test_images``, their number."""
    return parse(_evaluate, arguments, "evaluate", "Test accuracy of a run's trained network.")


def _evaluate(
    run: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")],
    data_dir: Path | None = None,
    json: JsonTarget = None,
) -> int:
    """Test accuracy of a run's trained network.

    Args:
      run: the folder of a run.
      data_dir: folder of the dataset's official files.
    """
    with json_output(json) as write:
        accuracy, images = stored.test_accuracy(run, data_dir)
        print(f"test accuracy {accuracy:.2%} on {images:,} images")
        write({"test_accuracy": accuracy, "test_images": images})
    return 0

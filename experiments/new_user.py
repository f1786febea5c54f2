"""A new user, who has a fresh clone and Python, types the quick start of README word for word; each stage is timed.

    python experiments/new_user.py --json experiments/new_user.json

Of README only the address of the repository is replaced, by this checkout. A stage is a line of the quick start. It is done
when the report and the exported network are there; `make test` and `make slow` are left out, since CI runs the tests.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LEFT_OUT = ("make test", "make slow")


def quick_start(readme: str) -> list[str]:
    """The lines of the first block of commands under "Quick start", without their comments.

    >>> quick_start("## Quick start\\n\\nText.\\n\\n    make search   # searches\\n    make test\\n\\nMore.")
    ['make search', 'make test']
    """
    section = readme.split("## Quick start", 1)[1].split("\n## ", 1)[0]
    block = re.search(r"(?:^    .+\n?)+", section, re.MULTILINE)
    if block is None:
        raise SystemExit("README has no block of commands under Quick start")
    return [line.strip().partition("  #")[0].rstrip() for line in block.group().splitlines()]


def follow(lines: list[str], folder: Path) -> list[dict[str, object]]:
    """Runs the lines in one shell after another, each where the one before ended."""
    # A user's shell: neither this environment's Python on the PATH first nor its caches.
    environment = {key: value for key, value in os.environ.items() if not re.match(r"VIRTUAL_ENV|PYTHON|JAX_|XLA_", key)}
    environment["JAX_COMPILATION_CACHE_DIR"] = str(folder / "cache")
    where, stages = folder, []
    for line in lines:
        command = line.replace("<this repository>", f"{ROOT} jaxnas")
        start = time.perf_counter()
        shell = ["bash", "-euc", f"{command}\necho; pwd"]
        ran = subprocess.run(shell, cwd=where, env=environment, capture_output=True, text=True)
        seconds = round(time.perf_counter() - start, 1)
        if ran.returncode:
            raise SystemExit(f"{line}\nended with exit code {ran.returncode}:\n{ran.stdout}\n{ran.stderr}")
        print(f"{seconds:7.1f} s  {line}", flush=True)
        where = Path(ran.stdout.splitlines()[-1])
        stages.append({"command": line, "seconds": seconds})
    return stages


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="the record that is written")
    arguments = parser.parse_args()
    lines = [line for line in quick_start((ROOT / "README.md").read_text()) if line not in LEFT_OUT]
    with tempfile.TemporaryDirectory() as folder:
        stages = follow(lines, Path(folder))
        runs = Path(folder) / "jaxnas" / "runs"
        files = [path.relative_to(runs) for path in runs.rglob("*") if path.is_file()]
        left = sorted(str(path) for path in files if "checkpoints" not in path.parts)
    for wanted in ("report.html", "network.py", "network.stablehlo"):
        if not any(name.endswith(wanted) for name in left):
            raise SystemExit(f"there is no {wanted} among {left}")
    git = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True)
    record = {
        "date": datetime.date.today().isoformat(),
        "commit": git.stdout.strip(),
        "python": platform.python_version(),
        "cpus": os.cpu_count(),
        "seconds": round(sum(float(str(stage["seconds"])) for stage in stages), 1),
        "stages": stages,
        "left": left,
    }
    if arguments.json:
        arguments.json.write_text(json.dumps(record, indent=2) + "\n")
    json.dump(record, sys.stdout, indent=2)


if __name__ == "__main__":
    main()

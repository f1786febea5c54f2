"""Where a run is, and with which code: the confounders of its numbers."""

from __future__ import annotations

import functools
import os
import subprocess
from pathlib import Path
from typing import Any

import jax

import jaxnas
from jaxnas.run_folder import environment, packages


def hardware() -> dict[str, Any]:
    """Devices, processor, and what of JAX's settings decides the numbers on them.

    >>> sorted(hardware())[:4]
    ['cpus', 'deterministic', 'device', 'devices']
    """
    here, flags = environment(), os.environ.get("XLA_FLAGS", "").strip()
    settings: dict[str, Any] = jax.config.values
    return {
        "device": here["devices"][0],
        "devices": len(here["devices"]),
        "processor": here["processor"],
        "cpus": here["cpus"],
        "platform": here["platform"],
        "runtime": jax.devices()[0].client.platform_version,
        "xla_flags": flags,
        "matmul_precision": str(settings["jax_default_matmul_precision"] or "default"),
        "float64": bool(settings["jax_enable_x64"]),
        "deterministic": jax.default_backend() == "cpu" or "xla_gpu_deterministic_ops=true" in flags,
    }


def code() -> dict[str, Any]:
    """Versions; of a checkout also its commit, and whether files of jaxnas were changed since.

    >>> code()["version"] == code()["packages"]["jaxnas"]
    True
    """
    commit, changed = _commit(Path(jaxnas.__file__).parent)
    return {
        "version": packages()["jaxnas"],
        "commit": commit,
        "changed": changed,
        "python": environment()["python"],
        "packages": packages(),
    }


@functools.cache
def _commit(folder: Path) -> tuple[str | None, bool | None]:
    """The commit that a folder's files are of; none where git does not know them: a wheel may be installed in a checkout."""

    def git(*arguments: str) -> str | None:
        try:
            done = subprocess.run(
                ["git", "-C", str(folder), *arguments], capture_output=True, text=True, timeout=20, check=False
            )
        except (OSError, subprocess.TimeoutExpired):
            return None
        return done.stdout.strip() if done.returncode == 0 else None

    if git("ls-files", "--error-unmatch", "__init__.py") is None:
        return None, None
    changed = git("status", "--porcelain", "--", ".")
    return git("rev-parse", "HEAD"), None if changed is None else bool(changed)

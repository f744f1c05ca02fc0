"""Running zsretrieve where packages are absent."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

# What extras bring.
EXTRAS = ("faiss", "nncf", "open_clip", "safetensors", "timm", "torch", "torchvision", "transformers")


def without(*packages: str, **variables: str) -> dict[str, str]:
    """The environment of a Python in which these packages are not installed, with some more variables."""
    paths = [str(Path(__file__).parent / "hiding"), *(path or os.getcwd() for path in sys.path)]
    hidden = {"PYTHONPATH": os.pathsep.join(paths), "HIDDEN_PACKAGES": ",".join(packages)}
    return {**os.environ, **hidden, **variables}


def run_without_extras(code: str, *arguments: str | Path, env: dict[str, str] | None = None) -> str:
    """Run Python code in a process without the packages of ``EXTRAS``; what it printed."""
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        env=without(*EXTRAS, **(env or {})),
    )
    assert done.returncode == 0, done.stderr
    return done.stdout

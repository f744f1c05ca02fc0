"""Running zsretrieve where torch and what is built on it are absent."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ABSENT = ("torch", "torchvision", "open_clip", "timm", "transformers", "safetensors", "faiss", "nncf")

# Nothing is found, also by who only asks whether it is installed.
_HIDE = f"""
from importlib.machinery import PathFinder
def found(name, path=None, target=None, find_spec=PathFinder.find_spec):
    return None if name.partition(".")[0] in {ABSENT!r} else find_spec(name, path, target)
PathFinder.find_spec = found
"""


def run_unaided(code: str, *arguments: str | Path, env: dict[str, str] | None = None) -> str:
    """Run Python code in a process in which no package of ``ABSENT`` can be imported; what it printed."""
    done = subprocess.run(
        [sys.executable, "-c", _HIDE + code, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join([*sys.path, str(Path(__file__).parent.parent)]),
            **(env or {}),
        },
    )
    assert done.returncode == 0, done.stderr
    return done.stdout

"""Other programs in environments of their own, which are downloaded."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

CONSTRAINTS = Path(__file__).parents[2] / "constraints.txt"


def python_with(packages: Sequence[str], folder: Path, *, constrained: bool = False) -> Path:
    """Python with packages. Skips the test if they cannot be installed."""
    if shutil.which("uv") is None:
        pytest.skip("there is no uv")
    interpreter = folder / "venv" / "bin" / "python"
    subprocess.run(["uv", "venv", "--quiet", folder / "venv"], check=True)
    pinned = ["--constraints", CONSTRAINTS] if constrained else []
    done = subprocess.run(
        ["uv", "pip", "install", "--quiet", "--python", interpreter, *pinned, *packages],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode != 0:
        pytest.skip(f"{packages[0]} cannot be installed: {done.stderr.strip()}")
    return interpreter


def output_of(python: Path, code: str, folder: Path, env: Mapping[str, str] | None = None) -> str:
    """The last line that code prints in a folder."""
    done = subprocess.run(
        [python, "-c", code], cwd=folder, env={**os.environ, **(env or {})}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()[-1]

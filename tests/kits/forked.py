"""The command line in a forked process: what a fresh one would do, less the import of heavy libraries."""

from __future__ import annotations

import os
import sys
from pathlib import Path

# What nearly every command imports, or what takes a good part of a second.
PRELOADED = [
    "faiss", "jinja2", "matplotlib.figure", "open_clip", "pandas", "pyarrow.parquet", "rich.progress", "rich.table",
    "scipy.optimize", "scipy.stats", "sklearn.linear_model", "transformers", "zsretrieve.api", "zsretrieve.cli.app",
    "zsretrieve.encoders.openvino.runtime",
]  # fmt: skip


def command_line(words: list[str], folder: Path, streams: list[Path], places: dict[str, str]) -> None:
    """Run ``zsretrieve`` with stdin, stdout and stderr at the given files; ends the process with its exit code."""
    for number, (path, mode) in enumerate(zip(streams, ("r", "w", "w"), strict=True)):
        with open(path, mode, encoding="utf-8") as file:
            os.dup2(file.fileno(), number)
    sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", encoding="utf-8", closefd=False, buffering=1)  # noqa: SIM115
    os.environ["COLUMNS"] = "160"
    os.environ.update(places)
    os.chdir(folder)
    sys.argv = ["zsretrieve", *words]
    from zsretrieve.cli.app import main

    try:
        main()
    finally:
        sys.stdout.flush()

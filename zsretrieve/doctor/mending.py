"""Commands that mend, for the installer that this environment has."""

from __future__ import annotations

import importlib.metadata
import shlex
import shutil
import sys
from collections.abc import Sequence

UPDATE_DRIVER = "update the NVIDIA driver, then restart the machine"


def install(*what: str, again: bool = False) -> str:
    """Install requirements into this environment, ``again`` even where they are there."""
    return _pip("install", [*(["--force-reinstall"] if again else []), *what])


def replace(unwanted: Sequence[str], wanted: str) -> str:
    """Remove distributions that own the same files, then install one."""
    if not unwanted:
        return install(wanted)
    yes = [] if _by_uv() else ["--yes"]
    # What is left of files that two have owned is damaged, whatever the installer believes.
    return f"{_pip('uninstall', [*yes, *unwanted])} && {install(wanted)}"


def _by_uv() -> bool:
    if shutil.which("uv") is None:
        return False
    try:
        importlib.metadata.distribution("pip")
    except importlib.metadata.PackageNotFoundError:
        return True
    return False


def _pip(verb: str, words: Sequence[str]) -> str:
    python = sys.executable or "python3"
    if _by_uv():
        return shlex.join(["uv", "pip", verb, "--python", python, *words])
    return shlex.join([python, "-m", "pip", verb, *words])

"""Commands that install packages, for this environment's installer."""

from __future__ import annotations

import shlex
import shutil
import sys
from collections.abc import Sequence

UPDATE_DRIVER = "update the NVIDIA driver, then restart the machine"


def install(*what: str, again: bool = False) -> str:
    """Install requirements into this environment; with ``again`` even if they are installed."""
    return _pip("install", [*(["--force-reinstall"] if again else []), *what])


def replace(unwanted: Sequence[str], wanted: str) -> str:
    """Uninstall distributions that share files, then install one."""
    if not unwanted:
        return install(wanted)
    yes = [] if _by_uv() else ["--yes"]
    # Uninstalling one damages the files it shared with another, so all of them go.
    return f"{_pip('uninstall', [*yes, *unwanted])} && {install(wanted)}"


def _by_uv() -> bool:
    if shutil.which("uv") is None:
        return False
    from importlib import metadata  # slow, and only a message needs it

    try:
        metadata.distribution("pip")
    except metadata.PackageNotFoundError:
        return True
    return False


def _pip(verb: str, words: Sequence[str]) -> str:
    python = sys.executable or "python3"
    if _by_uv():
        return shlex.join(["uv", "pip", verb, "--python", python, *words])
    return shlex.join([python, "-m", "pip", verb, *words])

"""Commands that mend, for the installer that this environment has; and which FAISS it has and should have."""

from __future__ import annotations

import shlex
import shutil
import sys
from collections.abc import Sequence
from importlib import metadata

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

_TOOL = "zsretrieve"
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


def faiss_again() -> str | None:
    """Remove what there is of FAISS and install what this platform takes; None where that is not known."""
    try:
        wanted = faiss_wanted()
    except metadata.PackageNotFoundError:  # run from a folder of sources
        return None
    return replace(list(faiss_distributions()), written(wanted))


def other_faiss() -> str | None:
    """As ``faiss_again``, but None where what this platform takes is all there is of FAISS."""
    command = faiss_again()
    if command is None or list(faiss_distributions()) == [canonicalize_name(faiss_wanted().name)]:
        return None
    return command


def faiss_wanted() -> Requirement:
    """The distribution of FAISS that zsretrieve asks for on this platform."""
    return next(r for r in requirements("") if is_faiss(canonicalize_name(r.name)))


def faiss_distributions() -> dict[str, str]:
    """Name and version of what owns the module ``faiss``, or by its name must."""
    found: dict[str, str] = {}
    for distribution in metadata.distributions():
        name = canonicalize_name(distribution.name or "")
        if "faiss" not in name:
            continue
        files = distribution.files
        owns = is_faiss(name) if files is None else any(f.as_posix() == "faiss/__init__.py" for f in files)
        if owns:
            found.setdefault(name, distribution.version)
    return dict(sorted(found.items()))


def written(wanted: Requirement) -> str:
    return f"{wanted.name}{wanted.specifier}"


def requirements(extra: str) -> list[Requirement]:
    """What the installed zsretrieve needs on this platform, for an extra alone or, for ``""``, without any."""
    found = []
    for requirement in map(Requirement, metadata.requires(_TOOL) or ()):
        marker = requirement.marker
        always = marker is None or marker.evaluate({"extra": ""})
        if always if not extra else marker is not None and not always and marker.evaluate({"extra": extra}):
            found.append(requirement)
    return found


def is_faiss(name: str) -> bool:
    return name == "faiss" or name.startswith("faiss-")


def _by_uv() -> bool:
    if shutil.which("uv") is None:
        return False
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

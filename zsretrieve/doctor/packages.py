"""Is what zsretrieve needs installed, in the versions it needs, once, and does its command belong to this Python?

Versions are read from the packages' metadata; nothing heavy is imported.
"""

from __future__ import annotations

import platform
import shlex
import shutil
from collections.abc import Iterator
from functools import partial
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from zsretrieve import mending
from zsretrieve.doctor.finding import Finding, Status, guarded
from zsretrieve.mending import faiss_distributions, faiss_wanted, is_faiss, requirements, written
from zsretrieve.version import tool_version

_TOOL = "zsretrieve"
# What the dependencies bring along and a bug report should tell.
_ALSO = ("torchvision", "tokenizers", "safetensors")
# Tools of those who work on zsretrieve itself.
_DEVELOPERS = "dev"


def python() -> Iterator[Finding]:
    found = f"{platform.python_implementation()} {platform.python_version()} on {platform.platform()}"
    yield Finding("Python", Status.OK, found)


def program() -> Iterator[Finding]:
    try:
        metadata.distribution(_TOOL)
    except metadata.PackageNotFoundError:
        source = Path(__file__).parent.parent.parent
        found = "run from a folder of sources that was never installed; what it needs is not known"
        yield Finding(_TOOL, Status.WARNING, found, mending.install("--editable", str(source)))
    else:
        yield Finding(_TOOL, Status.OK, tool_version())


def needed() -> Iterator[Finding]:
    """One finding a package: those needed, those of the extras, those that come along."""
    extras = metadata.metadata(_TOOL).get_all("Provides-Extra") or []
    told = set()
    for extra in ("", *(e for e in extras if e != _DEVELOPERS)):
        for wanted in requirements(extra):
            name = canonicalize_name(wanted.name)
            if name in told or name == _TOOL or is_faiss(name):
                continue
            told.add(name)
            yield from guarded(f"package {name}", partial(_package, wanted, extra))
    for also in _ALSO:
        if also not in told and (version := _version(also)) is not None:
            yield Finding(f"package {also}", Status.OK, version)


def faiss() -> Iterator[Finding]:
    """Distributions of FAISS own the same module: two of them overwrite each other's files."""
    name = "FAISS distribution"
    wanted = faiss_wanted()
    right, requirement = canonicalize_name(wanted.name), written(wanted)
    there = faiss_distributions()
    listed = ", ".join(f"{owner} {version}" for owner, version in there.items())
    if not there:
        yield Finding(name, Status.PROBLEM, f"none is installed; this platform takes {right}", _add(wanted))
    elif len(there) > 1:
        found = f"{listed} are installed together and overwrite each other's files; this platform takes {right}"
        yield Finding(name, Status.PROBLEM, found, mending.replace(list(there), requirement))
    elif not wanted.specifier.contains(next(iter(there.values())), prereleases=True):
        found = f"{listed}, but needed is {requirement}"
        yield Finding(name, Status.PROBLEM, found, mending.replace(list(there), requirement))
    elif right not in there:
        found = f"{listed}; this platform takes {right}"
        yield Finding(name, Status.WARNING, found, mending.replace(list(there), requirement))
    else:
        yield Finding(name, Status.OK, f"{listed}, the only one")


def console_script() -> Iterator[Finding]:
    """Does ``zsretrieve``, typed in a shell, start this installation?"""
    name = "console script"
    own = [Path(str(file.locate())) for file in metadata.files(_TOOL) or () if file.name == _TOOL]
    mine = next((path.resolve() for path in own if path.is_file()), None)
    typed = shutil.which(_TOOL)
    if mine is None:
        found = f"this environment has no script {_TOOL}; python -m {_TOOL} does the same"
        yield Finding(name, Status.WARNING, found)
    elif typed is not None and Path(typed).resolve() == mine:
        yield Finding(name, Status.OK, f"{typed} belongs to this environment")
    else:
        found = f"{_TOOL} on PATH is {typed}, of another environment" if typed else f"{mine} is not on PATH"
        fix = f'export PATH={shlex.quote(str(mine.parent))}:"$PATH"'
        yield Finding(name, Status.WARNING, found, fix)


def _package(wanted: Requirement, extra: str) -> Iterator[Finding]:
    name = f"package {canonicalize_name(wanted.name)}"
    there = _version(wanted.name)
    if there is None and extra:
        yield Finding(name, Status.OK, f"not installed; only the extra '{extra}' needs it", _add(wanted))
    elif there is None:
        yield Finding(name, Status.PROBLEM, f"not installed; needed is {written(wanted)}", _add(wanted))
    elif not wanted.specifier.contains(there, prereleases=True):
        status = Status.WARNING if extra else Status.PROBLEM
        yield Finding(name, status, f"{there}, but needed is {written(wanted)}", _add(wanted))
    else:
        yield Finding(name, Status.OK, there)


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _add(wanted: Requirement) -> str:
    return mending.install(written(wanted))

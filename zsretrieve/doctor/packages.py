"""Are the required packages installed, in the required versions, and does the command belong to this Python?

Versions are read from metadata; nothing heavy is imported.
"""

from __future__ import annotations

import platform
import shlex
import shutil
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from zsretrieve.doctor.finding import Finding, Status
from zsretrieve.system import extras, hardware, install_hints
from zsretrieve.system.requirements import (
    faiss_choices,
    faiss_distributions,
    is_faiss,
    requirements,
    version_of,
    written,
)
from zsretrieve.system.version import tool_version

_TOOL = "zsretrieve"
# Dependencies of dependencies that a bug report should show.
_ALSO = ("torchvision", "tokenizers", "safetensors")
_DEVELOPERS = ("dev", "docs")


def python() -> Iterator[Finding]:
    found = f"{platform.python_implementation()} {platform.python_version()} on {platform.platform()}"
    yield Finding("Python", Status.OK, found)


def program() -> Iterator[Finding]:
    try:
        metadata.distribution(_TOOL)
    except metadata.PackageNotFoundError:
        source = Path(__file__).parent.parent.parent
        found = "run from a source folder that was never installed, so its requirements are not known"
        yield Finding(_TOOL, Status.WARNING, found, install_hints.install("--editable", str(source)))
    else:
        yield Finding(_TOOL, Status.OK, tool_version())


def required() -> Iterator[Finding]:
    """One finding for each package that is required, by zsretrieve, its extras, or its dependencies."""
    optional = metadata.metadata(_TOOL).get_all("Provides-Extra") or []
    seen = set()
    for extra in ("", *(name for name in optional if name not in _DEVELOPERS)):
        for wanted in requirements(extra):
            name = canonicalize_name(wanted.name)
            if name in seen or name == _TOOL or is_faiss(name):
                continue
            seen.add(name)
            yield _package(wanted, extra)
    for also in _ALSO:
        if also not in seen and (version := version_of(also)) is not None:
            yield Finding(f"package {also}", Status.OK, version)


def models() -> Iterator[Finding]:
    """The extra ``models`` is a choice; a part of it is of no use here."""
    name, fix = "extra models", extras.how_to_add("models")
    wanted = [canonicalize_name(wanted.name) for wanted in requirements("models")]
    missing = [package for package in wanted if version_of(package) is None]
    if not missing:
        yield Finding(name, Status.OK, f"{', '.join(wanted)} are installed")
    elif missing == wanted:
        found = "not installed, by choice: converted models run, and nothing is converted, trained or run in torch"
        yield Finding(name, Status.OK, found, fix)
    else:
        yield Finding(name, Status.WARNING, f"incomplete, and so of no use: without {', '.join(missing)}", fix)


def faiss() -> Iterator[Finding]:
    """FAISS may be installed once: its distributions share a module and overwrite each other's files."""
    name = "FAISS distribution"
    choices = {canonicalize_name(wanted.name): wanted for wanted in faiss_choices()}
    right, wanted = next(iter(choices.items()))
    requirement = written(wanted)
    installed = faiss_distributions()
    listed = ", ".join(f"{owner} {version}" for owner, version in installed.items())
    fix = install_hints.replace(list(installed), requirement)
    if not installed:
        # Only a search on a GPU needs it.
        add = extras.how_to_add("gpu") if hardware.may_have_gpu() and right == "faiss-gpu" else None
        yield Finding(name, Status.OK, "none, by choice: indexes are searched by numpy on the CPU", add)
    elif len(installed) > 1:
        found = f"{listed} are installed together and overwrite each other's files; this machine takes {right}"
        yield Finding(name, Status.PROBLEM, found, fix)
    elif not wanted.specifier.contains(next(iter(installed.values())), prereleases=True):
        yield Finding(name, Status.PROBLEM, f"{listed}, but {requirement} is required", fix)
    elif not choices.keys() & installed.keys():
        yield Finding(name, Status.WARNING, f"{listed}; this machine takes {right}", fix)
    else:
        yield Finding(name, Status.OK, listed)


def console_script() -> Iterator[Finding]:
    """Whether ``zsretrieve``, typed in a shell, starts this installation."""
    name = "console script"
    own = [Path(str(file.locate())) for file in metadata.files(_TOOL) or () if file.name == _TOOL]
    script = next((path.resolve() for path in own if path.is_file()), None)
    typed = shutil.which(_TOOL)
    if script is None:
        found = f"this environment has no script {_TOOL}; use python -m {_TOOL}"
        yield Finding(name, Status.WARNING, found)
    elif typed is not None and Path(typed).resolve() == script:
        yield Finding(name, Status.OK, f"{typed} belongs to this environment")
    else:
        found = f"{typed}, the {_TOOL} on PATH, belongs to another environment" if typed else f"{script} is not on PATH"
        fix = f'export PATH={shlex.quote(str(script.parent))}:"$PATH"'
        yield Finding(name, Status.WARNING, found, fix)


def _package(wanted: Requirement, extra: str) -> Finding:
    name, fix = f"package {canonicalize_name(wanted.name)}", install_hints.install(written(wanted))
    installed = version_of(wanted.name)
    if installed is not None and wanted.specifier.contains(installed, prereleases=True):
        return Finding(name, Status.OK, installed)
    if installed is None and extra:
        return Finding(name, Status.OK, f"not installed; optional, for the extra '{extra}'", extras.how_to_add(extra))
    status = Status.WARNING if extra else Status.PROBLEM
    return Finding(name, status, f"{installed or 'not installed'}, but {written(wanted)} is required", fix)

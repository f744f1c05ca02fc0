"""The packages that zsretrieve requires on this platform; which FAISS is installed and which should be."""

from __future__ import annotations

from importlib import metadata

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from zsretrieve.system import hardware, install_hints

_TOOL = "zsretrieve"


def requirements(extra: str) -> list[Requirement]:
    """The requirements of the installed zsretrieve on this platform: those of an extra alone, or for ``""`` of none."""
    selected = []
    for requirement in map(Requirement, metadata.requires(_TOOL) or ()):
        marker = requirement.marker
        always = marker is None or marker.evaluate({"extra": ""})
        if always if not extra else marker is not None and not always and marker.evaluate({"extra": extra}):
            selected.append(requirement)
    return selected


def written(wanted: Requirement) -> str:
    return f"{wanted.name}{wanted.specifier}"


def version_of(name: str) -> str | None:
    """The installed version of a distribution; None if it is not installed."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def faiss_choices() -> list[Requirement]:
    """The distributions of FAISS for this platform, which are extras: the one for this machine first."""
    gpu, cpu = requirements("gpu"), requirements("cpu")
    return [*gpu, *cpu] if hardware.may_have_gpu() else [*cpu, *gpu]


def faiss_wanted() -> Requirement:
    """The distribution of FAISS for this machine."""
    return faiss_choices()[0]


def faiss_distributions() -> dict[str, str]:
    """Name and version of each installed distribution that has the module ``faiss``."""
    versions: dict[str, str] = {}
    for distribution in metadata.distributions():
        name = canonicalize_name(distribution.name or "")
        if "faiss" not in name:
            continue
        files = distribution.files
        owns = is_faiss(name) if files is None else any(f.as_posix() == "faiss/__init__.py" for f in files)
        if owns:
            versions.setdefault(name, distribution.version)
    return dict(sorted(versions.items()))


def is_faiss(name: str) -> bool:
    return name == "faiss" or name.startswith("faiss-")


def reinstall_faiss() -> str | None:
    """The command to uninstall every FAISS and install the one for this machine; None if that is not known."""
    try:
        wanted = faiss_wanted()
    except metadata.PackageNotFoundError:  # run from a source folder
        return None
    return install_hints.replace(list(faiss_distributions()), written(wanted))


def other_faiss() -> str | None:
    """As ``reinstall_faiss``, but None if the FAISS for this machine is the only one installed."""
    command = reinstall_faiss()
    if command is None or list(faiss_distributions()) == [canonicalize_name(faiss_wanted().name)]:
        return None
    return command

"""Class names and templates that libraries ship, read from their files without importing the libraries."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

from zsretrieve.domain.errors import OptionalDependencyError, PromptError
from zsretrieve.system import extras


def provide(reference: str) -> list[str]:
    """The list that a prompt set refers to.

    Parameters
    ----------
    reference : str
        ``open_clip:NAME`` for a constant of ``open_clip.zero_shot_metadata`` (a template function is called with
        ``{}``), or ``timm:NAME`` for a list of ``timm/data/_info``.

    Raises
    ------
    PromptError
        If the library does not ship it.
    OptionalDependencyError
        If the library is not installed.
    """
    library, _, name = reference.partition(":")
    try:
        match library:
            case "open_clip":
                values = getattr(_module_alone("open_clip", "zero_shot_metadata.py"), name)
                return [value("{}") if callable(value) else str(value) for value in values]
            case "timm":
                path = _package("timm") / "data" / "_info" / f"{name}.txt"
                return path.read_text(encoding="utf-8").split()
            case _:
                raise PromptError(f"'{reference}' does not begin with open_clip: or timm:", hint="See docs/formats.md.")
    except (AttributeError, OSError) as error:
        raise PromptError(f"{library} does not ship '{name}': {error}", hint=f"Reinstall {library}.") from error


def _package(name: str) -> Path:
    spec = importlib.util.find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        raise OptionalDependencyError(f"{name} is not installed", hint=extras.how_to_add("models"))
    return Path(next(iter(spec.submodule_search_locations)))


def _module_alone(package: str, file: str) -> Any:
    """A data module of a package, without the ``__init__`` of the package, which loads torch."""
    path = _package(package) / file
    spec = importlib.util.spec_from_file_location(f"_{package}_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise OSError(f"{path} cannot be loaded")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module

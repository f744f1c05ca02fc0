"""Which zsretrieve this is."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version


def tool_version() -> str:
    """The installed version, or ``unknown`` when run from a source tree that was never installed."""
    try:
        return version("zsretrieve")
    except PackageNotFoundError:
        return "unknown"

"""Which zsretrieve this is."""

from __future__ import annotations


def tool_version() -> str:
    """The installed version, or ``unknown`` when run from a source tree that was never installed."""
    from importlib.metadata import PackageNotFoundError, version  # not for those who only look into an index

    try:
        return version("zsretrieve")
    except PackageNotFoundError:
        return "unknown"

"""Which zsretrieve this is."""

from __future__ import annotations

import functools


def __getattr__(name: str) -> str:
    """``__version__``, which is found when it is first needed."""
    if name == "__version__":
        return tool_version()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


@functools.cache
def tool_version() -> str:
    """The installed version, or ``unknown`` when run from a source tree that was never installed."""
    from importlib.metadata import PackageNotFoundError, version  # slow to import

    try:
        return version("zsretrieve")
    except PackageNotFoundError:
        return "unknown"

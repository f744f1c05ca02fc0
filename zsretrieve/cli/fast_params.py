"""Conversion of plain values without pydantic, which Typer imports for any value, and which takes longer than a help.

Only plain values are converted here: a text, a number in its range, one of the choices, a path without conditions.
Everything else goes to Typer's own conversion, which also prints the messages. The parts of Typer that are used are
not public; with a Typer that lacks any of them, Typer converts every value, and a start only takes longer.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from enum import Enum
from pathlib import Path
from typing import Any, get_args, get_origin

_INTEGER = re.compile(r"[+-]?[0-9]{1,18}")
_DECIMAL = re.compile(r"[+-]?[0-9]{1,18}(\.[0-9]{1,18})?")
# A path with these settings is only checked for being readable.
_PLAIN_PATH = {
    "exists": False, "file_okay": True, "dir_okay": True, "writable": False, "resolve_path": False, "path_type": None,
    "allow_dash": False, "parser": None,
}  # fmt: skip
_NOT_PLAIN = object()


class Plain:
    """The conversion of one parameter, until Typer's own is needed and takes its place."""

    def __init__(self, param: Any) -> None:
        self._param = param

    def coerce(self, value: Any, *others: Any, **named: Any) -> Any:
        """Convert a value as Typer does, with its errors. The other arguments are for Typer."""
        try:
            converted = _converted(value, self._param)
        except (AttributeError, ImportError):
            converted = _NOT_PLAIN
        return self._typers().coerce(value, *others, **named) if converted is _NOT_PLAIN else converted

    def __getattr__(self, name: str) -> Any:
        if name == "_param":
            raise AttributeError(name)
        return getattr(self._typers(), name)

    def _typers(self) -> Any:
        self._param._runtime_param = None
        return self._param.get_runtime_param()


def quicken(params: Iterable[Any]) -> None:
    """Let parameters convert plain values themselves, if this Typer has a place for it."""
    for param in params:
        if getattr(param, "_runtime_param", _NOT_PLAIN) is None and hasattr(param, "get_runtime_param"):
            param._runtime_param = Plain(param)


def _converted(value: Any, param: Any) -> Any:
    kind, info = param.type_descriptor.annotation, param.type_descriptor.parameter_info
    several = param.multiple or param.nargs == -1
    if value is None:
        return () if several else None
    if not several:
        return plain(value, kind, info)
    if isinstance(value, list | tuple) and get_origin(kind) is list:
        values = [plain(single, get_args(kind)[0], info) for single in value]
        if not any(single is _NOT_PLAIN for single in values):
            return values
    return _NOT_PLAIN


def plain(value: Any, kind: Any, info: Any) -> Any:
    """A value converted to a type, or ``_NOT_PLAIN``."""
    if info.parser is not None:
        return _NOT_PLAIN
    if kind is str and isinstance(value, str):
        return value
    if kind is int and isinstance(value, str) and _INTEGER.fullmatch(value):
        return _in_range(int(value), info)
    if kind is float and isinstance(value, str) and _DECIMAL.fullmatch(value):
        return _in_range(float(value), info)
    if kind in (int, float) and type(value) is kind:
        return _in_range(value, info)
    if isinstance(kind, type) and issubclass(kind, Enum):
        return next((one for one in kind if value is one or (type(value) is str and value == one.value)), _NOT_PLAIN)
    if kind is Path and isinstance(value, str | Path):
        return _path(value, info)
    return _NOT_PLAIN


def _in_range(number: float, info: Any) -> Any:
    below = info.min is not None and number < info.min
    above = info.max is not None and number > info.max
    return _NOT_PLAIN if below or above else number


def _path(value: str | Path, info: Any) -> Any:
    if any(getattr(info, name, None) != expected for name, expected in _PLAIN_PATH.items()) or "\0" in str(value):
        return _NOT_PLAIN
    path = Path(value)
    try:
        os.stat(path)
    except OSError:
        return path
    return path if os.access(path, os.R_OK) or not info.readable else _NOT_PLAIN

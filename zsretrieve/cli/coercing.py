"""Values of the command line without pydantic, which Typer imports for any of them and which takes longer than a help.

Only what is plainly right is taken here: a text, a number in its range, one of the choices, a path without conditions.
Everything else goes to Typer's own conversion, whose messages people see. What is asked of Typer here is not public;
with a Typer that lacks any of it, every value goes Typer's own way, and a start only takes longer.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from enum import Enum
from pathlib import Path
from typing import Any, get_args, get_origin

_WHOLE = re.compile(r"[+-]?[0-9]{1,18}")
_DECIMAL = re.compile(r"[+-]?[0-9]{1,18}(\.[0-9]{1,18})?")
# Where these of a path's conditions are as they come, a path is only looked at.
_PLAIN_PATH = {
    "exists": False, "file_okay": True, "dir_okay": True, "writable": False, "resolve_path": False, "path_type": None,
    "allow_dash": False, "parser": None,
}  # fmt: skip
_OTHER = object()


class Plain:
    """The conversion of one parameter, in place of Typer's, which takes its place when it is needed."""

    def __init__(self, param: Any) -> None:
        self._param = param

    def coerce(self, value: Any, *others: Any, **named: Any) -> Any:
        """What Typer would make of a value; raises what it would raise. What else Typer gives is passed on to it."""
        try:
            made = _converted(value, self._param)
        except (AttributeError, ImportError):
            made = _OTHER
        return self._typers().coerce(value, *others, **named) if made is _OTHER else made

    def __getattr__(self, name: str) -> Any:
        if name == "_param":
            raise AttributeError(name)
        return getattr(self._typers(), name)

    def _typers(self) -> Any:
        self._param._runtime_param = None
        return self._param.get_runtime_param()


def quicken(params: Iterable[Any]) -> None:
    """Let parameters convert plain values themselves, where this Typer has a place for it."""
    for param in params:
        if getattr(param, "_runtime_param", _OTHER) is None and hasattr(param, "get_runtime_param"):
            param._runtime_param = Plain(param)


def _converted(value: Any, param: Any) -> Any:
    kind, info = param.type_descriptor.annotation, param.type_descriptor.parameter_info
    several = param.multiple or param.nargs == -1
    if value is None:
        return () if several else None
    if not several:
        return plain(value, kind, info)
    if isinstance(value, list | tuple) and get_origin(kind) is list:
        made = [plain(one, get_args(kind)[0], info) for one in value]
        if not any(one is _OTHER for one in made):
            return made
    return _OTHER


def plain(value: Any, kind: Any, info: Any) -> Any:
    """A value as one of a kind, or ``_OTHER`` where that takes more thought."""
    if info.parser is not None:
        return _OTHER
    if kind is str and isinstance(value, str):
        return value
    if kind is int and isinstance(value, str) and _WHOLE.fullmatch(value):
        return _in_range(int(value), info)
    if kind is float and isinstance(value, str) and _DECIMAL.fullmatch(value):
        return _in_range(float(value), info)
    if kind in (int, float) and type(value) is kind:
        return _in_range(value, info)
    if isinstance(kind, type) and issubclass(kind, Enum):
        return next((one for one in kind if value is one or (type(value) is str and value == one.value)), _OTHER)
    if kind is Path and isinstance(value, str | Path):
        return _path(value, info)
    return _OTHER


def _in_range(number: float, info: Any) -> Any:
    below = info.min is not None and number < info.min
    above = info.max is not None and number > info.max
    return _OTHER if below or above else number


def _path(value: str | Path, info: Any) -> Any:
    if any(getattr(info, name, None) != expected for name, expected in _PLAIN_PATH.items()) or "\0" in str(value):
        return _OTHER
    path = Path(value)
    try:
        os.stat(path)
    except OSError:
        return path
    return path if os.access(path, os.R_OK) or not info.readable else _OTHER

"""Values of the command line without pydantic, which Typer imports for any of them and which takes longer than a help.

Only what is plainly right is taken here: a text, a number in its range, one of the choices, a path without conditions.
Everything else goes to Typer's own conversion, whose messages people see.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from enum import Enum
from pathlib import Path
from typing import Any, get_args, get_origin

_WHOLE = re.compile(r"[+-]?[0-9]{1,18}")
# Where these of a path's conditions are as they come, a path is only looked at.
_PLAIN_PATH = {
    "exists": False, "file_okay": True, "dir_okay": True, "writable": False, "resolve_path": False, "path_type": None,
    "allow_dash": False, "parser": None,
}  # fmt: skip
_OTHER = object()


class Plain:
    """The conversion of one parameter, in place of Typer's, which is made when it is needed."""

    def __init__(self, descriptor: Any) -> None:
        self._descriptor = descriptor
        self._typers: Any = None

    def coerce(self, value: Any, param: Any, ctx: Any) -> Any:
        """What Typer would make of a value; raises what it would raise."""
        several = param.multiple or param.nargs == -1
        if value is None:
            return () if several else None
        if several and isinstance(value, list | tuple) and get_origin(self._descriptor.annotation) is list:
            kind = get_args(self._descriptor.annotation)[0]
            made = [plain(one, kind, self._descriptor.parameter_info) for one in value]
            if not any(one is _OTHER for one in made):
                return made
        elif not several:
            one = plain(value, self._descriptor.annotation, self._descriptor.parameter_info)
            if one is not _OTHER:
                return one
        if self._typers is None:
            from typer._coercion import build_runtime_param

            self._typers = build_runtime_param(self._descriptor)
        return self._typers.coerce(value, param=param, ctx=ctx)


def quicken(params: Iterable[Any]) -> None:
    """Let parameters convert plain values themselves, where this Typer has a place for it."""
    for param in params:
        if getattr(param, "_runtime_param", _OTHER) is None and hasattr(param, "type_descriptor"):
            param._runtime_param = Plain(param.type_descriptor)


def plain(value: Any, kind: Any, info: Any) -> Any:
    """A value as one of a kind, or ``_OTHER`` where that takes more thought."""
    if info.parser is not None:
        return _OTHER
    if kind is str and isinstance(value, str):
        return value
    if kind is int and isinstance(value, str) and _WHOLE.fullmatch(value):
        return _in_range(int(value), info)
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

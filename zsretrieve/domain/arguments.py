"""What callers pass, held against the annotations of public functions and value objects: its type, and the bounds of
numbers.
"""

from __future__ import annotations

import functools
import inspect
import numbers
import os
import reprlib
import types
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Annotated, Any, ParamSpec, TypeVar

from zsretrieve.domain.errors import ArgumentError, SourceError, UsageError

_Parameters = ParamSpec("_Parameters")
_Returned = TypeVar("_Returned")


@dataclass(frozen=True)
class Between:
    """The bounds of a number, both included."""

    low: float
    high: float


# Bounds that several annotations share.
Count = Annotated[int, Between(1, 2**31 - 1)]
Seed = Annotated[int, Between(0, 2**32 - 1)]
Share = Annotated[float, Between(0, 1)]
# Beyond, the rounding of one score decides a probability.
Scale = Annotated[float, Between(1e-6, 1e6)]

# Models read at most some hundred tokens of a text.
MOST_CHARACTERS = 10_000

_WORDS: dict[Any, str] = {
    str: "a text",
    int: "a whole number",
    float: "a number",
    bool: "True or False",
    os.PathLike: "a path",
}
# Where a module imports a name only for its annotations.
_USUAL = {"Sequence": Sequence, "PathLike": str | os.PathLike[str]}


@functools.cache
def entrance(function: Callable[_Parameters, _Returned]) -> Callable[_Parameters, _Returned]:
    """A function that checks its arguments, and turns errors of the system into ones that say where they arose."""
    where = f"See help(zsretrieve.{function.__name__})."

    @functools.wraps(function)
    def checked(*args: _Parameters.args, **kwargs: _Parameters.kwargs) -> _Returned:
        signature, hints = _signature(function)
        try:
            given = signature.bind(*args, **kwargs).arguments
        except TypeError as error:
            raise ArgumentError(f"{function.__name__}: {error}", hint=where) from None
        for name, value in given.items():
            check(name, value, hints[name], where)
        try:
            return function(*args, **kwargs)
        except OSError as error:
            file = f"'{str(error.filename)[:200]}': " if error.filename else ""
            raise SourceError(
                f"{file}{(error.strerror or str(error)).lower()}",
                hint="Check the path, the permissions and the free space.",
            ) from error
        except ValueError as error:
            if "embedded null" not in str(error):
                raise
            raise SourceError("a path holds a null character", hint="Check the path.") from error

    checked.__module__ = "zsretrieve"  # where it is found, also by pickle
    return checked


def check_fields(value: Any) -> None:
    """Raise ArgumentError unless the fields of a dataclass are what their annotations say."""
    where = f"See help(zsretrieve.{type(value).__name__})."
    kind: Any = type(value)
    for name, hint in _hints(kind).items():
        check(name, getattr(value, name), hint, where)


def check_texts(texts: Sequence[str]) -> None:
    """Raise UsageError unless these are several texts, each of a length that a tokenizer finishes."""
    if isinstance(texts, str):
        raise UsageError("texts must be a list of texts, got a single text", hint='Put it in a list: ["a red star"].')
    check("texts", texts, Sequence[str], "See zsretrieve.Model.")
    longest = max(map(len, texts), default=0)
    if longest > MOST_CHARACTERS:
        raise UsageError(f"a text has {longest:,} characters, and the limit is {MOST_CHARACTERS:,}", hint="Shorten it.")


def check(name: str, value: Any, hint: Any, where: str) -> None:
    """Raise ArgumentError, with ``where`` as its hint, unless a value fits a type annotation."""
    if not _fits(value, hint):
        raise ArgumentError(f"{name} must be {_wanted(hint)}, got {reprlib.repr(value)}", hint=where)


def _fits(value: Any, hint: Any) -> bool:
    origin, parts = typing.get_origin(hint) or hint, typing.get_args(hint)
    if origin is Any:  # in some versions of Python a class
        return True
    if hint is None or origin is types.NoneType:
        return value is None
    if origin is Annotated:
        bounds = [extra for extra in parts[1:] if isinstance(extra, Between)]
        return _fits(value, parts[0]) and all(one.low <= value <= one.high for one in bounds)
    if origin in (typing.Union, types.UnionType):
        return any(_fits(value, part) for part in parts)
    if origin is Sequence:
        is_list = hasattr(value, "__len__") and hasattr(value, "__iter__")
        return is_list and not isinstance(value, str | bytes | Mapping) and all(_fits(one, parts[0]) for one in value)
    if origin is tuple:
        return isinstance(value, tuple | list) and all(_fits(one, parts[0]) for one in value)
    if origin in (int, float):
        number = numbers.Integral if origin is int else numbers.Real
        return isinstance(value, number) and not isinstance(value, bool)
    if not isinstance(origin, type):
        return True
    if getattr(origin, "_is_protocol", False) and origin not in (os.PathLike,):
        # Not by isinstance, which would compute properties.
        return set(_members(origin)) <= set(dir(value))
    return isinstance(value, origin)


def _members(protocol: type) -> Iterator[str]:
    return (name for base in protocol.__mro__ for name in vars(base) if not name.startswith("_"))


def _wanted(hint: Any) -> str:
    """What fits an annotation, in words."""
    origin, parts = typing.get_origin(hint) or hint, typing.get_args(hint)
    if origin is Annotated:
        bounds = next((extra for extra in parts[1:] if isinstance(extra, Between)), None)
        return _wanted(parts[0]) + (f" from {bounds.low:,} to {bounds.high:,}" if bounds else "")
    if origin in (typing.Union, types.UnionType):
        # A path may be written as text, and None is what is meant without the argument.
        path = any((typing.get_origin(part) or part) is os.PathLike for part in parts)
        kinds = [part for part in parts if part is not types.NoneType and not (path and part is str)]
        return " or ".join(dict.fromkeys(_wanted(kind) for kind in kinds))
    if origin in (Sequence, tuple):
        return f"a list, each {_wanted(parts[0])}"
    if isinstance(origin, type) and issubclass(origin, Enum):
        return f"one of {', '.join(repr(str(one.value)) for one in origin)}"
    if isinstance(origin, type):
        return _WORDS.get(origin) or f"{'an' if origin.__name__[0] in 'AEIOU' else 'a'} {origin.__name__}"
    return "another value"


@functools.cache
def _signature(function: Callable[..., Any]) -> tuple[inspect.Signature, dict[str, Any]]:
    signature = inspect.signature(function)
    return signature, {name: _hint(one.annotation, function) for name, one in signature.parameters.items()}


def _hint(annotation: Any, function: Callable[..., Any]) -> Any:
    if not isinstance(annotation, str):
        return annotation
    try:
        return eval(annotation, {**_USUAL, **function.__globals__})
    except NameError:  # imported for the type checker alone
        return Any


@functools.cache
def _hints(kind: Any) -> dict[str, Any]:
    return typing.get_type_hints(kind, include_extras=True)

"""Results as dictionaries, which every machine format writes, and as tables, which notebooks show."""

from __future__ import annotations

import html
import importlib
import math
import struct
import types
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, fields, is_dataclass
from enum import Enum
from typing import Any, ClassVar, TypeVar, Union, get_args, get_origin, get_type_hints

from zsretrieve.domain.errors import OptionalDependencyError

_SHOWN_ROWS = 20
_FLOAT32 = struct.Struct("f")
_Record = TypeVar("_Record")


class Result:
    """A dataclass that machine formats write field by field."""

    # The keys of fields that are written under another name.
    _keys: ClassVar[Mapping[str, str]] = {}

    def to_dict(self) -> dict[str, Any]:
        """Its fields as JSON types."""
        return {self._keys.get(name, name): plain(value) for name, value in vars(self).items()}


class Table(ABC):
    """A result that notebooks show as a table, and pandas takes as one."""

    @abstractmethod
    def rows(self) -> list[dict[str, Any]]:
        """One dictionary for each row, with the same keys."""

    def to_pandas(self) -> Any:
        """The rows as a data frame. Raises OptionalDependencyError if pandas is not installed."""
        try:
            pandas = importlib.import_module("pandas")
        except ImportError as error:
            raise OptionalDependencyError(
                f"a data frame needs pandas, which cannot be imported: {error}", hint="Install it: pip install pandas"
            ) from error
        return pandas.DataFrame(self.rows())

    def _shown(self) -> list[dict[str, Any]]:
        """The rows that a notebook shows the first of."""
        return self.rows()

    def _repr_html_(self) -> str:
        return html_table(repr(self), self._shown())


def html_table(title: str, rows: Sequence[Mapping[str, Any]]) -> str:
    """The first rows as a table; fractions have four digits."""

    def cells(tag: str, values: Any) -> str:
        texts = (f"{value:.4f}" if isinstance(value, float) else str(value) for value in values)
        return f"<tr>{''.join(f'<{tag}>{html.escape(text)}</{tag}>' for text in texts)}</tr>"

    shown = rows[:_SHOWN_ROWS]
    head = cells("th", shown[0]) if shown else ""
    more = f"<p>and {len(rows) - len(shown)} more</p>" if len(rows) > len(shown) else ""
    body = "".join(cells("td", row.values()) for row in shown)
    return f"<p>{html.escape(title)}</p><table>{head}{body}</table>{more}"


def plain(value: Any) -> Any:
    """A value as JSON types: results as dictionaries, tuples as lists, infinity and NaN as None."""
    match value:
        case Result():
            return value.to_dict()
        case dict():
            return {str(key): plain(one) for key, one in value.items()}
        case list() | tuple():
            return [plain(one) for one in value]
        case float() if not math.isfinite(value):
            return None
    return value


def flat(row: Mapping[str, Any]) -> dict[str, Any]:
    """A dictionary as a row of a table: ``interval`` becomes the columns ``low``, ``high`` and ``level``,
    ``NAME_interval`` the columns ``NAME_low``, ``NAME_high`` and ``NAME_level``.
    """
    columns: dict[str, Any] = {}
    for key, value in row.items():
        if key == "interval" or key.endswith("_interval"):
            ends = value or dict.fromkeys(("low", "high", "level"))
            columns |= {f"{key.removesuffix('interval')}{end}": number for end, number in ends.items()}
        else:
            columns[key] = value
    return columns


def float32(number: float) -> float:
    """The nearest float32."""
    (nearest,) = _FLOAT32.unpack(_FLOAT32.pack(number))
    return float(nearest)


def shortest(score: float) -> float:
    """A float32 in as few digits as ``float32`` needs to make the same again."""
    for digits in (7, 8):
        number = float(f"{score:.{digits}g}")
        if float32(number) == float32(score):
            return number
    return float(f"{score:.9g}")


def rebuilt(kind: type[_Record], value: Any, *, strict: bool = False) -> _Record:
    """A dataclass from the JSON types that ``plain`` or ``asdict`` made of it.

    Raises TypeError, ValueError or KeyError for a wrong or missing field, and with ``strict`` for an unknown one.
    """
    if not isinstance(value, Mapping):
        raise TypeError(f"{kind.__name__} must be an object")
    written: Mapping[str, str] = getattr(kind, "_keys", {})
    known = {written.get(spec.name, spec.name): spec for spec in fields(kind)}  # type: ignore[arg-type]
    for name in value.keys() - known.keys() if strict else ():
        raise ValueError(f"{kind.__name__} has no field {name!r}")
    for name, spec in known.items():
        if name not in value and spec.default is MISSING and spec.default_factory is MISSING:
            raise KeyError(f"{kind.__name__} lacks {name!r}")
    hints = get_type_hints(kind)
    return kind(
        **{
            spec.name: _value(hints[spec.name], value[name], name, strict)
            for name, spec in known.items()
            if name in value
        }
    )


def _value(hint: Any, value: Any, name: str, strict: bool) -> Any:
    origin, args = get_origin(hint), get_args(hint)
    if is_dataclass(hint) and isinstance(hint, type):
        return value if isinstance(value, hint) else rebuilt(hint, value, strict=strict)
    if origin in (Union, types.UnionType):  # of None and one other type
        return None if value is None else _value(args[0], value, name, strict)
    if origin is tuple and isinstance(value, list):
        if args[-1] is Ellipsis:
            return tuple(_value(args[0], entry, name, strict) for entry in value)
        if len(args) == len(value):
            return tuple(_value(arg, entry, name, strict) for arg, entry in zip(args, value, strict=True))
    elif origin is dict and isinstance(value, dict):
        return {args[0](key): _value(args[1], entry, name, strict) for key, entry in value.items()}
    elif isinstance(hint, type) and issubclass(hint, Enum):
        return hint(value)
    elif hint is float and type(value) in (int, float):
        return float(value)
    elif type(value) is hint:
        return value
    raise TypeError(f"{name!r} has an unexpected value")

"""Published figures, with which ``reproduce`` compares its own."""

from __future__ import annotations

import math
import tomllib
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from zsretrieve.domain.errors import PromptError
from zsretrieve.domain.wording import one_line

SUPERVISED = "supervised"
_BUNDLED = Path(__file__).parent / "data"


@dataclass(frozen=True)
class Figure:
    """A source's Prec@1 of a model with a set of templates, in percent."""

    source: str
    templates: str
    percent: float


@dataclass(frozen=True)
class Cost:
    """The size of a model: parameters in millions, and billions of operations for an image and for a prompt.

    ``text_gflops`` is for a prompt that fills the context; with ``whole_context`` it is for every prompt.
    """

    dim: int
    mparams: float
    image_gflops: float
    text_gflops: float = 0.0
    whole_context: bool = False


@dataclass(frozen=True)
class TableModel:
    """A row of a table. ``figures`` are in the order of the table's sources."""

    name: str
    title: str
    figures: tuple[Figure, ...] = ()
    cost: Cost | None = None


@dataclass(frozen=True)
class Table:
    """Published figures of one data set.

    ``sources`` maps names to publications. Differences are to the first source that has a figure, and ``tolerance`` is
    how large they may be, in points. ``images`` is the number of images that the figures were measured on, if known.
    ``notes`` are what a reader of the published figures must know.
    """

    name: str
    classes: str
    templates: tuple[str, ...]
    models: tuple[TableModel, ...]
    sources: dict[str, str]
    tolerance: float
    images: int | None = None
    notes: tuple[str, ...] = ()


def bundled_tables() -> list[str]:
    """The data sets whose published figures are bundled."""
    return sorted(path.stem for path in _BUNDLED.glob("*.toml"))


def read_table(name: str | Path) -> Table:
    """Read a table: a bundled one by the name of its data set, or a file of the same form.

    Raises
    ------
    PromptError
        If it does not exist or cannot be read.
    """
    path = name if isinstance(name, Path) else _BUNDLED / f"{name}.toml"
    if not isinstance(name, Path) and name not in bundled_tables():
        raise PromptError(f"there is no published table '{name}'", hint=f"Use {', '.join(bundled_tables())}.")
    try:
        return _table(path.stem, tomllib.loads(path.read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError) as error:
        raise PromptError(f"the table '{path}' cannot be read: {one_line(error)}", hint="Give a TOML file.") from error
    except (ValueError, TypeError, LookupError, AttributeError) as error:
        reason = f"{error} is missing" if isinstance(error, KeyError) else str(error)
        raise PromptError(f"the table '{path}' is not valid: {reason}", hint="See docs/reproduce.md.") from error


def _table(name: str, content: dict[str, Any]) -> Table:
    sources = {str(key): str(value) for key, value in content.get("sources", {}).items()}
    templates = _strings(content, "templates")
    if not content["models"] or not templates:
        raise ValueError("it has no models or no templates")
    taken = {"name", "title", "cost"} & set(sources)
    if taken:
        raise ValueError(f"a source cannot be called '{min(taken)}', as every model has one")
    models = tuple(_model(one, sources, {*templates, SUPERVISED}) for one in content["models"])
    if len({model.name for model in models}) < len(models):
        raise ValueError("it has a model twice")
    images = content.get("images")
    if images is not None and (type(images) is not int or images < 1):
        raise ValueError(f"images = {images} is not a positive integer")
    tolerance = _number("tolerance", content.get("tolerance", 0.3))
    notes = _strings(content, "notes") if "notes" in content else ()
    return Table(name, str(content["classes"]), templates, models, sources, tolerance, images, notes)


def _strings(content: dict[str, Any], key: str) -> tuple[str, ...]:
    values = content[key]
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise ValueError(f"'{key}' must be a list of strings")
    return tuple(dict.fromkeys(values))


def _number(what: str, value: object, most: float = math.inf) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= most:
        raise ValueError(f"{what} = {value}")
    return float(value)


def _model(content: dict[str, Any], sources: dict[str, str], templates: set[str]) -> TableModel:
    name = str(content["name"])
    unknown = set(content) - {"name", "title", "cost"} - set(sources)
    if unknown:
        raise ValueError(f"'{min(unknown)}' of {name} is not one of its sources")
    figures = []
    for source in sources:
        for kind, percent in content.get(source, {}).items():
            if kind not in templates:
                raise ValueError(f"{source} of {name}: '{kind}' is not one of its templates")
            figures.append(Figure(source, str(kind), _number(f"{source} of {name}: {kind}", percent, most=100)))
    cost = Cost(**content["cost"]) if "cost" in content else None
    for field in fields(cost) if cost is not None else ():
        if field.name != "whole_context":
            _number(f"cost of {name}: {field.name}", getattr(cost, field.name))
    return TableModel(name, str(content.get("title", name)), tuple(figures), cost)

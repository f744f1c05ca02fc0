"""What the pages share: the style, and how numbers and paths are written."""

from __future__ import annotations

from pathlib import Path

import jinja2
from markupsafe import Markup

_HERE = Path(__file__).parent
_SHOWN_PARTS = 2


def file_text(name: str) -> str:
    """A file of this package: a template, a style or a script."""
    return (_HERE / name).read_text(encoding="utf-8")


STYLE = file_text("style.css")


def environment() -> jinja2.Environment:
    """Templates that escape their values, with the filters of this module."""
    templates = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    templates.filters |= {"percent": percent, "interval": interval, "number": number, "width": width, "short": short}
    return templates


def markup(text: str) -> str:
    """A text of our own, which is not escaped."""
    return Markup(text)


def percent(share: float) -> str:
    return f"{100 * share:.1f}\N{NO-BREAK SPACE}%"


def interval(ends: dict[str, float]) -> str:
    """``low`` to ``high``, in percent."""
    return f"{100 * ends['low']:.1f} to {percent(ends['high'])}".replace(" ", "\N{NO-BREAK SPACE}")


def number(value: float | None) -> str:
    """To four digits; a dash for None."""
    return "\N{EN DASH}" if value is None else f"{value:.4g}"


def width(share: float) -> str:
    """A length in percent, for a style."""
    return f"{100 * min(max(share, 0.0), 1.0):.2f}"


def short(path: str) -> str:
    """The end of a path, enough to distinguish images."""
    return "/".join(path.rstrip("/").rsplit("/", _SHOWN_PARTS)[-_SHOWN_PARTS:])

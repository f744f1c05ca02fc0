"""docs/output.md as a schema: its tables say which fields an output has, and of which types."""

from __future__ import annotations

import functools
import json
import re
from pathlib import Path
from typing import Any

PAGE = Path(__file__).parents[2] / "docs" / "output.md"
_ROW = re.compile(r"\| `([^`]+)` \| ([^|]+) \|", re.MULTILINE)
_PLAIN = {"string": str, "integer": int, "number": (int, float), "boolean": bool}


@functools.cache
def sections() -> dict[str, str]:
    """The text of every section by its heading, without those below it."""
    parts = re.split(r"^##+ (.+)$", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
    found: dict[str, str] = {}
    for heading, text in zip(parts[::2], parts[1::2], strict=True):
        assert heading not in found, heading
        found[heading] = text
    return found


def fields(section: str) -> dict[str, str]:
    """The type of every field of the table of a section."""
    return {name: kind.strip() for name, kind in _ROW.findall(sections()[section])}


def examples(section: str) -> list[Any]:
    return [json.loads(text) for text in re.findall(r"```json\n(.+?)```", sections()[section], re.DOTALL)]


def columns(section: str) -> list[str]:
    """What follows "CSV columns:"."""
    text = re.split(r"CSV columns:", sections()[section])[1].split("\n\n")[0]
    return [name for name in re.findall(r"`([^`]+)`", text) if not name.startswith("--")]


def check(value: Any, section: str, *, common: str | None = None) -> None:
    """Fail unless an object, or every object of a list, has the fields of a section, and of another if one is given."""
    table = fields(section) | ({} if common is None else fields(common))
    assert table, section
    for one in value if isinstance(value, list) else [value]:
        _check_object(one, table, section)


def _check_object(value: Any, table: dict[str, str], where: str) -> None:
    assert isinstance(value, dict), where
    for name, kind in table.items():
        # A K in a name stands for a number.
        pattern = re.escape(name).replace("@K", r"@\d+")
        of_this = [key for key in value if re.fullmatch(pattern, key)]
        assert of_this or kind.endswith(", optional"), f"{where}: no field {name}"
        for key in of_this:
            _check_type(value[key], kind.removesuffix(", optional"), f"{where}: {key}")
    patterns = "|".join(re.escape(name).replace("@K", r"@\d+") for name in table)
    unknown = [key for key in value if not re.fullmatch(patterns, key)]
    assert not unknown, f"{where}: {unknown} are not on the page"


def _check_type(value: Any, kind: str, where: str) -> None:
    if value is None and kind.endswith(" or null"):
        return
    for before in ("list of ", "map of "):
        if kind.startswith(before):
            assert isinstance(value, list if before == "list of " else dict), where
            for one in value if isinstance(value, list) else value.values():
                _check_type(one, kind.removeprefix(before), where)
            return
    if kind.endswith(" or null"):
        _check_type(value, kind.removesuffix(" or null"), where)
        return
    if (link := re.fullmatch(r"\[(.+)\]\(#(.+)\)", kind)) is not None:
        assert link[1].replace(" ", "-") == link[2], where
        _check_object(value, fields(link[1]), f"{where}: {link[1]}")
        return
    assert isinstance(value, _PLAIN[kind]), f"{where}: {value!r} is not {kind}"
    assert kind == "boolean" or not isinstance(value, bool), f"{where}: {value!r} is not {kind}"

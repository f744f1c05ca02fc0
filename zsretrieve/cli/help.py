"""Help pages: plain text as wide as the terminal, printed without rich, so that they appear at once."""

from __future__ import annotations

import inspect
import os
import re
import shutil
import textwrap
from collections.abc import Iterable, Iterator
from enum import Enum
from pathlib import Path
from typing import Any, get_args, get_origin

import typer

ADVANCED = "Advanced"
_OPTIONS = "Options"
# Longer lines are hard to read.
_MAX_WIDTH = 100
# A longer name stands on a line of its own, its text below.
_MAX_NAME = 26
_METAVARS = {str: "TEXT", int: "N", float: "NUMBER", Path: "PATH"}
# The options of many commands come after those of the one that is explained, in this order.
_SHARED = (
    "--ground-truth", "--where", "--strict", "--skipped", "--format", "--force", "--exif",
    "--max-megapixels", "--fast-decode", "--device", "--precision", "--engine", "--batch-size", "--compile", "--help",
)  # fmt: skip
# Typer declares these itself.
_COMPLETION = ("install_completion", "show_completion")

Row = tuple[str, str]


def page(command: Any, context: Any) -> str:
    """The help of a command or a group."""
    width = min(context.terminal_width or shutil.get_terminal_size().columns, _MAX_WIDTH)
    head = textwrap.fill(usage(command, context), width - 7, subsequent_indent="    ", break_on_hyphens=False)
    parts = [f"{_bold('Usage:')} {head}", *_paragraphs(command.help or "", width)]
    parts += [f"{_bold(f'{title}:')}\n{_table(rows, width)}" for title, rows in tables(command, context).items()]
    return "\n\n".join(parts)


def usage(command: Any, context: Any) -> str:
    """How the command is written, in one line."""
    arguments = [param for param in command.get_params(context) if param.param_type_name == "argument"]
    words = [_argument(param) if param.required else f"[{_argument(param)}]" for param in arguments]
    if hasattr(command, "commands"):
        words.append("COMMAND [ARGS]...")
    return " ".join([context.command_path, "[OPTIONS]", *words])


def tables(command: Any, context: Any) -> dict[str, list[Row]]:
    """Names and what they mean, by title: arguments, commands, and the panels of options."""
    params = [param for param in command.get_params(context) if not getattr(param, "hidden", False)]
    arguments = [param for param in params if param.param_type_name == "argument"]
    titled = {
        "Arguments": [(_argument(param), _explained(param)) for param in arguments],
        "Commands": [(child.name, child.summary) for child in getattr(command, "commands", {}).values()],
        **{title: _options(panel) for title, panel in _panels(params).items()},
    }
    return {title: rows for title, rows in titled.items() if rows}


def first_paragraph(text: str) -> str:
    return " ".join(inspect.cleandoc(text).split("\n\n")[0].split())


def _paragraphs(text: str, width: int) -> Iterator[str]:
    """A docstring's paragraphs, flowed again; an example only breaks before an option, as in a shell."""
    for paragraph in inspect.cleandoc(text).split("\n\n"):
        flowed = " ".join(paragraph.split())
        if flowed.startswith("Example: "):
            lines = [""]
            for words in re.split(r" (?=--?[a-z])", flowed):
                if len(lines[-1]) + len(words) > width - 6:
                    lines.append("")
                lines[-1] = f"{lines[-1]} {words}".lstrip()
            yield " \\\n    ".join(lines)
        elif flowed:
            yield textwrap.fill(flowed, width, break_on_hyphens=False)


def _panels(params: Iterable[Any]) -> dict[str, list[Any]]:
    """Options by the title they stand under, the rare ones at the end."""
    panels: dict[str, list[Any]] = {_OPTIONS: []}
    for param in sorted(params, key=_place):
        if param.param_type_name == "option":
            rare = ADVANCED if param.name in _COMPLETION else None
            panels.setdefault(rare or param.rich_help_panel or _OPTIONS, []).append(param)
    if ADVANCED in panels:
        panels[ADVANCED] = panels.pop(ADVANCED)
    return panels


def _place(param: Any) -> int:
    return max((_SHARED.index(opt) + 1 for opt in param.opts if opt in _SHARED), default=0)


def _options(panel: Iterable[Any]) -> list[Row]:
    rows = []
    some_are_short = any(len(opt) == 2 for param in panel for opt in param.opts)
    for param in panel:
        names = ", ".join(sorted(param.opts, key=len))
        if param.secondary_opts:
            names = f"{names} / {', '.join(param.secondary_opts)}"
        margin = "    " if some_are_short and min(map(len, param.opts)) > 2 else ""
        rows.append((f"{margin}{names} {_metavar(param)}".rstrip(), _explained(param)))
    return rows


def _argument(param: Any) -> str:
    name: str = param.metavar or param.name.upper()
    return name if param.nargs == 1 or name.endswith("...") else f"{name}..."


def _metavar(param: Any) -> str:
    if param.is_flag or param.metavar:
        return param.metavar or ""
    return _METAVARS.get(_kind(param)) or max(param.opts, key=len).lstrip("-").replace("-", "_").upper()


def _number(value: float) -> str:
    return str(value) if isinstance(value, int) else f"{value:g}"


def _explained(param: Any) -> str:
    """What a parameter is for, its choices, and its default."""
    parts = [" ".join((param.help or "").split())]
    kind, info = _kind(param), param.type_descriptor.parameter_info
    if isinstance(kind, type) and issubclass(kind, Enum):
        parts.append(f"[choices: {', '.join(one.value for one in kind)}]")
    if info.min is not None and info.max is not None:
        parts.append(f"[{_number(info.min)} to {_number(info.max)}]")
    default = param.default.value if isinstance(param.default, Enum) else param.default
    if param.required and param.param_type_name == "option":
        parts.append("[required]")
    elif isinstance(param.show_default, str):
        parts.append(f"[default: {param.show_default}]")
    elif param.show_default and isinstance(default, str | int | float | Path) and not isinstance(default, bool):
        parts.append(f"[default: {default}]")
    return " ".join(filter(None, parts))


def _kind(param: Any) -> Any:
    """The type of a value, or of each of several."""
    kind = param.type_descriptor.annotation
    return get_args(kind)[0] if get_origin(kind) is list else kind


def _table(rows: Iterable[Row], width: int) -> str:
    """Two columns: names, and texts that are flowed."""
    column = max((len(name) for name, _ in rows if len(name) <= _MAX_NAME), default=0)
    indent = " " * (column + 4)
    lines = []
    for name, text in rows:
        flowed = textwrap.wrap(text, width - len(indent), break_on_hyphens=False) or [""]
        if len(name) > column:
            lines.append(f"  {_bold(name)}")
        else:
            lines.append(f"  {_bold(name)}{' ' * (column - len(name))}  {flowed.pop(0)}".rstrip())
        lines += [f"{indent}{line}" for line in flowed]
    return "\n".join(lines)


def _bold(text: str) -> str:
    """``echo`` takes the codes out again where there is no terminal."""
    return text if "NO_COLOR" in os.environ else typer.style(text, bold=True)

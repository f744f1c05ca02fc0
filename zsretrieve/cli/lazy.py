"""Commands that are imported only when they are chosen, with help and errors in the form of this program."""

from __future__ import annotations

import ast
import functools
import importlib
import itertools
import re
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NoReturn

import typer
from typer.core import TyperCommand, TyperGroup
from typer.exceptions import TyperException

from zsretrieve.cli import help as pages
from zsretrieve.cli.fast_params import quicken
from zsretrieve.cli.output import print_error

_COMMANDS = Path(__file__).with_name("commands")
_STRINGS = r'((?:\s*"(?:[^"\\\n]|\\.)*")+)'


class _Page:
    """The help of a command or a group."""

    help: str | None

    def get_help(self, ctx: Any) -> str:
        return pages.page(self, ctx)

    @property
    def summary(self) -> str:
        """What a list of commands says of it."""
        return pages.first_paragraph(self.help or "")


class Command(_Page, TyperCommand):
    """A command whose start and help are quick."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        params = self.get_params(ctx)
        quicken(params)
        _check_values(params, args)
        return super().parse_args(ctx, args)


class Later(Command):
    """A command that is imported when it is chosen.

    Parameters
    ----------
    name : str
    place : str
        ``MODULE:NAME`` of the function or the Typer application of a group, the module below ``cli.commands``.
    """

    def __init__(self, name: str, place: str) -> None:
        super().__init__(name)
        self._module, _, self._function = place.partition(":")

    def load(self) -> Any:
        """The command itself."""
        loaded = getattr(importlib.import_module(f"zsretrieve.cli.commands.{self._module}"), self._function)
        if isinstance(loaded, typer.Typer):
            return typer.main.get_group(loaded)
        alone = typer.Typer(add_completion=False)
        alone.command(self.name, cls=Command)(loaded)
        return typer.main.get_command(alone)

    def make_context(self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any) -> Any:
        """That of the command itself, which is then the one that is invoked."""
        return self.load().make_context(info_name, args, parent=parent, **extra)

    def get_short_help_str(self, limit: int = 0) -> str:  # noqa: ARG002
        return self.summary

    @functools.cached_property
    def summary(self) -> str:
        """The first paragraph of its help, read from the source: importing every module for a list would take long."""
        source = (_COMMANDS / f"{self._module}.py").read_text(encoding="utf-8")
        if text := re.search(rf'^def {self._function}\(.*?:\n    """(.*?)"""', source, re.DOTALL | re.MULTILINE):
            return pages.first_paragraph(text[1])
        text = re.search(rf"^{self._function} = typer\.Typer\(.*?\bhelp={_STRINGS}", source, re.DOTALL | re.MULTILINE)
        return pages.first_paragraph(ast.literal_eval(f"({text[1]})")) if text else ""

    @property
    def commands(self) -> dict[str, Any]:
        """Those of a group; AttributeError for a single command."""
        children: dict[str, Any] = self.load().commands
        return children


class Group(_Page, TyperGroup):
    """A group of commands, some or all of which are imported later: those a subclass names in ``later``."""

    later: tuple[Later, ...] = ()

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        self.commands.update({str(command.name): command for command in self.later})

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if not args and self.no_args_is_help:
            typer.echo(ctx.get_help())
            raise typer.Exit(2)
        quicken(self.get_params(ctx))
        return super().parse_args(ctx, args)

    def main(self, *args: Any, **extra: Any) -> NoReturn:
        """Run and exit; wrong usage becomes ``error:`` and ``hint:`` on stderr."""
        try:
            code = super().main(*args, **{**extra, "standalone_mode": False})
        except typer.Abort:
            print_error("aborted")
            code = 1
        except TyperException as error:
            message = _worded(error)
            context = getattr(error, "ctx", None)
            print_error(
                f"{message[:1].lower()}{message[1:]}".rstrip("."), context and f"See: {context.command_path} --help"
            )
            code = error.exit_code
        sys.exit(code or 0)


def _check_values(params: Iterable[Any], args: Sequence[str]) -> None:
    """Refuse an option as the value of the option before it, whose own was forgotten."""
    options = {name: param for param in params if param.param_type_name == "option" for name in param.opts}
    switches = {name for param in options.values() if param.is_flag for name in (*param.opts, *param.secondary_opts)}
    words = itertools.takewhile(lambda word: word != "--", args)
    for word in words:
        if word in options and word not in switches:
            value = next(words, "")
            if value.partition("=")[0] in options.keys() | switches:
                long = max(options[word].opts, key=len)
                raise typer.BadParameter(f"it needs a value, or {long}={value} if that is meant", param_hint=word)


def _worded(error: TyperException) -> str:
    """What is wrong with the words of a command, without pydantic's way of putting it."""
    if not isinstance(error.__cause__, ValueError) or not hasattr(error.__cause__, "errors"):
        return error.format_message()
    found = error.__cause__.errors()[0]
    wrong = {
        "value_error": "{error}",
        "int_parsing": "'{input}' is not a whole number",
        "float_parsing": "'{input}' is not a number",
        "greater_than_equal": "{input} is less than {ge:g}",
        "less_than_equal": "{input} is more than {le:g}",
    }.get(found["type"], found["msg"])
    name = error.param.get_error_hint().strip("'")  # type: ignore[attr-defined]
    return f"{name}: {wrong.format(input=found['input'], **found.get('ctx', {}))}"

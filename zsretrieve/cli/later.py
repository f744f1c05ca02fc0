"""Commands that are imported when they are chosen, and help that is printed without what rich imports in vain.

A start pays for one command: the list of commands needs no more than their names and first sentences.
"""

from __future__ import annotations

import contextlib
import importlib
import sys
import types
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import typer
from typer.core import TyperCommand, TyperGroup

from zsretrieve.cli.coercing import quicken

if TYPE_CHECKING:
    from rich.console import Console

# Typer imports these for markup and tracebacks that this program does not use; they take longer than the help itself.
_UNUSED = {"rich.markdown": "Markdown", "rich.traceback": "Traceback"}


@contextlib.contextmanager
def without(*names: str) -> Iterator[None]:
    """Let modules seem not to be installed, unless they are loaded already."""
    hidden = [name for name in names if name not in sys.modules]
    sys.modules.update(dict.fromkeys(hidden))  # type: ignore[arg-type]
    try:
        yield
    finally:
        for name in hidden:
            sys.modules.pop(name, None)


def console_class() -> type[Console]:
    """The Console of rich; rich asks for attrs only to print its objects."""
    if "rich.console" not in sys.modules:
        with without("attr"):
            importlib.import_module("rich.console")
    from rich.console import Console

    return Console


def _import_help() -> None:
    """Import Typer's help with empty classes in place of what it imports for other kinds of markup."""
    if "typer.rich_utils" in sys.modules:
        return
    console_class()
    placed = []
    for module, name in _UNUSED.items():
        if module not in sys.modules:
            empty = types.ModuleType(module)
            setattr(empty, name, type(name, (), {}))
            sys.modules[module] = empty
            placed.append(module)
    try:
        importlib.import_module("typer.rich_utils")
    finally:
        for module in placed:
            del sys.modules[module]


class Command(TyperCommand):
    """A command whose start and help are quick."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        quicken(self.get_params(ctx))
        return super().parse_args(ctx, args)

    def format_help(self, ctx: Any, formatter: Any) -> None:
        _import_help()
        super().format_help(ctx, formatter)


class Later(Command):
    """A command that is imported when it is chosen.

    Parameters
    ----------
    name : str
    place : str
        ``MODULE:NAME`` of the function or of the Typer application of a group, the module below ``zsretrieve.cli``.
    words : str
        What the list of commands says of it: the first sentences of its own help.
    """

    def __init__(self, name: str, place: str, words: str) -> None:
        super().__init__(name, help=words, rich_markup_mode="rich")
        self._place = place

    def load(self) -> Any:
        """The command itself."""
        module, _, name = self._place.partition(":")
        found = getattr(importlib.import_module(f"zsretrieve.cli.{module}"), name)
        if isinstance(found, typer.Typer):
            return typer.main.get_group(found)
        alone = typer.Typer(add_completion=False, rich_markup_mode="rich")
        alone.command(self.name, cls=Command)(found)
        return typer.main.get_command(alone)

    def make_context(self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any) -> Any:
        """That of the command itself, which is then the one that is invoked."""
        return self.load().make_context(info_name, args, parent=parent, **extra)

    @property
    def commands(self) -> dict[str, Any]:
        """Those of a group; AttributeError for a single command."""
        found: dict[str, Any] = self.load().commands
        return found


class Group(TyperGroup):
    """A group of commands, some or all of which are imported later: those a subclass names in ``later``."""

    later: tuple[Later, ...] = ()

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        self.commands.update({str(command.name): command for command in self.later})

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        quicken(self.get_params(ctx))
        return super().parse_args(ctx, args)

    def format_help(self, ctx: Any, formatter: Any) -> None:
        _import_help()
        super().format_help(ctx, formatter)

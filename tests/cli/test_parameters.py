"""Messages of the library name its parameters, and the command line and the server what those are there."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

import zsretrieve as zs
from zsretrieve.cli.app import app
from zsretrieve.cli.parameters import option, with_options
from zsretrieve.domain.wording import parameters

PACKAGE = Path(zs.__file__).parent
# What only the command line shows, commands that are printed whole, and reasons that are kept on disk.
_EXEMPT = (
    "api/origins.py", "cli/", "demo/", "doctor/", "gallery/update.py", "images/decoding.py",
    "images/sources/walking.py", "reports/advice.py", "store/manifest.py", "system/install_hints.py", "web/",
)  # fmt: skip


def messages() -> Iterator[tuple[str, str]]:
    """Texts in the code of the library, with the file of each; no docstrings."""
    for file in sorted(PACKAGE.rglob("*.py")):
        where = file.relative_to(PACKAGE).as_posix()
        if where.startswith(_EXEMPT):
            continue
        tree = ast.parse(file.read_text(encoding="utf-8"))
        docs = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
        inside = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and not {id(node)} & (docs | inside):
                yield where, node.value
            elif isinstance(node, ast.JoinedStr):
                parts = (part.value if isinstance(part, ast.Constant) else "{}" for part in node.values)
                yield where, "".join(map(str, parts))


def of_python() -> set[str]:
    """The parameters of what is public."""
    names = set()
    for name in zs.__all__:
        thing = getattr(zs, name)
        if dataclasses.is_dataclass(thing):
            names |= {field.name for field in dataclasses.fields(thing)}
        if callable(thing):
            names |= inspect.signature(thing).parameters.keys()
    return names


def of_commands(command: Any) -> set[str]:
    """The options of a command and those below it."""
    names = {word for one in command.params for word in (*one.opts, *one.secondary_opts)}
    for child in getattr(command, "commands", {}).values():
        names |= of_commands(child.load() if hasattr(child, "load") else child)
    return names


def test_every_parameter_in_a_message_is_one_here_and_there() -> None:
    python, commands = of_python(), of_commands(get_command(app))
    named = {(where, name) for where, text in messages() for name in parameters(text)}
    assert len(named) > 40
    assert not {(where, name) for where, name in named if name.removesuffix("=False") not in python}
    assert not {(where, name) for where, name in named if option(name) not in commands}


def test_messages_name_options_only_in_commands() -> None:
    commands = re.compile(r"zsretrieve |: ray ")
    found = {(where, text) for where, text in messages() if re.search(r"(?<!\S)--[a-z]+", commands.split(text)[0])}
    assert not {(where, text) for where, text in found if " " in text}


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("`near` has no effect", "--near has no effect"),
        ("Leave `exif=False` out.", "Leave --no-exif out."),
        ("the model's `batch_size`, or `max_pixels`", "the model's --batch-size, or --max-megapixels"),
        ("there is no image '`near`.jpg' here", "there is no image '`near`.jpg' here"),
        ("'a quote that does not end, `near`", "'a quote that does not end, `near`"),
        ("run `zsretrieve models list --all`", "run `zsretrieve models list --all`"),
    ],
)
def test_options_in_place_of_parameters(text: str, shown: str) -> None:
    assert with_options(text) == shown

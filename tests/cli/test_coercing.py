"""Values are converted as Typer converts them, whichever of the two does it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer._coercion import build_runtime_param
from typer.main import get_command

from zsretrieve.cli.app import app
from zsretrieve.cli.coercing import Plain

VALUES: list[Any] = [
    None, "", "10", "+3", "-4", "0", "007", " 5", "1e3", "1_000", "٣", "0.98", "1.5", "nan", "x", "json", "JSON",
    "fp32", "auto", "yes", "--", "a\nb", ".", "no/such/file", "pyproject.toml", "~", 3, 0.5, True, False,
]  # fmt: skip


def parameters(command: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    for param in command.params:
        yield f"{path} {param.name}", param
    for name, child in getattr(command, "commands", {}).items():
        yield from parameters(child.load() if hasattr(child, "load") else child, f"{path} {name}")


def told(convert: Any, value: Any, param: Any) -> Any:
    try:
        made = convert.coerce(value, param=param, ctx=None)
    except Exception as error:  # noqa: BLE001
        return type(error).__name__, str(error)
    return type(made), repr(made)


@pytest.mark.parametrize("readable", [True, False])
def test_every_parameter_takes_and_refuses_what_typer_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, readable: bool
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(os, "access", lambda path, mode: readable)
    Path("pyproject.toml").touch()
    seen = set()
    for name, param in parameters(get_command(app)):
        info = param.type_descriptor.parameter_info
        conditions = (param.type_descriptor.annotation, param.multiple, param.nargs, info.min, info.max, info.exists)
        if conditions in seen:
            continue
        seen.add(conditions)
        typers = build_runtime_param(param.type_descriptor)
        several = param.multiple or param.nargs == -1
        for value in VALUES:
            given = (value,) if several and value is not None else value
            ours = told(Plain(param.type_descriptor), given, param)
            assert ours == told(typers, given, param), (name, value)
    assert len(seen) > 10
